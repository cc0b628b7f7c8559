// What the commands share: a container's specification, state and cgroups together.
#pragma once

#include <map>
#include <string>

#include "runtime/cgroup.h"
#include "runtime/oci_commands.h"
#include "runtime/spec.h"
#include "runtime/state.h"

namespace snap::runtime {

LaunchError OwnFailure(Error error);
/// The failure of a program's start in the words that engines look for ("executable file not found in $PATH").
LaunchError InEngineWords(LaunchError failure, const std::string& program);

/// A container that exists.
struct Existing {
  StateDir dir;
  State state;
  Cgroup cgroup;
};
Result<Existing> OpenExisting(const RuntimeOptions& options, const std::string& id);
Status StatusOf(const Existing& container);
/// The state that hooks get. `status` is written as it is.
std::string HookState(const State& state, std::string_view status);
/// Writes `pid` as engines read it: digits, no line end; in one step.
Result<void> WritePidFile(const std::string& path, pid_t pid);
/// Ends what is left of it, takes its cgroups and state away and runs its poststop hooks, whose failures are logged.
Result<void> Destroy(Existing container);
/// Now, as the state has it.
std::string Now();

}  // namespace snap::runtime
