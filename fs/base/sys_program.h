// Runs other programs for what they print. Errors: the kernel's errno. Threads: safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/sys_process.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

struct ProgramResult {
  ExitStatus status;
  std::string out, err;
  bool timed_out = false;  ///< it was killed, with what it had started
};

/// Runs `words` (the program is looked for in PATH unless it has a slash) with /dev/null as standard input,
/// until it has ended or the time is over. Of each of its outputs the first `max_bytes` are kept, the rest is
/// read and dropped. Errors: ENOENT when there is no such program, EACCES, ENOMEM.
SysResult<ProgramResult> RunProgram(const std::vector<std::string>& words, std::chrono::milliseconds timeout,
                                    size_t max_bytes);
/// The same for a program that is given files: it finds `inherited` as its descriptors kFirstInherited, + 1, ... in this order.
/// What it leaves running in a session of its own keeps them.
inline constexpr int kFirstInherited = 3;
SysResult<ProgramResult> RunProgram(const std::vector<std::string>& words, std::span<const FdRef> inherited,
                                    std::chrono::milliseconds timeout, size_t max_bytes);

}  // namespace snap::sys
