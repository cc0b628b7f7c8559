// Which namespaces and cgroup the child is in, and what it is there. Invariant: a namespace that is joined was opened by the parent;
// no name is looked up here but that of this process' own files in the host's procfs.
#include <fcntl.h>
#include <linux/sched.h>

#include <cerrno>
#include <string_view>

#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "runtime/child_steps.h"

namespace snap::runtime::steps {

SysResult<void> ArmParentDeath(Child& child) {
  if (!child.plan.dies_with_launcher) return {};
  SNAP_TRY_VOID(sys::SetParentDeathSignal(SIGKILL));
  // The signal is armed now; a launcher that died before has no way to send it any more.
  SNAP_TRY(const bool orphaned, sys::HasExited(child.plan.launcher));
  if (orphaned) sys::ExitNow(125);
  return {};
}

SysResult<void> ForbidInspection(Child&) { return sys::SetDumpable(false); }

SysResult<void> ResetSignals(Child& child) {
  sys::ResetSignalActions();
  sys::SetUmask(022);  // the container's own comes later
  (void)child;
  return {};
}

SysResult<void> JoinCgroup(Child& child) {
  if (!child.plan.initial_affinity.empty()) SNAP_TRY_VOID(sys::SetAffinity(child.plan.initial_affinity));
  for (const UniqueFd& procs : child.plan.cgroup_procs) SNAP_TRY_VOID(sys::WriteAll(procs, std::string_view("0")));
  return {};
}

// A namespace may belong to the host's user namespace, whose rights are lost by joining another, or to the one that is joined: what is
// not allowed before is tried again after.
SysResult<void> JoinNamespaces(Child& child) {
  const std::vector<Plan::Join>& joins = child.plan.joins;
  uint64_t again = 0;
  bool joins_user = false;
  for (size_t i = 0; i < joins.size(); ++i) {
    child.report.index = static_cast<int32_t>(i);
    if (joins[i].types == CLONE_NEWUSER) {
      joins_user = true;
      continue;
    }
    const SysResult<void> joined = sys::EnterNamespaces(joins[i].ns, joins[i].types);
    if (joined.ok()) continue;
    if (!(joined.error() == EPERM) || joins.size() == 1) return joined;
    again |= uint64_t{1} << i;
  }
  for (size_t i = 0; i < joins.size() && (joins_user || again != 0); ++i) {
    child.report.index = static_cast<int32_t>(i);
    if (joins[i].types == CLONE_NEWUSER) SNAP_TRY_VOID(sys::EnterNamespaces(joins[i].ns, joins[i].types));
  }
  for (size_t i = 0; i < joins.size(); ++i) {
    child.report.index = static_cast<int32_t>(i);
    if ((again >> i & 1U) != 0) SNAP_TRY_VOID(sys::EnterNamespaces(joins[i].ns, joins[i].types));
  }
  if (child.plan.unshare_joined == 0) return {};
  return sys::Unshare(child.plan.unshare_joined);
}

// Only a child of a process that has joined a pid namespace is in it. This one is the launcher's child, as its parent was, who ends.
SysResult<void> CloneIntoJoined(Child& child) {
  if (!child.plan.clones_again) return {};
  SNAP_TRY(const pid_t pid, sys::CloneSibling(0));
  if (pid == 0) return {};
  ChildReport report;
  report.step = ChildReport::kEntered;
  report.index = pid;
  (void)SendReport(child, report);
  sys::ExitNow(0);
}

SysResult<void> AwaitMaps(Child& child) {
  if (!child.plan.waits_for_maps) return {};
  return Rendezvous(child, ChildReport::kWantsMaps);
}

SysResult<void> BecomeRoot(Child& child) {
  if (!child.plan.becomes_root) return {};
  SNAP_TRY_VOID(ChangeGroups(child, {}));
  SNAP_TRY_VOID(sys::SetGid(0));
  SNAP_TRY_VOID(sys::SetUid(0));
  return sys::SetDumpable(false);  // a change of the user id may have changed it
}

SysResult<void> UnshareLate(Child& child) {
  if (child.plan.unshare_flags == 0) return {};
  SNAP_TRY_VOID(sys::Unshare(child.plan.unshare_flags));
  if (child.plan.time_offsets.empty()) return {};
  SNAP_TRY(const UniqueFd file, sys::OpenAt(FdRef::Cwd(), "/proc/self/timens_offsets", O_WRONLY));
  return sys::WriteAll(file, child.plan.time_offsets);
}

SysResult<void> NewKeyring(Child&) {
  const SysResult<void> joined = sys::JoinNewSessionKeyring();
  if (!joined.ok() && joined.error() == ENOSYS) return {};  // a kernel without keys has none to share
  return joined;
}

SysResult<void> SetHostname(Child& child) {
  if (child.plan.hostname.empty()) return {};
  return sys::SetHostname(child.plan.hostname.data(), child.plan.hostname.size());
}

SysResult<void> SetDomainname(Child& child) {
  if (child.plan.domainname.empty()) return {};
  return sys::SetDomainname(child.plan.domainname.data(), child.plan.domainname.size());
}

SysResult<void> Loopback(Child& child) {
  if (!child.plan.loopback) return {};
  return sys::LoopbackUp();
}

}  // namespace snap::runtime::steps
