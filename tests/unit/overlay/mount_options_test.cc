#include "overlay/mount_options.h"

#include <gtest/gtest.h>

namespace snap::overlay {
namespace {

TEST(MountOptions, EscapePathProtectsTheThreeSeparators) {
  const struct {
    std::string_view path, escaped;
  } cases[] = {
      {"/a/b", "/a/b"},
      {"", ""},
      {"a:b", "a\\:b"},
      {"a,b", "a\\,b"},
      {"a\\b", "a\\\\b"},
      {"\\:,", "\\\\\\:\\,"},
      {"new\nline space\ttab=\"'\xff", "new\nline space\ttab=\"'\xff"},
  };
  for (const auto& c : cases) EXPECT_EQ(EscapePath(c.path), c.escaped);
}

TEST(MountOptions, EveryDefaultThatMachinesDifferInIsSpelledOut) {
  const std::vector<MountOption> options = BehaviourOptions({});
  const std::vector<MountOption> expected{
      {"redirect_dir", "nofollow"}, {"metacopy", "off"}, {"index", "off"}, {"nfs_export", "off"}};
  EXPECT_EQ(options, expected);
}

TEST(MountOptions, MarksAreFollowedAltogetherOrNotAtAll) {
  const std::vector<MountOption> options = BehaviourOptions({.follow_marks = true});
  const std::vector<MountOption> expected{
      {"redirect_dir", "on"}, {"metacopy", "on"}, {"index", "off"}, {"nfs_export", "off"}};
  EXPECT_EQ(options, expected);
}

TEST(MountOptions, BehaviourAddsItsOptionsAndVolatileComesLast) {
  const std::vector<MountOption> options =
      BehaviourOptions({.user_xattr = true, .volatile_upper = true, .several_file_systems = true});
  ASSERT_EQ(options.size(), 7U);
  EXPECT_EQ(options[4], (MountOption{"xino", "on"}));
  EXPECT_EQ(options[5], (MountOption{"userxattr", ""}));
  EXPECT_EQ(options[6], (MountOption{"volatile", ""}));
}

TEST(MountOptions, FormatListsLowersTopFirstThenUpperThenBehaviour) {
  const auto data = FormatMountData({{"/l,1", "/l:2"}, "", "/u\\", "/w"}, {.volatile_upper = true});
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(*data,
            "lowerdir=/l\\,1:/l\\:2,upperdir=/u\\\\,workdir=/w,redirect_dir=nofollow,metacopy=off,index=off,"
            "nfs_export=off,volatile");
}

TEST(MountOptions, FormatWithoutUpperHasNoUpperOptions) {
  const auto data = FormatMountData({{"a", "b"}, "", "", ""}, {});
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(data->find("upperdir"), std::string::npos);
  EXPECT_EQ(data->find("workdir"), std::string::npos);
}

TEST(MountOptions, FormatPutsTheDataOnlyLayerBehindTwoColons) {
  const auto data = FormatMountData({{"a", "b"}, "/ob:jects", "", ""}, {.follow_marks = true});
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(*data, "lowerdir=a:b::/ob\\:jects,redirect_dir=on,metacopy=on,index=off,nfs_export=off");
}

TEST(MountOptions, FormatRefusesWhatTheKernelWouldMisread) {
  const LayerPaths cases[] = {
      {{}, "", "", ""},
      {{"a", ""}, "", "", ""},       // "a:" would be one layer less
      {{"a", "", "b"}, "", "", ""},  // "a::b" would make b data-only
      {{std::string("a\0b", 3)}, "", "", ""},
      {{"a"}, std::string("d\0", 2), "", ""},
      {{"a"}, "", "u", ""},
      {{"a"}, "", std::string("u\0", 2), "w"},
  };
  for (const LayerPaths& layers : cases) {
    const auto data = FormatMountData(layers, {});
    ASSERT_FALSE(data.ok()) << *data;
    EXPECT_EQ(data.error().code(), ErrorCode::kInvalidArgument);
  }
}

TEST(MountOptions, FiveHundredShortNamesFitIntoThePage) {
  LayerPaths layers;
  for (size_t i = 0; i < kMaxLowers; ++i) layers.lowers_top_first.push_back(std::to_string(i));
  layers.upper = "/proc/self/fd/1000000";
  layers.work = "/proc/self/fd/1000001";
  const auto data =
      FormatMountData(layers, {.user_xattr = true, .volatile_upper = true, .several_file_systems = true});
  ASSERT_TRUE(data.ok()) << data.error().message();
  EXPECT_LE(data->size(), kMaxMountDataBytes);
}

TEST(MountOptions, TheLimitIsExact) {
  const size_t fixed = FormatMountData({{"x"}, "", "", ""}, {})->size() - 1;
  const std::string longest(kMaxMountDataBytes - fixed, 'x');
  EXPECT_EQ(FormatMountData({{longest}, "", "", ""}, {})->size(), kMaxMountDataBytes);
  const auto over = FormatMountData({{longest + "x"}, "", "", ""}, {});
  ASSERT_FALSE(over.ok());
  EXPECT_EQ(over.error().code(), ErrorCode::kLimitExceeded);
}

}  // namespace
}  // namespace snap::overlay
