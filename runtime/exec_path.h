// Finding the program inside the container, and saying why it could not run.
// The search itself is a series of execve calls in the child, after the pivot: nothing is looked up twice, so nothing
// can change in between. Here are its two pure ends: which paths are tried, and what a failure means.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fs/base/errno.h"
#include "runtime/container.h"

namespace snap::runtime {

/// What Docker sets when the image sets no PATH.
inline constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Paths to try in order: the name itself when it has a '/', otherwise one per absolute directory of `path`. Relative
/// and empty entries of PATH are skipped: the image's working directory is no place to look for programs.
std::vector<std::string> ExecCandidates(std::string_view name, std::string_view path);

/// Why the last execve did not happen.
struct ExecFailure {
  Errno error{0};
  bool is_directory = false;
  bool no_interpreter = false;  ///< the file exists, but not the interpreter or loader that it names
};
/// 127 not found, 126 found but not executable, 125 for failures of the system.
LaunchError ExplainExec(std::string_view name, const ExecFailure& failure);

}  // namespace snap::runtime
