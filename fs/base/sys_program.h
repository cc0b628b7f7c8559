// Runs other programs for what they print. Errors: the kernel's errno. Threads: safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
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
/// The same with what a program can be given beside its words.
inline constexpr int kFirstInherited = 3;
struct ProgramCall {
  std::string path = {};                   ///< "": words[0]
  std::vector<std::string> words = {};
  std::optional<std::vector<std::string>> environment = std::nullopt;  ///< nullopt: this process'
  FdRef input{-1};                         ///< its standard input; invalid: /dev/null
  /// Found as its descriptors kFirstInherited, + 1, ... in this order. What it leaves running in a session of its own keeps them.
  std::span<const FdRef> inherited = {};
};
SysResult<ProgramResult> RunProgramWith(const ProgramCall& call, std::chrono::milliseconds timeout, size_t max_bytes);

}  // namespace snap::sys
