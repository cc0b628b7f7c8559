#include "tools/snap/doctor_checks.h"

#include <algorithm>

#include "fs/base/quote.h"

namespace snap::cli {
namespace {

constexpr std::string_view kAdviceConfig =
    "'snap engine-config containerd' prints what is missing; restart containerd after it";

std::string WithoutScheme(std::string_view address) {
  constexpr std::string_view kScheme = "unix://";
  if (address.starts_with(kScheme)) address.remove_prefix(kScheme.size());
  return std::string(address);
}

bool Contains(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// One containerd under examination.
class ContainerdExam {
 public:
  explicit ContainerdExam(const ContainerdFacts& facts)
      : facts_(facts), config_(facts.config), traits_(TraitsOf(facts.version)) {
    for (const auto& proxy : config_.proxies) {
      if (WithoutScheme(proxy.address) != facts.our_address) continue;
      if (proxy.type == "snapshot" && snapshotter_ == nullptr) snapshotter_ = &proxy;
      if (proxy.type == "diff" && differ_ == nullptr) differ_ = &proxy;
    }
  }

  DoctorChecks Run() && {
    CheckSnapshotter();
    if (snapshotter_ == nullptr) return std::move(checks_);  // nothing of the rest would be ours
    CheckDisabled();
    CheckDiffer();
    CheckDiffOrder();
    CheckUnpack();
    CheckCapabilities();
    CheckExports();
    CheckCri();
    return std::move(checks_);
  }

 private:
  void Say(std::string_view name, Verdict verdict, std::string detail, std::string advice = "") {
    checks_.push_back({"containerd." + std::string(name), verdict, std::move(detail), std::move(advice)});
  }

  void CheckSnapshotter() {
    if (snapshotter_ != nullptr) {
      Say("proxy-snapshot", Verdict::kOk,
          fmt::format("snapshotter {} is at {}", Quote(snapshotter_->name), facts_.our_address));
      return;
    }
    for (const auto& proxy : config_.proxies) {
      if (proxy.type != "snapshot" || !proxy.address.ends_with("/snapshotterd.sock")) continue;
      Say("proxy-snapshot", Verdict::kProblem,
          fmt::format("[proxy_plugins.{}] address is {}, the daemon listens at {}", proxy.name,
                      Quote(proxy.address), facts_.our_address),
          "set that address, or --root or daemon.address so that the daemon listens there; restart "
          "containerd");
      return;
    }
    Say("proxy-snapshot", Verdict::kWarning,
        fmt::format("no [proxy_plugins] entry of type \"snapshot\" has address \"{}\": containerd does not "
                    "use this store",
                    facts_.our_address),
        std::string(kAdviceConfig));
  }

  void CheckDisabled() {
    for (const std::string& id : config_.disabled_plugins) {
      if (id == "io.containerd.snapshotter.v1." + snapshotter_->name ||
          (differ_ != nullptr && id == "io.containerd.differ.v1." + differ_->name)) {
        Say("disabled-plugins", Verdict::kProblem, fmt::format("disabled_plugins lists {}", Quote(id)),
            "take it out of disabled_plugins and restart containerd");
      }
    }
  }

  void CheckDiffer() {
    if (!traits_.diff_proxy) {
      Say("proxy-diff", Verdict::kNote,
          fmt::format("containerd {} has no proxy plugins of type \"diff\": it extracts layers itself",
                      facts_.version.ToString()),
          "containerd 1.7 or newer can leave that to the daemon");
      return;
    }
    if (differ_ != nullptr) {
      Say("proxy-diff", Verdict::kOk,
          fmt::format("differ {} is at {}", Quote(differ_->name), facts_.our_address));
      return;
    }
    Say("proxy-diff", Verdict::kWarning,
        fmt::format("no [proxy_plugins] entry of type \"diff\" has address \"{}\": containerd extracts "
                    "layers itself, file by file",
                    facts_.our_address),
        std::string(kAdviceConfig));
  }

  void CheckDiffOrder() {
    if (differ_ == nullptr) return;
    constexpr std::string_view kKey = "[plugins.\"io.containerd.service.v1.diff-service\"] default";
    const auto place = std::find(config_.differs.begin(), config_.differs.end(), differ_->name);
    if (place == config_.differs.end()) {
      Say("diff-order", Verdict::kWarning,
          fmt::format("{} does not name {}: it is never asked by docker, nerdctl and 'ctr --local'", kKey,
                      Quote(differ_->name)),
          fmt::format("set default = [\"{}\", \"walking\"]", differ_->name));
    } else if (place != config_.differs.begin()) {
      Say("diff-order", Verdict::kWarning,
          fmt::format("{} asks {} before {}: the one that is first and can, does it", kKey,
                      Quote(config_.differs.front()), Quote(differ_->name)),
          fmt::format("put \"{}\" first in default", differ_->name));
    } else if (config_.differs.size() == 1) {
      Say("diff-order", Verdict::kWarning,
          fmt::format("{} names only {}, which leaves layers of other snapshotters alone: their pulls fail",
                      kKey, Quote(differ_->name)),
          fmt::format("set default = [\"{}\", \"walking\"]", differ_->name));
    } else {
      Say("diff-order", Verdict::kOk, fmt::format("{} is asked first", Quote(differ_->name)));
    }
  }

  void CheckUnpack() {
    if (!traits_.exports) return;
    constexpr std::string_view kKey = "[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]";
    // Before 2.1 only ctr goes there.
    const Verdict wrong = traits_.cri_transfer ? Verdict::kProblem : Verdict::kWarning;
    const ContainerdConfig::Unpack* ours = nullptr;
    size_t same_platform = 0;
    for (const auto& unpack : config_.unpacks) {
      if (unpack.snapshotter != snapshotter_->name) continue;
      if (ours == nullptr) ours = &unpack;
      same_platform += unpack.platform == ours->platform ? 1U : 0U;
    }
    const std::string wanted =
        differ_ != nullptr ? fmt::format("differ = \"{}\"", differ_->name) : std::string();
    if (ours == nullptr) {
      Say("unpack-config", wrong,
          fmt::format("no {} has snapshotter = \"{}\": pulls end with \"no unpack platforms defined\" or go "
                      "to another snapshotter",
                      kKey, snapshotter_->name),
          std::string(kAdviceConfig));
    } else if (differ_ != nullptr && ours->differ.empty()) {
      Say("unpack-config", Verdict::kWarning,
          fmt::format("{} for \"{}\" has no differ: several match, and containerd prefers \"walking\"", kKey,
                      snapshotter_->name),
          "set " + wanted + " there");
    } else if (differ_ != nullptr && ours->differ != differ_->name) {
      Say("unpack-config", Verdict::kWarning,
          fmt::format("{} for \"{}\" has differ = \"{}\": pulls go past ours", kKey, snapshotter_->name,
                      ours->differ),
          "set " + wanted + " there");
    } else if (same_platform > 1) {
      Say("unpack-config", Verdict::kWarning,
          fmt::format("{} for \"{}\" is there {} times for platform \"{}\": which one is used is not said",
                      kKey, snapshotter_->name, same_platform, ours->platform),
          "leave one");
    } else {
      Say("unpack-config", Verdict::kOk,
          fmt::format("pulls of {} are unpacked by {}",
                      ours->platform.empty() ? "any platform" : ours->platform,
                      ours->differ.empty() ? "\"walking\"" : Quote(ours->differ)));
    }
  }

  void CheckCapabilities() {
    const std::string key = fmt::format("[proxy_plugins.{}] capabilities", snapshotter_->name);
    const auto& have = snapshotter_->capabilities;
    if (!traits_.capabilities) {
      Say("capabilities", have.empty() ? Verdict::kOk : Verdict::kNote,
          have.empty() ? fmt::format("containerd {} does not know any", facts_.version.ToString())
                       : fmt::format("{} is ignored by containerd {}", key, facts_.version.ToString()));
      return;
    }
    bool fine = true;
    const auto complain = [&](Verdict verdict, std::string detail, std::string advice) {
      fine = false;
      Say("capabilities", verdict, std::move(detail), std::move(advice));
    };
    for (const std::string& capability : have) {
      if (capability == "remap-ids" || capability == "rebase" || capability == "only-remap-ids") continue;
      complain(Verdict::kWarning,
               fmt::format("{} has {}, which containerd does not know", key, Quote(capability)), "remove it");
    }
    if (!snapshotter_->Can("remap-ids")) {
      complain(Verdict::kWarning,
               fmt::format("{} lacks \"remap-ids\": for a user namespace every file of the image is copied "
                           "to change its owner",
                           key),
               "add \"remap-ids\"");
    }
    if (!traits_.rebase) {
      if (snapshotter_->Can("rebase")) {
        Say("capabilities.rebase", Verdict::kNote,
            fmt::format("\"rebase\" is ignored before containerd 2.2, this is {}",
                        facts_.version.ToString()));
      }
    } else if (snapshotter_->Can("rebase")) {
      CheckParallelUnpack(key);
    } else if (differ_ != nullptr) {
      complain(Verdict::kWarning,
               fmt::format("{} lacks \"rebase\": layers are unpacked one after the other", key),
               "add \"rebase\"");
    }
    if (fine) Say("capabilities", Verdict::kOk, fmt::format("{}", fmt::join(have, ", ")));
  }

  void CheckParallelUnpack(const std::string& key) {
    if (differ_ == nullptr || !UnpackedByUs()) {
      Say("capabilities.rebase", Verdict::kProblem,
          key +
              " has \"rebase\", but layers are extracted by another differ: without the layers below, "
              "whiteouts and "
              "directories that a layer only implies come out wrong",
          "name our differ in unpack_config and in the diff-service's default, or remove \"rebase\"");
    } else if (config_.max_concurrent_unpacks <= 1) {
      Say("capabilities.rebase", Verdict::kWarning,
          "[plugins.\"io.containerd.transfer.v1.local\"] max_concurrent_unpacks is 1: layers are unpacked "
          "one after the other in "
          "spite of \"rebase\"",
          "set max_concurrent_unpacks = 4");
    }
  }

  bool UnpackedByUs() const {
    if (config_.differs.empty() || config_.differs.front() != differ_->name) return false;
    return std::all_of(config_.unpacks.begin(), config_.unpacks.end(), [&](const auto& unpack) {
      return unpack.snapshotter != snapshotter_->name || unpack.differ == differ_->name;
    });
  }

  void CheckExports() {
    if (!traits_.exports) return;
    const auto root = snapshotter_->exports.find("root");
    const std::string key = fmt::format("[proxy_plugins.{}.exports] root", snapshotter_->name);
    if (root == snapshotter_->exports.end() || root->second.empty()) {
      Say("exports-root", config_.cri_snapshotter == snapshotter_->name ? Verdict::kWarning : Verdict::kNote,
          key + " is not set: kubelet watches the space of /var/lib/containerd instead of the store's",
          "set it to the store's directory");
    } else {
      Say("exports-root", Verdict::kOk, fmt::format("the store is at {}", Quote(root->second)));
    }
  }

  void CheckCri() {
    if (Contains(config_.disabled_plugins, "io.containerd.grpc.v1.cri") ||
        Contains(config_.disabled_plugins, "cri")) {
      Say("cri", Verdict::kNote, "Kubernetes' CRI is disabled in containerd");
      return;
    }
    for (const auto& [runtime, snapshotter] : config_.runtime_snapshotters) {
      if (snapshotter == snapshotter_->name) continue;
      Say("cri.runtime", Verdict::kNote,
          fmt::format("runtime handler {} has a snapshotter of its own, {}", Quote(runtime),
                      Quote(snapshotter)));
    }
    if (config_.cri_snapshotter != snapshotter_->name) {
      Say("cri", Verdict::kNote,
          fmt::format("{} is \"{}\": Kubernetes' images do not go into this store",
                      config_.CriKey("snapshotter"), config_.cri_snapshotter),
          "'snap engine-config cri' prints what sends them there");
      return;
    }
    bool fine = true;
    const auto falls_back = [&](bool wrong, std::string_view setting, std::string_view value,
                                std::string_view result) {
      if (!wrong) return;
      fine = false;
      Say("cri." + std::string(setting), Verdict::kWarning,
          fmt::format("{} = {}: {}", config_.CriKey(setting), value, result),
          fmt::format("set {} = {}", setting, value == "true" ? "false" : "true"));
    };
    constexpr std::string_view kLocal =
        "pulls do not go through the transfer service, so that unpack_config and max_concurrent_unpacks "
        "count for nothing";
    falls_back(traits_.cri_transfer && !config_.disable_snapshot_annotations, "disable_snapshot_annotations",
               "false", kLocal);
    falls_back(traits_.cri_transfer && config_.image_pull_with_sync_fs, "image_pull_with_sync_fs", "true",
               kLocal);
    falls_back(traits_.cri_transfer && config_.use_local_image_pull, "use_local_image_pull", "true", kLocal);
    falls_back(config_.discard_unpacked_layers, "discard_unpacked_layers", "true",
               traits_.cri_transfer ? kLocal
                                    : "blobs are gone after the pull, so that images cannot be pushed, or "
                                      "unpacked again by another snapshotter");
    falls_back(
        !traits_.cri_transfer && config_.image_pull_with_sync_fs, "image_pull_with_sync_fs", "true",
        "every layer waits for the whole file system, although the store makes what it commits durable");
    if (fine) Say("cri", Verdict::kOk, fmt::format("Kubernetes' images go to {}", Quote(snapshotter_->name)));
  }

  const ContainerdFacts& facts_;
  const ContainerdConfig& config_;
  const ContainerdTraits traits_;
  const ContainerdConfig::ProxyPlugin* snapshotter_ = nullptr;
  const ContainerdConfig::ProxyPlugin* differ_ = nullptr;
  DoctorChecks checks_;
};

struct VerdictWord {
  Verdict verdict;
  std::string_view word;
};
constexpr VerdictWord kVerdicts[] = {{Verdict::kOk, "ok"},
                                     {Verdict::kNote, "note"},
                                     {Verdict::kWarning, "warning"},
                                     {Verdict::kProblem, "problem"}};

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  for (const auto& [value, word] : kVerdicts) {
    if (value == verdict) return word;
  }
  return "";
}

DoctorChecks CheckFeatures(const std::vector<UnionBackend::Feature>& features) {
  struct Consequence {
    std::string_view feature;
    Verdict verdict;
    std::string_view meaning, advice;
  };
  static constexpr Consequence kConsequences[] = {
      {"packed_layers", Verdict::kWarning, "layers are stored as trees, file by file",
       "Linux 6.5 with EROFS and overlayfs mounts packed layers"},
      {"erofs_file_backed", Verdict::kNote, "packed layers are mounted through loop devices",
       "Linux 6.12 mounts them without"},
      {"idmapped_layers", Verdict::kWarning, "containers in user namespaces cannot share layers",
       "Linux 5.19 maps owners on the way"},
      {"lowerdir_by_fd", Verdict::kNote, "mounts name their layers by path", "Linux 6.8 takes descriptors"},
  };
  DoctorChecks checks;
  for (const Consequence& consequence : kConsequences) {
    const auto feature = std::find_if(features.begin(), features.end(), [&](const auto& candidate) {
      return candidate.name == consequence.feature;
    });
    if (feature == features.end() || feature->available) continue;
    checks.push_back({"kernel." + feature->name, consequence.verdict,
                      fmt::format("{} ({})", consequence.meaning, feature->detail),
                      std::string(consequence.advice)});
  }
  if (checks.empty()) checks.push_back({"kernel", Verdict::kOk, "has all that the store can use", ""});
  return checks;
}

DoctorChecks CheckContainerd(const ContainerdFacts& facts) { return ContainerdExam(facts).Run(); }

DoctorChecks CheckDocker(const DockerFacts& facts) {
  DoctorChecks checks;
  const auto say = [&](std::string_view name, Verdict verdict, std::string detail, std::string advice = "") {
    checks.push_back({"docker." + std::string(name), verdict, std::move(detail), std::move(advice)});
  };
  const auto driver = facts.config.is_object() ? facts.config.find("storage-driver") : facts.config.end();
  const std::string name = facts.config.is_object() && driver != facts.config.end() && driver->is_string()
                               ? driver->get<std::string>()
                               : std::string();
  if (!Contains(facts.proxies, name)) {
    say("storage-driver", Verdict::kNote,
        name.empty() ? std::string("daemon.json sets no storage-driver: Docker does not use this store")
                     : fmt::format("storage-driver is \"{}\": Docker does not use this store",
                                   EscapeUnprintable(name)),
        "'snap engine-config docker' prints what makes it");
    return checks;
  }
  if (facts.version < kOldestDocker) {
    say("version", Verdict::kProblem,
        fmt::format("Docker Engine {} has no containerd image store", facts.version.ToString()),
        fmt::format("Docker Engine {} has", kOldestDocker.ToString()));
    return checks;
  }
  const auto features = facts.config.find("features");
  const bool said =
      features != facts.config.end() && features->is_object() && features->contains("containerd-snapshotter");
  const bool enabled = said ? (*features)["containerd-snapshotter"] == Json(true) : false;
  if (!enabled) {
    say("containerd-snapshotter", Verdict::kProblem,
        fmt::format("storage-driver is \"{}\", but features.containerd-snapshotter is {}: Docker looks for a "
                    "driver of its own "
                    "with that name and does not start",
                    name, said ? "not true" : "not set"),
        "set features.containerd-snapshotter to true in daemon.json");
    return checks;
  }
  say("containerd-snapshotter", Verdict::kOk, fmt::format("images are kept by snapshotter {}", Quote(name)));
  return checks;
}

Result<DoctorChecks> ReadProbe(std::string_view json) {
  constexpr std::string_view kWhat = "answer of snapshotterd probe";
  SNAP_TRY(const Json document, ParseJson(json, kWhat));
  SNAP_TRY(const Json* const list, JsonArray(document, "checks", kWhat));
  DoctorChecks checks;
  for (const Json& item : *list) {
    DoctorCheck& check = checks.emplace_back();
    SNAP_TRY(check.name, JsonString(item, "name", kWhat));
    SNAP_TRY(const std::string verdict, JsonString(item, "verdict", kWhat));
    SNAP_TRY(check.detail, JsonString(item, "detail", kWhat));
    SNAP_TRY(check.advice, JsonStringOr(item, "advice", "", kWhat));
    const auto known = std::find_if(std::begin(kVerdicts), std::end(kVerdicts),
                                    [&](const VerdictWord& word) { return word.word == verdict; });
    if (known == std::end(kVerdicts)) {
      return MakeError(ErrorCode::kCorrupt, "read {}: verdict {} is not known", kWhat, Quote(verdict));
    }
    check.verdict = known->verdict;
  }
  return checks;
}

Json DoctorJson(const DoctorChecks& checks) {
  Json list = Json::array();
  for (const DoctorCheck& check : checks) {
    list.push_back({{"name", check.name},
                    {"verdict", VerdictName(check.verdict)},
                    {"detail", check.detail},
                    {"advice", check.advice}});
  }
  return {{"checks", std::move(list)}, {"healthy", !HasProblem(checks)}};
}

bool HasProblem(const DoctorChecks& checks) {
  return std::any_of(checks.begin(), checks.end(),
                     [](const DoctorCheck& check) { return check.verdict == Verdict::kProblem; });
}

}  // namespace snap::cli
