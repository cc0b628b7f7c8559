#include "fuse/override_stat.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <map>
#include <string>
#include <vector>

namespace snap::fuse {
namespace {

TEST(OverrideStat, ReadsWhatOthersWrite) {
  const std::vector<std::pair<std::string, OverrideStat>> table = {
      {"0:0:755", {0, 0, 0755, std::nullopt, 0}},
      {"1000:100:0644", {1000, 100, 0644, std::nullopt, 0}},          // containers/storage
      {"0:0:100644", {0, 0, 0644, std::nullopt, 0}},                  // fuse-overlayfs gives the type along
      {"4294967294:4294967294:7777", {4294967294, 4294967294, 07777, std::nullopt, 0}},
      {"1:2:0755:dir", {1, 2, 0755, S_IFDIR, 0}},
      {"1:2:0755:file", {1, 2, 0755, S_IFREG, 0}},
      {"1:2:0777:symlink", {1, 2, 0777, S_IFLNK, 0}},
      {"1:2:0600:pipe", {1, 2, 0600, S_IFIFO, 0}},
      {"1:2:0600:socket", {1, 2, 0600, S_IFSOCK, 0}},
      {"1:2:0600:block-8-16", {1, 2, 0600, S_IFBLK, makedev(8, 16)}},
      {"1:2:0666:char-1-3", {1, 2, 0666, S_IFCHR, makedev(1, 3)}},
      {"1:2:0666:char-0-0", {1, 2, 0666, S_IFCHR, 0}},
  };
  for (const auto& [text, expected] : table) {
    const auto parsed = ParseOverride(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(expected, *parsed) << text;
  }
}

TEST(OverrideStat, RefusesWhatIsNoSuchValue) {
  for (const char* text :
       {"", ":", "::", "0", "0:0", "0:0:", ":0:755", "0::755", "-1:0:755", "0:0:8", "0:0:0x1ff", "a:0:755", " 0:0:755",
        "0:0:755 ", "0:0:755:", "0:0:755:directory", "0:0:755:door", "0:0:755:block", "0:0:755:block-8", "0:0:755:block-8-",
        "0:0:755:block-8-1-2", "0:0:755:char-a-b", "0:0:755:file-1-2", "0:0:755:dir:1:2:3", "4294967296:0:755", "0:0:40000000000", "0:0:755:pipe:1"}) {
    EXPECT_FALSE(ParseOverride(text)) << text;
  }
  EXPECT_FALSE(ParseOverride(std::string_view("0:0:755\0", 8)));
}

TEST(OverrideStat, ReadsBackWhatItWrites) {
  using Type = std::optional<mode_t>;
  for (const Type& type : {Type(), Type(S_IFDIR), Type(S_IFREG), Type(S_IFLNK), Type(S_IFIFO), Type(S_IFSOCK), Type(S_IFBLK),
                           Type(S_IFCHR)}) {
    OverrideStat stat{4294967295, 7, 04755, type, 0};
    if (type == S_IFBLK || type == S_IFCHR) stat.device = makedev(259, 1048575);
    const auto parsed = ParseOverride(FormatOverride(stat));
    ASSERT_TRUE(parsed) << FormatOverride(stat);
    EXPECT_EQ(stat, *parsed);
    EXPECT_LT(FormatOverride(stat).size(), 64U);  // what fuse-overlayfs reads at most
  }
  EXPECT_EQ("1:2:644", FormatOverride({1, 2, 0644, std::nullopt, 0}));
  EXPECT_EQ("1:2:644:char-1-3", FormatOverride({1, 2, 0644, S_IFCHR, makedev(1, 3)}));
}

SysResult<std::optional<OverrideStat>> Load(XattrPermissions where, const std::map<std::string, std::string>& xattrs) {
  return LoadOverride(where, [&](const std::string& name) -> SysResult<std::string> {
    const auto found = xattrs.find(name);
    if (found == xattrs.end()) return Errno(ENODATA);
    return found->second;
  });
}

TEST(OverrideStat, IsLoadedFromTheXattrOfItsKind) {
  const std::map<std::string, std::string> all = {{"security.fuseoverlayfs.override_stat", "1:1:1"},
                                                  {"user.containers.override_stat", "2:2:2"},
                                                  {"user.fuseoverlayfs.override_stat", "3:3:3"}};
  EXPECT_EQ(1U, (*Load(XattrPermissions::kPrivileged, all))->uid);
  EXPECT_EQ(2U, (*Load(XattrPermissions::kUser, all))->uid);
  EXPECT_EQ(3U, (*Load(XattrPermissions::kUser, {{"user.fuseoverlayfs.override_stat", "3:3:3"}}))->uid);
  EXPECT_FALSE(Load(XattrPermissions::kPrivileged, {{"user.fuseoverlayfs.override_stat", "3:3:3"}})->has_value());
  EXPECT_FALSE(Load(XattrPermissions::kUser, {})->has_value());
  EXPECT_EQ(Errno(EIO), Load(XattrPermissions::kUser, {{"user.containers.override_stat", "?"}}).error());
  EXPECT_EQ(Errno(EACCES), LoadOverride(XattrPermissions::kUser, [](const std::string&) { return Errno(EACCES); }).error());
}

}  // namespace
}  // namespace snap::fuse
