// The order matters: ids are mapped before anything needs them; propagation is cut before anything is attached; what is made in the
// host's sight (file systems, which the kernel refuses to a namespace that sees no full procfs, and sources of binds) is made before
// the host's root goes, and no path of the image is resolved before it has gone, unless hooks want to see both; what needs privilege
// comes before the credentials; descriptors of the host are closed before the program's path is looked at.
#include "runtime/child.h"

#include <cerrno>

#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_seqpacket.h"
#include "runtime/child_steps.h"

namespace snap::runtime {

using namespace steps;  // NOLINT(google-build-using-namespace): the tables are what this file is

bool IsMissing(Errno error) { return error == ENOENT || error == ENOTDIR; }

bool SendReport(const Child& child, const ChildReport& report) {
  const auto bytes = std::as_bytes(std::span(&report, 1));
  if (child.start) return sys::SendPacket(child.start, bytes, {}).ok();
  return sys::Write(child.plan.report_out, bytes).ok();
}

SysResult<void> Rendezvous(const Child& child, int32_t step) {
  ChildReport report;
  report.step = step;
  if (!SendReport(child, report)) return Errno(EPIPE);
  std::byte go{};
  SNAP_TRY(const size_t got, sys::Read(child.plan.go_in, std::span(&go, 1)));
  if (got != 1) return Errno(EPIPE);
  return {};
}

SysResult<void> ChangeGroups(const Child& child, std::span<const gid_t> groups) {
  const SysResult<void> changed = sys::SetGroups(groups);
  if (!changed.ok() && changed.error() == EPERM && child.plan.may_keep_groups && groups.empty()) return {};
  return changed;
}

namespace {

constexpr ChildStep kSteps[] = {
    {"parent_death", "tie the container to the launcher's life", ArmParentDeath},
    {"dumpable", "forbid inspection of the launcher", ForbidInspection},
    {"signals", "reset signals", ResetSignals},
    {"cgroup", "enter the cgroup", JoinCgroup},
    {"join", "join namespaces", JoinNamespaces},
    {"clone", "start a process in the namespaces", CloneIntoJoined},
    {"maps", "wait for the mapping of ids", AwaitMaps},
    {"become_root", "become root of the user namespace", BecomeRoot},
    {"unshare", "make the cgroup and time namespaces", UnshareLate},
    {"state", "wait for the state", AwaitState},
    {"session", "start a session", StartSession},
    {"keyring", "start a session keyring", NewKeyring},
    {"hostname", "set the hostname", SetHostname},
    {"domainname", "set the domain name", SetDomainname},
    {"loopback", "bring up the loopback interface", Loopback},
    {"propagation", "cut mount propagation from the host", CutPropagation},
    {"staging", "attach the container's own files", TakeStaged},
    {"rootfs", "open the rootfs", OpenRoot},
    {"file_systems", nullptr, MakeMounts},
    {"host_devices", "open the host's", OpenDevices},
    {"sysctls", "set", WriteSysctls},
    {"oom_score", "set the OOM score", SetOomScore},
    {"root", "attach the rootfs", AttachRootEarly},
    {"root_at_path", "attach the rootfs where hooks look for it", AttachRootAtPath},
    {"pivot", "make the rootfs the root", PivotEarly},
    {"old_root", "detach the host's root", DetachOldRootEarly},
    {"mounts", nullptr, AttachMounts},
    {"devices", "make", MakeDevices},
    {"hooks", "wait for the hooks", AwaitHooks},
    {"create_container_hooks", "run createContainer hook", RunCreateContainerHooks},
    {"late_pivot", "make the rootfs the root", PivotLate},
    {"late_old_root", "detach the host's root", DetachOldRootLate},
    {"masked_paths", "mask", MaskPaths},
    {"read_only_paths", "make read-only", MakePathsReadOnly},
    {"console", "open the console", OpenConsole},
    {"label", "look for the security label", OpenLabel},
    {"working_dir", "enter working directory", EnterWorkingDir},
    {"read_only_root", "make the rootfs read-only", MakeRootReadOnly},
    {"root_propagation", "set the propagation of the rootfs", SetRootPropagation},
    {"streams", "connect the standard streams", StandardStreams},
    {"descriptors", "close the host's descriptors", CloseDescriptors},
    {"limits", "set resource limit", SetLimits},
    {"scheduling", "set the scheduling", SetScheduling},
    {"seccomp", "install the seccomp filter", InstallSeccompEarly},
    {"bounding_set", "limit the capability bounding set", LimitBounding},
    {"groups", "set supplementary groups", SetGroups},
    {"gid", "set the group id", SetGid},
    {"uid", "set the user id", SetUid},
    {"capabilities", "set capabilities", SetCapabilities},
    {"no_new_privileges", "set no_new_privs", NoNewPrivileges},
    {"personality", "set the execution domain", SetPersonality},
    {"program", nullptr, CheckProgram},
    {"start", "wait for the start", AwaitStart},
    {"start_container_hooks", "run startContainer hook", RunStartContainerHooks},
    // Again, because a change of credentials makes the kernel forget it.
    {"parent_death_again", "tie the container to the launcher's life", ArmParentDeath},
    {"write_label", "set the security label", WriteLabel},
    {"late_seccomp", "install the seccomp filter", InstallSeccompLate},
    {"signal_mask", "unblock signals", UnblockSignals},
    {"exec", nullptr, Exec},
};

constexpr ChildStep kExecSteps[] = {
    {"dumpable", "forbid inspection of the launcher", ForbidInspection},
    {"signals", "reset signals", ResetSignals},
    {"cgroup", "enter the container's cgroup", JoinCgroup},
    {"oom_score", "set the OOM score", SetOomScore},
    {"join", "join the container's namespaces", JoinNamespaces},
    {"clone", "start a process in the container", CloneIntoJoined},
    {"become_root", "become root of the user namespace", BecomeRoot},
    {"state", "wait for the state", AwaitState},
    {"session", "start a session", StartSession},
    {"keyring", "start a session keyring", NewKeyring},
    {"console", "open the console", OpenConsole},
    {"label", "look for the security label", OpenLabel},
    {"working_dir", "enter working directory", EnterWorkingDir},
    {"streams", "connect the standard streams", StandardStreams},
    {"descriptors", "close the host's descriptors", CloseDescriptors},
    {"limits", "set resource limit", SetLimits},
    {"scheduling", "set the scheduling", SetScheduling},
    {"seccomp", "install the seccomp filter", InstallSeccompEarly},
    {"bounding_set", "limit the capability bounding set", LimitBounding},
    {"groups", "set supplementary groups", SetGroups},
    {"gid", "set the group id", SetGid},
    {"uid", "set the user id", SetUid},
    {"capabilities", "set capabilities", SetCapabilities},
    {"no_new_privileges", "set no_new_privs", NoNewPrivileges},
    {"personality", "set the execution domain", SetPersonality},
    {"write_label", "set the security label", WriteLabel},
    {"late_seccomp", "install the seccomp filter", InstallSeccompLate},
    {"signal_mask", "unblock signals", UnblockSignals},
    {"exec", nullptr, Exec},
};

SysResult<void> RunStep(Child& child, std::span<const ChildStep> steps, size_t step) {
  if (child.plan.fault_step == static_cast<int>(step)) [[unlikely]] {
    if (child.plan.fault.sleep_ms > 0) sys::SleepMilliseconds(child.plan.fault.sleep_ms);
    if (child.plan.fault.kill) sys::ExitNow(137);  // SIGKILL from itself does nothing to a pid 1
    if (child.plan.fault.error != 0) return Errno(child.plan.fault.error);
  }
  return steps[step].run(child);
}

}  // namespace

std::span<const ChildStep> ChildSteps() { return kSteps; }
std::span<const ChildStep> ExecSteps() { return kExecSteps; }

void RunChild(Plan& plan, std::span<const ChildStep> steps) {
  Child child{.plan = plan};
  for (size_t step = 0; step < steps.size(); ++step) {
    child.report.index = 0;
    const SysResult<void> done = RunStep(child, steps, step);
    if (done.ok()) continue;
    child.report.step = static_cast<int32_t>(step);
    child.report.error = done.error().code();
    (void)SendReport(child, child.report);  // a launcher that is gone asks for no reason
    break;
  }
  sys::ExitNow(125);
}

}  // namespace snap::runtime
