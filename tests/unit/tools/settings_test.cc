#include "tools/snap/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace snap::cli {
namespace {

Environment Variables(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto it = values.find(name);
    if (it == values.end()) return std::nullopt;
    return it->second;
  };
}

ConfigFile File(std::string_view text) {
  auto file = ConfigFile::Parse(text, "config.toml", ConfigKeys());
  EXPECT_TRUE(file.ok()) << file.error().message();
  return *std::move(file);
}

TEST(Settings, HaveDefaultsThatSaySo) {
  const auto settings = MergeSettings({}, Variables({}), {});
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->root, "/var/lib/snap-store");
  EXPECT_EQ(settings->run_dir, "/run/snap-store");
  EXPECT_EQ(settings->durability, Durability::kFull);
  EXPECT_EQ(settings->color, ColorMode::kAuto);
  EXPECT_EQ(settings->parallel_layers, 0U);
  EXPECT_EQ(settings->sources.at("root"), "default");
}

TEST(Settings, FlagsWinOverEnvironmentWinsOverFile) {
  const ConfigFile file = File("root = \"/file\"\ndurability = \"none\"\nparallel_layers = 4\n");
  Flags flags;
  EXPECT_EQ(MergeSettings(flags, Variables({}), file)->root, "/file");
  const Environment environment = Variables({{"SNAP_ROOT", "/env"}, {"SNAP_PARALLEL_LAYERS", "2"}});
  EXPECT_EQ(MergeSettings(flags, environment, file)->root, "/env");
  EXPECT_EQ(MergeSettings(flags, environment, file)->parallel_layers, 2U);
  EXPECT_EQ(MergeSettings(flags, environment, file)->durability, Durability::kNone);
  flags.root = "/flag";
  flags.durability = "full";
  flags.parallel_layers = 8;
  const auto settings = MergeSettings(flags, environment, file);
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->root, "/flag");
  EXPECT_EQ(settings->durability, Durability::kFull);
  EXPECT_EQ(settings->parallel_layers, 8U);
  EXPECT_EQ(settings->sources.at("root"), "flag");
  EXPECT_EQ(settings->sources.at("parallel_layers"), "flag");
}

TEST(Settings, AnotherRootHasItsRunDirectoryInside) {
  const auto settings = MergeSettings({}, Variables({{"SNAP_ROOT", "/srv/store/"}}), {});
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->root, "/srv/store");
  EXPECT_EQ(settings->run_dir, "/srv/store/run");
}

TEST(Settings, RelativeRootsBecomeAbsolute) {
  Flags flags;
  flags.root = "some/store";
  const auto settings = MergeSettings(flags, Variables({}), {});
  ASSERT_TRUE(settings.ok());
  EXPECT_THAT(settings->root, testing::AllOf(testing::StartsWith("/"), testing::EndsWith("/some/store")));
}

TEST(Settings, EmptyVariablesAreAsGoodAsNone) {
  EXPECT_EQ(MergeSettings({}, Variables({{"SNAP_ROOT", ""}, {"NO_COLOR", ""}}), {})->root,
            "/var/lib/snap-store");
  EXPECT_EQ(MergeSettings({}, Variables({{"NO_COLOR", ""}}), {})->color, ColorMode::kAuto);
}

TEST(Settings, NoColorAndDumbTerminalsTurnColorOffUnlessAFlagTurnsItOn) {
  EXPECT_EQ(MergeSettings({}, Variables({{"NO_COLOR", "1"}}), {})->color, ColorMode::kNever);
  EXPECT_EQ(MergeSettings({}, Variables({{"NO_COLOR", "1"}}), File("color = \"always\"\n"))->color,
            ColorMode::kNever);
  EXPECT_EQ(MergeSettings({}, Variables({{"TERM", "dumb"}}), {})->color, ColorMode::kNever);
  Flags flags;
  flags.color = "always";
  EXPECT_EQ(MergeSettings(flags, Variables({{"NO_COLOR", "1"}}), {})->color, ColorMode::kAlways);
}

TEST(Settings, BadValuesNameSettingAndPlace) {
  const auto durability = MergeSettings({}, Variables({{"SNAP_DURABILITY", "some"}}), {});
  ASSERT_FALSE(durability.ok());
  EXPECT_EQ(durability.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(durability.error().message(), "durability is 'some' (from environment), not full or none");
  for (const char* number : {"-1", "x", "1025", "1 ", "99999999999"}) {
    EXPECT_FALSE(MergeSettings({}, Variables({{"SNAP_PARALLEL_LAYERS", number}}), {}).ok()) << number;
  }
  EXPECT_FALSE(MergeSettings({}, Variables({{"SNAP_PROGRESS", "x"}}), {}).ok());
  EXPECT_FALSE(MergeSettings({}, Variables({{"SNAP_IO_ENGINE", "x"}}), {}).ok());
}

TEST(Settings, AFileThatIsNamedMustExist) {
  const auto settings = LoadSettings({}, Variables({{"SNAP_CONFIG", "/nonexistent/config.toml"}}));
  ASSERT_FALSE(settings.ok());
  EXPECT_EQ(settings.error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(LoadSettings({}, Variables({{"SNAP_CONFIG", ""}})).ok());
}

}  // namespace
}  // namespace snap::cli
