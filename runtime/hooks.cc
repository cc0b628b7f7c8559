// A hook's input is a memory file: it never waits for us, nor we for it to read.
#include "runtime/hooks.h"

#include <fcntl.h>

#include <cerrno>
#include <chrono>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_program.h"

namespace snap::runtime {

Result<void> RunHooks(const std::vector<HookSpec>& hooks, std::string_view kind, std::string_view state) {
  constexpr std::chrono::hours kNoLimit(24 * 365);
  constexpr size_t kMaxOutput = 4096;
  for (const HookSpec& hook : hooks) {
    SNAP_TRY_SYS(const UniqueFd input, sys::MemfdCreate("state", 0), "make a memory file for a hook");
    SNAP_TRY_SYS_VOID(sys::WriteAll(input, state), "write the state for a hook");
    SNAP_TRY_SYS(const uint64_t start, sys::Seek(input, 0, SEEK_SET), "rewind the state for a hook");
    (void)start;
    const sys::ProgramCall call{.path = hook.path,
                                .words = hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args,
                                .environment = hook.env,
                                .input = input};
    const auto timeout = hook.timeout_seconds ? std::chrono::milliseconds(std::chrono::seconds(*hook.timeout_seconds)) : kNoLimit;
    SNAP_TRY_SYS(const sys::ProgramResult run, sys::RunProgramWith(call, timeout, kMaxOutput), "run {} hook {}", kind, Quote(hook.path));
    if (run.timed_out) {
      return MakeError(ErrorCode::kCancelled, "run {} hook {}: it took more than {} seconds and was killed", kind, Quote(hook.path),
                       *hook.timeout_seconds);
    }
    if (run.status.ShellCode() == 0) continue;
    std::string said = run.err;
    while (said.ends_with('\n')) said.pop_back();
    return MakeError(ErrorCode::kCancelled, "run {} hook {}: exit status {}{}{}", kind, Quote(hook.path), run.status.ShellCode(),
                     said.empty() ? "" : ": ", said);
  }
  return {};
}

}  // namespace snap::runtime
