// What is printed is read back with the parsers that engines' formats have, and compared as structure.
#include "tools/snap/engine_config.h"

#include <gtest/gtest.h>

#include "fs/base/json.h"
#include "fs/base/toml.h"
#include "tools/snap/containerd_config.h"
#include "tools/snap/doctor_checks.h"

namespace snap::cli {
namespace {

constexpr const char* kSocket = "/run/snap-store/snapshotterd.sock";

EngineConfigInput Input() { return {"snap", kSocket, "/var/lib/snap-store", "linux/amd64"}; }

Json Containerd(const EngineVersion& version, bool cri = false, const EngineConfigInput& input = Input()) {
  const Result<std::string> text = ContainerdConfigText(input, version, cri);
  EXPECT_TRUE(text.ok()) << text.error().message();
  if (!text.ok()) return {};
  const Result<Json> document = ParseToml(*text, "printed");
  EXPECT_TRUE(document.ok()) << document.error().message() << "\n" << *text;
  return document.ok() ? *document : Json();
}

TEST(EngineVersion, IsFoundInWhatEnginesPrint) {
  struct Case {
    const char* text;
    const char* want;
  };
  for (const auto& [text, want] : {
           Case{"containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3\n", "1.6.20"},
           Case{"containerd github.com/containerd/containerd/v2 2.1.9+unknown \n", "2.1.9"},
           Case{"containerd containerd.io 1.7.23 57f17b0a6295a39009d861b89e3b3b87b005ca27", "1.7.23"},
           Case{"Docker version 28.5.2+dfsg4, build 3ef3c07c883be49a2e8097bcf6d2952fce1d70eb", "28.5.2"},
           Case{"v2.2", "2.2.0"},
           Case{"2.2.0-rc.1", "2.2.0"},
           Case{"24", ""},
           Case{"no number here", ""},
           Case{"99999999999999.1", ""},
           Case{"", ""},
       }) {
    const auto version = FindEngineVersion(text);
    EXPECT_EQ(version ? version->ToString() : "", want) << text;
  }
}

TEST(EngineConfig, ContainerdGetsWhatItsVersionUnderstands) {
  const Json snapshot = {{"type", "snapshot"}, {"address", kSocket}};
  const Json differ = {{"type", "diff"}, {"address", kSocket}};
  const Json order = {{"default", {"snap-diff", "walking"}}};
  const Json unpack =
      Json::array({{{"platform", "linux/amd64"}, {"snapshotter", "snap"}, {"differ", "snap-diff"}},
                   {{"platform", "linux/amd64"}, {"snapshotter", "overlayfs"}, {"differ", "walking"}}});
  const auto with = [](Json base, const Json& more) {
    base.update(more);
    return base;
  };
  const Json exports = {{"platform", "linux/amd64"}, {"exports", {{"root", "/var/lib/snap-store"}}}};
  const Json remap = {{"capabilities", {"remap-ids"}}};
  const Json rebase = {{"capabilities", {"remap-ids", "rebase"}}};
  const Json plugins = {{"io.containerd.service.v1.diff-service", order}};
  const Json transfer = {{"io.containerd.transfer.v1.local", {{"unpack_config", unpack}}}};
  const Json parallel = {
      {"io.containerd.transfer.v1.local", {{"unpack_config", unpack}, {"max_concurrent_unpacks", 4}}}};
  struct Case {
    EngineVersion version;
    Json want;
  };
  for (const auto& [version, want] : {
           Case{{1, 6, 20}, {{"version", 2}, {"proxy_plugins", {{"snap", snapshot}}}}},
           Case{{1, 7, 22},
                {{"version", 2},
                 {"proxy_plugins", {{"snap", snapshot}, {"snap-diff", differ}}},
                 {"plugins", plugins}}},
           Case{{1, 7, 23},
                {{"version", 2},
                 {"proxy_plugins", {{"snap", with(snapshot, remap)}, {"snap-diff", differ}}},
                 {"plugins", plugins}}},
           Case{{2, 0, 0},
                {{"version", 3},
                 {"proxy_plugins", {{"snap", with(with(snapshot, exports), remap)}, {"snap-diff", differ}}},
                 {"plugins", with(plugins, transfer)}}},
           Case{{2, 1, 9},
                {{"version", 3},
                 {"proxy_plugins", {{"snap", with(with(snapshot, exports), remap)}, {"snap-diff", differ}}},
                 {"plugins", with(plugins, transfer)}}},
           Case{{2, 2, 0},
                {{"version", 3},
                 {"proxy_plugins", {{"snap", with(with(snapshot, exports), rebase)}, {"snap-diff", differ}}},
                 {"plugins", with(plugins, parallel)}}},
       }) {
    EXPECT_EQ(Containerd(version), want) << version.ToString();
  }
}

TEST(EngineConfig, CriIsToldInThePlaceOfItsVersion) {
  const Json old = Containerd({1, 7, 23}, true);
  EXPECT_EQ(old["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["snapshotter"], "snap");
  const Json images = Containerd({2, 1, 0}, true)["plugins"]["io.containerd.cri.v1.images"];
  EXPECT_EQ(images, Json({{"snapshotter", "snap"},
                          {"disable_snapshot_annotations", true},
                          {"discard_unpacked_layers", false},
                          {"image_pull_with_sync_fs", false}}));
}

TEST(EngineConfig, ItsOwnDoctorFindsNothingToComplainOf) {
  for (const EngineVersion& version :
       {EngineVersion{1, 6, 20}, EngineVersion{1, 7, 5}, EngineVersion{1, 7, 23}, EngineVersion{2, 0, 3},
        EngineVersion{2, 1, 9}, EngineVersion{2, 2, 1}}) {
    for (const bool cri : {false, true}) {
      const Result<ContainerdConfig> config = ReadContainerdConfig(Containerd(version, cri));
      ASSERT_TRUE(config.ok()) << config.error().message();
      for (const DoctorCheck& check : CheckContainerd({version, *config, kSocket})) {
        EXPECT_LT(check.verdict, Verdict::kWarning)
            << version.ToString() << " " << check.name << ": " << check.detail;
      }
    }
  }
}

TEST(EngineConfig, NamesAndPathsThatNeedQuotesAreQuoted) {
  EngineConfigInput input = Input();
  input.name = "my.snap";
  input.address = "/run/a \"b\"\\c\n/s.sock";
  ASSERT_TRUE(CheckEngineConfigInput(input).ok());
  const Json document = Containerd({2, 2, 0}, true, input);
  EXPECT_EQ(document["proxy_plugins"]["my.snap"]["address"], input.address);
  EXPECT_EQ(document["proxy_plugins"]["my.snap"]["exports"]["root"], "/var/lib/snap-store");
  EXPECT_EQ(document["proxy_plugins"]["my.snap-diff"]["type"], "diff");
}

TEST(EngineConfig, InputThatContainerdWouldRefuseIsRefused) {
  for (const char* name : {"", "-a", "a-", "a b", "a/b", "a\n", "overlayfs", "erofs"}) {
    EngineConfigInput input = Input();
    input.name = name;
    EXPECT_FALSE(CheckEngineConfigInput(input).ok()) << name;
  }
  EngineConfigInput input = Input();
  input.address = "run/x.sock";
  EXPECT_FALSE(CheckEngineConfigInput(input).ok());
}

TEST(EngineConfig, TooOldEnginesAreRefused) {
  EXPECT_EQ(ContainerdConfigText(Input(), {1, 5, 9}, false).error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(DockerConfigText(Input(), {23, 0, 6}).error().code(), ErrorCode::kUnsupported);
}

TEST(EngineConfig, DockerGetsItsImageStoreSwitchedOn) {
  const Result<std::string> text = DockerConfigText(Input(), {28, 5, 2});
  ASSERT_TRUE(text.ok());
  const Result<Json> document = ParseJson(*text, "printed");
  ASSERT_TRUE(document.ok());
  EXPECT_EQ(*document, Json({{"features", {{"containerd-snapshotter", true}}}, {"storage-driver", "snap"}}));
}

}  // namespace
}  // namespace snap::cli
