// What `snap doctor` concludes from what it found. Invariant: pure functions of what was read; who reads is
// verb_doctor.cc.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/json.h"
#include "fs/base/result.h"
#include "fs/union_backend.h"
#include "tools/snap/containerd_config.h"
#include "tools/snap/engine_version.h"

namespace snap::cli {

enum class Verdict {
  kOk,
  kNote,     ///< nothing to judge: "no containerd here"
  kWarning,  ///< works, but not as well as it could
  kProblem,  ///< does not do what was asked for
};
std::string_view VerdictName(Verdict verdict);

struct DoctorCheck {
  std::string name;  ///< stable: "containerd.proxy-snapshot"
  Verdict verdict = Verdict::kOk;
  std::string detail;  ///< one line: why
  std::string advice;  ///< one line: what to do; empty when there is nothing
};
using DoctorChecks = std::vector<DoctorCheck>;

/// What the machine can do for the store.
DoctorChecks CheckFeatures(const std::vector<UnionBackend::Feature>& features);

struct ContainerdFacts {
  EngineVersion version;
  ContainerdConfig config;
  std::string our_address;  ///< where the daemon listens
};
/// How the configured containerd would use the daemon.
DoctorChecks CheckContainerd(const ContainerdFacts& facts);

struct DockerFacts {
  EngineVersion version;
  Json config;                       ///< daemon.json; null when there is none
  std::vector<std::string> proxies;  ///< names of our snapshotter in containerd's configuration
};
DoctorChecks CheckDocker(const DockerFacts& facts);

/// What `snapshotterd probe --format json` printed. Errors: kCorrupt for anything else.
Result<DoctorChecks> ReadProbe(std::string_view json);

Json DoctorJson(const DoctorChecks& checks);
bool HasProblem(const DoctorChecks& checks);

}  // namespace snap::cli
