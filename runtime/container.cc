// A container of `snap run`: planned from its spec, launched, and held by its pidfd.
#include "runtime/container.h"

#include <utility>

#include "fs/base/sys_process.h"
#include "runtime/child.h"
#include "runtime/launch.h"
#include "runtime/plan.h"

namespace snap::runtime {

Result<Container, LaunchError> Container::Start(const ContainerSpec& spec, UniqueFd rootfs) {
  Plan plan;
  if (Result<void> prepared = Prepare(spec, std::move(rootfs), plan); !prepared.ok()) {
    return LaunchError{125, std::move(prepared).error()};
  }
  Result<Launched, LaunchError> launched = Launch(plan, ChildSteps(), nullptr);
  if (!launched.ok()) return std::move(launched).error();
  return Container(launched->pid, std::move(launched->pidfd), std::move(plan.terminal.master));
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
