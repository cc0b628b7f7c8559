#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fs/oci_documents.h"
#include "fs/oci_image.h"

namespace snap::oci {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

const std::string kA = "sha256:" + std::string(64, 'a');
const std::string kB = "sha256:" + std::string(64, 'b');

TEST(ImageConfig, EveryFieldArrives) {
  const auto config = ParseImageConfig(R"({
    "created": "2024-01-02T03:04:05Z", "author": "me", "architecture": "arm64", "os": "linux", "variant": "v8",
    "config": {"User": "1000:100", "WorkingDir": "/srv", "StopSignal": "SIGINT", "Env": ["A=1", "B=x=y"],
      "Entrypoint": ["/init", "-v"], "Cmd": ["run"], "Volumes": {"/data": {}, "/a": {}},
      "ExposedPorts": {"80/tcp": {}}, "Labels": {"k": "v", "j": ""}, "Healthcheck": {"Test": ["NONE"]}},
    "rootfs": {"type": "layers", "diff_ids": [")" +
                                           kA + R"(", ")" + kB + R"("]},
    "history": [{"created": "c", "created_by": "FROM", "author": "a", "comment": "m"}, {"empty_layer": true}]})",
                                       "config");
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_EQ(config->platform.ToString(), "linux/arm64");
  EXPECT_EQ(config->created, "2024-01-02T03:04:05Z");
  EXPECT_EQ(config->author, "me");
  EXPECT_THAT(config->entrypoint, ElementsAre("/init", "-v"));
  EXPECT_THAT(config->cmd, ElementsAre("run"));
  EXPECT_THAT(config->env, ElementsAre("A=1", "B=x=y"));
  EXPECT_EQ(config->user, "1000:100");
  EXPECT_EQ(config->working_dir, "/srv");
  EXPECT_EQ(config->stop_signal, "SIGINT");
  EXPECT_THAT(config->volumes, ElementsAre("/a", "/data"));
  EXPECT_THAT(config->exposed_ports, ElementsAre("80/tcp"));
  EXPECT_THAT(config->labels, ElementsAre(Pair("j", ""), Pair("k", "v")));
  ASSERT_EQ(config->diff_ids.size(), 2U);
  EXPECT_EQ(config->diff_ids[1].ToString(), kB);
  ASSERT_EQ(config->history.size(), 2U);
  EXPECT_EQ(config->history[0].created_by, "FROM");
  EXPECT_EQ(config->history[0].comment, "m");
  EXPECT_TRUE(config->history[1].empty_layer);
}

TEST(ImageConfig, NullsThatGoWritesMeanEmpty) {
  const auto config = ParseImageConfig(R"({"architecture": "amd64", "os": "linux", "created": null,
    "config": {"Env": null, "Cmd": null, "Entrypoint": null, "Volumes": null, "Labels": null, "OnBuild": null},
    "rootfs": {"type": "layers", "diff_ids": null}, "history": null})",
                                       "config");
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_THAT(config->env, IsEmpty());
  EXPECT_THAT(config->diff_ids, IsEmpty());
  EXPECT_TRUE(ParseImageConfig(R"({"config":null,"rootfs":{"type":"layers","diff_ids":[]}})", "config").ok());
}

TEST(ImageConfig, HostileTextIsAnErrorOfTheRightClass) {
  const auto with_diff = [](const std::string& id) {
    return R"({"rootfs":{"type":"layers","diff_ids":[")" + id + "\"]}}";
  };
  const auto with_config = [](const std::string& config) {
    return R"({"rootfs":{"type":"layers","diff_ids":[]},"config":)" + config + "}";
  };
  std::string many;
  for (int i = 0; i < 1025; ++i) many += (i == 0 ? "\"" : ",\"") + kA + "\"";
  const struct {
    std::string text;
    ErrorCode code;
    const char* message;
  } kCases[] = {
      {"", ErrorCode::kCorrupt, "malformed JSON"},
      {"[]", ErrorCode::kCorrupt, "not a JSON object"},
      {"{}", ErrorCode::kCorrupt, "'rootfs' is missing"},
      {R"({"rootfs":[]})", ErrorCode::kCorrupt, "'rootfs' is not an object"},
      {R"({"rootfs":{"diff_ids":[]}})", ErrorCode::kCorrupt, "'type' is missing"},
      {R"({"rootfs":{"type":"btrfs","diff_ids":[]}})", ErrorCode::kUnsupported, "rootfs type 'btrfs'"},
      {with_diff("sha512:" + std::string(128, 'a')), ErrorCode::kUnsupported, "sha512"},
      {with_diff("sha256:../../etc/passwd"), ErrorCode::kCorrupt, "64 hex digits"},
      {with_diff("sha256:" + std::string(64, 'A')), ErrorCode::kCorrupt, "lower-case"},
      {with_diff(""), ErrorCode::kCorrupt, "no algorithm"},
      {R"({"rootfs":{"type":"layers","diff_ids":[1]}})", ErrorCode::kCorrupt, "array of strings"},
      {R"({"rootfs":{"type":"layers","diff_ids":[)" + many + "]}}", ErrorCode::kLimitExceeded, "1025 layers"},
      {with_config(R"({"Env":["A=1","A\u0000B"]})"), ErrorCode::kCorrupt, "'Env' contains a NUL"},
      {with_config(R"({"Cmd":["\u0000"]})"), ErrorCode::kCorrupt, "'Cmd' contains a NUL"},
      {with_config(R"({"WorkingDir":"/\u0000/etc"})"), ErrorCode::kCorrupt, "'WorkingDir' contains a NUL"},
      {with_config(R"({"Volumes":{"/\u0000":{}}})"), ErrorCode::kCorrupt, "'Volumes' contains a NUL"},
      {with_config(R"({"Labels":{"a\u0000":""}})"), ErrorCode::kCorrupt, "'Labels' contains a NUL"},
      {with_config(R"({"User":0})"), ErrorCode::kCorrupt, "'User' is not a string"},
      {with_config(R"({"Env":{"A":"1"}})"), ErrorCode::kCorrupt, "'Env' is not an array"},
      {with_config(R"({"Labels":{"a":1}})"), ErrorCode::kCorrupt, "label 'a' is not a string"},
      {with_config(R"({"Volumes":["/a"]})"), ErrorCode::kCorrupt, "'Volumes' is not an object"},
      {with_config(R"({"User":"a","User":"b"})"), ErrorCode::kCorrupt, "duplicate key 'User'"},
      {R"({"rootfs":{"type":"layers","diff_ids":[]},"history":[1]})", ErrorCode::kCorrupt, "history entry"},
      {R"({"rootfs":{"type":"layers","diff_ids":[]},"history":[{"empty_layer":1}]})", ErrorCode::kCorrupt,
       "a boolean"},
      {std::string(kMaxConfigBytes + 1, ' '), ErrorCode::kLimitExceeded, "at most"},
  };
  for (const auto& test : kCases) {
    const auto config = ParseImageConfig(test.text, "config");
    ASSERT_FALSE(config.ok()) << test.message;
    EXPECT_EQ(config.error().code(), test.code) << config.error().message();
    EXPECT_THAT(config.error().message(), HasSubstr(test.message));
  }
}

TEST(ImageConfig, MadeConfigReadsBackAndIsDeterministic) {
  const Platform platform{.os = "linux", .architecture = "arm", .variant = "v6"};
  const std::vector<DiffId> diff_ids = {{*Digest::Parse(kA)}, {*Digest::Parse(kB)}};
  const std::string text = MakeConfigJson(platform, diff_ids, "2024-01-02T03:04:05Z", "import \"x\"\n");
  EXPECT_EQ(text, MakeConfigJson(platform, diff_ids, "2024-01-02T03:04:05Z", "import \"x\"\n"));
  const auto config = ParseImageConfig(text, "made");
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_EQ(config->platform, platform);
  EXPECT_EQ(config->diff_ids, diff_ids);
  ASSERT_EQ(config->history.size(), 2U);
  EXPECT_EQ(config->history[1].created_by, "import \"x\"\n");
  EXPECT_EQ(config->created, "2024-01-02T03:04:05Z");
}

TEST(ImageConfig, MadeConfigWithoutATimeHasNone) {
  const std::string text =
      MakeConfigJson({.os = "linux", .architecture = "amd64", .variant = ""}, {}, "", "dir");
  EXPECT_EQ(
      text,
      R"({"architecture":"amd64","config":{},"history":[],"os":"linux","rootfs":{"diff_ids":[],"type":"layers"}})");
}

}  // namespace
}  // namespace snap::oci
