#include "fs/base/sys_file.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>

#include "fs/base/sys_process.h"

namespace snap {
namespace {

class SysFile : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/snap-sys-file-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    path_ = path;
    dir_ = *sys::OpenAt(FdRef::Cwd(), path, O_RDONLY | O_DIRECTORY);
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTree(FdRef::Cwd(), path_.c_str()).ok()); }

  void WriteFile(const char* name, std::string_view text) {
    const UniqueFd fd = *sys::OpenAt(dir_, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ASSERT_TRUE(sys::WriteAll(fd, text).ok());
  }

  std::string path_;
  UniqueFd dir_;
};

TEST_F(SysFile, OpenInRootKeepsSymlinksInside) {
  ASSERT_TRUE(sys::MkdirAt(dir_, "root", 0755).ok());
  ASSERT_TRUE(sys::MkdirAt(dir_, "root/etc", 0755).ok());
  WriteFile("root/etc/hostname", "inside");
  ASSERT_TRUE(sys::SymlinkAt("/etc/hostname", dir_, "root/absolute").ok());
  ASSERT_TRUE(sys::SymlinkAt("../../../../etc/hostname", dir_, "root/dots").ok());
  const UniqueFd root = *sys::OpenAt(dir_, "root", O_PATH | O_DIRECTORY);
  for (const char* name : {"absolute", "dots", "../../etc/hostname"}) {
    const auto fd = sys::OpenInRoot(root, name, O_RDONLY);
    ASSERT_TRUE(fd.ok()) << name;
    EXPECT_EQ(*sys::ReadAll(*fd, 100), "inside") << name;
  }
  EXPECT_EQ(sys::OpenBeneath(root, "absolute", O_RDONLY).error(), ELOOP);
  EXPECT_FALSE(sys::OpenBeneath(root, "../root/etc/hostname", O_RDONLY).ok());
}

TEST_F(SysFile, RemoveTreeDeletesSymlinksNotTheirTargets) {
  ASSERT_TRUE(sys::MkdirAt(dir_, "victim", 0755).ok());
  WriteFile("victim/keep", "x");
  ASSERT_TRUE(sys::MkdirAt(dir_, "tree", 0755).ok());
  ASSERT_TRUE(sys::SymlinkAt("../victim", dir_, "tree/link").ok());
  ASSERT_TRUE(sys::RemoveTree(dir_, "tree").ok());
  EXPECT_EQ(sys::StatAt(dir_, "tree").error(), ENOENT);
  EXPECT_TRUE(sys::StatAt(dir_, "victim/keep").ok());
  EXPECT_TRUE(sys::RemoveTree(dir_, "tree").ok()) << "a missing name is success";
}

TEST_F(SysFile, RemoveTreeIsNotLimitedByDepth) {
  ASSERT_TRUE(sys::MkdirAt(dir_, "deep", 0755).ok());
  UniqueFd at = *sys::OpenAt(dir_, "deep", O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 3000; ++i) {
    ASSERT_TRUE(sys::MkdirAt(at, "d", 0755).ok());
    at = *sys::OpenAt(at, "d", O_RDONLY | O_DIRECTORY);
  }
  at.Reset();
  EXPECT_TRUE(sys::RemoveTree(dir_, "deep").ok());
}

TEST_F(SysFile, ReadAllRefusesMoreThanTheLimit) {
  WriteFile("big", std::string(100'000, 'x'));
  EXPECT_EQ(sys::ReadFileAt(dir_, "big", 99'999).error(), EFBIG);
  EXPECT_EQ(sys::ReadFileAt(dir_, "big", 100'000)->size(), 100'000U);
}

TEST_F(SysFile, ListDirSeesEveryEntryOnce) {
  for (int i = 0; i < 1000; ++i) WriteFile(("f" + std::to_string(i)).c_str(), "");
  EXPECT_EQ(sys::ListDir(dir_)->size(), 1000U);
}

TEST(SysProcess, StartTimeNamesAProcess) {
  EXPECT_GT(*sys::ProcessStartTime(sys::Pid()), 0U);
  EXPECT_FALSE(sys::ProcessStartTime(-1).ok());
  EXPECT_EQ(sys::BootId()->size(), 36U);
}

}  // namespace
}  // namespace snap
