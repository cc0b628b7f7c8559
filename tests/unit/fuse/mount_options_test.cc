// snap-fuse's command line is fuse-overlayfs': what engines really pass.
#include "fuse/mount_options.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace snap::fuse {
namespace {

const char* NoEnvironment(const char*) { return nullptr; }

Result<CommandLine> Parse(std::vector<std::string> words, bool root = true) { return ParseCommandLine(words, NoEnvironment, root); }

TEST(MountOptions, PodmansFormIsTaken) {
  const auto line = Parse({"-o", "lowerdir=l/A:l/B,upperdir=/d/diff,workdir=/d/work,volatile", "/d/merged"});
  ASSERT_TRUE(line.ok()) << line.error().message();
  EXPECT_EQ(line->lowers_top_first, (std::vector<std::string>{"l/A", "l/B"}));
  EXPECT_EQ(line->upper, "/d/diff");
  EXPECT_EQ(line->work, "/d/work");
  EXPECT_EQ(line->target, "/d/merged");
  EXPECT_TRUE(line->union_options.is_volatile);
  EXPECT_TRUE(line->warnings.empty());
}

TEST(MountOptions, MountsFormHasTheTargetLast) {
  const auto line = Parse({"overlay", "/mnt", "-o", "lowerdir=/a"});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->session_options.source, "overlay");
  EXPECT_EQ(line->target, "/mnt");
}

TEST(MountOptions, MappingsMayBeginWithAColon) {
  const auto line = Parse({"-o", "lowerdir=/a,uidmapping=:0:1000:1:1:100000:65536,gidmapping=0:5:2", "/m"});
  ASSERT_TRUE(line.ok()) << line.error().message();
  EXPECT_EQ(line->union_options.uids.Shown(0), 1000U);
  EXPECT_EQ(line->union_options.uids.Shown(2), 100001U);
  EXPECT_EQ(line->union_options.uids.OnDisk(100001), 2U);
  EXPECT_EQ(line->union_options.uids.OnDisk(7), std::nullopt);
  EXPECT_EQ(line->union_options.gids.Shown(9), 65534U);
}

TEST(MountOptions, EscapedColonsAndCommasBelongToThePath) {
  const auto line = Parse({"-o", R"(lowerdir=/a\:b:/c\,d)", "/m"});
  ASSERT_TRUE(line.ok()) << line.error().message();
  EXPECT_EQ(line->lowers_top_first, (std::vector<std::string>{"/a:b", "/c,d"}));
}

TEST(MountOptions, PackedLowersNameTheirDevicesAndObjects) {
  const auto line = Parse({"-o", R"(lowerdir=/a.erofs:/b:/c.erofs,devices=3:/x:/y\:z,objects=/o)", "/m"});
  ASSERT_TRUE(line.ok()) << line.error().message();
  ASSERT_EQ(line->lower_devices.size(), 3U);
  EXPECT_TRUE(line->lower_devices[0].empty());
  EXPECT_EQ(line->lower_devices[2], (std::vector<std::string>{"/x", "/y:z"}));
  EXPECT_EQ(line->objects, "/o");
  for (const char* devices : {"0:/x", "501:/x", "1", "1:", "x:/x", "1:/x:", "2:/x"}) {
    const auto bad = Parse({"-o", std::string("lowerdir=/a,devices=") + devices, "/m"});
    ASSERT_FALSE(bad.ok()) << devices;
    EXPECT_NE(bad.error().message().find("devices="), std::string::npos) << bad.error().message();
  }
}

TEST(MountOptions, AnUpperThatIsOnlyReadNeedsNoWorkDirectory) {
  EXPECT_FALSE(Parse({"-o", "lowerdir=/a,upperdir=/u", "/m"}).ok());
  EXPECT_TRUE(Parse({"-o", "lowerdir=/a,upperdir=/u,ro", "/m"}).ok());
}

TEST(MountOptions, QuotedContextsKeepTheirCommasAndAreIgnored) {
  const auto line = Parse({"-o", R"(lowerdir=/a,context="s0:c1,c2",ro)", "/m"});
  ASSERT_TRUE(line.ok());
  EXPECT_TRUE(line->warnings.empty());
  EXPECT_TRUE(line->union_options.read_only);
}

TEST(MountOptions, UnknownOptionsAreNamedAndIgnored) {
  const auto line = Parse({"-o", "lowerdir=/a,frobnicate=7", "/m"});
  ASSERT_TRUE(line.ok());
  ASSERT_EQ(line->warnings.size(), 1U);
  EXPECT_NE(line->warnings[0].find("frobnicate"), std::string::npos);
}

TEST(MountOptions, WrongValuesAreErrorsThatNameTheOption) {
  for (const char* option : {"uidmapping=1:2", "uidmapping=a:b:c", "gidmapping=0:0:0", "squash_to_uid=x", "timeout=-1",
                             "xattr_permissions=3", "redirect_dir=on", "metacopy=on", "plugins=/p", "no_open=maybe", "fsync=2"}) {
    const auto line = Parse({"-o", std::string("lowerdir=/a,") + option, "/m"});
    ASSERT_FALSE(line.ok()) << option;
    EXPECT_EQ(line.error().code(), ErrorCode::kInvalidArgument);
    const std::string name(option, std::string_view(option).find('='));
    EXPECT_NE(line.error().message().find(name), std::string::npos) << line.error().message();
  }
}

TEST(MountOptions, WhatIsMissingIsSaid) {
  EXPECT_FALSE(Parse({"-o", "lowerdir=/a"}).ok());                      // no mount point
  EXPECT_FALSE(Parse({"/m"}).ok());                                     // no lower
  EXPECT_FALSE(Parse({"-o", "lowerdir=/a,upperdir=/u", "/m"}).ok());    // no work directory
  EXPECT_FALSE(Parse({"-o", "lowerdir=/a::/b", "/m"}).ok());            // an empty layer
  EXPECT_FALSE(Parse({"-o"}).ok());
}

TEST(MountOptions, DefaultsOfRootDoNotOverrideWhatIsGiven) {
  const auto line = Parse({"-o", "lowerdir=/a,nosuid,atime", "/m"});
  ASSERT_TRUE(line.ok());
  const std::vector<std::string>& options = line->session_options.mount_options;
  const auto has = [&](const char* name) { return std::find(options.begin(), options.end(), name) != options.end(); };
  EXPECT_TRUE(has("nosuid") && has("atime") && has("allow_other") && has("default_permissions"));
  EXPECT_FALSE(has("suid") || has("noatime"));
  const auto user = Parse({"-o", "lowerdir=/a", "/m"}, false);
  ASSERT_TRUE(user.ok());
  EXPECT_EQ(std::count(user->session_options.mount_options.begin(), user->session_options.mount_options.end(), "allow_other"), 0);
}

}  // namespace
}  // namespace snap::fuse
