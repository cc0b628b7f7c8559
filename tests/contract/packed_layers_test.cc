// Packed lower layers: what stacks of them show, what is refused, what is left behind. All methods of
// mounting, and images by file and by loop device.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/mount.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_process.h"
#include "overlay/overlay_backend.h"
#include "tests/contract/union_backend_fixture.h"
#include "tests/support/packed_image.h"

namespace snap {
namespace {

using overlay::ErofsBacking;

/// Files that loop devices are bound to.
std::multiset<std::string> LoopFiles() {
  std::multiset<std::string> files;
  for (const std::string& name : tree::Names(FdRef::Cwd(), "/sys/block")) {
    const auto file =
        sys::ReadFileAt(FdRef::Cwd(), fmt::format("/sys/block/{}/loop/backing_file", name).c_str(), 8192);
    if (file.ok()) files.insert(*file);
  }
  return files;
}

class PackedLayersTest : public UnionBackendTest {
 protected:
  /// Loop devices that have to do with this test; others may run beside it.
  size_t OwnLoops() const {
    const auto files = LoopFiles();
    return static_cast<size_t>(std::count_if(files.begin(), files.end(), [this](const std::string& file) {
      return file.find(scratch_path()) != std::string::npos;
    }));
  }
  bool ByLoop() const { return std::string_view(GetParam().name).find("Loop") != std::string_view::npos; }
};

BackendCase Case(const char* name, MountMethod method, ErofsBacking backing) {
  return {name, [=] { return MakeOverlayBackend({.method = method, .erofs_backing = backing}); },
          Layers::kPacked};
}
INSTANTIATE_TEST_SUITE_P(Overlay, PackedLayersTest,
                         testing::Values(Case("Auto", MountMethod::kAuto, ErofsBacking::kAuto),
                                         Case("FdsFile", MountMethod::kFds, ErofsBacking::kFile),
                                         Case("StringsFile", MountMethod::kStrings, ErofsBacking::kFile),
                                         Case("LegacyFile", MountMethod::kLegacy, ErofsBacking::kFile),
                                         Case("FdsLoop", MountMethod::kFds, ErofsBacking::kLoop),
                                         Case("LegacyLoop", MountMethod::kLegacy, ErofsBacking::kLoop)),
                         [](const auto& backend) { return backend.param.name; });

// --- what is seen

/// Layers that disagree in every way they can.
void FillLayer(FdRef layer, int number) {
  const std::string n = std::to_string(number);
  tree::Write(layer, "own" + n, n);
  tree::Write(layer, "object" + n, "a file of more than eight bytes " + n);
  tree::Write(layer, "everywhere", "everywhere in layer " + n);
  tree::MakeDir(layer, "merged");
  tree::Write(layer, "merged/" + n, n);
  if (number == 0) {
    for (const char* dir : {"opaque", "gone", "file"}) {
      tree::MakeDir(layer, dir);
      tree::Write(layer, tree::Join(dir, "below"), "x");
    }
    tree::Write(layer, "whited", "y");
    ASSERT_TRUE(sys::SymlinkAt("own0", layer, "link").ok());
    ASSERT_TRUE(sys::LinkAt(layer, "object0", layer, "hard").ok());
  } else if (number == 1) {
    tree::MakeDir(layer, "opaque");
    tree::MakeOpaque(layer, "opaque");
    tree::Write(layer, "opaque/above", "z");
    tree::MakeWhiteout(layer, "gone");
    tree::MakeWhiteout(layer, "merged/0");
    tree::Write(layer, "file", "no directory any more");
  } else {
    tree::MakeWhiteout(layer, "whited");
    tree::MakeDir(layer, "gone");
    tree::Write(layer, "gone/again", "w");
  }
}

TEST_P(PackedLayersTest, EveryMixOfTreesAndImagesShowsTheSameTree) {
  for (int i = 0; i < 3; ++i) FillLayer(AddLayer(), i);
  std::vector<UniqueFd> images;
  for (size_t i = 0; i < 3; ++i) images.push_back(Pack(i, "image" + std::to_string(i)));
  std::vector<std::string> expected;
  for (unsigned mix = 0; mix < 8; ++mix) {
    MountStack stack;
    stack.objects = objects();
    for (size_t i = 3; i-- > 0;) {
      if ((mix >> i & 1U) != 0) {
        stack.lowers_top_first.push_back({images[i], {}});
      } else {
        stack.lowers_top_first.push_back(layer(i));
      }
    }
    const Mount mount = MountOf(stack);
    const std::vector<std::string> seen = tree::Describe(mount.root());
    if (mix == 0) expected = seen;
    EXPECT_EQ(seen, expected) << mix;
    EXPECT_EQ(sys::StatAt(mount.root(), "everywhere")->st_dev, sys::FStat(mount.root())->st_dev);
  }
  EXPECT_GT(expected.size(), 10U);
}

TEST_P(PackedLayersTest, ObjectsAreSeenOnlyThroughTheFilesThatReferToThem) {
  tree::Write(AddLayer(), "file", "more than eight bytes");
  MountStack stack = ReadOnlyStack();
  ASSERT_TRUE(stack.objects.has_value());
  tree::Write(*stack.objects, "stray", "x");
  const Mount mount = MountOf(stack);
  EXPECT_EQ(tree::Names(mount.root()), std::set<std::string>{"file"});
  EXPECT_FALSE(sys::StatAt(mount.root(), "stray").ok());
  EXPECT_EQ(tree::Read(mount.root(), "file"), "more than eight bytes");
}

TEST_P(PackedLayersTest, WithoutObjectsTheirFilesCannotBeReadAndOthersCan) {
  tree::Write(AddLayer(), "object", "more than eight bytes");
  tree::Write(layer(0), "small", "small");
  MountStack stack = ReadOnlyStack();
  stack.objects.reset();
  const Mount mount = MountOf(stack);
  EXPECT_EQ(tree::Read(mount.root(), "small"), "small");
  EXPECT_FALSE(sys::OpenAt(mount.root(), "object", O_RDONLY).ok());
}

TEST_P(PackedLayersTest, OneImageMayReferToManyOthers) {
  constexpr size_t kDevices = 60;
  if (ByLoop()) return;  // that many loop devices are not for a test
  (void)AddLayer();
  for (size_t i = 0; i < 2 * kDevices; ++i) tree::Write(layer(0), std::to_string(i), "n" + std::to_string(i));
  PackTree(layer(0), scratch(), "image", objects(), {.devices = kDevices});
  const UniqueFd image = tree::Open(scratch(), "image");
  std::vector<UniqueFd> files;
  std::vector<FdRef> devices;
  for (size_t i = 1; i <= kDevices; ++i) {
    files.push_back(tree::Open(scratch(), "image." + std::to_string(i)));
    devices.emplace_back(files.back());
  }
  MountStack stack;
  stack.lowers_top_first.push_back({image, devices});
  EXPECT_EQ(tree::Describe(MountOf(stack).root()), tree::Describe(layer(0)));
}

TEST_P(PackedLayersTest, FurtherImagesAreFoundInEveryBacking) {
  (void)AddLayer();
  for (const char* name : {"a", "b", "c", "d"}) tree::Write(layer(0), name, name);
  PackTree(layer(0), scratch(), "image", objects(), {.devices = 2});
  const UniqueFd image = tree::Open(scratch(), "image"), one = tree::Open(scratch(), "image.1"),
                 two = tree::Open(scratch(), "image.2");
  MountStack stack;
  stack.lowers_top_first.push_back({image, {one, two}});
  {
    const Mount mount = MountOf(stack);
    EXPECT_EQ(tree::Describe(mount.root()), tree::Describe(layer(0)));
    EXPECT_EQ(OwnLoops(), ByLoop() ? 3U : 0U);
  }
  EXPECT_EQ(OwnLoops(), 0U);
}

// The mounts of images are nosuid and nodev; the union is what its own options say.
TEST_P(PackedLayersTest, DevicesOfALayerWorkUnlessTheMountForbidsIt) {
  ASSERT_TRUE(sys::MknodAt(AddLayer(), "null", S_IFCHR | 0666, makedev(1, 3)).ok());
  EXPECT_TRUE(sys::OpenAt(MountOf(ReadOnlyStack()).root(), "null", O_RDONLY).ok());
  EXPECT_FALSE(sys::OpenAt(MountOf(ReadOnlyStack(), {.no_dev = true}).root(), "null", O_RDONLY).ok());
}

TEST_P(PackedLayersTest, ImagesNeedTheirNamesAndDescriptorsOnlyWhileMounting) {
  tree::Write(AddLayer(), "file", "small");
  tree::Write(layer(0), "object", "more than eight bytes");
  const Mount mount = MountOf(ReadOnlyStack());
  CloseLayers();
  ASSERT_TRUE(sys::UnlinkAt(scratch(), "image0").ok());
  EXPECT_EQ(tree::Read(mount.root(), "file"), "small");
  EXPECT_EQ(tree::Read(mount.root(), "object"), "more than eight bytes");
}

TEST_P(PackedLayersTest, DroppingAMountLeavesNothing) {
  tree::Write(AddLayer(), "file", "small");
  (void)AddLayer();
  const MountStack stack = WritableStack();
  (void)MountOf(stack);  // what the backend keeps for itself is there from now on
  const std::vector<std::string> mounts = MountLines();
  const size_t descriptors = OpenDescriptors();
  for (int i = 0; i < 5; ++i) {
    const Mount mount = MountOf(stack);
    EXPECT_EQ(OwnLoops(), ByLoop() ? 2U : 0U);
    EXPECT_EQ(MountLines(), mounts) << "nothing is visible";
  }
  EXPECT_EQ(OwnLoops(), 0U);
  EXPECT_EQ(MountLines(), mounts);
  EXPECT_EQ(OpenDescriptors(), descriptors);
}

// --- what is refused

TEST_P(PackedLayersTest, FiveHundredLowersLeaveNoRoomForObjects) {
  if (ByLoop()) return;
  for (int i = 0; i < 499; ++i) (void)AddLayer();
  tree::Write(layer(0), "object", "more than eight bytes");
  MountStack stack = ReadOnlyStack();
  EXPECT_EQ(tree::Read(MountOf(stack).root(), "object"), "more than eight bytes");
  stack.lowers_top_first.push_back(AddLayerNamed("one more"));
  const Error error = FailureOf(stack);
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(error.message().find("500 lower layers and the objects"), std::string::npos) << error.message();
  stack.objects.reset();
  (void)MountOf(stack);
}

TEST_P(PackedLayersTest, WhatIsNoWholeImageIsCorrupt) {
  tree::Write(AddLayer(), "file", "small");
  for (int i = 0; i < 100; ++i) tree::Write(layer(0), "another file " + std::to_string(i), "small");
  (void)Pack(0, "good");
  const std::string good = tree::Read(scratch(), "good");
  std::string no_root = good, no_blocks = good, huge_blocks = good, checksum = good;
  no_root[1024 + 14] ^= 0x55;
  no_blocks[1024 + 12] = 0;
  huge_blocks[1024 + 12] = 60;
  checksum[1024 + 16] ^= 1;
  const struct {
    const char* name;
    std::string content;
  } cases[] = {
      {"empty", ""},
      {"short", good.substr(0, 1000)},
      {"super block only", good.substr(0, 1024 + 128)},
      {"one block missing", good.substr(0, good.size() - 512)},
      {"zeros", std::string(8192, '\0')},
      {"text", std::string(8192, 'x')},
      {"root elsewhere", no_root},
      {"no blocks", no_blocks},
      {"huge blocks", huge_blocks},
      {"checksum", checksum},
  };
  for (const auto& c : cases) {
    tree::Write(scratch(), "bad", c.content);
    const UniqueFd bad = tree::Open(scratch(), "bad");
    MountStack stack;
    stack.lowers_top_first.push_back({bad, {}});
    const Error error = FailureOf(stack);
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << c.name << ": " << error.message();
    EXPECT_NE(error.message().find("/bad'"), std::string::npos) << error.message();
  }
  EXPECT_EQ(OwnLoops(), 0U);
}

TEST_P(PackedLayersTest, FurtherImagesMustBeAllThereAndWhole) {
  tree::Write(AddLayer(), "a", "small");
  tree::Write(layer(0), "b", "small");
  PackTree(layer(0), scratch(), "image", objects(), {.devices = 2});
  const UniqueFd image = tree::Open(scratch(), "image"), one = tree::Open(scratch(), "image.1"),
                 two = tree::Open(scratch(), "image.2");
  const auto failure = [&](std::vector<FdRef> devices) {
    MountStack stack;
    stack.lowers_top_first.push_back({image, std::move(devices)});
    return FailureOf(stack);
  };
  for (const std::vector<FdRef>& devices : {std::vector<FdRef>{}, {one}, {one, two, two}}) {
    const Error error = failure(devices);
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.message();
    EXPECT_NE(error.message().find("refers to 2 further images"), std::string::npos) << error.message();
  }
  ASSERT_TRUE(::truncate(tree::Join(scratch_path(), "image.2").c_str(), 100) == 0);
  EXPECT_EQ(failure({one, two}).code(), ErrorCode::kCorrupt);
  EXPECT_EQ(failure({one, scratch()}).code(), ErrorCode::kInvalidArgument) << "a directory";
}

// A file that shrinks under a mount is against the rules; it must still neither hang nor kill anybody.
TEST_P(PackedLayersTest, AnImageThatIsCutOffUnderAMountNeitherHangsNorKills) {
  (void)AddLayer();
  const std::string content(7, 'c');
  for (int i = 0; i < 3000; ++i) tree::Write(layer(0), "file" + std::to_string(i), content);
  const MountStack stack = ReadOnlyStack();
  const Mount mount = MountOf(stack);
  const UniqueFd early = tree::Open(mount.root(), "file7");
  ASSERT_EQ(::truncate(tree::Join(scratch_path(), "image0").c_str(), 8192), 0);
  size_t right = 0;
  for (int i = 0; i < 3000; ++i) {
    const auto text = sys::ReadFileAt(mount.root(), ("file" + std::to_string(i)).c_str(), 100);
    right += text.ok() && *text == content ? 1U : 0U;
  }
  EXPECT_LT(right, 3000U);
  void* const memory = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, early.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::array<std::byte, 1> byte{};
  // A page that cannot be read is SIGBUS for who touches it; the kernel's own access says EFAULT.
  const UniqueFd sink = *sys::OpenAt(FdRef::Cwd(), "/dev/null", O_WRONLY);
  (void)sys::Write(sink, std::span(static_cast<const std::byte*>(memory), 1));
  (void)sys::PRead(early, byte, 0);
  ::munmap(memory, 4096);
}

// --- where

TEST_P(PackedLayersTest, ImagesOnATmpfsAreMountedThroughALoopDevice) {
  tree::Write(AddLayer(), "file", "small");
  tree::MakeDir(scratch(), "tmpfs");
  const std::string path = tree::Join(scratch_path(), "tmpfs");
  ASSERT_TRUE(sys::Mount("tmpfs", path.c_str(), "tmpfs", 0, nullptr).ok());
  {
    const UniqueFd tmpfs = tree::Open(FdRef::Cwd(), path);
    PackTree(layer(0), tmpfs, "image", objects());
    const UniqueFd image = tree::Open(tmpfs, "image");
    MountStack stack;
    stack.lowers_top_first.push_back({image, {}});
    const auto mount = backend().MountStacked(stack, {});
    if (mount.ok()) {
      EXPECT_EQ(tree::Read(mount->root(), "file"), "small");
    } else {
      EXPECT_EQ(mount.error().code(), ErrorCode::kUnsupported) << mount.error().message();
      EXPECT_NE(GetParam().name.find("File"), std::string::npos) << "only that has no other way";
    }
  }
  EXPECT_TRUE(sys::Unmount(path.c_str(), 0).ok()) << "something holds the image";
}

TEST_P(PackedLayersTest, TheBackendSaysThatItCan) {
  const auto can = backend().CanMountPacked();
  EXPECT_TRUE(can.ok()) << can.error().message();
  std::set<std::string> available;
  for (const UnionBackend::Feature& feature : backend().Features()) {
    if (feature.available) available.insert(feature.name);
  }
  for (const char* name : {"erofs_file_backed", "erofs_loop", "packed_layers"})
    EXPECT_TRUE(available.contains(name)) << name;
}

}  // namespace
}  // namespace snap
