// From a runtime specification to a plan. Everything that can be refused is refused here, before anything starts.
#pragma once

#include <string>

#include "fs/base/result.h"
#include "runtime/plan.h"
#include "runtime/spec.h"

namespace snap::runtime {

struct OciOptions {
  std::string bundle;          ///< absolute
  std::string console_socket;  ///< path of a listening unix socket, for a terminal
  unsigned preserved_fds = 0;
  bool no_pivot = false;
  bool no_new_keyring = false;
  bool rootless = false;       ///< not root of the first user namespace
  /// The container's cgroups on the host, by controller: what a cgroup mount without a namespace of its own shows.
  std::map<std::string, std::string> cgroups;
};

/// Errors: kInvalidArgument, kUnsupported, kNotFound, each with the member of the specification.
Result<void> PlanContainer(const Spec& spec, const OciOptions& options, Plan& plan);
/// One more program in the container whose first process is `pid`.
Result<void> PlanExec(const Spec& spec, const ProcessSpec& process, pid_t pid, const OciOptions& options, Plan& plan);

/// A connection to whoever wants a terminal's master. Errors: kInvalidArgument (none where a terminal is wanted, one where none is).
Result<UniqueFd> ConnectConsole(const ProcessSpec& process, const std::string& path);

/// CLONE_NEW* of a kind.
uint64_t CloneFlag(NamespaceKind kind);
/// The text of /proc/PID/uid_map.
std::string MapText(const std::vector<IdMapping>& mappings);

}  // namespace snap::runtime
