// The configuration that makes an engine use the daemon, as text to paste.
// Invariant: pure functions; what they return is valid TOML or JSON whatever names and paths hold.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "tools/snap/engine_version.h"

namespace snap::cli {

inline constexpr std::string_view kDefaultSnapshotterName = "snap";

struct EngineConfigInput {
  std::string name{kDefaultSnapshotterName};  ///< of the proxy plugin; "<name>-diff" is the differ's
  std::string address;                        ///< the daemon's socket, absolute
  std::string store_root;                     ///< absolute
  std::string platform;                       ///< "linux/amd64"
};

/// Errors: kInvalidArgument for a name that containerd would refuse or that is one of its own snapshotters',
/// and for an address that is no absolute path.
Result<void> CheckEngineConfigInput(const EngineConfigInput& input);

/// For /etc/containerd/config.toml. `cri`: Kubernetes' images go there too. Errors: kUnsupported (too old).
Result<std::string> ContainerdConfigText(const EngineConfigInput& input, const EngineVersion& version,
                                         bool cri);
/// For /etc/docker/daemon.json. Errors: kUnsupported (no containerd image store).
Result<std::string> DockerConfigText(const EngineConfigInput& input, const EngineVersion& version);

/// What to do with the text, one line each.
std::vector<std::string> ContainerdNotes(const EngineConfigInput& input, const EngineVersion& version,
                                         bool cri);
std::vector<std::string> DockerNotes(const EngineConfigInput& input);

}  // namespace snap::cli
