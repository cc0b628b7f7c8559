#include "tools/snapshotterd/daemon_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fs/base/sys_file.h"
#include "tests/support/temp_dir.h"

namespace snap::daemon {
namespace {

class DaemonSettingsTest : public testing::Test {
 protected:
  Result<DaemonSettings> Load(std::string_view text) {
    flags_.config = dir_.path() + "/config.toml";
    auto file = sys::OpenAt(FdRef::Cwd(), flags_.config.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    EXPECT_TRUE(file.ok() && sys::WriteAll(*file, text).ok());
    return LoadDaemonSettings(flags_, [this](const std::string& name) -> std::optional<std::string> {
      const auto it = variables_.find(name);
      if (it == variables_.end()) return std::nullopt;
      return it->second;
    });
  }

  test::TempDir dir_;
  DaemonFlags flags_;
  std::map<std::string, std::string> variables_;
};

TEST_F(DaemonSettingsTest, HaveDefaults) {
  const auto settings = Load("");
  ASSERT_TRUE(settings.ok()) << settings.error().message();
  EXPECT_EQ(settings->store.root, "/var/lib/snap-store");
  EXPECT_EQ(settings->address, "/run/snap-store/snapshotterd.sock");
  EXPECT_EQ(settings->containerd_address, "/run/containerd/containerd.sock");
  EXPECT_EQ(settings->content_roots.size(), 2U);
  EXPECT_EQ(settings->metrics_address, "");
  EXPECT_EQ(settings->log_level, log::Level::kInfo);
  EXPECT_EQ(settings->log_format, log::Format::kText);
}

TEST_F(DaemonSettingsTest, AnotherRootHasItsSocketInside) {
  flags_.root = "/srv/store";
  EXPECT_EQ(Load("")->address, "/srv/store/run/snapshotterd.sock");
}

TEST_F(DaemonSettingsTest, ComeFromTheFileUnlessAFlagOrVariableSaysOtherwise) {
  const char* const text =
      "root = \"/file\"\n[daemon]\naddress = \"/file.sock\"\ncontainerd_address = \"/c.sock\"\n"
      "content_roots = [\"/a\"]\nmetrics_address = \"127.0.0.1:1\"\nparallel_applies = 3\nlog_level = "
      "\"error\"\n"
      "log_format = \"json\"\n";
  const auto settings = Load(text);
  ASSERT_TRUE(settings.ok()) << settings.error().message();
  EXPECT_EQ(settings->store.root, "/file");
  EXPECT_EQ(settings->address, "/file.sock");
  EXPECT_EQ(settings->containerd_address, "/c.sock");
  EXPECT_EQ(settings->content_roots, std::vector<std::string>{"/a"});
  EXPECT_EQ(settings->metrics_address, "127.0.0.1:1");
  EXPECT_EQ(settings->parallel_applies, 3U);
  EXPECT_EQ(settings->log_level, log::Level::kError);
  EXPECT_EQ(settings->log_format, log::Format::kJson);
  flags_.address = "/flag.sock";
  flags_.log_format = "text";
  variables_["SNAP_LOG"] = "debug";
  const auto changed = Load(text);
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(changed->address, "/flag.sock");
  EXPECT_EQ(changed->log_level, log::Level::kDebug);
  EXPECT_EQ(changed->log_format, log::Format::kText);
}

TEST_F(DaemonSettingsTest, RefuseWhatTheyDoNotKnowNamingFileLineAndKey) {
  const auto settings = Load("[daemon]\nadress = \"/x\"\n");
  ASSERT_FALSE(settings.ok());
  EXPECT_THAT(settings.error().message(),
              testing::AllOf(testing::HasSubstr("config.toml:2"), testing::HasSubstr("'daemon.adress'")));
}

TEST_F(DaemonSettingsTest, RefuseValuesThatCannotBe) {
  for (const char* text :
       {"[daemon]\naddress = \"relative\"\n", "[daemon]\ncontainerd_address = \"\"\n",
        "[daemon]\ncontent_roots = [\"/a\", \"b\"]\n", "[daemon]\nparallel_applies = 1025\n",
        "[daemon]\nlog_level = \"loud\"\n", "[daemon]\nlog_format = \"xml\"\n"}) {
    const auto settings = Load(text);
    ASSERT_FALSE(settings.ok()) << text;
    EXPECT_EQ(settings.error().code(), ErrorCode::kInvalidArgument);
  }
}

TEST_F(DaemonSettingsTest, AFileThatWasNamedMustBeThere) {
  flags_.config = dir_.path() + "/nosuch";
  EXPECT_EQ(LoadDaemonSettings(flags_, cli::ProcessEnvironment()).error().code(), ErrorCode::kNotFound);
}

TEST_F(DaemonSettingsTest, KnowWhichChangesTakeARestart) {
  const auto before = Load("[daemon]\naddress = \"/a\"\nlog_level = \"info\"\n");
  const auto after = Load("root = \"/x\"\n[daemon]\naddress = \"/b\"\nlog_level = \"debug\"\n");
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(NeedRestart(*before, *after), (std::vector<std::string>{"root", "daemon.address"}));
  EXPECT_TRUE(NeedRestart(*before, *before).empty());
}

}  // namespace
}  // namespace snap::daemon
