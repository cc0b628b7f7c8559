// What the program may do. Invariant: privileges only go down; a filter that needs privilege to be installed is installed before they
// go, any other as the last thing.
#include <fcntl.h>
#include <linux/seccomp.h>

#include <array>
#include <cerrno>

#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_seccomp.h"
#include "fs/base/sys_seqpacket.h"
#include "runtime/child_steps.h"

namespace snap::runtime::steps {
namespace {

SysResult<void> InstallSeccomp(Child& child) {
  if (child.plan.seccomp.empty()) return {};
  SNAP_TRY(const UniqueFd listener, sys::InstallSeccomp(child.plan.seccomp, child.plan.seccomp_flags));
  if (!child.plan.seccomp_notify) return {};
  std::array<std::byte, 16384> state;
  SNAP_TRY(const size_t size, sys::PRead(child.plan.seccomp_state, state, 0));
  const std::array<FdRef, 1> fds = {listener};
  return sys::SendPacket(child.plan.seccomp_socket, std::span<const std::byte>(state).first(size), fds);
}

}  // namespace

SysResult<void> AwaitState(Child& child) {
  if (!child.plan.seccomp_notify) return {};
  return Rendezvous(child, ChildReport::kWantsState);
}

// While the host's procfs is in sight: a low score needs the right of the host.
SysResult<void> SetOomScore(Child& child) {
  if (child.plan.oom_score_adj.empty()) return {};
  SNAP_TRY(const UniqueFd file, sys::OpenAt(FdRef::Cwd(), "/proc/self/oom_score_adj", O_WRONLY));
  return sys::WriteAll(file, child.plan.oom_score_adj);
}

SysResult<void> SetLimits(Child& child) {
  for (size_t i = 0; i < child.plan.limits.size(); ++i) {
    child.report.index = static_cast<int32_t>(i);
    const PlannedLimit& limit = child.plan.limits[i];
    SNAP_TRY_VOID(sys::SetResourceLimit(limit.resource, limit.soft, limit.hard));
  }
  return {};
}

SysResult<void> SetScheduling(Child& child) {
  if (child.plan.scheduler) SNAP_TRY_VOID(sys::SetScheduler(*child.plan.scheduler));
  if (child.plan.io_priority) SNAP_TRY_VOID(sys::SetIoPriority(*child.plan.io_priority));
  if (!child.plan.affinity.empty()) SNAP_TRY_VOID(sys::SetAffinity(child.plan.affinity));
  return {};
}

// Opened by descriptor of the procfs that was mounted here, checked to be one: a file of the image in its place would take the label
// and do nothing (CVE-2019-16884, CVE-2025-52881).
SysResult<void> OpenLabel(Child& child) {
  if (child.plan.exec_label.empty()) return {};
  SNAP_TRY(child.label_file, sys::OpenProcSelf(child.plan.exec_label_file.c_str(), O_WRONLY));
  return {};
}

SysResult<void> WriteLabel(Child& child) {
  if (!child.label_file) return {};
  return sys::WriteAll(child.label_file, child.plan.exec_label);
}

SysResult<void> InstallSeccompEarly(Child& child) { return child.plan.no_new_privileges ? SysResult<void>() : InstallSeccomp(child); }
SysResult<void> InstallSeccompLate(Child& child) { return child.plan.no_new_privileges ? InstallSeccomp(child) : SysResult<void>(); }

SysResult<void> NoNewPrivileges(Child& child) {
  if (!child.plan.no_new_privileges) return {};
  return sys::SetNoNewPrivileges();
}

SysResult<void> LimitBounding(Child& child) {
  SNAP_TRY_VOID(sys::ClearAmbientCapabilities());
  return sys::LimitBoundingSet(child.plan.bounding);
}

SysResult<void> SetGroups(Child& child) { return ChangeGroups(child, child.plan.user.groups); }
SysResult<void> SetGid(Child& child) { return sys::SetGid(child.plan.user.gid); }

SysResult<void> SetUid(Child& child) {
  if (child.plan.capabilities.permitted != 0) SNAP_TRY_VOID(sys::KeepCapabilities(true));
  SNAP_TRY_VOID(sys::SetUid(child.plan.user.uid));
  return sys::SetDumpable(false);
}

SysResult<void> SetCapabilities(Child& child) {
  SNAP_TRY_VOID(sys::SetCapabilities(child.plan.capabilities));
  SNAP_TRY_VOID(sys::KeepCapabilities(false));
  return sys::RaiseAmbientCapabilities(child.plan.ambient);
}

SysResult<void> SetPersonality(Child& child) {
  sys::SetUmask(child.plan.umask);
  if (!child.plan.personality) return {};
  return sys::SetPersonality(*child.plan.personality);
}

}  // namespace snap::runtime::steps
