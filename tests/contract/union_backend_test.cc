// The contract of UnionBackend (fs/union_backend.h): what one tree made of many layers looks like, what
// writing to it does to the layers, and what a mount leaves behind. Every backend runs all of it.
#include <linux/mount.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <thread>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/whiteout.h"
#include "fuse/fuse_backend.h"
#include "overlay/overlay_backend.h"
#include "tests/contract/union_backend_fixture.h"

namespace snap {
namespace {

using testing::Values;

constexpr const char* kOriginXattr = "trusted.overlay.origin";

BackendCase Overlay(const char* name, MountMethod method, Layers layers = Layers::kTrees) {
  return {name, [method] { return MakeOverlayBackend({.method = method}); }, layers};
}
INSTANTIATE_TEST_SUITE_P(Overlay, UnionBackendTest,
                         Values(Overlay("Auto", MountMethod::kAuto), Overlay("Fds", MountMethod::kFds),
                                Overlay("Strings", MountMethod::kStrings),
                                Overlay("Legacy", MountMethod::kLegacy),
                                Overlay("FdsPacked", MountMethod::kFds, Layers::kPacked),
                                Overlay("StringsMixed", MountMethod::kStrings, Layers::kMixed),
                                Overlay("LegacyPacked", MountMethod::kLegacy, Layers::kPacked)),
                         [](const auto& backend) { return backend.param.name; });

BackendCase Fuse(const char* name, Layers layers) {
  BackendCase backend{name, [] { return MakeFuseBackend({.server = SNAP_FUSE_PROGRAM}); }, layers};
  backend.renames_lower_directories = backend.copies_up_metadata_alone = false;
  backend.tells_spellings_apart = backend.knows_holes_of_packed = false;
  return backend;
}
INSTANTIATE_TEST_SUITE_P(Fuse, UnionBackendTest,
                         Values(Fuse("Trees", Layers::kTrees), Fuse("Packed", Layers::kPacked), Fuse("Mixed", Layers::kMixed)),
                         [](const auto& backend) { return backend.param.name; });

// --- what is seen
// ------------------------------------------------------------------------------------------------

TEST_P(UnionBackendTest, EveryDepthShowsEveryLayerAndTheTopWins) {
  size_t made = 0;
  for (const size_t depth : {1U, 2U, 3U, 60U, 128U, 500U}) {
    for (; made < depth; ++made) {
      const FdRef layer = AddLayer();
      tree::Write(layer, "own" + std::to_string(made), std::to_string(made));
      tree::Write(layer, "shared", std::to_string(made));
      tree::MakeDir(layer, "dir");
      tree::Write(layer, "dir/own" + std::to_string(made), std::to_string(made));
    }
    for (const bool writable : {false, true}) {
      SCOPED_TRACE(fmt::format("{} layers, {}", depth, writable ? "writable" : "read-only"));
      const Mount mount = MountOf(writable ? WritableStack() : ReadOnlyStack());
      EXPECT_EQ(tree::Names(mount.root()).size(), depth + 2);
      EXPECT_EQ(tree::Names(mount.root(), "dir").size(), depth);
      EXPECT_EQ(tree::Read(mount.root(), "shared"), std::to_string(depth - 1));
      for (size_t i = 0; i < depth; ++i) {
        EXPECT_EQ(tree::Read(mount.root(), "own" + std::to_string(i)), std::to_string(i));
        EXPECT_EQ(tree::Read(mount.root(), "dir/own" + std::to_string(i)), std::to_string(i));
      }
    }
  }
}

TEST_P(UnionBackendTest, TheUpperWinsOverAllLowers) {
  tree::Write(AddLayer(), "file", "bottom");
  tree::Write(AddLayer(), "file", "top");
  const MountStack stack = WritableStack();
  tree::Write(upper(), "file", "upper");
  EXPECT_EQ(tree::Read(MountOf(stack).root(), "file"), "upper");
}

TEST_P(UnionBackendTest, WhiteoutsHideWhatLiesBelow) {
  const FdRef bottom = AddLayer();
  for (const char* dir : {"sub", "gone", "gone/deep"}) tree::MakeDir(bottom, dir);
  for (const char* file : {"file", "kept", "sub/file", "sub/kept", "gone/deep/file"}) {
    tree::Write(bottom, file, "b");
  }
  const FdRef top = AddLayer();
  tree::MakeDir(top, "sub");
  const auto check = [&](FdRef root) {
    EXPECT_TRUE(tree::IsGone(root, ".", "file"));
    EXPECT_TRUE(tree::IsGone(root, ".", "gone"));
    EXPECT_TRUE(tree::IsGone(root, "sub", "file"));
    EXPECT_EQ(sys::StatAt(root, "gone/deep/file").error(), ENOENT);
    EXPECT_EQ(tree::Names(root), (std::set<std::string>{"kept", "sub"}));
    EXPECT_EQ(tree::Names(root, "sub"), std::set<std::string>{"kept"});
  };
  const auto white_out = [](FdRef layer) {
    for (const char* name : {"file", "gone", "sub/file"}) tree::MakeWhiteout(layer, name);
  };
  {
    const MountStack stack = WritableStack();
    tree::MakeDir(upper(), "sub");
    white_out(upper());
    SCOPED_TRACE("in the upper");
    check(MountOf(stack).root());
    check(MountOf(stack, {.read_only = true}).root());
  }
  white_out(top);
  SCOPED_TRACE("in a lower");
  check(MountOf(ReadOnlyStack()).root());
}

TEST_P(UnionBackendTest, AWhiteoutHidesOnlyWhatLiesBelowIt) {
  tree::Write(AddLayer(), "file", "bottom");
  tree::MakeWhiteout(AddLayer(), "file");
  EXPECT_TRUE(tree::IsGone(MountOf(ReadOnlyStack()).root(), ".", "file"));
  tree::Write(AddLayer(), "file", "again");
  EXPECT_EQ(tree::Read(MountOf(ReadOnlyStack()).root(), "file"), "again");
}

TEST_P(UnionBackendTest, OpaqueDirectoryHidesLowerEntriesOnly) {
  for (const char* name : {"bottom", "middle", "top"}) {
    const FdRef layer = AddLayer();
    tree::MakeDir(layer, "dir");
    tree::MakeDir(layer, "dir/sub");
    tree::Write(layer, std::string("dir/") + name, name);
    tree::Write(layer, std::string("dir/sub/") + name, name);
    if (std::string_view(name) == "middle") tree::MakeOpaque(layer, "dir");
  }
  const Mount mount = MountOf(ReadOnlyStack());
  EXPECT_EQ(tree::Names(mount.root(), "dir"), (std::set<std::string>{"middle", "sub", "top"}));
  EXPECT_EQ(tree::Names(mount.root(), "dir/sub"), (std::set<std::string>{"middle", "top"}));
  EXPECT_EQ(sys::StatAt(mount.root(), "dir/sub/bottom").error(), ENOENT);
}

// The view of one layer alone: there is nothing to hide, yet whiteouts are no devices of the image.
TEST_P(UnionBackendTest, ASingleLayerDoesNotShowItsWhiteouts) {
  const FdRef layer = AddLayer();
  tree::Write(layer, "file", "x");
  tree::MakeWhiteout(layer, "gone");
  tree::MakeDir(layer, "dir");
  tree::MakeWhiteout(layer, "dir/gone");
  tree::Write(layer, "dir/file", "x");
  // Below the root the mark of a directory that holds whiteouts is needed, as layer writers set it.
  ASSERT_TRUE(sys::SetXattrAt(layer, "dir", kOriginXattr, {}).ok());
  tree::MakeDir(layer, "opaque");
  tree::MakeOpaque(layer, "opaque");
  const Mount mount = MountOf(ReadOnlyStack());
  EXPECT_EQ(tree::Names(mount.root()), (std::set<std::string>{"dir", "file", "opaque"}));
  EXPECT_TRUE(tree::IsGone(mount.root(), ".", "gone"));
  EXPECT_TRUE(tree::IsGone(mount.root(), "dir", "gone"));
  EXPECT_EQ(tree::Read(mount.root(), "dir/file"), "x");
  EXPECT_EQ(sys::GetXattrAt(mount.root(), "opaque", whiteout::kOpaqueXattr).ok(), false)
      << "marks are not part of the tree";
}

TEST_P(UnionBackendTest, AFileReplacesADirectoryAndTheOtherWayRound) {
  const FdRef bottom = AddLayer();
  tree::MakeDir(bottom, "was_dir");
  tree::Write(bottom, "was_dir/inside", "x");
  tree::Write(bottom, "was_file", "x");
  const FdRef top = AddLayer();
  tree::Write(top, "was_dir", "file now");
  tree::MakeDir(top, "was_file");
  tree::Write(top, "was_file/inside", "dir now");
  const Mount mount = MountOf(ReadOnlyStack());
  EXPECT_EQ(tree::Read(mount.root(), "was_dir"), "file now");
  EXPECT_EQ(tree::Read(mount.root(), "was_file/inside"), "dir now");
}

/// One entry of each kind, with every attribute that a layer can carry.
void FillWithEverything(FdRef layer) {
  tree::Write(layer, "plain", "content");
  tree::Write(layer, "suid", "x", 04755);
  tree::Write(layer, "long-" + std::string(250, 'n'), "x");
  tree::Write(layer, "not-utf8-\xff\xfe", "x");
  tree::Write(layer, "new\nline", "x");
  EXPECT_TRUE(sys::LinkAt(layer, "plain", layer, "hardlink").ok());
  EXPECT_TRUE(sys::SymlinkAt("../dangling", layer, "symlink").ok());
  EXPECT_TRUE(sys::MknodAt(layer, "fifo", S_IFIFO | 0640, 0).ok());
  EXPECT_TRUE(sys::MknodAt(layer, "socket", S_IFSOCK | 0640, 0).ok());
  EXPECT_TRUE(sys::MknodAt(layer, "null", S_IFCHR | 0666, makedev(1, 3)).ok());
  EXPECT_TRUE(sys::MknodAt(layer, "loop", S_IFBLK | 0660, makedev(7, 200)).ok());
  tree::MakeDir(layer, "sticky", 01777);
  tree::MakeDir(layer, "empty", 0700);
  tree::Write(layer, "sticky/inside", std::string(100'000, 'y'));
  for (const char* name : {"plain", "sticky", "symlink", "null"}) {
    EXPECT_TRUE(sys::FChownAt(layer, name, 1234, 65'000).ok());
    const timespec time{1'000'000'007, 123'456'789};
    EXPECT_TRUE(sys::SetTimesAt(layer, name, {time, time}).ok());
  }
  EXPECT_TRUE(sys::SetXattrAt(layer, "plain", "user.note", AsBytes("value")).ok());
  EXPECT_TRUE(sys::SetXattrAt(layer, "plain", "trusted.note", AsBytes(std::string_view("\0\xff", 2))).ok());
  EXPECT_TRUE(sys::SetXattrAt(layer, "empty", "user.note", AsBytes("on a directory")).ok());
  // A file capability, revision 2: cap_net_raw, effective.
  constexpr std::string_view kCapability("\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  EXPECT_TRUE(sys::SetXattrAt(layer, "suid", "security.capability", AsBytes(kCapability)).ok());
  const UniqueFd sparse = *sys::OpenAt(layer, "sparse", O_WRONLY | O_CREAT, 0644);
  EXPECT_TRUE(sys::Truncate(sparse, 1U << 20U).ok());
}

TEST_P(UnionBackendTest, EntriesOfEveryKindAreSeenUnchanged) {
  const FdRef layer = AddLayer();
  FillWithEverything(layer);
  const std::vector<std::string> on_disk = tree::Describe(tree::Open(scratch(), "layer0"));
  EXPECT_EQ(tree::Describe(MountOf(ReadOnlyStack()).root()), on_disk) << "alone";
  (void)AddLayer();
  EXPECT_EQ(tree::Describe(MountOf(ReadOnlyStack()).root()), on_disk) << "below an empty layer";
  EXPECT_EQ(tree::Describe(MountOf(WritableStack()).root()), on_disk) << "below an empty upper";
  const Mount mount = MountOf(ReadOnlyStack());
  EXPECT_EQ(sys::StatAt(mount.root(), "plain")->st_ino, sys::StatAt(mount.root(), "hardlink")->st_ino);
  // Of an object that nobody has opened yet the kernel only knows the size.
  EXPECT_EQ(tree::Read(mount.root(), "sparse").size(), 1U << 20U);
  if (GetParam().knows_holes_of_packed || !IsPacked(0)) {
    EXPECT_EQ(sys::StatAt(mount.root(), "sparse")->st_blocks, 0) << "holes stay holes";
  }
}

// tar, rsync and du compare (st_dev, st_ino) for hard links and stop at another st_dev.
TEST_P(UnionBackendTest, OneTreeIsOneDeviceWithUniqueInodes) {
  const auto check = [&](const Mount& mount, size_t files) {
    const dev_t device = sys::FStat(mount.root())->st_dev;
    std::map<ino_t, std::string> seen;
    std::set<std::string> all;
    for (const std::string dir : {".", "dir"}) {
      for (const std::string& name : tree::Names(mount.root(), dir)) all.insert(tree::Join(dir, name));
    }
    for (const std::string& path : all) {
      const struct stat status = *sys::StatAt(mount.root(), path.c_str());
      EXPECT_EQ(status.st_dev, device) << path;
      EXPECT_TRUE(seen.emplace(status.st_ino, path).second) << path << " and " << seen[status.st_ino];
    }
    EXPECT_EQ(seen.size(), files + 1);
  };
  const auto fill = [](FdRef layer, const std::string& prefix) {
    tree::MakeDir(layer, "dir");
    for (int i = 0; i < 20; ++i) tree::Write(layer, "dir/" + prefix + std::to_string(i), "x");
  };
  fill(AddLayer(), "a");
  check(MountOf(ReadOnlyStack()), 20);
  fill(AddLayer(), "b");
  check(MountOf(ReadOnlyStack()), 40);
  check(MountOf(WritableStack()), 40);

  tree::MakeDir(scratch(), "other");
  const std::string other = scratch_path() + "/other";
  ASSERT_TRUE(sys::Mount("tmpfs", other.c_str(), "tmpfs", 0, nullptr).ok());
  {
    SCOPED_TRACE("layers on two file systems");
    const UniqueFd layer = *sys::OpenAt(FdRef::Cwd(), other.c_str(), O_PATH);
    fill(layer, "c");
    MountStack stack = WritableStack();
    stack.lowers_top_first.push_back(layer);
    check(MountOf(stack), 60);
    stack.upper.reset();
    check(MountOf(stack), 60);
  }
  EXPECT_TRUE(sys::Unmount(other.c_str(), 0).ok()) << "nothing holds the layer's file system";
}

TEST_P(UnionBackendTest, LayerDirectoriesMayHaveAnyName) {
  const std::string names[] = {"a:b",
                               "a,b",
                               "back\\slash",
                               "trailing\\",
                               "new\nline",
                               " space ",
                               "=,upperdir=",
                               "\\,\\:\\\\",
                               "::",
                               "\xff\xc3\x28",
                               "...",
                               "#1 (deleted)",
                               std::string(255, ','),
                               std::string(255, ':'),
                               std::string(255, '\\')};
  size_t count = 0;
  for (const std::string& name : names) {
    tree::Write(AddLayerNamed(name), "own" + std::to_string(count++), "x");
  }
  EXPECT_EQ(tree::Names(MountOf(ReadOnlyStack()).root()).size(), count);
  tree::MakeDir(scratch(), "parents");
  for (const std::string& name : names) {
    SCOPED_TRACE(Quote(name));
    // The same in the way to upper and work.
    const std::string parent = tree::Join("parents", name);
    const std::string upper_path = tree::Join(parent, name);
    const std::string work_path = tree::Join(parent, "work");
    for (const std::string& path : {parent, upper_path, work_path}) tree::MakeDir(scratch(), path);
    const UniqueFd upper_dir = *sys::OpenAt(scratch(), upper_path.c_str(), O_PATH);
    const UniqueFd work_dir = *sys::OpenAt(scratch(), work_path.c_str(), O_PATH);
    MountStack stack;
    const UniqueFd lower = *sys::OpenAt(scratch(), "a:b", O_PATH);
    stack.lowers_top_first = {lower};
    stack.upper = MountStack::Upper{upper_dir, work_dir};
    const Mount mount = MountOf(stack);
    tree::Write(mount.root(), "written", name);
    EXPECT_EQ(tree::Read(upper_dir, "written"), name);
  }
}

TEST_P(UnionBackendTest, UserXattrReadsTheOtherSpelling) {
  for (const char* name : {"bottom", "top"}) {
    const FdRef layer = AddLayer();
    for (const std::string dir : {"user", "trusted"}) {
      tree::MakeDir(layer, dir);
      tree::Write(layer, dir + "/" + name, "x");
    }
  }
  const FdRef top = layer(1);
  tree::MakeOpaque(top, "user", "user.overlay.opaque");
  tree::MakeOpaque(top, "trusted", "trusted.overlay.opaque");
  if (IsPacked(0)) {  // it has only one spelling
    if (GetParam().tells_spellings_apart) {
      EXPECT_EQ(FailureOf(ReadOnlyStack(), {.user_xattr = true}).code(), ErrorCode::kUnsupported);
    }
    return;
  }
  const size_t other = GetParam().tells_spellings_apart ? 2 : 1;
  const Mount by_user = MountOf(ReadOnlyStack(), {.user_xattr = true});
  EXPECT_EQ(tree::Names(by_user.root(), "user").size(), 1U);
  EXPECT_EQ(tree::Names(by_user.root(), "trusted").size(), other);
  const Mount by_trusted = MountOf(ReadOnlyStack());
  EXPECT_EQ(tree::Names(by_trusted.root(), "user").size(), other);
  EXPECT_EQ(tree::Names(by_trusted.root(), "trusted").size(), 1U);
}

// --- writing
// -----------------------------------------------------------------------------------------------------

TEST_P(UnionBackendTest, ChangesLandInTheUpperAndNeverInALower) {
  FillWithEverything(AddLayer());
  const UniqueFd lower = tree::Open(scratch(), "layer0");
  const std::vector<std::string> before = tree::Describe(lower);
  std::map<std::string, timespec> changed;  // st_ctim tells of any change at all
  for (const std::string& name : tree::Names(lower)) {
    changed[name] = sys::StatAt(lower, name.c_str())->st_ctim;
  }
  const MountStack stack = WritableStack();
  {
    const Mount mount = MountOf(stack);
    const FdRef root = mount.root();
    tree::Write(root, "plain", "overwritten");
    tree::Write(root, "new", "new");
    tree::MakeDir(root, "empty/inside");
    {
      const UniqueFd file = *sys::OpenAt(root, "sticky/inside", O_RDWR);
      ASSERT_TRUE(sys::PWriteAll(file, AsBytes("Z"), 50'000).ok());
      void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
      ASSERT_NE(memory, MAP_FAILED);
      *static_cast<char*>(memory) = 'M';
      ::munmap(memory, 4096);
    }
    EXPECT_TRUE(sys::FChmodAt(root, "fifo", 0600).ok());
    EXPECT_TRUE(sys::FChownAt(root, "symlink", 7, 7).ok());
    EXPECT_TRUE(sys::SetXattrAt(root, "suid", "user.note", AsBytes("v")).ok());
    EXPECT_TRUE(sys::SetTimesAt(root, "null", {{1, 1}, {2, 2}}).ok());
    EXPECT_TRUE(sys::LinkAt(root, "loop", root, "loop2").ok());
    EXPECT_TRUE(sys::RenameAt(root, "socket", root, "socket2").ok());
    EXPECT_TRUE(sys::UnlinkAt(root, "new\nline").ok());
    EXPECT_TRUE(sys::RemoveTree(root, "sticky").ok());
    EXPECT_EQ(tree::Read(root, "plain"), "overwritten");
    EXPECT_EQ(tree::Read(root, "new"), "new");
  }
  EXPECT_EQ(tree::Describe(lower), before);
  for (const auto& [name, time] : changed) {
    const timespec now = sys::StatAt(lower, name.c_str())->st_ctim;
    EXPECT_TRUE(now.tv_sec == time.tv_sec && now.tv_nsec == time.tv_nsec) << Quote(name);
  }
  EXPECT_EQ(tree::Read(upper(), "plain"), "overwritten");
  EXPECT_EQ(tree::Read(upper(), "new"), "new");
  EXPECT_FALSE(tree::Names(tree::Open(scratch(), "upper")).contains("null2"));
}

TEST_P(UnionBackendTest, CopyUpKeepsContentOwnerTimesAndXattrs) {
  FillWithEverything(AddLayer());
  const Mount mount = MountOf(WritableStack());
  const auto line_of = [&](std::string_view name) {
    for (const std::string& line : tree::Describe(mount.root())) {
      if (line.starts_with(fmt::format("./{} ", name))) return line;
    }
    return std::string("absent");
  };
  for (const char* name : {"suid", "sticky/inside", "fifo", "null", "loop", "sparse", "sticky"}) {
    const std::string before = line_of(name);
    const mode_t mode = sys::StatAt(mount.root(), name)->st_mode & 07777U;
    EXPECT_TRUE(sys::FChmodAt(mount.root(), name, mode).ok()) << name;
    EXPECT_TRUE(sys::StatAt(upper(), name).ok()) << name << " was copied up";
    EXPECT_EQ(line_of(name), before);
  }
}

TEST_P(UnionBackendTest, RemovingALowerEntryLeavesAWhiteoutInTheUpper) {
  const FdRef lower = AddLayer();
  tree::Write(lower, "file", "x");
  tree::MakeDir(lower, "dir");
  tree::Write(lower, "dir/inside", "x");
  const Mount mount = MountOf(WritableStack());
  ASSERT_TRUE(sys::UnlinkAt(mount.root(), "file").ok());
  ASSERT_TRUE(sys::RemoveTree(mount.root(), "dir").ok());
  EXPECT_TRUE(tree::Names(mount.root()).empty());
  for (const char* name : {"file", "dir"}) {
    const struct stat status = *sys::StatAt(upper(), name);
    EXPECT_TRUE(S_ISCHR(status.st_mode) && status.st_rdev == 0) << name;
  }
  // What is made in the place of a removed directory is opaque: the lower's entries do not come back.
  tree::MakeDir(mount.root(), "dir");
  EXPECT_TRUE(tree::Names(mount.root(), "dir").empty());
  tree::Write(mount.root(), "file", "again");
  EXPECT_EQ(tree::Read(mount.root(), "file"), "again");
  EXPECT_EQ(*sys::GetXattrAt(upper(), "dir", whiteout::kOpaqueXattr), whiteout::kOpaqueValue);
}

TEST_P(UnionBackendTest, RenamingWorksAcrossLayers) {
  const FdRef lower = AddLayer();
  for (const char* name : {"a", "b", "c"}) tree::Write(lower, name, name);
  tree::MakeDir(lower, "dir");
  tree::Write(lower, "dir/inside", "x");
  const Mount mount = MountOf(WritableStack());
  const FdRef root = mount.root();
  ASSERT_TRUE(sys::RenameAt(root, "a", root, "b").ok());
  EXPECT_TRUE(tree::IsGone(root, ".", "a"));
  EXPECT_EQ(tree::Read(root, "b"), "a");
  ASSERT_TRUE(sys::RenameAt(root, "c", root, "dir/c").ok());
  EXPECT_EQ(tree::Read(root, "dir/c"), "c");
  tree::MakeDir(root, "made");
  tree::Write(root, "made/inside", "y");
  ASSERT_TRUE(sys::RenameAt(root, "made", root, "moved").ok());
  EXPECT_EQ(tree::Read(root, "moved/inside"), "y");
  EXPECT_EQ(sys::RenameAt(root, "b", root, "moved", RENAME_NOREPLACE).error(), EEXIST);
  // A directory of a lower is moved whole or refused as if it were on another file system, which mv(1) and
  // friends answer by copying.
  if (const auto renamed = sys::RenameAt(root, "dir", root, "dir2"); renamed.ok()) {
    EXPECT_EQ(tree::Names(root, "dir2"), (std::set<std::string>{"c", "inside"}));
    EXPECT_TRUE(tree::IsGone(root, ".", "dir"));
  } else {
    EXPECT_EQ(renamed.error(), EXDEV);
    EXPECT_EQ(tree::Names(root, "dir"), (std::set<std::string>{"c", "inside"}));
  }
}

TEST_P(UnionBackendTest, TheUpperPersistsOverRemounts) {
  FillWithEverything(AddLayer());
  FillWithEverything(AddLayer());
  const MountStack stack = WritableStack();
  std::vector<std::string> left;
  {
    const Mount mount = MountOf(stack);
    const FdRef root = mount.root();
    tree::Write(root, "plain", "changed");
    tree::Write(root, "new", "new");
    ASSERT_TRUE(sys::UnlinkAt(root, "suid").ok());
    ASSERT_TRUE(sys::RemoveTree(root, "sticky").ok());
    tree::MakeDir(root, "sticky");
    tree::Write(root, "sticky/fresh", "x");
    ASSERT_TRUE(sys::SetXattrAt(root, "sparse", "user.note", AsBytes("v")).ok());
    left = tree::Describe(root);
  }
  EXPECT_EQ(tree::Describe(MountOf(stack).root()), left);
  EXPECT_EQ(tree::Describe(MountOf(stack, {.read_only = true}).root()), left) << "read-only";
  EXPECT_EQ(tree::Describe(MountOf(stack).root()), left) << "again";
}

// chmod -R, chown -R and the like in a container's entry point are frequent, and lower files may be large.
TEST_P(UnionBackendTest, ChangingMetadataOfALargeLowerFileCopiesNoData) {
  constexpr size_t kSize = size_t{8} << 20U;
  constexpr int64_t kFewBlocks = 64;  // of 512 bytes
  std::string content;
  while (content.size() < kSize) content += fmt::format("{:08x}", content.size());
  const FdRef lower = AddLayer();
  const char* const names[] = {"chmod", "chown", "times", "xattr", "link", "rename", "write"};
  for (const char* name : names) tree::Write(lower, name, content);
  const MountStack stack = WritableStack();
  const auto expect_content = [&](FdRef root, const char* when) {
    for (const std::string name : {"chmod", "chown", "times", "xattr", "link", "link2", "renamed"}) {
      EXPECT_TRUE(tree::Read(root, name) == content) << name << " " << when;
    }
    std::string written = content;
    written.replace(kSize / 2, 3, "new");
    EXPECT_TRUE(tree::Read(root, "write") == written) << when;
    EXPECT_EQ(sys::StatAt(root, "chmod")->st_mode & 07777U, 0600U) << when;
    EXPECT_EQ(sys::StatAt(root, "chown")->st_uid, 7U) << when;
  };
  {
    const Mount mount = MountOf(stack);
    const FdRef root = mount.root();
    ASSERT_TRUE(sys::FChmodAt(root, "chmod", 0600).ok());
    ASSERT_TRUE(sys::FChownAt(root, "chown", 7, 7).ok());
    ASSERT_TRUE(sys::SetTimesAt(root, "times", {{1, 1}, {2, 2}}).ok());
    ASSERT_TRUE(sys::SetXattrAt(root, "xattr", "user.note", AsBytes("v")).ok());
    ASSERT_TRUE(sys::LinkAt(root, "link", root, "link2").ok());
    ASSERT_TRUE(sys::RenameAt(root, "rename", root, "renamed").ok());
    ASSERT_TRUE(sys::FChmodAt(root, "write", 0600).ok());
    for (const std::string& name : tree::Names(upper())) {
      if (!GetParam().copies_up_metadata_alone) break;
      EXPECT_LT(sys::StatAt(upper(), name.c_str())->st_blocks, kFewBlocks) << name;
    }
    const UniqueFd file = *sys::OpenAt(root, "write", O_WRONLY);
    ASSERT_TRUE(sys::PWriteAll(file, AsBytes("new"), kSize / 2).ok());
    EXPECT_GE(sys::StatAt(upper(), "write")->st_blocks, static_cast<int64_t>(kSize / 512))
        << "now it is the upper's own";
    expect_content(root, "at once");
    expect_content(MountOf(stack, {.read_only = true}).root(), "read-only beside it");
  }
  expect_content(MountOf(stack).root(), "after a remount");
  expect_content(MountOf(stack, {.read_only = true}).root(), "read-only");
  EXPECT_TRUE(tree::Read(lower, "write") == content);
  {
    const Mount mount = MountOf(stack);
    const UniqueFd file = *sys::OpenAt(mount.root(), "renamed", O_WRONLY);
    ASSERT_TRUE(sys::PWriteAll(file, AsBytes("late"), 0).ok());
    EXPECT_EQ(tree::Read(mount.root(), "renamed"), "late" + content.substr(4));
  }
}

TEST_P(UnionBackendTest, ALowerDirectoryIsRenamedWithAllThatIsInIt) {
  const FdRef bottom = AddLayer();
  tree::MakeDir(bottom, "dir");
  tree::Write(bottom, "dir/large enough for an object", "object data");
  tree::Write(AddLayer(), "other", "x");
  const MountStack stack = WritableStack();
  {
    const Mount mount = MountOf(stack);
    const SysResult<void> renamed = sys::RenameAt(mount.root(), "dir", mount.root(), "renamed");
    if (!GetParam().renames_lower_directories) {
      EXPECT_EQ(renamed.error(), EXDEV);
      return;
    }
    ASSERT_TRUE(renamed.ok());
    tree::Write(mount.root(), "renamed/new", "y");
  }
  for (const bool read_only : {false, true}) {
    const Mount mount = MountOf(stack, {.read_only = read_only});
    EXPECT_EQ(tree::Names(mount.root()), (std::set<std::string>{"renamed", "other"}));
    EXPECT_EQ(tree::Read(mount.root(), "renamed/large enough for an object"), "object data");
    EXPECT_EQ(tree::Read(mount.root(), "renamed/new"), "y");
  }
}

TEST_P(UnionBackendTest, VolatileUpperReceivesChanges) {
  tree::Write(AddLayer(), "file", "x");
  const Mount mount = MountOf(WritableStack(), {.volatile_upper = true});
  tree::Write(mount.root(), "file", "changed");
  EXPECT_EQ(tree::Read(upper(), "file"), "changed");
  EXPECT_TRUE(sys::SyncFs(tree::Open(mount.root(), ".")).ok());
}

// --- options
// -----------------------------------------------------------------------------------------------------

void ExpectReadOnly(FdRef root) {
  EXPECT_EQ(sys::OpenAt(root, "new", O_WRONLY | O_CREAT, 0644).error(), EROFS);
  EXPECT_EQ(sys::OpenAt(root, "file", O_WRONLY).error(), EROFS);
  EXPECT_EQ(sys::MkdirAt(root, "dir", 0755).error(), EROFS);
  EXPECT_EQ(sys::UnlinkAt(root, "file").error(), EROFS);
  EXPECT_EQ(sys::FChmodAt(root, "file", 0600).error(), EROFS);
  EXPECT_EQ(sys::RenameAt(root, "file", root, "file2").error(), EROFS);
  EXPECT_EQ(sys::SetXattrAt(root, "file", "user.a", AsBytes("v")).error(), EROFS);
}

TEST_P(UnionBackendTest, AStackWithoutUpperIsReadOnly) {
  tree::Write(AddLayer(), "file", "x");
  ExpectReadOnly(MountOf(ReadOnlyStack()).root());
  (void)AddLayer();
  ExpectReadOnly(MountOf(ReadOnlyStack()).root());
}

TEST_P(UnionBackendTest, ReadOnlyShowsTheUpperAndRefusesChanges) {
  tree::Write(AddLayer(), "file", "lower");
  MountStack stack = WritableStack();
  tree::Write(upper(), "file", "upper");
  const Mount mount = MountOf(stack, {.read_only = true});
  ExpectReadOnly(mount.root());
  EXPECT_EQ(tree::Read(mount.root(), "file"), "upper");
}

TEST_P(UnionBackendTest, ReadOnlyShowsTheUpperAtTheDeepestStack) {
  for (int i = 0; i < 500; ++i) (void)AddLayer();
  const MountStack stack = WritableStack();
  tree::Write(upper(), "file", "upper");
  const Mount mount = MountOf(stack, {.read_only = true});
  ExpectReadOnly(mount.root());
  EXPECT_EQ(tree::Read(mount.root(), "file"), "upper");
}

// `snap diff` and `snap mount CONTAINER` look at the upper of a running container.
TEST_P(UnionBackendTest, ReadOnlyDoesNotDisturbAWritableMountOfTheSameUpper) {
  tree::Write(AddLayer(), "file", "lower");
  const MountStack stack = WritableStack();
  const Mount running = MountOf(stack);
  const UniqueFd open_file = *sys::OpenAt(running.root(), "file", O_RDWR);
  const std::vector<std::string> work_before = tree::Describe(tree::Open(scratch(), "work"));
  {
    const Mount look = MountOf(stack, {.read_only = true});
    EXPECT_EQ(tree::Read(look.root(), "file"), "lower");
  }
  EXPECT_EQ(tree::Describe(tree::Open(scratch(), "work")), work_before);
  EXPECT_TRUE(sys::WriteAll(open_file, "still").ok());
  EXPECT_TRUE(sys::UnlinkAt(running.root(), "file").ok()) << "needs the work directory";
  tree::Write(running.root(), "file", "goes on");
  EXPECT_EQ(tree::Read(MountOf(stack, {.read_only = true}).root(), "file"), "goes on");
}

TEST_P(UnionBackendTest, EachMountFlagIsEffectiveAlone) {
  const struct {
    MountOptions options;
    unsigned long flag;
  } cases[] = {
      {{}, 0},
      {{.read_only = true}, ST_RDONLY},
      {{.no_suid = true}, ST_NOSUID},
      {{.no_dev = true}, ST_NODEV},
      {{.no_exec = true}, ST_NOEXEC},
      {{.read_only = true, .no_suid = true, .no_dev = true, .no_exec = true},
       ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC},
  };
  const FdRef layer = AddLayer();
  EXPECT_TRUE(sys::MknodAt(layer, "null", S_IFCHR | 0666, makedev(1, 3)).ok());
  for (const auto& c : cases) {
    for (const bool writable : {false, true}) {
      const Mount mount = MountOf(writable ? WritableStack() : ReadOnlyStack(), c.options);
      struct statvfs status {};
      ASSERT_EQ(::fstatvfs(mount.root().get(), &status), 0);
      const unsigned long always =
          writable ? 0 : status.f_flag & ST_RDONLY;  // by the superblock alone, maybe
      EXPECT_EQ(status.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC), c.flag | always);
      const auto device = sys::OpenAt(mount.root(), "null", O_RDONLY);
      EXPECT_EQ(device.ok(), (c.flag & ST_NODEV) == 0);
    }
  }
}

// --- life of a mount
// ---------------------------------------------------------------------------------------------

TEST_P(UnionBackendTest, NothingIsVisibleBeforeAttach) {
  tree::Write(AddLayer(), "file", "x");
  const std::vector<std::string> before = MountLines();
  const Mount mount = MountOf(WritableStack());
  EXPECT_EQ(tree::Read(mount.root(), "file"), "x");
  EXPECT_EQ(MountLines(), before);
}

// The mount table of a namespace tells by poll(2) that it changed, so that a mount which came and went is
// seen, too.
TEST_P(UnionBackendTest, NothingIsVisibleEvenForAMoment) {
  (void)AddLayer();
  tree::MakeDir(scratch(), "target");
  // On most machines "/" is shared: a mount in a copy of the namespace appears here unless it is made private
  // there.
  ASSERT_TRUE(sys::Mount("none", "/", nullptr, MS_REC | MS_SHARED, nullptr).ok());
  const UniqueFd table = *sys::OpenAt(FdRef::Cwd(), "/proc/self/mountinfo", O_RDONLY);
  const auto changed = [&] {
    pollfd poll_table{table.get(), POLLPRI, 0};
    return ::poll(&poll_table, 1, 0) == 1;
  };
  (void)changed();  // the first call reports what happened before
  {
    Mount single = MountOf(ReadOnlyStack());
    (void)MountOf(WritableStack());
    (void)backend().Features();
    EXPECT_FALSE(changed());
    ASSERT_TRUE(single.AttachTo(*sys::OpenAt(scratch(), "target", O_PATH)).ok());
    EXPECT_TRUE(changed());
  }
  EXPECT_TRUE(sys::Unmount((scratch_path() + "/target").c_str(), 0).ok());
  ASSERT_TRUE(sys::Mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr).ok());
}

TEST_P(UnionBackendTest, DroppingAMountLeavesNothing) {
  tree::MakeDir(scratch(), "fs");
  const std::string path = scratch_path() + "/fs";
  const std::vector<std::string> before_all = MountLines();
  ASSERT_TRUE(sys::Mount("tmpfs", path.c_str(), "tmpfs", 0, nullptr).ok());
  const std::vector<std::string> before = MountLines();
  {
    std::vector<UniqueFd> dirs;
    for (const char* name : {"0", "1", "upper", "work"}) {
      tree::MakeDir(scratch(), std::string("fs/") + name);
      dirs.push_back(*sys::OpenAt(scratch(), (std::string("fs/") + name).c_str(), O_PATH));
    }
    MountStack single{{dirs[0]}, {}, {}};
    MountStack read_only{{dirs[0], dirs[1]}, {}, {}};
    MountStack writable{{dirs[0], dirs[1]}, {}, MountStack::Upper{dirs[2], dirs[3]}};
    (void)MountOf(single);  // what the backend keeps for itself is there from now on
    const size_t descriptors = OpenDescriptors();
    for (int i = 0; i < 10; ++i) {
      for (const MountStack* stack : {&single, &read_only, &writable}) (void)MountOf(*stack);
    }
    EXPECT_EQ(OpenDescriptors(), descriptors);
    EXPECT_EQ(MountLines(), before);
    // Failures leave nothing either: the same directory twice.
    MountStack twice{{dirs[0], dirs[0]}, {}, {}};
    (void)FailureOf(twice);
    EXPECT_EQ(OpenDescriptors(), descriptors);
    EXPECT_EQ(MountLines(), before);
  }
  const auto unmounted = sys::Unmount(path.c_str(), 0);
  EXPECT_TRUE(unmounted.ok()) << "something holds the layers: " << unmounted.error().Message();
  EXPECT_EQ(MountLines(), before_all);
}

TEST_P(UnionBackendTest, AttachShowsTheTreeUntilItIsUnmounted) {
  tree::Write(AddLayer(), "file", "x");
  tree::MakeDir(scratch(), "target");
  const UniqueFd target = *sys::OpenAt(scratch(), "target", O_PATH | O_DIRECTORY);
  const std::string path = scratch_path() + "/target";
  const std::vector<std::string> before = MountLines();
  {
    Mount mount = MountOf(ReadOnlyStack());
    const auto attached = mount.AttachTo(target);
    ASSERT_TRUE(attached.ok()) << attached.error().message();
    EXPECT_EQ(tree::Read(FdRef::Cwd(), path + "/file"), "x");
    EXPECT_EQ(tree::Read(mount.root(), "file"), "x") << "the descriptor goes on working";
    EXPECT_EQ(MountLines().size(), before.size() + 1);
  }
  EXPECT_EQ(tree::Read(FdRef::Cwd(), path + "/file"), "x") << "dropping an attached Mount does not unmount";
  EXPECT_TRUE(sys::Unmount(path.c_str(), 0).ok());
  EXPECT_EQ(MountLines(), before);
}

TEST_P(UnionBackendTest, AttachingTwiceIsRefusedAndChangesNothing) {
  tree::Write(AddLayer(), "file", "x");
  for (const char* name : {"one", "two"}) tree::MakeDir(scratch(), name);
  const UniqueFd one = *sys::OpenAt(scratch(), "one", O_PATH | O_DIRECTORY);
  const UniqueFd two = *sys::OpenAt(scratch(), "two", O_PATH | O_DIRECTORY);
  Mount mount = MountOf(ReadOnlyStack());
  ASSERT_TRUE(mount.AttachTo(one).ok());
  const std::vector<std::string> attached = MountLines();
  for (const UniqueFd* target : {&one, &two}) {
    const auto again = mount.AttachTo(*target);
    ASSERT_FALSE(again.ok());
    EXPECT_EQ(again.error().code(), ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(MountLines(), attached);
  EXPECT_EQ(tree::Read(scratch(), "one/file"), "x");
  EXPECT_TRUE(sys::Unmount((scratch_path() + "/one").c_str(), sys::kUnmountDetach).ok());
}

TEST_P(UnionBackendTest, AttachRefusesWhatIsNoDirectory) {
  (void)AddLayer();
  tree::Write(scratch(), "file", "x");
  tree::MakeDir(scratch(), "removed");
  const UniqueFd file = *sys::OpenAt(scratch(), "file", O_PATH);
  const UniqueFd removed = *sys::OpenAt(scratch(), "removed", O_PATH);
  ASSERT_TRUE(sys::UnlinkAt(scratch(), "removed", AT_REMOVEDIR).ok());
  Mount mount = MountOf(ReadOnlyStack());
  const auto to_file = mount.AttachTo(file);
  ASSERT_FALSE(to_file.ok());
  EXPECT_EQ(to_file.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(to_file.error().message().find("/file'"), std::string::npos) << to_file.error().message();
  const auto to_removed = mount.AttachTo(removed);
  ASSERT_FALSE(to_removed.ok());
  EXPECT_EQ(to_removed.error().code(), ErrorCode::kNotFound);
  // A refused attach uses nothing up.
  tree::MakeDir(scratch(), "target");
  EXPECT_TRUE(mount.AttachTo(*sys::OpenAt(scratch(), "target", O_PATH)).ok());
  EXPECT_TRUE(sys::Unmount((scratch_path() + "/target").c_str(), sys::kUnmountDetach).ok());
}

TEST_P(UnionBackendTest, AReleasedDescriptorCanBeAttachedLater) {
  tree::Write(AddLayer(), "file", "x");
  tree::MakeDir(scratch(), "target");
  const UniqueFd tree_fd = MountOf(ReadOnlyStack()).Release();
  EXPECT_EQ(tree::Read(tree_fd, "file"), "x");
  ASSERT_TRUE(sys::MoveMountAt(tree_fd, scratch(), "target").ok());
  EXPECT_EQ(tree::Read(scratch(), "target/file"), "x");
  EXPECT_TRUE(sys::Unmount((scratch_path() + "/target").c_str(), sys::kUnmountDetach).ok());
}

TEST_P(UnionBackendTest, LayersNeedToBeOpenOnlyWhileMounting) {
  tree::Write(AddLayer(), "bottom", "b");
  tree::Write(AddLayer(), "top", "t");
  const Mount mount = MountOf(WritableStack());
  CloseLayers();
  EXPECT_EQ(tree::Read(mount.root(), "bottom"), "b");
  tree::Write(mount.root(), "top", "changed");
  EXPECT_EQ(tree::Read(mount.root(), "top"), "changed");
}

TEST_P(UnionBackendTest, MountsFromEightThreadsAreIndependent) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 8;
  struct Site {
    UniqueFd bottom, top, upper, work;
  };
  std::vector<Site> sites;
  for (int i = 0; i < kThreads; ++i) {
    const std::string base = "site" + std::to_string(i);
    tree::MakeDir(scratch(), base);
    const auto make = [&](const char* name) {
      const std::string path = tree::Join(base, name);
      tree::MakeDir(scratch(), path);
      return *sys::OpenAt(scratch(), path.c_str(), O_PATH);
    };
    sites.push_back({make("bottom"), make("top"), make("upper"), make("work")});
    tree::Write(sites.back().bottom, "id", std::to_string(i));
  }
  const std::vector<std::string> before = MountLines();
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const Site& site = sites[static_cast<size_t>(i)];
      for (int round = 0; round < kRounds; ++round) {
        const MountStack single{{site.bottom}, {}, {}};
        const MountStack writable{{site.top, site.bottom}, {}, MountStack::Upper{site.upper, site.work}};
        for (const MountStack* stack : {&single, &writable}) {
          const auto mount = backend().MountStacked(*stack, {});
          if (!mount.ok() || tree::Read(mount->root(), "id") != std::to_string(i)) ++failures;
          if (mount.ok() && stack->upper) tree::Write(mount->root(), "round", std::to_string(round));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(MountLines(), before);
  for (const Site& site : sites) EXPECT_EQ(tree::Read(site.upper, "round"), std::to_string(kRounds - 1));
}

// --- one upper, two backends
// ------------------------------------------------------------------------------------------------

class OneUpperTwoBackends : public UnionBackendTest {};
INSTANTIATE_TEST_SUITE_P(OverlayThenFuse, OneUpperTwoBackends,
                         Values(Overlay("Trees", MountMethod::kAuto), Overlay("Packed", MountMethod::kAuto, Layers::kPacked)),
                         [](const auto& backend) { return backend.param.name; });

// What overlayfs leaves out of an upper: data of files whose attributes changed, and what is in renamed directories.
TEST_P(OneUpperTwoBackends, RedirectsAndMetadataOfOneAreFollowedByTheOther) {
  const auto fuse = MakeFuseBackend({.server = SNAP_FUSE_PROGRAM});
  const std::string large(300000, 'l');
  const FdRef bottom = AddLayer();
  for (const char* dir : {"dir", "dir/sub", "dir/sub/deep", "other"}) tree::MakeDir(bottom, dir);
  for (const char* file : {"dir/file", "dir/sub/deep/file", "other/file"}) tree::Write(bottom, file, large + file);
  const FdRef top = AddLayer();
  tree::MakeDir(top, "dir");
  tree::MakeDir(top, "dir/sub");
  tree::Write(top, "dir/sub/top", "t");
  const MountStack stack = WritableStack();
  {
    const Mount mount = MountOf(stack);
    const FdRef root = mount.root();
    ASSERT_TRUE(sys::RenameAt(root, "dir/sub", root, "dir/moved").ok()) << "within its directory";
    ASSERT_TRUE(sys::RenameAt(root, "dir", root, "other/dir").ok()) << "elsewhere";
    ASSERT_TRUE(sys::FChmodAt(root, "other/file", 0600).ok());
    ASSERT_TRUE(sys::RenameAt(root, "other/file", root, "file").ok());
    tree::Write(root, "other/dir/moved/new", "n");
  }
  const std::vector<std::string> expected = tree::Describe(MountOf(stack, {.read_only = true}).root());
  for (const bool read_only : {true, false}) {
    auto mount = fuse->MountStacked(stack, {.read_only = read_only});
    ASSERT_TRUE(mount.ok()) << mount.error().message();
    EXPECT_EQ(tree::Describe(mount->root()), expected);
    EXPECT_EQ(tree::Read(mount->root(), "other/dir/moved/deep/file"), large + "dir/sub/deep/file");
    EXPECT_EQ(tree::Read(mount->root(), "file"), large + "other/file");
  }
  {
    const Mount mount = *fuse->MountStacked(stack, {});
    const FdRef root = mount.root();
    tree::Write(root, "other/dir/moved/deep/file", "by fuse");
    ASSERT_TRUE(sys::UnlinkAt(root, "other/dir/moved/top").ok());
    const UniqueFd file = *sys::OpenAt(root, "file", O_WRONLY);
    ASSERT_TRUE(sys::PWriteAll(file, AsBytes("new"), 5).ok());
  }
  const Mount mount = MountOf(stack);
  EXPECT_EQ(tree::Read(mount.root(), "other/dir/moved/deep/file"), "by fuse");
  EXPECT_TRUE(tree::IsGone(mount.root(), "other/dir/moved", "top"));
  EXPECT_EQ(tree::Read(mount.root(), "file"), std::string(large).replace(5, 3, "new") + "other/file");
}

// --- refusals
// ----------------------------------------------------------------------------------------------------

void ExpectRefused(const Error& error, std::string_view says) {
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.message();
  EXPECT_NE(error.message().find(says), std::string::npos) << error.message();
}

TEST_P(UnionBackendTest, NoLowerIsRefused) {
  ExpectRefused(FailureOf(ReadOnlyStack()), "no lower");
  ExpectRefused(FailureOf(WritableStack()), "no lower");
}

TEST_P(UnionBackendTest, MoreThanFiveHundredLowersAreRefused) {
  for (int i = 0; i < 501; ++i) (void)AddLayer();
  ExpectRefused(FailureOf(ReadOnlyStack()), "501");
  ExpectRefused(FailureOf(WritableStack()), "501");
}

TEST_P(UnionBackendTest, AFileIsNoLayer) {
  (void)AddLayer();
  MountStack stack = WritableStack();
  tree::Write(scratch(), "a file", "x");
  const UniqueFd file = *sys::OpenAt(scratch(), "a file", O_PATH);
  MountStack as_lower = stack;
  as_lower.lowers_top_first.push_back(file);
  ExpectRefused(FailureOf(as_lower), "a file'");
  MountStack as_upper = stack;
  as_upper.upper->upper = file;
  ExpectRefused(FailureOf(as_upper), "a file'");
  MountStack as_work = stack;
  as_work.upper->work = file;
  ExpectRefused(FailureOf(as_work), "a file'");
}

TEST_P(UnionBackendTest, WorkOnAnotherFileSystemIsRefused) {
  (void)AddLayer();
  MountStack stack = WritableStack();
  tree::MakeDir(scratch(), "elsewhere");
  const std::string path = scratch_path() + "/elsewhere";
  for (const bool bind : {false, true}) {
    // Another mount of the same file system is as bad: the kernel does not rename across mounts.
    const auto mounted = bind ? sys::Mount(scratch_path().c_str(), path.c_str(), nullptr, MS_BIND, nullptr)
                              : sys::Mount("tmpfs", path.c_str(), "tmpfs", 0, nullptr);
    ASSERT_TRUE(mounted.ok());
    if (!bind) tree::MakeDir(scratch(), "elsewhere/work");
    const UniqueFd work_dir = *sys::OpenAt(scratch(), "elsewhere/work", O_PATH);
    stack.upper->work = work_dir;
    const Error error = FailureOf(stack);
    ExpectRefused(error, "is not on the file system of upper");
    EXPECT_NE(error.message().find("/elsewhere/work'"), std::string::npos) << error.message();
    ASSERT_TRUE(sys::Unmount(path.c_str(), sys::kUnmountDetach).ok());
  }
}

TEST_P(UnionBackendTest, OneDirectoryTwiceIsRefused) {
  const FdRef layer = AddLayer();
  MountStack stack;
  stack.lowers_top_first = {layer, layer};
  const Error error = FailureOf(stack);
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.message();
}

TEST_P(UnionBackendTest, FeaturesHaveUniqueNamesAndSayWhyNot) {
  std::set<std::string> names;
  for (const UnionBackend::Feature& feature : backend().Features()) {
    EXPECT_TRUE(names.insert(feature.name).second) << feature.name;
    EXPECT_NE(feature.available, !feature.detail.empty()) << feature.name << ": " << feature.detail;
  }
  EXPECT_FALSE(names.empty());
  EXPECT_FALSE(backend().name().empty());
}

}  // namespace
}  // namespace snap
