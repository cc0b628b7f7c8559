// Read the table at the end first. The order matters: propagation is cut before anything is attached; the old root is
// gone before any path of the image is resolved ("/.." would step onto a root stacked above); what needs privilege
// comes before the credentials; descriptors of the host are closed before the program's path is looked at.
#include "runtime/child.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"

namespace snap::runtime {

struct Child {
  const Plan& plan;
  std::array<UniqueFd, kStagedFiles.size()> staged;
  UniqueFd empty_dir;
  bool null_attached = false;
  bool empty_attached = false;
  ChildReport report;
};

namespace {

FdRef Root(const Child& child) { return child.plan.rootfs.rootfs; }

SysResult<void> ArmParentDeath(Child& child) {
  SNAP_TRY_VOID(sys::SetParentDeathSignal(SIGKILL));
  // The signal is armed now; a launcher that died before has no way to send it any more.
  SNAP_TRY(const bool orphaned, sys::HasExited(child.plan.launcher));
  if (orphaned) sys::ExitNow(125);
  return {};
}

SysResult<void> ForbidInspection(Child&) { return sys::SetDumpable(false); }

SysResult<void> ResetSignals(Child&) {
  sys::ResetSignalActions();
  sys::SetUmask(022);
  return {};
}

SysResult<void> StartSession(Child& child) {
  SNAP_TRY_VOID(sys::NewSession());
  if (!child.plan.terminal.peer) return {};
  return sys::SetControllingTerminal(child.plan.terminal.peer);
}

SysResult<void> NewKeyring(Child&) {
  const SysResult<void> joined = sys::JoinNewSessionKeyring();
  if (!joined.ok() && joined.error() == ENOSYS) return {};  // a kernel without keys has none to share
  return joined;
}

SysResult<void> SetHostname(Child& child) {
  return sys::SetHostname(child.plan.hostname.data(), child.plan.hostname.size());
}

SysResult<void> Loopback(Child& child) {
  if (!child.plan.loopback) return {};
  return sys::LoopbackUp();
}

SysResult<void> CutPropagation(Child&) { return sys::Mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr); }

SysResult<void> CloneStaged(Child& child) {
  const FdRef staging = child.plan.rootfs.staging;
  for (size_t i = 0; i < child.staged.size(); ++i) {
    SNAP_TRY(child.staged[i], sys::OpenTree(staging, kStagedFiles[i], OPEN_TREE_CLONE));
  }
  SNAP_TRY(child.empty_dir, sys::OpenTree(staging, kStagedEmptyDir, OPEN_TREE_CLONE));
  return sys::MountSetAttr(child.empty_dir, MOUNT_ATTR_RDONLY, 0, 0, false);
}

SysResult<void> TakeStaged(Child& child) {
  if (!child.plan.attach_staging) {
    const SysResult<void> cloned = CloneStaged(child);
    if (cloned.ok() || !(cloned.error() == EINVAL)) return cloned;
  }
  // Before 6.15 only what is attached can be cloned: the tmpfs goes above the old root for as long as that takes.
  // Unmounting it costs an RCU grace period, which is why it is not the first choice.
  // FALLBACK: remove when kernel >= 6.15 is the baseline.
  const FdRef staging = child.plan.rootfs.staging;
  SNAP_TRY_VOID(sys::MoveMountAt(staging, FdRef::Cwd(), "/"));
  SNAP_TRY_VOID(CloneStaged(child));
  SNAP_TRY_VOID(sys::ChangeDir(staging));
  return sys::Unmount(".", MNT_DETACH);
}

SysResult<void> AttachRoot(Child& child) { return sys::MoveMountAt(Root(child), FdRef::Cwd(), "/"); }

SysResult<void> Pivot(Child& child) {
  SNAP_TRY_VOID(sys::ChangeDir(Root(child)));
  return sys::PivotRoot(".", ".");
}

SysResult<void> DetachOldRoot(Child& child) {
  SNAP_TRY_VOID(sys::Unmount(".", MNT_DETACH));  // the old root is on top of the new one
  SNAP_TRY_VOID(sys::ChangeDir(Root(child)));
  // Proof that nothing is stacked there any more: ".." of the root would step onto it.
  SNAP_TRY(const struct statx root, sys::StatX(Root(child), "", AT_EMPTY_PATH, STATX_MNT_ID));
  SNAP_TRY(const struct statx above, sys::StatX(FdRef::Cwd(), "/..", 0, STATX_MNT_ID));
  if ((root.stx_mask & above.stx_mask & STATX_MNT_ID) == 0 || root.stx_mnt_id != above.stx_mnt_id) return Errno(EXDEV);
  return {};
}

SysResult<UniqueFd> MakeInNamespace(const PlannedMount& mount) {
  SNAP_TRY(const UniqueFd context, sys::FsOpen(mount.fs_type));
  SNAP_TRY_VOID(sys::FsConfigString(context, "source", mount.fs_type));
  SNAP_TRY_VOID(sys::FsConfigCreate(context));
  return sys::FsMount(context, mount.attributes);
}

// A user's target may be a symlink of the image's making; it must not have led to the root or into /proc.
SysResult<void> CheckUserTarget(FdRef root, FdRef target) {
  SNAP_TRY(const struct statfs fs, sys::FStatFs(target));
  if (fs.f_type == PROC_SUPER_MAGIC) return Errno(EPERM);
  SNAP_TRY(const struct stat at_root, sys::FStat(root));
  SNAP_TRY(const struct stat at_target, sys::FStat(target));
  if (at_root.st_dev == at_target.st_dev && at_root.st_ino == at_target.st_ino) return Errno(EINVAL);
  return {};
}

SysResult<void> AttachMounts(Child& child) {
  const std::vector<PlannedMount>& mounts = child.plan.rootfs.mounts;
  for (size_t i = 0; i < mounts.size(); ++i) {
    const PlannedMount& mount = mounts[i];
    child.report.index = static_cast<int32_t>(i);
    SNAP_TRY(const UniqueFd target, OpenOrMakeTarget(Root(child), mount.target.c_str(), mount.kind, mount.symlinks));
    if (mount.from_user) SNAP_TRY_VOID(CheckUserTarget(Root(child), target));
    if (mount.fs_type != nullptr) {
      SNAP_TRY(const UniqueFd made, MakeInNamespace(mount));
      SNAP_TRY_VOID(sys::MoveMountTo(made, target));
    } else if (mount.console) {
      SNAP_TRY(const UniqueFd pty, sys::OpenTree(child.plan.terminal.peer, "", OPEN_TREE_CLONE | AT_EMPTY_PATH));
      SNAP_TRY_VOID(sys::MoveMountTo(pty, target));
    } else if (mount.staged >= 0) {
      SNAP_TRY_VOID(sys::MoveMountTo(child.staged[static_cast<size_t>(mount.staged)], target));
    } else {
      SNAP_TRY_VOID(sys::MoveMountTo(mount.prepared, target));
    }
  }
  return {};
}

// An existing path of the kernel's file systems that we mounted; no symlink can be on the way.
SysResult<UniqueFd> OpenKernelPath(const Child& child, const char* path) {
  return sys::OpenAt2(Root(child), path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS);
}

// The first use attaches the mount itself, later ones clone it from there.
SysResult<void> Cover(FdRef mount, bool& attached, FdRef target) {
  if (!attached) {
    attached = true;
    return sys::MoveMountTo(mount, target);
  }
  SNAP_TRY(const UniqueFd clone, sys::OpenTree(mount, "", OPEN_TREE_CLONE | AT_EMPTY_PATH));
  return sys::MoveMountTo(clone, target);
}

bool IsMissing(Errno error) { return error == ENOENT || error == ENOTDIR; }

SysResult<void> MaskPaths(Child& child) {
  const std::vector<const char*>& paths = child.plan.masked_paths;
  for (size_t i = 0; i < paths.size(); ++i) {
    child.report.index = static_cast<int32_t>(i);
    const SysResult<UniqueFd> target = OpenKernelPath(child, paths[i]);
    if (!target.ok() && IsMissing(target.error())) continue;  // not in this kernel
    if (!target.ok()) return target.error();
    SNAP_TRY(const struct stat status, sys::FStat(*target));
    if (S_ISDIR(status.st_mode)) {
      SNAP_TRY_VOID(Cover(child.empty_dir, child.empty_attached, *target));
    } else {
      SNAP_TRY_VOID(Cover(child.plan.rootfs.null_device, child.null_attached, *target));
    }
  }
  return {};
}

SysResult<void> MakePathsReadOnly(Child& child) {
  const std::vector<const char*>& paths = child.plan.read_only_paths;
  for (size_t i = 0; i < paths.size(); ++i) {
    child.report.index = static_cast<int32_t>(i);
    const SysResult<UniqueFd> target = OpenKernelPath(child, paths[i]);
    if (!target.ok() && IsMissing(target.error())) continue;
    if (!target.ok()) return target.error();
    SNAP_TRY(const UniqueFd clone, sys::OpenTree(*target, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE));
    SNAP_TRY_VOID(sys::MountSetAttr(clone, MOUNT_ATTR_RDONLY, 0, 0, true));
    SNAP_TRY_VOID(sys::MoveMountTo(clone, *target));
  }
  return {};
}

SysResult<void> EnterWorkingDir(Child& child) {
  {
    SNAP_TRY(const UniqueFd dir, OpenOrMakeTarget(Root(child), child.plan.working_dir.c_str(), TargetKind::kDirectory,
                                                  Symlinks::kInside));
    SNAP_TRY_VOID(sys::ChangeDir(dir));
  }
  // "(unreachable)/..." would be a directory of the host (CVE-2024-21626).
  char path[4096];
  SNAP_TRY(const size_t size, sys::WorkingDir(path));
  if (size == 0 || path[0] != '/') return Errno(EXDEV);
  return {};
}

SysResult<void> MakeRootReadOnly(Child& child) {
  if (!child.plan.read_only_rootfs) return {};
  return sys::MountSetAttr(Root(child), MOUNT_ATTR_RDONLY, 0, 0, false);
}

SysResult<void> StandardStreams(Child& child) {
  for (int fd = 0; fd < 3; ++fd) {
    SNAP_TRY_VOID(child.plan.terminal.peer ? sys::DupTo(child.plan.terminal.peer, fd) : sys::KeepOverExec(FdRef(fd)));
  }
  return {};
}

// Only the report and the launcher's pidfd stay; both are close-on-exec, and neither is a way to a file.
SysResult<void> CloseDescriptors(Child& child) {
  const auto report = static_cast<unsigned>(child.plan.report_out.get());
  const auto launcher = static_cast<unsigned>(child.plan.launcher.get());
  const unsigned low = std::min(report, launcher);
  const unsigned high = std::max(report, launcher);
  if (low > 3) SNAP_TRY_VOID(sys::CloseRange(3, low - 1));
  if (high - low > 1) SNAP_TRY_VOID(sys::CloseRange(low + 1, high - 1));
  return sys::CloseRange(high + 1, ~0U);
}

SysResult<void> LimitBounding(Child& child) {
  SNAP_TRY_VOID(sys::ClearAmbientCapabilities());
  return sys::LimitBoundingSet(child.plan.bounding);
}

SysResult<void> SetGroups(Child& child) { return sys::SetGroups(child.plan.user.groups); }
SysResult<void> SetGid(Child& child) { return sys::SetGid(child.plan.user.gid); }
SysResult<void> SetUid(Child& child) { return sys::SetUid(child.plan.user.uid); }

SysResult<void> SetCapabilities(Child& child) {
  return sys::SetCapabilities({child.plan.permitted, child.plan.permitted, 0});
}

SysResult<void> NoNewPrivileges(Child& child) {
  if (!child.plan.no_new_privileges) return {};
  return sys::SetNoNewPrivileges();
}

SysResult<void> UnblockSignals(Child&) { return sys::ClearSignalMask(); }

bool SendReport(const Child& child, const ChildReport& report) {
  return sys::Write(child.plan.report_out, std::as_bytes(std::span(&report, 1))).ok();
}

// execvp's rules: what is not there is passed over, what may not be run is remembered, anything else ends the search.
SysResult<void> Exec(Child& child) {
  const ChildReport ready;
  if (!SendReport(child, ready)) sys::ExitNow(125);
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

constexpr ChildStep kSteps[] = {
    {"parent_death", "tie the container to the launcher's life", ArmParentDeath},
    {"dumpable", "forbid inspection of the launcher", ForbidInspection},
    {"signals", "reset signals", ResetSignals},
    {"session", "start a session", StartSession},
    {"keyring", "start a session keyring", NewKeyring},
    {"hostname", "set the hostname", SetHostname},
    {"loopback", "bring up the loopback interface", Loopback},
    {"propagation", "cut mount propagation from the host", CutPropagation},
    {"staging", "attach the container's own files", TakeStaged},
    {"root", "attach the rootfs", AttachRoot},
    {"pivot", "make the rootfs the root", Pivot},
    {"old_root", "detach the host's root", DetachOldRoot},
    {"mounts", nullptr, AttachMounts},
    {"masked_paths", "mask", MaskPaths},
    {"read_only_paths", "make read-only", MakePathsReadOnly},
    {"working_dir", "enter working directory", EnterWorkingDir},
    {"read_only_root", "make the rootfs read-only", MakeRootReadOnly},
    {"streams", "connect the standard streams", StandardStreams},
    {"descriptors", "close the host's descriptors", CloseDescriptors},
    {"bounding_set", "limit the capability bounding set", LimitBounding},
    {"groups", "set supplementary groups", SetGroups},
    {"gid", "set the group id", SetGid},
    {"uid", "set the user id", SetUid},
    {"capabilities", "set capabilities", SetCapabilities},
    {"no_new_privileges", "set no_new_privs", NoNewPrivileges},
    // Again, because a change of credentials makes the kernel forget it.
    {"parent_death_again", "tie the container to the launcher's life", ArmParentDeath},
    {"signal_mask", "unblock signals", UnblockSignals},
    {"exec", nullptr, Exec},
};

SysResult<void> RunStep(Child& child, size_t step) {
  if (child.plan.fault_step == static_cast<int>(step)) [[unlikely]] {
    if (child.plan.fault.sleep_ms > 0) sys::SleepMilliseconds(child.plan.fault.sleep_ms);
    if (child.plan.fault.kill) sys::ExitNow(137);  // SIGKILL from itself does nothing to a pid 1
    if (child.plan.fault.error != 0) return Errno(child.plan.fault.error);
  }
  return kSteps[step].run(child);
}

}  // namespace

std::span<const ChildStep> ChildSteps() { return kSteps; }

void RunChild(const Plan& plan) {
  Child child{plan, {}, {}, false, false, {}};
  for (size_t step = 0; step < std::size(kSteps); ++step) {
    child.report.index = 0;
    const SysResult<void> done = RunStep(child, step);
    if (done.ok()) continue;
    child.report.step = static_cast<int32_t>(step);
    child.report.error = done.error().code();
    (void)SendReport(child, child.report);  // a launcher that is gone asks for no reason
    break;
  }
  sys::ExitNow(125);
}

}  // namespace snap::runtime
