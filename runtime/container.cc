// The parent's side of a launch: prepare, clone, and wait for the child's word. Success is the report "ready" followed
// by the end of the pipe, which only a successful exec brings about; an end without it is a death.
#include "runtime/container.h"

#include <cerrno>
#include <span>
#include <utility>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "runtime/child.h"
#include "runtime/exec_path.h"
#include "runtime/plan.h"

namespace snap::runtime {
namespace {

LaunchError OwnFailure(Error error) { return LaunchError{125, std::move(error)}; }

LaunchError Explain(const Plan& plan, const ChildReport& report) {
  const std::span<const ChildStep> steps = ChildSteps();
  const auto step = static_cast<size_t>(report.step);
  const Errno error(report.error);
  if (step >= steps.size()) {
    return OwnFailure(MakeError(ErrorCode::kInternal, "the container's first process sent a malformed report"));
  }
  if (step + 1 == steps.size()) {
    return ExplainExec(plan.args[0], {.error = error,
                                      .is_directory = (report.flags & ChildReport::kIsDirectory) != 0,
                                      .no_interpreter = (report.flags & ChildReport::kNoInterpreter) != 0});
  }
  const std::string_view name = steps[step].name;
  const auto index = static_cast<size_t>(report.index);
  std::string what = steps[step].what == nullptr ? "" : steps[step].what;
  if (name == "mounts" && index < plan.rootfs.mounts.size()) {
    const PlannedMount& mount = plan.rootfs.mounts[index];
    what = mount.what;
    if (error == ELOOP && mount.symlinks == Symlinks::kRefuse) {
      return OwnFailure(MakeError(ErrorCode::kInvalidArgument, "{}: the image has a symlink in its place", what));
    }
  } else if (name == "masked_paths" && index < plan.masked_paths.size()) {
    what += " " + Quote(plan.masked_paths[index]);
  } else if (name == "read_only_paths" && index < plan.read_only_paths.size()) {
    what += " " + Quote(plan.read_only_paths[index]);
  } else if (name == "working_dir") {
    what += " " + Quote(plan.working_dir);
  }
  return OwnFailure(Error(error, what));
}

// nullopt: the child reached its exec.
Result<std::optional<ChildReport>> AwaitExec(FdRef pipe) {
  bool ready = false;
  for (;;) {
    ChildReport report;
    SNAP_TRY_SYS(const size_t got, sys::Read(pipe, std::as_writable_bytes(std::span(&report, 1))),
                 "read the container's report");
    if (got == 0 && ready) return std::optional<ChildReport>();
    if (got == 0) {
      return MakeError(ErrorCode::kIo, "the container's first process died before it could start the program");
    }
    if (got != sizeof report) {
      return MakeError(ErrorCode::kInternal, "the container's first process sent a malformed report");
    }
    if (report.step != ChildReport::kReady) return std::optional(report);
    ready = true;
  }
}

}  // namespace

Result<Container, LaunchError> Container::Start(const ContainerSpec& spec, UniqueFd rootfs) {
  Plan plan;
  if (Result<void> prepared = Prepare(spec, std::move(rootfs), plan); !prepared.ok()) {
    return OwnFailure(std::move(prepared).error());
  }

  Container container;
  // No signal may run a handler of this process in the child.
  const SysResult<sigset_t> mask = sys::BlockAllSignals();
  if (!mask.ok()) return OwnFailure(Error(mask.error(), "block signals"));
  const std::optional<Errno> injected = fault::g_armed ? fault::Reach("runtime.prepare.clone") : std::nullopt;
  const SysResult<pid_t> pid = injected ? *injected : sys::CloneProcess(plan.clone_flags, container.pidfd_);
  if (pid.ok() && *pid == 0) RunChild(plan);
  (void)sys::SetSignalMask(*mask);  // it was this thread's mask a moment ago
  if (!pid.ok()) return OwnFailure(Error(pid.error(), "clone into new namespaces"));
  container.pid_ = *pid;
  container.terminal_ = std::move(plan.terminal.master);
  plan.report_out.Reset();      // or the pipe would never end
  plan.terminal.peer.Reset();   // or the terminal would never hang up

  Result<std::optional<ChildReport>> report = AwaitExec(plan.report_in);
  if (report.ok() && !report->has_value()) return container;
  (void)container.Signal(SIGKILL);  // it has ended or is ending; never left behind
  (void)container.Wait();
  if (!report.ok()) return OwnFailure(std::move(report).error());
  return Explain(plan, **report);
}

Result<void> Container::Signal(int signal) {
  SNAP_TRY_SYS_VOID(sys::PidfdSendSignal(pidfd_, signal), "send signal {} to the container", signal);
  return {};
}

Result<sys::ExitStatus> Container::Wait() {
  SNAP_TRY_SYS(const sys::ExitStatus status, sys::WaitPidfd(pidfd_), "wait for the container");
  return status;
}

}  // namespace snap::runtime
