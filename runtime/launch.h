// The parent's side of every launch: clone, answer what the child asks on its way, and learn what became of it.
#pragma once

#include <functional>

#include "fs/base/result.h"
#include "runtime/child.h"
#include "runtime/container.h"
#include "runtime/plan.h"

namespace snap::runtime {

struct Launched {
  pid_t pid = -1;  ///< of the process that is or will be the program, in this process' pid namespace
  UniqueFd pidfd;
};

/// Answers to ChildReport::kWantsMaps, kMounted and kWantsState; a failure ends the child. nullptr: the plan asks for none.
using OnReport = std::function<Result<void>(int32_t step, pid_t pid)>;

/// Returns when the program runs, or, with plan.start_listener, when the container is created. On failure no process is left.
/// Consumes the plan's channels. Threads: see Container::Start.
Result<Launched, LaunchError> Launch(Plan& plan, std::span<const ChildStep> steps, const OnReport& on_report);

/// What a report of a failed step means, for messages.
LaunchError ExplainReport(const Plan& plan, std::span<const ChildStep> steps, const ChildReport& report);

}  // namespace snap::runtime
