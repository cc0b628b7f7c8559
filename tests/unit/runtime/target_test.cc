#include "runtime/target.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "fs/base/sys_file.h"

namespace snap::runtime {
namespace {

// A rootfs made by an attacker, beside a directory that must never change.
class Target : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/snap-target-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    path_ = path;
    dir_ = *sys::OpenAt(FdRef::Cwd(), path, O_RDONLY | O_DIRECTORY);
    for (const char* name : {"root", "root/etc", "root/a", "canary"}) {
      ASSERT_TRUE(sys::MkdirAt(dir_, name, 0755).ok());
    }
    root_ = *sys::OpenAt(dir_, "root", O_PATH | O_DIRECTORY);
  }
  void TearDown() override {
    EXPECT_TRUE(sys::ListDir(*sys::OpenAt(dir_, "canary", O_RDONLY))->empty()) << "something escaped";
    EXPECT_TRUE(sys::RemoveTree(FdRef::Cwd(), path_.c_str()).ok());
  }
  void Link(const std::string& target, const char* name) {
    ASSERT_TRUE(sys::SymlinkAt(target.c_str(), root_, name).ok()) << name;
  }
  // Where the target is, relative to the root.
  std::string Where(FdRef fd) {
    const std::string path = sys::DescribeFd(fd);
    const std::string prefix = path_ + "/root";
    return path.starts_with(prefix) ? path.substr(prefix.size()) : "outside: " + path;
  }

  std::string path_;
  UniqueFd dir_, root_;
};

TEST_F(Target, MissingDirectoriesAndFilesAreMade) {
  const auto dir = OpenOrMakeTarget(root_, "/x//y/z/", TargetKind::kDirectory, Symlinks::kRefuse);
  ASSERT_TRUE(dir.ok());
  EXPECT_EQ(Where(*dir), "/x/y/z");
  const auto file = OpenOrMakeTarget(root_, "x/y/file", TargetKind::kFile, Symlinks::kRefuse);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(S_ISREG(sys::FStat(*file)->st_mode));
}

TEST_F(Target, SymlinksStayInside) {
  const std::string canary = path_ + "/canary";
  Link(canary, "absolute");
  Link("../../../../../../.." + canary, "dots");
  Link("../canary", "up");
  Link("/absolute/deeper", "chain");
  for (const char* name : {"absolute", "dots", "up", "chain", "absolute/x", "dots/y", "a/../up/z"}) {
    const auto target = OpenOrMakeTarget(root_, name, TargetKind::kDirectory, Symlinks::kInside);
    ASSERT_TRUE(target.ok()) << name << ": " << target.error().Message();
    EXPECT_TRUE(Where(*target).starts_with("/")) << Where(*target);
  }
}

TEST_F(Target, DanglingSymlinkGetsItsTarget) {
  Link("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf");
  const auto file = OpenOrMakeTarget(root_, "etc/resolv.conf", TargetKind::kFile, Symlinks::kInside);
  ASSERT_TRUE(file.ok()) << file.error().Message();
  EXPECT_EQ(Where(*file), "/run/systemd/resolve/stub-resolv.conf");
}

TEST_F(Target, RefusedSymlinksAreLoopErrors) {
  Link("a", "proc");
  Link("nowhere", "sys");
  for (const char* name : {"proc", "sys", "proc/deeper", "sys/deeper"}) {
    EXPECT_EQ(OpenOrMakeTarget(root_, name, TargetKind::kDirectory, Symlinks::kRefuse).error(), ELOOP) << name;
  }
  EXPECT_EQ(sys::StatAt(root_, "nowhere").error(), ENOENT) << "nothing was made on the way";
}

TEST_F(Target, LoopsEnd) {
  Link("loop-b", "loop-a");
  Link("loop-a", "loop-b");
  Link("grow/x", "grow");
  EXPECT_EQ(OpenOrMakeTarget(root_, "loop-a", TargetKind::kDirectory, Symlinks::kInside).error(), ELOOP);
  EXPECT_EQ(OpenOrMakeTarget(root_, "grow/y", TargetKind::kDirectory, Symlinks::kInside).error(), ELOOP);
}

TEST_F(Target, MagicLinksAreRefused) {
  // A rootfs is never a place with a procfs before ours is mounted, but a bind of the host's / has one.
  const UniqueFd host = *sys::OpenAt(FdRef::Cwd(), "/", O_PATH | O_DIRECTORY);
  const std::string fd = "/proc/self/fd/" + std::to_string(dir_.get()) + "/canary/made";
  EXPECT_EQ(OpenOrMakeTarget(host, fd.c_str(), TargetKind::kDirectory, Symlinks::kInside).error(), ELOOP);
}

TEST_F(Target, WrongKindIsAnError) {
  ASSERT_TRUE(sys::MknodAt(root_, "file", S_IFREG | 0644, 0).ok());
  EXPECT_EQ(OpenOrMakeTarget(root_, "file", TargetKind::kDirectory, Symlinks::kInside).error(), ENOTDIR);
  EXPECT_EQ(OpenOrMakeTarget(root_, "a", TargetKind::kFile, Symlinks::kInside).error(), EISDIR);
  EXPECT_EQ(OpenOrMakeTarget(root_, "file/below", TargetKind::kFile, Symlinks::kInside).error(), ENOTDIR);
}

TEST_F(Target, LengthsAreBounded) {
  EXPECT_EQ(OpenOrMakeTarget(root_, std::string(5000, 'x').c_str(), TargetKind::kFile, Symlinks::kInside).error(),
            ENAMETOOLONG);
  EXPECT_EQ(OpenOrMakeTarget(root_, std::string(300, 'x').c_str(), TargetKind::kFile, Symlinks::kInside).error(),
            ENAMETOOLONG);
  // A dangling link whose target nearly fills a path leaves no room for the rest.
  std::string deep = "missing";
  while (deep.size() < 4000) deep += "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
  Link(deep, "long");
  EXPECT_EQ(OpenOrMakeTarget(root_, ("long/" + std::string(200, 'y')).c_str(), TargetKind::kDirectory,
                             Symlinks::kInside).error(),
            ENAMETOOLONG);
}

}  // namespace
}  // namespace snap::runtime
