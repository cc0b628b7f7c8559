#include "tools/snap/doctor_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "fs/base/toml.h"
#include "tools/snap/engine_config.h"

namespace snap::cli {
namespace {

using ::testing::HasSubstr;

constexpr const char* kSocket = "/run/snap-store/snapshotterd.sock";
constexpr EngineVersion kNew{2, 2, 0};

ContainerdConfig Good(const EngineVersion& version) {
  const auto text = ContainerdConfigText({"snap", kSocket, "/store", "linux/amd64"}, version, true);
  const auto document = ParseToml(text.ok() ? *text : "", "good");
  auto config = ReadContainerdConfig(document.ok() ? *document : Json::object());
  EXPECT_TRUE(config.ok());
  return config.ok() ? *config : ContainerdConfig();
}

/// Those that are more than notes.
std::vector<std::string> Complaints(const DoctorChecks& checks) {
  std::vector<std::string> out;
  for (const DoctorCheck& check : checks) {
    if (check.verdict < Verdict::kWarning) continue;
    EXPECT_NE(check.advice, "") << check.name;
    out.push_back(fmt::format("{} {}", VerdictName(check.verdict), check.name));
  }
  return out;
}

TEST(Doctor, EveryMistakeInContainerdsConfigurationIsNamed) {
  using Strings = std::vector<std::string>;
  struct Case {
    const char* mistake;
    EngineVersion version;
    std::function<void(ContainerdConfig&)> make;
    Strings want;
  };
  const Case cases[] = {
      {"none", kNew, [](auto&) {}, {}},
      {"no plugins", kNew, [](auto& c) { c.proxies.clear(); }, {"warning containerd.proxy-snapshot"}},
      {"another socket",
       kNew,
       [](auto& c) {
         for (auto& proxy : c.proxies) proxy.address = "/run/other/snapshotterd.sock";
       },
       {"problem containerd.proxy-snapshot"}},
      {"a scheme is no mistake",
       kNew,
       [](auto& c) {
         for (auto& proxy : c.proxies) proxy.address = std::string("unix://") + kSocket;
       },
       {}},
      {"disabled",
       kNew,
       [](auto& c) { c.disabled_plugins = {"io.containerd.snapshotter.v1.snap"}; },
       {"problem containerd.disabled-plugins"}},
      {"differ not in the order",
       kNew,
       [](auto& c) { c.differs = {"walking"}; },
       {"warning containerd.diff-order", "problem containerd.capabilities.rebase"}},
      {"differ not first",
       kNew,
       [](auto& c) {
         c.differs = {"walking", "snap-diff"};
       },
       {"warning containerd.diff-order", "problem containerd.capabilities.rebase"}},
      {"no other differ",
       kNew,
       [](auto& c) { c.differs = {"snap-diff"}; },
       {"warning containerd.diff-order"}},
      {"nothing unpacks for us",
       kNew,
       [](auto& c) { c.unpacks.clear(); },
       {"problem containerd.unpack-config"}},
      {"only ctr unpacks there before 2.1",
       {2, 0, 0},
       [](auto& c) { c.unpacks.clear(); },
       {"warning containerd.unpack-config"}},
      {"unpack_config without differ",
       kNew,
       [](auto& c) { c.unpacks[0].differ.clear(); },
       {"warning containerd.unpack-config", "problem containerd.capabilities.rebase"}},
      {"unpack_config with another differ",
       {2, 1, 0},
       [](auto& c) { c.unpacks[0].differ = "walking"; },
       {"warning containerd.unpack-config"}},
      {"unpack_config twice",
       kNew,
       [](auto& c) { c.unpacks[1] = c.unpacks[0]; },
       {"warning containerd.unpack-config"}},
      {"no capabilities",
       kNew,
       [](auto& c) { c.proxies[0].capabilities.clear(); },
       {"warning containerd.capabilities", "warning containerd.capabilities"}},
      {"an unknown capability",
       kNew,
       [](auto& c) { c.proxies[0].capabilities.emplace_back("remap_ids"); },
       {"warning containerd.capabilities"}},
      {"rebase before 2.2 is only a note",
       {2, 1, 0},
       [](auto& c) { c.proxies[0].capabilities.emplace_back("rebase"); },
       {}},
      {"rebase without parallel unpacking",
       kNew,
       [](auto& c) { c.max_concurrent_unpacks = 1; },
       {"warning containerd.capabilities.rebase"}},
      {"no root", kNew, [](auto& c) { c.proxies[0].exports.clear(); }, {"warning containerd.exports-root"}},
      {"another snapshotter for CRI is no mistake",
       kNew,
       [](auto& c) { c.cri_snapshotter = "overlayfs"; },
       {}},
      {"annotations send CRI past the transfer service",
       kNew,
       [](auto& c) { c.disable_snapshot_annotations = false; },
       {"warning containerd.cri.disable_snapshot_annotations"}},
      {"and were right before it", {1, 7, 23}, [](auto& c) { c.disable_snapshot_annotations = false; }, {}},
      {"so do discarded layers",
       kNew,
       [](auto& c) { c.discard_unpacked_layers = true; },
       {"warning containerd.cri.discard_unpacked_layers"}},
      {"so does sync_fs",
       kNew,
       [](auto& c) { c.image_pull_with_sync_fs = true; },
       {"warning containerd.cri.image_pull_with_sync_fs"}},
      {"so does a wish for it",
       kNew,
       [](auto& c) { c.use_local_image_pull = true; },
       {"warning containerd.cri.use_local_image_pull"}},
      {"1.6 has no differs to miss", {1, 6, 20}, [](auto&) {}, {}},
      {"1.7 has",
       {1, 7, 23},
       [](auto& c) { std::erase_if(c.proxies, [](const auto& p) { return p.type == "diff"; }); },
       {"warning containerd.proxy-diff"}},
  };
  for (const Case& test : cases) {
    ContainerdConfig config = Good(test.version);
    test.make(config);
    EXPECT_EQ(Complaints(CheckContainerd({test.version, config, kSocket})), test.want) << test.mistake;
  }
}

TEST(Doctor, SilentFallbacksAreToldInTheKeysToChange) {
  ContainerdConfig config = Good(kNew);
  config.disable_snapshot_annotations = false;
  const DoctorChecks checks = CheckContainerd({kNew, config, kSocket});
  const auto check = std::find_if(checks.begin(), checks.end(),
                                  [](const auto& c) { return c.verdict == Verdict::kWarning; });
  ASSERT_NE(check, checks.end());
  EXPECT_THAT(check->detail,
              HasSubstr("[plugins.\"io.containerd.cri.v1.images\"] disable_snapshot_annotations = false"));
  EXPECT_EQ(check->advice, "set disable_snapshot_annotations = true");
}

TEST(ContainerdConfig, WrongTypesAreErrorsThatNameTheKey) {
  struct Case {
    const char* toml;
    const char* want;
  };
  for (const auto& [toml, want] : {
           Case{"version = 2\nproxy_plugins = 3", "proxy_plugins"},
           Case{"version = 2\n[proxy_plugins.a]\ntype = 1", "proxy_plugins.a.type"},
           Case{"version = 2\n[proxy_plugins.a]\ncapabilities = ['x', 1]", "proxy_plugins.a.capabilities"},
           Case{"version = 3\n[plugins.'io.containerd.transfer.v1.local']\nunpack_config = 1",
                "unpack_config"},
           Case{"version = 3\n[plugins.'io.containerd.transfer.v1.local']\nmax_concurrent_unpacks = -1",
                "max_concurrent_unpacks"},
           Case{"version = 3\n[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers = 'no'",
                "discard_unpacked_layers"},
           Case{"version = 'x'", "version"},
           Case{"root = '/'", "version 1"},
           Case{"version = 9", "newer"},
       }) {
    const auto document = ParseToml(toml, "f");
    ASSERT_TRUE(document.ok()) << toml;
    const auto config = ReadContainerdConfig(*document);
    ASSERT_FALSE(config.ok()) << toml;
    EXPECT_THAT(config.error().message(), HasSubstr(want));
  }
}

TEST(Doctor, DockerIsOnlyJudgedWhenItIsToUseTheStore) {
  struct Case {
    const char* name;
    EngineVersion version;
    Json config;
    std::vector<std::string> want;
  };
  const Json on = {{"containerd-snapshotter", true}};
  for (const Case& test : {
           Case{"nothing", {28, 0, 0}, Json(), {}},
           Case{"another driver", {28, 0, 0}, {{"storage-driver", "overlay2"}}, {}},
           Case{"all right", {28, 0, 0}, {{"storage-driver", "snap"}, {"features", on}}, {}},
           Case{"not switched on",
                {28, 0, 0},
                {{"storage-driver", "snap"}},
                {"problem docker.containerd-snapshotter"}},
           Case{"switched off",
                {28, 0, 0},
                {{"storage-driver", "snap"}, {"features", {{"containerd-snapshotter", false}}}},
                {"problem docker.containerd-snapshotter"}},
           Case{"features of a wrong type",
                {28, 0, 0},
                {{"storage-driver", "snap"}, {"features", 1}},
                {"problem docker.containerd-snapshotter"}},
           Case{"too old",
                {20, 10, 24},
                {{"storage-driver", "snap"}, {"features", on}},
                {"problem docker.version"}},
           Case{"a driver of a wrong type", {28, 0, 0}, {{"storage-driver", 5}}, {}},
       }) {
    EXPECT_EQ(Complaints(CheckDocker({test.version, test.config, {"snap"}})), test.want) << test.name;
  }
}

TEST(Doctor, ReadsWhatItWrites) {
  const DoctorChecks checks = {{"a", Verdict::kOk, "fine", ""},
                               {"b", Verdict::kProblem, "broken", "mend it"}};
  EXPECT_TRUE(HasProblem(checks));
  const auto read = ReadProbe(DumpJson(DoctorJson(checks)));
  ASSERT_TRUE(read.ok()) << read.error().message();
  EXPECT_EQ(DoctorJson(*read), DoctorJson(checks));
  for (const char* text : {"", "[]", "{}", R"({"checks":[{}]})",
                           R"({"checks":[{"name":"a","verdict":"perhaps","detail":"d"}]})"}) {
    EXPECT_FALSE(ReadProbe(text).ok()) << text;
  }
}

TEST(Doctor, MissingFeaturesSayWhatIsLost) {
  EXPECT_EQ(CheckFeatures({{"packed_layers", true, ""}}).front().verdict, Verdict::kOk);
  const DoctorChecks checks = CheckFeatures({{"packed_layers", false, "no EROFS"}});
  ASSERT_EQ(checks.size(), 1U);
  EXPECT_EQ(checks.front().verdict, Verdict::kWarning);
  EXPECT_THAT(checks.front().detail, HasSubstr("no EROFS"));
}

}  // namespace
}  // namespace snap::cli
