// The child's side of a launch: a fixed, ordered list of steps from the clone to the exec.
// Invariant: a step that fails is reported and ends the child; exec is the last step, so the image's program runs with
// all of them done or not at all. No step allocates, locks, or uses state of the C library.
#pragma once

#include <cstdint>
#include <span>

#include "fs/base/result.h"
#include "runtime/plan.h"

namespace snap::runtime {

/// What the child writes to the pipe, in one piece: before the exec (step kReady), and when a step failed.
struct ChildReport {
  static constexpr int32_t kReady = -1;      ///< the program is executed next
  static constexpr int32_t kWantsMaps = -2;  ///< its user namespace is there: map ids, then let it go on
  static constexpr int32_t kMounted = -3;    ///< its tree is there, and the host's too: run hooks, then let it go on
  static constexpr int32_t kCreated = -4;    ///< it waits for its start
  static constexpr int32_t kWantsState = -6; ///< write the state for the listener of its filter, then let it go on
  static constexpr int32_t kEntered = -5;    ///< exec: `index` is the number of the process that will be the program
  static constexpr uint32_t kIsDirectory = 1;    ///< exec: the file is a directory
  static constexpr uint32_t kNoInterpreter = 2;  ///< exec: the file is there, what it needs to run is not
  int32_t step = kReady;
  int32_t error = 0;
  int32_t index = 0;  ///< which of the step's mounts or paths
  uint32_t flags = 0;
};
static_assert(sizeof(ChildReport) == 16);

struct Child;
struct ChildStep {
  const char* name;  ///< also the fault point "runtime.child.<name>"
  const char* what;  ///< for messages: the action, as in "set the hostname: Operation not permitted"
  SysResult<void> (*run)(Child&);
};
/// Of a container's first process, and of one more program in a container that runs.
std::span<const ChildStep> ChildSteps();
std::span<const ChildStep> ExecSteps();

/// Never returns: becomes the container's program or ends.
[[noreturn]] void RunChild(Plan& plan, std::span<const ChildStep> steps);

}  // namespace snap::runtime
