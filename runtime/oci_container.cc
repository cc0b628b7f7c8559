#include "runtime/oci_container.h"

#include <fcntl.h>
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <ctime>

#include "fs/base/log.h"
#include "fs/base/quote.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "runtime/hooks.h"

namespace snap::runtime {

LaunchError OwnFailure(Error error) { return LaunchError{125, std::move(error)}; }

LaunchError InEngineWords(LaunchError failure, const std::string& program) {
  const bool searched = program.find('/') == std::string::npos;
  const ErrorCode code = failure.error.code();
  if (failure.exit_code == 127) {
    return {127, MakeError(code, "exec: \"{}\": {}", program,
                           searched ? std::string("executable file not found in $PATH")
                                    : fmt::format("stat {}: no such file or directory", program))};
  }
  if (failure.exit_code == 126) {
    const bool directory = failure.error.message().find("is a directory") != std::string::npos;
    const bool denied = failure.error.cause() == EACCES || failure.error.cause() == EPERM;
    return {126, MakeError(code, "exec: \"{}\": {}", program,
                           directory ? "is a directory" : denied ? "permission denied" : failure.error.message())};
  }
  return failure;
}

Result<Existing> OpenExisting(const RuntimeOptions& options, const std::string& id) {
  SNAP_TRY(StateDir dir, StateDir::Open(options.root, id));
  SNAP_TRY(State state, dir.Load());
  SNAP_TRY(const CgroupLayout layout, ReadCgroupLayout());
  Cgroup cgroup = Cgroup::Open(layout, state.cgroups);
  return Existing{std::move(dir), std::move(state), std::move(cgroup)};
}

Status StatusOf(const Existing& container) {
  if (!IsAlive(container.state)) return container.state.pid == 0 ? Status::kCreating : Status::kStopped;
  if (sys::StatAt(container.dir.fd(), StateDir::kSocket).ok()) return Status::kCreated;
  const Result<bool> frozen = container.cgroup.IsFrozen();
  return frozen.ok() && *frozen ? Status::kPaused : Status::kRunning;
}

std::string HookState(const State& state, std::string_view status) {
  Json json = {{"ociVersion", state.oci_version}, {"id", state.id}, {"status", status}, {"bundle", state.bundle}};
  if (state.pid != 0) json["pid"] = state.pid;
  if (!state.annotations.empty()) json["annotations"] = state.annotations;
  return DumpJson(json);
}

Result<void> WritePidFile(const std::string& path, pid_t pid) {
  const size_t slash = path.rfind('/');
  const std::string aside = (slash == std::string::npos ? "" : path.substr(0, slash + 1)) + "." +
                            path.substr(slash == std::string::npos ? 0 : slash + 1) + "." + sys::RandomHex128().substr(0, 8);
  {
    SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(FdRef::Cwd(), aside.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644), "write pid file {}",
                 Quote(path));
    const SysResult<void> written = sys::WriteAll(file, std::to_string(pid));
    if (!written.ok()) {
      (void)sys::UnlinkAt(FdRef::Cwd(), aside.c_str());
      return Error(written.error(), "write pid file " + Quote(path));
    }
  }
  const SysResult<void> renamed = sys::RenameAt(FdRef::Cwd(), aside.c_str(), FdRef::Cwd(), path.c_str());
  if (renamed.ok()) return {};
  (void)sys::UnlinkAt(FdRef::Cwd(), aside.c_str());
  return Error(renamed.error(), "write pid file " + Quote(path));
}

Result<void> Destroy(Existing container) {
  if (IsAlive(container.state)) {
    const SysResult<UniqueFd> pidfd = sys::PidfdOpen(container.state.pid);
    // Asked again, now that the number cannot become another's.
    if (pidfd.ok() && IsAlive(container.state)) {
      (void)sys::PidfdSendSignal(*pidfd, SIGKILL);
      (void)container.cgroup.Thaw();
      const FdRef waited(*pidfd);
      (void)sys::PollReadable(std::span(&waited, 1), std::chrono::seconds(10));
    }
  }
  if (!container.state.cgroups.empty()) {
    SNAP_TRY_VOID(container.cgroup.Signal(SIGKILL));
    SNAP_TRY_VOID(container.cgroup.Remove());
  }
  State stopped = container.state;
  stopped.pid = 0;
  const Result<std::string> config = container.dir.LoadConfig();
  const Result<Spec> spec = config.ok() ? ParseSpec(*config) : Result<Spec>(config.error());
  SNAP_TRY_VOID(std::move(container.dir).Remove());
  if (!spec.ok()) return {};  // of one that died while it was being made
  for (const HookSpec& hook : spec->hooks.poststop) {
    const Result<void> ran = RunHooks({hook}, "poststop", HookState(stopped, "stopped"));
    if (!ran.ok()) log::Warning("{}, going on", ran.error().message());
  }
  return {};
}

std::string Now() {
  timespec now{};
  (void)clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  (void)gmtime_r(&now.tv_sec, &utc);
  char text[64];
  const size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  return fmt::format("{}.{:09}Z", std::string_view(text, size), now.tv_nsec);
}

}  // namespace snap::runtime
