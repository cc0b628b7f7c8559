// Success is the report "ready" followed by the end of the pipe, which only a successful exec brings about; an end without it is a death.
#include "runtime/launch.h"

#include <cerrno>
#include <span>
#include <utility>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "runtime/exec_path.h"
#include "runtime/spec.h"

namespace snap::runtime {
namespace {

LaunchError OwnFailure(Error error) { return LaunchError{125, std::move(error)}; }

std::string SubjectOf(const Plan& plan, std::string_view name, size_t index) {
  if ((name == "mounts" || name == "file_systems") && index < plan.rootfs.mounts.size()) return plan.rootfs.mounts[index].what;
  if (name == "masked_paths" && index < plan.masked_paths.size()) return Quote(plan.masked_paths[index]);
  if (name == "read_only_paths" && index < plan.read_only_paths.size()) return Quote(plan.read_only_paths[index]);
  if (name == "working_dir") return Quote(plan.working_dir);
  if (name == "sysctls" && index < plan.sysctls.size()) return Quote(plan.sysctls[index].first);
  if (name == "host_devices" && index < plan.devices.size()) return Quote(plan.devices[index].host_path);
  if (name == "devices") return index < plan.devices.size() ? Quote("/" + plan.devices[index].path) : "the links in '/dev'";
  if (name == "create_container_hooks" && index < plan.create_container.size()) return Quote(plan.create_container[index].path);
  if (name == "start_container_hooks" && index < plan.start_container.size()) return Quote(plan.start_container[index].path);
  if (name == "limits" && index < plan.limits.size()) return std::string(LimitName(plan.limits[index].resource));
  return "";
}

}  // namespace

LaunchError ExplainReport(const Plan& plan, std::span<const ChildStep> steps, const ChildReport& report) {
  const auto step = static_cast<size_t>(report.step);
  const Errno error(report.error);
  if (report.step < 0 || step >= steps.size()) {
    return OwnFailure(MakeError(ErrorCode::kInternal, "the container's first process sent a malformed report"));
  }
  const std::string_view name = steps[step].name;
  if (name == "exec" || name == "program") {
    return ExplainExec(plan.args[0], {.error = error,
                                      .is_directory = (report.flags & ChildReport::kIsDirectory) != 0,
                                      .no_interpreter = (report.flags & ChildReport::kNoInterpreter) != 0});
  }
  const auto index = static_cast<size_t>(report.index);
  std::string what = steps[step].what == nullptr ? "" : steps[step].what;
  if (const std::string subject = SubjectOf(plan, name, index); !subject.empty()) what += (what.empty() ? "" : " ") + subject;
  if (name == "mounts" && error == ELOOP && index < plan.rootfs.mounts.size() &&
      plan.rootfs.mounts[index].symlinks == Symlinks::kRefuse) {
    return OwnFailure(MakeError(ErrorCode::kInvalidArgument, "{}: the image has a symlink in its place", what));
  }
  if (error == ECANCELED) return OwnFailure(MakeError(ErrorCode::kCancelled, "{}: it failed", what));
  if (error == ETIMEDOUT) return OwnFailure(MakeError(ErrorCode::kCancelled, "{}: it took too long and was killed", what));
  return OwnFailure(Error(error, what));
}

namespace {

/// One launch on its way.
class Launcher {
 public:
  Launcher(Plan& plan, std::span<const ChildStep> steps, const OnReport& on_report)
      : plan_(plan), steps_(steps), on_report_(on_report) {}

  Result<Launched, LaunchError> Run() {
    // No signal may run a handler of this process in the child.
    const SysResult<sigset_t> mask = sys::BlockAllSignals();
    if (!mask.ok()) return OwnFailure(Error(mask.error(), "block signals"));
    const std::optional<Errno> injected = fault::g_armed ? fault::Reach("runtime.prepare.clone") : std::nullopt;
    const SysResult<pid_t> pid = injected ? *injected : sys::CloneProcess(plan_.clone_flags, launched_.pidfd);
    if (pid.ok() && *pid == 0) RunChild(plan_, steps_);
    (void)sys::SetSignalMask(*mask);  // it was this thread's mask a moment ago
    if (!pid.ok()) return OwnFailure(Error(pid.error(), "clone into new namespaces"));
    launched_.pid = *pid;
    plan_.report_out.Reset();     // or the pipe would never end
    plan_.go_in.Reset();
    plan_.terminal.peer.Reset();  // or the terminal would never hang up
    plan_.start_listener.Reset();
    plan_.console_socket.Reset();
    std::optional<LaunchError> failure = Follow();
    if (!failure) return std::move(launched_);
    (void)sys::PidfdSendSignal(launched_.pidfd, SIGKILL);  // it has ended or is ending; never left behind
    (void)sys::WaitPidfd(launched_.pidfd);
    return *std::move(failure);
  }

 private:
  std::optional<LaunchError> Follow() {
    bool ready = false;
    for (;;) {
      ChildReport report;
      const SysResult<size_t> got = sys::Read(plan_.report_in, std::as_writable_bytes(std::span(&report, 1)));
      if (!got.ok()) return OwnFailure(Error(got.error(), "read the container's report"));
      if (*got == 0 && ready) return std::nullopt;
      if (*got == 0) {
        return OwnFailure(MakeError(ErrorCode::kIo, "the container's first process died before it could start the program"));
      }
      if (*got != sizeof report) {
        return OwnFailure(MakeError(ErrorCode::kInternal, "the container's first process sent a malformed report"));
      }
      if (report.step >= 0) return ExplainReport(plan_, steps_, report);
      if (report.step == ChildReport::kCreated) return std::nullopt;
      if (report.step == ChildReport::kReady) {
        ready = true;
      } else if (report.step == ChildReport::kEntered) {
        if (auto failure = Follow(report.index)) return failure;
      } else if (auto failure = Answer(report.step)) {
        return failure;
      }
    }
  }

  /// The process goes on as another; the one so far has ended.
  std::optional<LaunchError> Follow(pid_t pid) {
    SysResult<UniqueFd> pidfd = sys::PidfdOpen(pid);
    (void)sys::WaitPidfd(launched_.pidfd);
    launched_.pid = pid;
    if (!pidfd.ok()) {
      (void)sys::SendSignal(pid, SIGKILL);
      return OwnFailure(Error(pidfd.error(), "open the container's first process"));
    }
    launched_.pidfd = *std::move(pidfd);
    return std::nullopt;
  }

  std::optional<LaunchError> Answer(int32_t step) {
    if (on_report_ == nullptr) return OwnFailure(MakeError(ErrorCode::kInternal, "the container's first process sent a malformed report"));
    Result<void> answered = on_report_(step, launched_.pid);
    if (!answered.ok()) return OwnFailure(std::move(answered).error());
    constexpr std::byte kGo[1]{};
    const SysResult<void> told = sys::WriteAll(plan_.go_out, std::span<const std::byte>(kGo));
    if (!told.ok()) return OwnFailure(Error(told.error(), "let the container's first process go on"));
    return std::nullopt;
  }

  Plan& plan_;
  const std::span<const ChildStep> steps_;
  const OnReport& on_report_;
  Launched launched_;
};

}  // namespace

Result<Launched, LaunchError> Launch(Plan& plan, std::span<const ChildStep> steps, const OnReport& on_report) {
  return Launcher(plan, steps, on_report).Run();
}

}  // namespace snap::runtime
