// Fault points: named places where a test can make the program die, fail or wait.
// SNAP_FAULT="NAME:ACTION[@N][,...]" in the environment; ACTION is kill (SIGKILL), error=ERRNO_NUMBER or sleep=MS;
// @N acts on the Nth time the point is reached (default 1, 0 = every time). Unset: one predicted branch per point.
// Names are "component.after_or_before_step"; docs/durability.md lists them. Threads: safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fs/base/result.h"

namespace snap::fault {

extern bool g_armed;  // constant after the first thread started

/// Reads SNAP_FAULT. Errors: kInvalidArgument for a malformed value. Call once in main, before threads.
Result<void> ArmFromEnvironment();
/// For unit tests: the same from a string; "" disarms.
Result<void> Arm(const char* spec);
/// What an armed point asks for.
struct Order {
  bool kill = false;
  int error = 0;  ///< errno, or 0
  int sleep_ms = 0;
};
/// Counts one arrival at the point and says what is to happen there, without doing it: for code that runs where Reach
/// must not, such as a cloned child.
std::optional<Order> Take(const char* name);
/// Slow path of SNAP_FAULT_POINT.
std::optional<Errno> Reach(const char* name);

}  // namespace snap::fault

/// In a function that returns Result: dies, waits, or returns the injected error here.
#define SNAP_FAULT_POINT(name)                                                            \
  do {                                                                                    \
    if (::snap::fault::g_armed) [[unlikely]] {                                            \
      if (auto snap_fault = ::snap::fault::Reach(name)) {                                 \
        return ::snap::Error(*snap_fault, "fault point " name);                           \
      }                                                                                   \
    }                                                                                     \
  } while (false)
