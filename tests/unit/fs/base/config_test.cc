#include "fs/base/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fs/base/sys_file.h"

namespace snap {
namespace {

using Kind = ConfigKey::Kind;

const ConfigKey kKeys[] = {
    {"root", Kind::kString, {}},
    {"mode", Kind::kString, {"fast", "safe"}},
    {"count", Kind::kUnsigned, {}},
    {"loud", Kind::kBool, {}},
};

TEST(Config, ReadsDeclaredKeysAndKnowsWhichAreAbsent) {
  const auto config =
      ConfigFile::Parse("# comment\nroot = \"/srv/store\"\ncount = 3\nloud = true\n", "x.toml", kKeys);
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_EQ(config->String("root"), "/srv/store");
  EXPECT_EQ(config->Unsigned("count"), 3U);
  EXPECT_EQ(config->Bool("loud"), true);
  EXPECT_EQ(config->String("mode"), std::nullopt);
}

TEST(Config, EmptyTextSetsNothing) {
  const auto config = ConfigFile::Parse("", "x.toml", kKeys);
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->String("root"), std::nullopt);
}

struct BadConfig {
  const char* text;
  const char* message;  // a part of it
};

class ConfigRefuses : public testing::TestWithParam<BadConfig> {};

TEST_P(ConfigRefuses, NamingFileLineAndKey) {
  const auto config = ConfigFile::Parse(GetParam().text, "/etc/x.toml", kKeys);
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(config.error().message(), testing::HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigRefuses,
    testing::Values(BadConfig{"\n\nrooot = \"/x\"\n",
                              "/etc/x.toml:3: unknown key 'rooot' (known: root, mode, count, loud)"},
                    BadConfig{"[section]\nroot = \"/x\"\n", "/etc/x.toml:1: unknown key 'section'"},
                    BadConfig{"root = 5\n", "/etc/x.toml:1: key 'root' must be a string in quotes"},
                    BadConfig{"count = -1\n", "/etc/x.toml:1: key 'count' must be a whole number"},
                    BadConfig{"count = \"1\"\n", "/etc/x.toml:1: key 'count' must be a whole number"},
                    BadConfig{"loud = 1\n", "/etc/x.toml:1: key 'loud' must be true or false"},
                    BadConfig{"\nmode = \"faast\"\n",
                              "/etc/x.toml:2: key 'mode' is 'faast', not one of fast, safe"},
                    BadConfig{"root = \"/a\"\nroot = \"/b\"\n", "/etc/x.toml:2: "},
                    BadConfig{"root = \n", "/etc/x.toml:1: "}, BadConfig{"\xff\xfe", "/etc/x.toml:1: "},
                    BadConfig{"\"a\\u001b[31m\" = 1", "/etc/x.toml:1: unknown key 'a\\x1b[31m'"}));

TEST(Config, MissingFileIsNotFoundAndAHugeOneIsRefused) {
  EXPECT_EQ(ConfigFile::Load("/nonexistent/x.toml", kKeys).error().code(), ErrorCode::kNotFound);
  auto memory = sys::MemfdCreate("config", 0);
  ASSERT_TRUE(memory.ok());
  ASSERT_TRUE(sys::WriteAll(*memory, std::string(ConfigFile::kMaxBytes + 1, '#')).ok());
  EXPECT_EQ(ConfigFile::Load(sys::ProcFdPath(*memory), kKeys).error().code(), ErrorCode::kLimitExceeded);
}

}  // namespace
}  // namespace snap
