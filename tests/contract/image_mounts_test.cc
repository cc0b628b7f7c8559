// Shared mounts of packed layers: that containers share them, and that nothing stays when the last user is
// gone, however.
#include "overlay/image_mounts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <utility>

#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_process.h"
#include "overlay/overlay_backend.h"
#include "tests/contract/union_backend_fixture.h"
#include "tests/support/packed_image.h"

namespace snap {
namespace {

class ImageMountsTest : public UnionBackendTest {
 protected:
  std::string directory() const { return scratch_path() + "/images"; }
  std::shared_ptr<UnionBackend> NewBackend(
      overlay::ErofsBacking backing = overlay::ErofsBacking::kAuto) const {
    return MakeOverlayBackend({.image_mounts_directory = directory(), .erofs_backing = backing});
  }
  /// Makes layers "image0" ...; each has a file of its name.
  void MakeImages(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const std::string name = "image" + std::to_string(i);
      tree::Write(AddLayer(), name, "small");
      images_.push_back(Pack(i, name));
    }
  }
  MountStack Stack(size_t first, size_t last) const {
    MountStack stack;
    for (size_t i = first; i < last; ++i) {
      stack.lowers_top_first.push_back({images_[i], {}, "image" + std::to_string(i)});
    }
    return stack;
  }
  MountStack Stack() const { return Stack(0, images_.size()); }
  static Mount MountShared(UnionBackend& backend, const MountStack& stack) {
    auto mount = backend.MountStacked(stack, {.share_images = true});
    if (mount.ok()) return std::move(*mount);
    ADD_FAILURE() << mount.error().message();
    return Mount(UniqueFd());
  }
  /// Mounts in and on the directory, in this namespace.
  size_t Mounted() const {
    const auto mounts = *sys::ListMounts();
    return static_cast<size_t>(std::count_if(
        mounts.begin(), mounts.end(),
        [this](const sys::MountInfo& mount) { return mount.mount_point.starts_with(directory()); }));
  }
  std::set<std::string> Names() const { return tree::Names(FdRef::Cwd(), directory()); }
  void ExpectNothing() const {
    EXPECT_EQ(Mounted(), 0U);
    if (sys::StatAt(FdRef::Cwd(), directory().c_str()).ok()) {
      EXPECT_TRUE(Names().empty());
    }
  }
  FdRef image(size_t i) const { return images_[i]; }
  void TearDown() override {
    images_.clear();
    UnionBackendTest::TearDown();
  }

 private:
  std::vector<UniqueFd> images_;
};
INSTANTIATE_TEST_SUITE_P(Overlay, ImageMountsTest,
                         testing::Values(BackendCase{"Auto", [] { return MakeOverlayBackend(); },
                                                     Layers::kPacked}),
                         [](const auto& backend) { return backend.param.name; });

class Child {
 public:
  explicit Child(const std::function<void()>& body) : pid_(::fork()) {
    if (pid_ != 0) return;
    body();
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  Child& operator=(Child&&) = delete;
  ~Child() { (void)Wait(); }
  /// The exit code, or -1 for a signal.
  int Wait() {
    if (pid_ <= 0) return 0;
    int status = 0;
    ::waitpid(std::exchange(pid_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void Kill() { ::kill(pid_, SIGKILL); }

 private:
  pid_t pid_;
};

/// Two processes take turns through it.
class Gate {
 public:
  void Open() { EXPECT_TRUE(sys::WriteAll(pipe_.write_end, "x").ok()); }
  void Pass() {
    std::array<std::byte, 1> byte{};
    EXPECT_TRUE(sys::Read(pipe_.read_end, byte).ok());
  }

 private:
  sys::Pipe pipe_ = *sys::MakePipe();
};

/// Whether the first page of a file is in memory. Looking does not read it.
bool IsCached(FdRef root, const char* name) {
  const UniqueFd file = tree::Open(root, name);
  void* const memory = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file.get(), 0);
  EXPECT_NE(memory, MAP_FAILED);
  unsigned char resident = 0;
  EXPECT_EQ(::mincore(memory, 4096, &resident), 0);
  ::munmap(memory, 4096);
  return (resident & 1U) != 0;
}

TEST_P(ImageMountsTest, MountsThatShareAnImageShareItsPageCache) {
  MakeImages(2);
  const auto one = NewBackend(), other = NewBackend();
  for (const bool share : {false, true}) {
    const Mount a = *one->MountStacked(Stack(), {.share_images = share});
    const Mount b = *other->MountStacked(Stack(), {.share_images = share});
    EXPECT_EQ(Mounted(), share ? 3U : 0U) << "the directory and two images";
    EXPECT_FALSE(IsCached(a.root(), "image0"));
    EXPECT_EQ(tree::Read(a.root(), "image0"), "small");
    EXPECT_TRUE(IsCached(a.root(), "image0"));
    EXPECT_EQ(IsCached(b.root(), "image0"), share);
  }
  ExpectNothing();
}

TEST_P(ImageMountsTest, AnImageStaysForItsLastUser) {
  MakeImages(3);
  const auto backend = NewBackend();
  std::optional<Mount> low = MountShared(*backend, Stack(0, 2));
  const dev_t device = sys::StatAt(FdRef::Cwd(), (directory() + "/image1").c_str())->st_dev;
  std::optional<Mount> high = MountShared(*backend, Stack(1, 3));
  EXPECT_EQ(sys::StatAt(FdRef::Cwd(), (directory() + "/image1").c_str())->st_dev, device);
  EXPECT_EQ(Mounted(), 4U);
  low.reset();
  EXPECT_EQ(Names(), (std::set<std::string>{"image1", "image1.lock", "image2", "image2.lock"}));
  EXPECT_EQ(Mounted(), 3U);
  EXPECT_EQ(tree::Read(high->root(), "image1"), "small");
  high.reset();
  ExpectNothing();
}

TEST_P(ImageMountsTest, ReleasedHoldsKeepTheImagesUntilTheyAreClosed) {
  MakeImages(2);
  const auto backend = NewBackend();
  std::vector<UniqueFd> holds;
  {
    Mount mount = MountShared(*backend, Stack());
    holds = mount.ReleaseHolds();
    EXPECT_EQ(holds.size(), 2U);
    EXPECT_TRUE(mount.ReleaseHolds().empty());
  }
  EXPECT_TRUE(backend->ReleaseUnusedImages().ok());
  EXPECT_EQ(Mounted(), 3U) << "the holder outlives the Mount";
  holds.clear();
  EXPECT_TRUE(backend->ReleaseUnusedImages().ok());
  ExpectNothing();
}

TEST_P(ImageMountsTest, TheTreeNeedsNoHolds) {
  MakeImages(1);
  const auto backend = NewBackend();
  Mount mount = MountShared(*backend, Stack());
  (void)mount.ReleaseHolds();
  EXPECT_TRUE(backend->ReleaseUnusedImages().ok());
  ExpectNothing();
  EXPECT_EQ(tree::Read(mount.root(), "image0"), "small");
}

TEST_P(ImageMountsTest, WhatAKilledUserLeavesIsRemovedByTheNextOne) {
  MakeImages(3);
  const auto kill_a_user = [&] {
    Gate mounted;
    Child child([&] {
      const auto backend = NewBackend();
      const Mount mount = MountShared(*backend, Stack(0, 2));
      mounted.Open();
      for (;;) ::pause();
    });
    mounted.Pass();
    EXPECT_EQ(Mounted(), 3U);
    EXPECT_TRUE(NewBackend()->ReleaseUnusedImages().ok());
    EXPECT_EQ(Mounted(), 3U) << "it lives";
    child.Kill();
    EXPECT_EQ(child.Wait(), -1);
    EXPECT_EQ(Mounted(), 3U);
  };
  kill_a_user();
  EXPECT_TRUE(NewBackend()->ReleaseUnusedImages().ok());
  ExpectNothing();

  kill_a_user();
  const auto backend = NewBackend();
  {
    const Mount mount = MountShared(*backend, Stack(2, 3));
    EXPECT_EQ(Names(), (std::set<std::string>{"image2", "image2.lock"}));
  }
  ExpectNothing();
}

// Every state between two steps of making or removing a mount.
TEST_P(ImageMountsTest, EveryPartOfAMountIsSweptAway) {
  const auto backend = NewBackend();
  MakeImages(1);
  const std::vector<std::vector<std::string>> states{{"x.lock"}, {"x"}, {"x", "x.lock"}};
  for (const std::vector<std::string>& names : states) {
    tree::MakeDir(FdRef::Cwd(), directory());
    for (const std::string& name : names) {
      const std::string path = tree::Join(directory(), name);
      if (name == "x") {
        tree::MakeDir(FdRef::Cwd(), path);
      } else {
        tree::Write(FdRef::Cwd(), path, "");
      }
    }
    EXPECT_TRUE(backend->ReleaseUnusedImages().ok());
    ExpectNothing();
    ASSERT_TRUE(sys::UnlinkAt(FdRef::Cwd(), directory().c_str(), AT_REMOVEDIR).ok());
  }
  // The same for an image that is then mounted: half a text in its lock, no mount.
  tree::MakeDir(FdRef::Cwd(), directory());
  tree::MakeDir(FdRef::Cwd(), directory() + "/image0");
  tree::Write(FdRef::Cwd(), directory() + "/image0.lock", "fe0");
  {
    const Mount mount = MountShared(*backend, Stack());
    EXPECT_EQ(Mounted(), 2U);
    EXPECT_EQ(tree::Read(mount.root(), "image0"), "small");
  }
  ExpectNothing();
}

TEST_P(ImageMountsTest, ManyProcessesAtOnceLeaveNothing) {
  constexpr size_t kImages = 4;
  MakeImages(kImages);
  std::vector<Child> children;
  for (size_t c = 0; c < 12; ++c) {
    children.emplace_back([&, c] {
      const auto backend = NewBackend();
      for (size_t round = 0; round < 40; ++round) {
        const size_t first = (c + round) % kImages;
        const size_t last = first + 1 + (c * round) % (kImages - first);
        Mount mount = MountShared(*backend, Stack(first, last));
        EXPECT_EQ(tree::Read(mount.root(), "image" + std::to_string(first)), "small");
        std::vector<UniqueFd> holds;
        if (round % 3 == 0) holds = mount.ReleaseHolds();
        EXPECT_TRUE(round % 3 != 0 || holds.size() == last - first) << "it was shared";
        if (round % 7 == 0) {
          EXPECT_TRUE(backend->ReleaseUnusedImages().ok());
        }
        if (c == 0 && round == 20) ::kill(::getpid(), SIGKILL);
      }
    });
  }
  for (size_t c = 0; c < children.size(); ++c) EXPECT_EQ(children[c].Wait(), c == 0 ? -1 : 0) << c;
  EXPECT_TRUE(NewBackend()->ReleaseUnusedImages().ok());
  ExpectNothing();
}

TEST_P(ImageMountsTest, AnotherImageUnderAUsedNameIsMountedForItselfAlone) {
  MakeImages(2);
  const auto backend = NewBackend();
  const auto named = [&](size_t i) {
    MountStack stack;
    stack.lowers_top_first.push_back({image(i), {}, "name"});
    return stack;
  };
  {
    const Mount first = MountShared(*backend, named(0));
    Mount second = MountShared(*backend, named(1));
    EXPECT_EQ(tree::Names(first.root()), std::set<std::string>{"image0"});
    EXPECT_EQ(tree::Names(second.root()), std::set<std::string>{"image1"});
    EXPECT_TRUE(second.ReleaseHolds().empty());
  }
  ExpectNothing();
  // A leftover of another image gives way.
  { const auto holds = MountShared(*backend, named(0)).ReleaseHolds(); }
  EXPECT_EQ(Mounted(), 2U);
  {
    Mount second = MountShared(*backend, named(1));
    EXPECT_EQ(tree::Names(second.root()), std::set<std::string>{"image1"});
    EXPECT_EQ(second.ReleaseHolds().size(), 1U);
  }
  EXPECT_TRUE(backend->ReleaseUnusedImages().ok());
  ExpectNothing();
}

TEST_P(ImageMountsTest, NamesThatAreNoFileNamesAreNotShared) {
  MakeImages(1);
  const auto backend = NewBackend();
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("../x"),
        std::string("x.lock"), std::string("a\0b", 3), std::string(300, 'n')}) {
    MountStack stack;
    stack.lowers_top_first.push_back({image(0), {}, name});
    Mount mount = MountShared(*backend, stack);
    EXPECT_EQ(tree::Read(mount.root(), "image0"), "small");
    EXPECT_TRUE(mount.ReleaseHolds().empty()) << name;
    ExpectNothing();
  }
}

TEST_P(ImageMountsTest, WithoutAUsableDirectoryEveryMountHasItsOwnImages) {
  MakeImages(1);
  tree::Write(scratch(), "a file", "x");
  for (const std::string& unusable :
       {scratch_path() + "/missing/images", scratch_path() + "/a file", std::string("/proc/self")}) {
    const auto backend = MakeOverlayBackend({.image_mounts_directory = unusable});
    Mount mount = MountShared(*backend, Stack());
    EXPECT_EQ(tree::Read(mount.root(), "image0"), "small");
    EXPECT_TRUE(mount.ReleaseHolds().empty());
    EXPECT_EQ(Mounted(), 0U);
  }
}

TEST_P(ImageMountsTest, AnImageThatCannotBeMountedLeavesNothing) {
  MakeImages(1);
  tree::Write(scratch(), "bad", std::string(8192, 'x'));
  const UniqueFd bad = tree::Open(scratch(), "bad");
  MountStack stack = Stack();
  stack.lowers_top_first.push_back({bad, {}, "bad"});
  const auto mount = NewBackend()->MountStacked(stack, {.share_images = true});
  ASSERT_FALSE(mount.ok());
  EXPECT_EQ(mount.error().code(), ErrorCode::kCorrupt);
  ExpectNothing();
}

TEST_P(ImageMountsTest, NobodyElseMayLookIntoTheDirectory) {
  MakeImages(1);
  const Mount mount = MountShared(*NewBackend(), Stack());
  EXPECT_EQ(sys::StatAt(FdRef::Cwd(), directory().c_str())->st_mode & 07777U, 0700U);
}

// --- mount namespaces

TEST_P(ImageMountsTest, MountsDoNotSpreadToOtherNamespaces) {
  MakeImages(1);
  ASSERT_TRUE(sys::Mount(scratch_path().c_str(), scratch_path().c_str(), nullptr, MS_BIND, nullptr).ok());
  ASSERT_TRUE(sys::Mount("none", scratch_path().c_str(), nullptr, MS_SHARED, nullptr).ok());
  Gate in_namespace, mounted;
  Child child([&] {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    in_namespace.Open();
    mounted.Pass();
    const auto mounts = *sys::ListMounts();
    for (const sys::MountInfo& mount : mounts)
      EXPECT_FALSE(mount.mount_point.starts_with(directory() + "/")) << mount.mount_point;
  });
  in_namespace.Pass();
  {
    const auto backend = NewBackend();
    const Mount mount = MountShared(*backend, Stack());
    EXPECT_EQ(Mounted(), 2U);
    mounted.Open();
    EXPECT_EQ(child.Wait(), 0);
  }
  ExpectNothing();
  ASSERT_TRUE(sys::Unmount(scratch_path().c_str(), sys::kUnmountDetach).ok());
}

TEST_P(ImageMountsTest, CopiesInOtherNamespacesKeepNoImage) {
  MakeImages(1);
  const auto backend = NewBackend(overlay::ErofsBacking::kLoop);
  const auto loops = [&] {
    size_t count = 0;
    for (const std::string& name : tree::Names(FdRef::Cwd(), "/sys/block")) {
      const auto file =
          sys::ReadFileAt(FdRef::Cwd(), fmt::format("/sys/block/{}/loop/backing_file", name).c_str(), 8192);
      count += file.ok() && file->find(scratch_path()) != std::string::npos ? 1U : 0U;
    }
    return count;
  };
  Gate copied, released;
  std::optional<Mount> mount = MountShared(*backend, Stack());
  EXPECT_EQ(loops(), 1U);
  Child child([&] {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    ASSERT_TRUE(sys::Mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr).ok());
    (void)mount->ReleaseHolds();
    (void)std::move(*mount).Release();
    EXPECT_EQ(Mounted(), 2U);
    copied.Open();
    released.Pass();
    EXPECT_LE(Mounted(), 1U) << "no image";
    EXPECT_EQ(loops(), 0U) << "nothing uses the image's file";
  });
  copied.Pass();
  mount.reset();
  released.Open();
  EXPECT_EQ(child.Wait(), 0);
  ExpectNothing();
}

// One namespace each, one lock: each mounts for itself, the last one cleans up.
TEST_P(ImageMountsTest, UsersInTwoNamespacesDoNotDisturbEachOther) {
  MakeImages(1);
  Gate mounted, go;
  Child child([&] {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    ASSERT_TRUE(sys::Mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr).ok());
    const auto backend = NewBackend();
    {
      const Mount mount = MountShared(*backend, Stack());
      mounted.Open();
      go.Pass();
      EXPECT_EQ(tree::Read(mount.root(), "image0"), "small");
      EXPECT_EQ(Mounted(), 2U);
    }
    EXPECT_EQ(Mounted(), 0U);
  });
  mounted.Pass();
  EXPECT_EQ(Mounted(), 0U) << "that was elsewhere";
  const auto backend = NewBackend();
  {
    Mount mount = MountShared(*backend, Stack());
    EXPECT_EQ(Mounted(), 2U);
    EXPECT_EQ(mount.ReleaseHolds().size(), 1U);
  }
  EXPECT_TRUE(backend->ReleaseUnusedImages().ok());
  EXPECT_EQ(Mounted(), 2U) << "the other one's lock keeps it";
  go.Open();
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_TRUE(backend->ReleaseUnusedImages().ok());
  ExpectNothing();
}

}  // namespace
}  // namespace snap
