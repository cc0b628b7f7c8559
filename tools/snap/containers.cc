#include "tools/snap/containers.h"

#include <cerrno>
#include <csignal>

#include "fs/base/log.h"
#include "fs/base/sys_process.h"

namespace snap::cli {
namespace {

constexpr std::chrono::milliseconds kPatience = std::chrono::seconds(10);

/// A process by pid and start time; invalid when it is gone or the pid belongs to another one now.
Result<UniqueFd> OpenProcess(int64_t pid, uint64_t start_time) {
  if (pid <= 0) return UniqueFd();
  SysResult<UniqueFd> pidfd = sys::PidfdOpen(static_cast<pid_t>(pid));
  if (!pidfd.ok()) {
    if (pidfd.error() == ESRCH) return UniqueFd();
    return Error(pidfd.error(), fmt::format("open process {}", pid));
  }
  // The descriptor first: from here on the pid cannot pass to another process unnoticed.
  const SysResult<uint64_t> started = sys::ProcessStartTime(static_cast<pid_t>(pid));
  if (!started.ok() || *started != start_time) return UniqueFd();
  return *std::move(pidfd);
}

Result<bool> WaitForEnd(FdRef pidfd) {
  const FdRef fds[] = {pidfd};
  SNAP_TRY_SYS(const std::optional<size_t> ended, sys::PollReadable(fds, kPatience), "wait for a process");
  return ended.has_value();
}

Result<void> Kill(FdRef pidfd, int64_t pid) {
  const SysResult<void> sent = sys::PidfdSendSignal(pidfd, SIGKILL);
  if (!sent.ok() && !(sent.error() == ESRCH)) return Error(sent.error(), fmt::format("kill process {}", pid));
  return {};
}

}  // namespace

std::string ShortId(const std::string& id) { return id.substr(0, 12); }

Result<std::vector<ContainerRecord>> ReapContainers(Store& store) {
  SNAP_TRY(std::vector<ContainerRecord> containers, store.Containers());
  std::vector<ContainerRecord> left;
  for (ContainerRecord& container : containers) {
    if (!container.remove_at_exit || container.launcher_pid == 0 || Store::IsRunning(container)) {
      left.push_back(std::move(container));
      continue;
    }
    const Result<void> removed = store.RemoveContainer(container.id);
    if (removed.ok() || removed.error().code() == ErrorCode::kNotFound) continue;
    log::Warning("{}, trying again later", removed.error().message());
    left.push_back(std::move(container));
  }
  // A killed launcher could not give back the image that it shared; what cannot be unmounted is found again next time.
  (void)store.backend().ReleaseUnusedImages();
  return left;
}

Result<void> KillContainer(const ContainerRecord& container) {
  SNAP_TRY(const UniqueFd init, OpenProcess(container.init_pid, container.init_start_time));
  SNAP_TRY(const UniqueFd launcher, OpenProcess(container.launcher_pid, container.launcher_start_time));
  if (init) {
    SNAP_TRY_VOID(Kill(init, container.init_pid));
    if (!launcher) {
      SNAP_TRY(const bool ended, WaitForEnd(init));
      if (ended) return {};
    }
  }
  if (launcher) {
    // Its pid 1 killed, the launcher restores its terminal and cleans up; without one it may be stuck in the
    // set-up.
    if (init) {
      SNAP_TRY(const bool ended, WaitForEnd(launcher));
      if (ended) return {};
    }
    SNAP_TRY_VOID(Kill(launcher, container.launcher_pid));
    SNAP_TRY(const bool ended, WaitForEnd(launcher));
    if (ended) return {};
  }
  if (!init && !launcher) return {};
  return MakeError(ErrorCode::kUnavailable, "container {} does not end, though it was killed",
                   ShortId(container.id));
}

}  // namespace snap::cli
