#include "runtime/user.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <string>

#include "fs/base/sys_file.h"

namespace snap::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/bash\n"
    "# comment:x:5:5::/:\n"
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "app:x:1000:1001:App:/home/app:/bin/sh\n"
    "app:x:0:0:second entry never wins:/root:/bin/sh\n"
    "1234:x:55:56:a name that looks like a number:/n:/bin/sh\n"
    "relative:x:60:60::home/relative:/bin/sh\n";
constexpr std::string_view kGroup =
    "root:x:0:\n"
    "daemon:x:1:\n"
    "audio:x:29:other,app\n"
    "video:x:44:app,\n"
    "apples:x:45:application\n"
    "video2:x:44:app\n"
    "app:x:1001:\n";

TEST(User, ReadsDockersForms) {
  struct Case {
    const char* user;
    uid_t uid;
    gid_t gid;
    std::vector<gid_t> groups;
    const char* home;
  };
  const Case cases[] = {
      {"", 0, 0, {0}, "/root"},
      {"0", 0, 0, {0}, "/root"},
      {"root", 0, 0, {0}, "/root"},
      {"app", 1000, 1001, {1001, 29, 44}, "/home/app"},
      {"1000", 1000, 1001, {1001, 29, 44}, "/home/app"},
      {"app:audio", 1000, 29, {29}, "/home/app"},
      {"app:29", 1000, 29, {29}, "/home/app"},
      {"app:4711", 1000, 4711, {4711}, "/home/app"},
      {"4711", 4711, 0, {0}, "/"},
      {"4711:4712", 4711, 4712, {4712}, "/"},
      {":29", 0, 29, {29}, "/root"},
      {"1234", 55, 56, {56}, "/n"},
      {"relative", 60, 60, {60}, "/"},
      {"2147483647", 2147483647, 0, {0}, "/"},
  };
  for (const Case& c : cases) {
    const auto ids = ResolveUserIn(c.user, kPasswd, kGroup);
    ASSERT_TRUE(ids.ok()) << c.user;
    EXPECT_EQ(ids->uid, c.uid) << c.user;
    EXPECT_EQ(ids->gid, c.gid) << c.user;
    EXPECT_EQ(ids->groups, c.groups) << c.user;
    EXPECT_EQ(ids->home, c.home) << c.user;
  }
}

TEST(User, StrangeNumbersAreNeverIds) {
  for (const char* user : {"4294967296", "4294967295", "2147483648", "18446744073709551616", "-1", "+0", "0x0", "00",
                           "01", "0 ", "1:", "1:-1", "1:+0", "1:0x1", "1:4294967296", ":", "1:2:3", "1:00"}) {
    const auto ids = ResolveUserIn(user, kPasswd, kGroup);
    ASSERT_FALSE(ids.ok()) << user;
    EXPECT_EQ(ids.error().code(), ErrorCode::kInvalidArgument) << user << ": " << ids.error().message();
  }
}

TEST(User, UnknownNamesAreNotFound) {
  for (const char* user : {"nobody", "App", "app ", " app", "root\n", "app:nogroup", "#", "# comment"}) {
    const auto ids = ResolveUserIn(user, kPasswd, kGroup);
    ASSERT_FALSE(ids.ok()) << user;
    EXPECT_EQ(ids.error().code(), ErrorCode::kNotFound) << user;
  }
  EXPECT_THAT(ResolveUserIn("no\x1b[1mbody", "", "").error().message(), HasSubstr("\\x1b"));
}

TEST(User, MalformedLinesDoNotExist) {
  using std::string_literals::operator""s;
  for (const std::string& line :
       {"evil\n"s, "evil:x\n"s, "evil:x:\n"s, "evil:x::0::/:\n"s, "evil:x:0\n"s, "evil:x:0:0\n"s, "evil:x:0:0:\n"s,
        "evil:x:-1:0::/:\n"s, "evil:x:4294967296:0::/:\n"s, "evil:x:0x0:0::/:\n"s, "evil:x: 0:0::/:\n"s,
        "evil:x:0 :0::/:\n"s, "evil:x:0:::/:\n"s, "evil\0:x:0:0::/:\n"s, "evil:x:0:0::/\0:\n"s}) {
    const auto ids = ResolveUserIn("evil", line, "");
    ASSERT_FALSE(ids.ok()) << line;
    EXPECT_EQ(ids.error().code(), ErrorCode::kNotFound) << line;
  }
  // A line without its newline, and one after garbage, count.
  EXPECT_EQ(ResolveUserIn("u", std::string(100000, ':') + "\nu:x:7:8::/:", "")->uid, 7U);
}

TEST(User, GroupMembershipIsBounded) {
  std::string group;
  for (int i = 1; i <= 2000; ++i) group += "g" + std::to_string(i) + ":x:" + std::to_string(i) + ":app\n";
  EXPECT_EQ(ResolveUserIn("app", kPasswd, group).error().code(), ErrorCode::kLimitExceeded);
  // The same group a thousand times is one group.
  group.clear();
  for (int i = 1; i <= 2000; ++i) group += "g:x:7:app\n";
  EXPECT_THAT(ResolveUserIn("app", kPasswd, group)->groups, ElementsAre(1001, 7));
}

class UserFiles : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/snap-user-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    path_ = path;
    root_ = *sys::OpenAt(FdRef::Cwd(), path, O_PATH | O_DIRECTORY);
    ASSERT_TRUE(sys::MkdirAt(root_, "etc", 0755).ok());
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTree(FdRef::Cwd(), path_.c_str()).ok()); }
  void Put(const char* name, std::string_view text) {
    const UniqueFd fd = *sys::OpenAt(root_, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ASSERT_TRUE(sys::WriteAll(fd, text).ok());
  }
  std::string path_;
  UniqueFd root_;
};

TEST_F(UserFiles, HostsOwnFilesAreNeverRead) {
  EXPECT_EQ(ResolveUser(root_, "root").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(ResolveUser(root_, "")->home, "/");
  ASSERT_TRUE(sys::SymlinkAt("/etc/passwd", root_, "etc/passwd").ok());  // itself, inside
  EXPECT_FALSE(ResolveUser(root_, "root").ok());
  ASSERT_TRUE(sys::UnlinkAt(root_, "etc/passwd").ok());
  ASSERT_TRUE(sys::SymlinkAt("../../../../../../etc/passwd-", root_, "etc/passwd").ok());
  EXPECT_EQ(ResolveUser(root_, "root").error().code(), ErrorCode::kNotFound);
}

TEST_F(UserFiles, OnlyRegularFilesAreOpened) {
  ASSERT_TRUE(sys::MknodAt(root_, "etc/passwd", S_IFIFO | 0644, 0).ok());
  EXPECT_THAT(ResolveUser(root_, "0").error().message(), HasSubstr("not a regular file"));
  ASSERT_TRUE(sys::UnlinkAt(root_, "etc/passwd").ok());
  ASSERT_TRUE(sys::MkdirAt(root_, "etc/passwd", 0755).ok());
  EXPECT_FALSE(ResolveUser(root_, "0").ok());
}

TEST_F(UserFiles, SizeIsLimited) {
  Put("etc/passwd", std::string(5U << 20U, 'x'));
  EXPECT_EQ(ResolveUser(root_, "0").error().code(), ErrorCode::kLimitExceeded);
}

TEST_F(UserFiles, LooksUpInTheImage) {
  Put("etc/passwd", kPasswd);
  Put("etc/group", kGroup);
  EXPECT_THAT(ResolveUser(root_, "app")->groups, ElementsAre(1001, 29, 44));
}

}  // namespace
}  // namespace snap::runtime
