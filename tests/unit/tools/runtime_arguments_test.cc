#include "tools/snap-runtime/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snap::runtime_cli {
namespace {

using testing::ElementsAre;
constexpr Flag kFlags[] = {{Flag::Kind::kSwitch, "all", "a", ""}, {Flag::Kind::kText, "bundle", "b", ""}, {Flag::Kind::kTexts, "env", "e", ""}};
Result<Arguments> Parse(std::vector<std::string> words) { return Arguments::Parse(words, kFlags); }

TEST(RuntimeArguments, FlagsStandBeforeOperandsInAnySpelling) {
  const auto arguments = Parse({"--all", "-b", "x", "-env=A=1", "--env", "B=2", "id", "--not-ours", "-a"});
  ASSERT_TRUE(arguments.ok()) << arguments.error().message();
  EXPECT_TRUE(arguments->Has("all"));
  EXPECT_EQ(arguments->Text("bundle"), "x");
  EXPECT_THAT(arguments->Texts("env"), ElementsAre("A=1", "B=2"));
  EXPECT_THAT(arguments->operands(), ElementsAre("id", "--not-ours", "-a"));
}

TEST(RuntimeArguments, SwitchesCanBeSaidNo) {
  EXPECT_FALSE(Parse({"--all=false", "x"})->Has("all"));
  EXPECT_FALSE(Parse({"-a=maybe"}).ok());
}

TEST(RuntimeArguments, TwoDashesEndThem) { EXPECT_THAT(Parse({"-a", "--", "-b"})->operands(), ElementsAre("-b")); }

TEST(RuntimeArguments, MistakesNameTheFlag) {
  EXPECT_NE(Parse({"--bundel"}).error().message().find("--bundel"), std::string::npos);
  EXPECT_NE(Parse({"--bundle"}).error().message().find("bundle"), std::string::npos);
}

}  // namespace
}  // namespace snap::runtime_cli
