// From the finished container to its program: hooks, the wait for the start, the search, the exec.
#include <fcntl.h>
#include <signal.h>

#include <array>
#include <cerrno>

#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_seqpacket.h"
#include "fs/base/sys_terminal.h"
#include "runtime/child_steps.h"

namespace snap::runtime::steps {
namespace {

[[noreturn]] void BecomeHook(const Child& child, const PlannedHook& hook) {
  const bool ready = sys::Seek(child.plan.hook_state, 0, SEEK_SET).ok() && sys::DupTo(child.plan.hook_state, 0).ok() &&
                     sys::ClearSignalMask().ok();
  // Descriptors of ours are close-on-exec.
  if (ready) (void)sys::Execve(hook.path.c_str(), hook.argv.data(), hook.envp.data());
  sys::ExitNow(127);
}

/// A hook that fails or takes too long fails the container: ECANCELED, ETIMEDOUT.
SysResult<void> RunHooks(Child& child, const std::vector<PlannedHook>& hooks) {
  for (size_t i = 0; i < hooks.size(); ++i) {
    child.report.index = static_cast<int32_t>(i);
    UniqueFd pidfd;
    SNAP_TRY(const pid_t pid, sys::CloneProcess(0, pidfd));
    if (pid == 0) BecomeHook(child, hooks[i]);
    std::optional<int> code;
    if (hooks[i].timeout_ms < 0) {
      SNAP_TRY(code, sys::WaitChild(pid));
    } else {
      SNAP_TRY(code, sys::WaitChildFor(pid, hooks[i].timeout_ms));
      if (!code) {
        (void)sys::PidfdSendSignal(pidfd, SIGKILL);
        (void)sys::WaitChild(pid);
        return Errno(ETIMEDOUT);
      }
    }
    if (*code != 0) return Errno(ECANCELED);
  }
  return {};
}

}  // namespace

SysResult<void> AwaitHooks(Child& child) {
  if (!child.plan.parent_hooks && child.plan.create_container.empty()) return {};
  return Rendezvous(child, ChildReport::kMounted);
}

SysResult<void> RunCreateContainerHooks(Child& child) { return RunHooks(child, child.plan.create_container); }
SysResult<void> RunStartContainerHooks(Child& child) { return RunHooks(child, child.plan.start_container); }

// Who creates a container wants to know then that its program is not there. What happens to be true at the exec counts in the end.
SysResult<void> CheckProgram(Child& child) {
  if (!child.plan.checks_program) return {};
  Errno failure(ENOENT);
  for (const char* path : child.plan.exec_paths) {
    if (sys::IsDirectory(path)) {
      if (child.plan.searched) continue;
      child.report.flags = ChildReport::kIsDirectory;
      return Errno(EACCES);
    }
    const SysResult<void> runnable = sys::CanExecute(path);
    if (runnable.ok()) return {};
    if (!IsMissing(runnable.error())) failure = runnable.error();
  }
  return failure;
}

SysResult<void> AwaitStart(Child& child) {
  if (!child.plan.start_listener) return {};
  ChildReport created;
  created.step = ChildReport::kCreated;
  if (!SendReport(child, created)) return Errno(EPIPE);
  for (;;) {
    std::array<pollfd, 1> waiting = {pollfd{child.plan.start_listener.get(), POLLIN, 0}};
    SNAP_TRY(const size_t ready, sys::Poll(waiting));
    if (ready == 0) continue;
    SysResult<UniqueFd> caller = sys::AcceptPackets(child.plan.start_listener);
    if (!caller.ok()) continue;  // it has gone again
    std::byte go{};
    const SysResult<size_t> got = sys::Read(*caller, std::span(&go, 1));
    if (!got.ok() || *got != 1) continue;
    child.start = std::move(*caller);
    child.plan.start_listener.Reset();
    child.plan.report_out.Reset();
    return {};
  }
}

SysResult<void> UnblockSignals(Child&) { return sys::ClearSignalMask(); }

// execvp's rules: what is not there is passed over, what may not be run is remembered, anything else ends the search.
SysResult<void> Exec(Child& child) {
  const ChildReport ready;
  if (!SendReport(child, ready) && !child.start) sys::ExitNow(125);
  Errno failure(ENOENT);
  for (const char* path : child.plan.exec_paths) {
    const Errno error = sys::Execve(path, child.plan.argv.data(), child.plan.envp.data());
    if (IsMissing(error)) {
      if (error == ENOENT && sys::Exists(path)) {
        child.report.flags = ChildReport::kNoInterpreter;
        return error;
      }
      if (!child.plan.searched) return error;
      continue;
    }
    if (!(error == EACCES)) return error;
    if (sys::IsDirectory(path)) {
      if (child.plan.searched) continue;
      child.report.flags = ChildReport::kIsDirectory;
    }
    failure = error;
  }
  return failure;
}

}  // namespace snap::runtime::steps
