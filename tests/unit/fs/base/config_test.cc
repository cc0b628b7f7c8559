#include "fs/base/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

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
const ConfigKey kSectionKeys[] = {
    {"root", Kind::kString, {}},
    {"daemon.address", Kind::kString, {}},
    {"daemon.roots", Kind::kStrings, {}},
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

TEST(Config, ReadsSectionsAndLists) {
  for (const char* text : {"root = \"/x\"\n[daemon]\naddress = \"/s\"\nroots = [\"/a\", \"/b\"]\n",
                           "root = \"/x\"\ndaemon = { address = \"/s\", roots = [\"/a\", \"/b\"] }\n",
                           "root = \"/x\"\ndaemon.address = \"/s\"\ndaemon.roots = [\"/a\", \"/b\"]\n"}) {
    const auto config = ConfigFile::Parse(text, "x.toml", kSectionKeys);
    ASSERT_TRUE(config.ok()) << config.error().message();
    EXPECT_EQ(config->String("root"), "/x");
    EXPECT_EQ(config->String("daemon.address"), "/s");
    EXPECT_EQ(config->Strings("daemon.roots"), (std::vector<std::string>{"/a", "/b"}));
  }
  const auto empty = ConfigFile::Parse("[daemon]\nroots = []\n", "x.toml", kSectionKeys);
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->Strings("daemon.roots"), std::vector<std::string>{});
  EXPECT_EQ(empty->String("daemon.address"), std::nullopt);
}

TEST(Config, RefusesWhatDoesNotBelongIntoASection) {
  const std::pair<const char*, const char*> kCases[] = {
      {"[daemon]\n\nadress = \"/s\"\n", "x.toml:3: unknown key 'daemon.adress'"},
      {"[daemon]\nroot = \"/s\"\n", "x.toml:2: unknown key 'daemon.root'"},
      {"address = \"/s\"\n", "x.toml:1: unknown key 'address'"},
      {"\n[demon]\naddress = \"/s\"\n", "x.toml:2: unknown key 'demon'"},
      {"daemon = 5\n", "x.toml:1: 'daemon' must be a section: [daemon]"},
      {"[[daemon]]\naddress = \"/s\"\n", "must be a section"},
      {"[daemon.address]\nx = 1\n", "x.toml:1: key 'daemon.address' must be a string"},
      {"\"daemon.address\" = \"/s\"\n", "x.toml:1: unknown key 'daemon.address'"},
      {"[daemon.more]\nx = 1\n", "unknown key 'daemon.more'"},
      {"[daemon]\nroots = \"/a\"\n", "x.toml:2: key 'daemon.roots' must be a list of strings"},
      {"[daemon]\nroots = [\"/a\", 1]\n", "x.toml:2: key 'daemon.roots' must be a list of strings"},
  };
  for (const auto& [text, message] : kCases) {
    const auto config = ConfigFile::Parse(text, "x.toml", kSectionKeys);
    ASSERT_FALSE(config.ok()) << text;
    EXPECT_EQ(config.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(config.error().message(), testing::HasSubstr(message));
  }
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
