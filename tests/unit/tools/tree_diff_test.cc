#include "tools/snap/tree_diff.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include "fs/base/sys_file.h"
#include "fs/whiteout.h"
#include "tests/support/temp_dir.h"

namespace snap::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// A tree below a directory of its own.
class Tree {
 public:
  Tree(const test::TempDir& dir, const char* name) : root_(dir.MakeDir(name)) {}
  FdRef root() const { return root_; }
  Tree& Dir(const char* path, mode_t mode = 0755) {
    EXPECT_TRUE(sys::MkdirAt(root_, path, mode).ok()) << path;
    return *this;
  }
  Tree& File(const char* path, std::string_view text, mode_t mode = 0644) {
    const auto file = sys::OpenAt(root_, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    EXPECT_TRUE(file.ok() && sys::WriteAll(*file, text).ok()) << path;
    return *this;
  }
  Tree& Link(const char* path, const char* target) {
    EXPECT_TRUE(sys::SymlinkAt(target, root_, path).ok()) << path;
    return *this;
  }
  Tree& Whiteout(const char* path) {
    EXPECT_TRUE(sys::MknodAt(root_, path, S_IFCHR, makedev(0, 0)).ok()) << path;
    return *this;
  }
  Tree& Opaque(const char* path) {
    EXPECT_TRUE(
        sys::SetXattrAt(root_, path, whiteout::kOpaqueXattr, std::as_bytes(std::span(whiteout::kOpaqueValue)))
            .ok());
    return *this;
  }

 private:
  UniqueFd root_;
};

std::vector<std::string> Lines(const Result<std::vector<Change>>& changes) {
  EXPECT_TRUE(changes.ok()) << changes.error().message();
  std::vector<std::string> lines;
  if (!changes.ok()) return lines;
  for (const Change& change : *changes)
    lines.push_back(std::string(1, static_cast<char>(change.kind)) + " " + change.path);
  return lines;
}

TEST(CompareTrees, EqualTreesDifferInNothingWhateverTheirTimes) {
  const test::TempDir dir;
  Tree a(dir, "a");
  Tree b(dir, "b");
  for (Tree* tree : {&a, &b}) tree->Dir("d").File("d/f", "text").Link("l", "d/f");
  EXPECT_TRUE(sys::SetTimesAt(b.root(), "d/f", {{1, 0}, {2, 0}}).ok());
  EXPECT_THAT(Lines(CompareTrees(a.root(), b.root())), IsEmpty());
}

TEST(CompareTrees, NamesAddedChangedAndDeletedInOrder) {
  const test::TempDir dir;
  Tree a(dir, "a");
  Tree b(dir, "b");
  a.Dir("etc")
      .File("etc/same", "x")
      .File("etc/size", "1")
      .File("etc/text", "1234")
      .Dir("gone")
      .File("gone/f", "");
  b.Dir("etc")
      .File("etc/same", "x")
      .File("etc/size", "22")
      .File("etc/text", "1235")
      .Dir("new")
      .File("new/f", "");
  EXPECT_THAT(Lines(CompareTrees(a.root(), b.root())),
              ElementsAre("C /etc", "C /etc/size", "C /etc/text", "D /gone", "A /new", "A /new/f"));
}

TEST(CompareTrees, SeesModesLinksAndTypes) {
  const test::TempDir dir;
  Tree a(dir, "a");
  Tree b(dir, "b");
  a.File("mode", "", 0644)
      .Link("link", "x")
      .File("to_dir", "")
      .Dir("to_file")
      .File("to_file/f", "")
      .Dir("dir_mode", 0755);
  b.File("mode", "", 0755)
      .Link("link", "y")
      .Dir("to_dir")
      .File("to_dir/f", "")
      .File("to_file", "")
      .Dir("dir_mode", 0700);
  EXPECT_THAT(Lines(CompareTrees(a.root(), b.root())),
              ElementsAre("C /dir_mode", "C /link", "C /mode", "C /to_dir", "A /to_dir/f", "C /to_file"));
}

TEST(CompareTrees, ReadsContentOnlyWhereSizesAgree) {
  const test::TempDir dir;
  Tree a(dir, "a");
  Tree b(dir, "b");
  const std::string big(300'000, 'x');
  std::string other = big;
  other.back() = 'y';
  a.File("big", big).File("same", big);
  b.File("big", other).File("same", big);
  EXPECT_THAT(Lines(CompareTrees(a.root(), b.root())), ElementsAre("C /big"));
}

TEST(CompareTrees, NeverFollowsSymlinks) {
  const test::TempDir dir;
  Tree a(dir, "a");
  Tree b(dir, "b");
  a.Link("l", "/nonexistent");
  b.Link("l", "/nonexistent");
  EXPECT_THAT(Lines(CompareTrees(a.root(), b.root())), IsEmpty());
}

TEST(ReadUpper, TellsCopiesFromAdditionsAndWhiteouts) {
  const test::TempDir dir;
  Tree lower(dir, "lower");
  Tree upper(dir, "upper");
  lower.Dir("etc").File("etc/passwd", "1").File("etc/gone", "").File("file", "");
  upper.Dir("etc")
      .File("etc/passwd", "2")
      .Whiteout("etc/gone")
      .File("etc/new", "")
      .Dir("opt")
      .File("opt/x", "");
  EXPECT_THAT(Lines(ReadUpper(upper.root(), lower.root(), lower.root())),
              ElementsAre("C /etc", "D /etc/gone", "A /etc/new", "C /etc/passwd", "A /opt", "A /opt/x"));
}

TEST(ReadUpper, AWhiteoutOfNothingIsNoChange) {
  const test::TempDir dir;
  Tree lower(dir, "lower");
  Tree upper(dir, "upper");
  upper.Whiteout("never-there");
  EXPECT_THAT(Lines(ReadUpper(upper.root(), lower.root(), lower.root())), IsEmpty());
}

TEST(ReadUpper, AnOpaqueDirectoryDeletesWhatOnlyTheLowerHas) {
  const test::TempDir dir;
  Tree lower(dir, "lower");
  Tree upper(dir, "upper");
  lower.Dir("d").File("d/kept", "1").File("d/lost", "1").Dir("d/sub").File("d/sub/f", "");
  upper.Dir("d").Opaque("d").File("d/kept", "2").File("d/new", "");
  EXPECT_THAT(Lines(ReadUpper(upper.root(), lower.root(), lower.root())),
              ElementsAre("C /d", "D /d/lost", "D /d/sub", "C /d/kept", "A /d/new"));
}

TEST(ReadUpper, ARenamedDirectoryShowsAllThatIsInIt) {
  const test::TempDir dir;
  Tree lower(dir, "lower");
  Tree upper(dir, "upper");
  Tree merged(dir, "merged");
  lower.Dir("old")
      .Dir("old/sub")
      .File("old/sub/f", "")
      .File("old/gone", "")
      .Dir("taken")
      .File("taken/hidden", "");
  // old -> new, and old/sub -> taken after taken was removed.
  upper.Whiteout("old")
      .Dir("new")
      .File("new/fresh", "")
      .Whiteout("new/gone")
      .Whiteout("new/sub")
      .Dir("taken");
  for (const char* path : {"new", "taken"}) {
    const std::string_view from = path == std::string_view("new") ? "old" : "/old/sub";
    ASSERT_TRUE(
        sys::SetXattrAt(upper.root(), path, "trusted.overlay.redirect", std::as_bytes(std::span(from))).ok());
  }
  merged.Dir("new").File("new/fresh", "").Dir("taken").File("taken/f", "");
  EXPECT_THAT(Lines(ReadUpper(upper.root(), lower.root(), merged.root())),
              ElementsAre("A /new", "A /new/fresh", "D /old", "C /taken", "A /taken/f", "D /taken/hidden"));
}

TEST(ReadUpper, MountPointsOfTheLauncherAreNoChange) {
  const test::TempDir dir;
  Tree lower(dir, "lower");
  Tree upper(dir, "upper");
  lower.Dir("etc");
  upper.Dir("etc")
      .File("etc/hosts", "")
      .File("etc/hostname", "")
      .File("etc/resolv.conf", "")
      .Dir("proc")
      .Dir("sys")
      .Dir("dev");
  EXPECT_THAT(Lines(ReadUpper(upper.root(), lower.root(), lower.root())), IsEmpty());
  upper.File("etc/new", "");
  EXPECT_THAT(Lines(ReadUpper(upper.root(), lower.root(), lower.root())),
              ElementsAre("C /etc", "A /etc/new"));
}

TEST(ReadUpper, WhatOnlyLooksLikeAMountPointIsAChange) {
  const test::TempDir dir;
  Tree lower(dir, "lower");
  Tree upper(dir, "upper");
  lower.Dir("etc").File("etc/hosts", "x");
  upper.Dir("etc")
      .File("etc/hosts", "")
      .File("etc/hostname", "text")
      .Dir("sys")
      .File("sys/x", "")
      .File("proc", "");
  EXPECT_THAT(Lines(ReadUpper(upper.root(), lower.root(), lower.root())),
              ElementsAre("C /etc", "A /etc/hostname", "C /etc/hosts", "A /proc", "A /sys", "A /sys/x"));
}

TEST(ReadUpper, AFileOverADirectoryIsOneChange) {
  const test::TempDir dir;
  Tree lower(dir, "lower");
  Tree upper(dir, "upper");
  lower.Dir("d").File("d/f", "");
  upper.File("d", "");
  EXPECT_THAT(Lines(ReadUpper(upper.root(), lower.root(), lower.root())), ElementsAre("C /d"));
}

}  // namespace
}  // namespace snap::cli
