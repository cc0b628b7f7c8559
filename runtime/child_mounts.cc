// The child's tree. Invariant: after the host's root has gone every path is resolved once, inside the root, and what it led to is used by
// descriptor. What is made in the host's sight is detached until then.
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <cerrno>

#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "runtime/child_steps.h"
#include "runtime/tree_copy.h"

namespace snap::runtime::steps {
namespace {

SysResult<void> CloneStaged(Child& child) {
  const FdRef staging = child.plan.rootfs.staging;
  for (size_t i = 0; i < child.staged.size(); ++i) {
    SNAP_TRY(child.staged[i], sys::OpenTree(staging, kStagedFiles[i], OPEN_TREE_CLONE));
  }
  SNAP_TRY(child.empty_dir, sys::OpenTree(staging, kStagedEmptyDir, OPEN_TREE_CLONE));
  return sys::MountSetAttr(child.empty_dir, MOUNT_ATTR_RDONLY, 0, 0, false);
}

SysResult<void> Pivot(Child& child) {
  SNAP_TRY_VOID(sys::ChangeDir(child.Root()));
  return sys::PivotRoot(".", ".");
}

SysResult<void> DetachOldRoot(Child& child) {
  SNAP_TRY_VOID(sys::Unmount(".", MNT_DETACH));  // the old root is on top of the new one
  SNAP_TRY_VOID(sys::ChangeDir(child.Root()));
  // Proof that nothing is stacked there any more: ".." of the root would step onto it.
  SNAP_TRY(const struct statx root, sys::StatX(child.Root(), "", AT_EMPTY_PATH, STATX_MNT_ID));
  SNAP_TRY(const struct statx above, sys::StatX(FdRef::Cwd(), "/..", 0, STATX_MNT_ID));
  if ((root.stx_mask & above.stx_mask & STATX_MNT_ID) == 0 || root.stx_mnt_id != above.stx_mnt_id) return Errno(EXDEV);
  return {};
}

SysResult<UniqueFd> MakeFileSystem(const PlannedMount& mount) {
  SNAP_TRY(const UniqueFd context, sys::FsOpen(mount.fs_type.c_str()));
  const std::string& source = mount.fs_source.empty() ? mount.fs_type : mount.fs_source;
  SNAP_TRY_VOID(sys::FsConfigString(context, "source", source.c_str()));
  for (const auto& [key, value] : mount.data) {
    SNAP_TRY_VOID(value ? sys::FsConfigString(context, key.c_str(), value->c_str()) : sys::FsConfigFlag(context, key.c_str()));
  }
  SNAP_TRY_VOID(sys::FsConfigCreate(context));
  return sys::FsMount(context, mount.attributes);
}

SysResult<UniqueFd> CloneSource(const PlannedMount& mount) {
  const unsigned recursive = mount.recursive ? unsigned{AT_RECURSIVE} : 0U;
  SysResult<UniqueFd> clone = sys::OpenTree(FdRef::Cwd(), mount.host_source.c_str(), OPEN_TREE_CLONE | recursive);
  if (!clone.ok()) return clone;
  if (mount.id_mapping) SNAP_TRY_VOID(sys::MountSetIdmap(*clone, mount.id_mapping));
  return clone;
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

// An existing path of the kernel's file systems that we mounted; no symlink can be on the way.
SysResult<UniqueFd> OpenKernelPath(const Child& child, const char* path) {
  return sys::OpenAt2(child.Root(), path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS);
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

SysResult<void> AttachMount(Child& child, size_t index) {
  const PlannedMount& mount = child.plan.rootfs.mounts[index];
  SNAP_TRY(const UniqueFd target, OpenOrMakeTarget(child.Root(), mount.target.c_str(), mount.kind, mount.symlinks));
  if (mount.from_user) SNAP_TRY_VOID(CheckUserTarget(child.Root(), target));
  if (!mount.fs_type.empty() || !mount.host_source.empty()) {
    const UniqueFd& made = child.plan.made[index];
    if (mount.copy_up) SNAP_TRY_VOID(CopyTree(target, made));
    SNAP_TRY_VOID(ApplyAttributes(mount, made));
    return sys::MoveMountTo(made, target);
  }
  if (mount.console) {
    SNAP_TRY(const UniqueFd pty, sys::OpenTree(child.plan.terminal.peer, "", OPEN_TREE_CLONE | AT_EMPTY_PATH));
    return sys::MoveMountTo(pty, target);
  }
  return sys::MoveMountTo(mount.staged >= 0 ? child.staged[static_cast<size_t>(mount.staged)] : mount.prepared, target);
}

/// The directory of a path below /dev, and its last component.
SysResult<UniqueFd> OpenParent(const Child& child, const std::string& path, const char*& name) {
  char parent[4096];
  const size_t slash = path.rfind('/');
  const size_t size = slash == std::string::npos ? 0 : slash;
  if (size >= sizeof parent) return Errno(ENAMETOOLONG);
  std::copy_n(path.data(), size, parent);
  parent[size] = '\0';
  name = path.c_str() + (slash == std::string::npos ? 0 : slash + 1);
  return OpenOrMakeTarget(child.Root(), size == 0 ? "/" : parent, TargetKind::kDirectory, Symlinks::kRefuse);
}

SysResult<void> BindDevice(Child& child, const PlannedDevice& device) {
  SNAP_TRY(const UniqueFd target, OpenOrMakeTarget(child.Root(), device.path.c_str(), TargetKind::kFile, Symlinks::kRefuse));
  return sys::MoveMountTo(device.host, target);
}

SysResult<void> MakeDevice(Child& child, const PlannedDevice& device) {
  const char* name = nullptr;
  SNAP_TRY(const UniqueFd directory, OpenParent(child, device.path, name));
  SysResult<void> made = sys::MknodAt(directory, name, device.mode, device.device);
  if (!made.ok() && made.error() == EEXIST) {
    // The image's, or of a /dev that is shared: it must be the same device.
    SNAP_TRY(const struct stat there, sys::StatAt(directory, name));
    if ((there.st_mode & S_IFMT) == (device.mode & S_IFMT) && there.st_rdev == device.device) return {};
    if (S_ISDIR(there.st_mode)) return Errno(EISDIR);
    SNAP_TRY_VOID(sys::UnlinkAt(directory, name));
    made = sys::MknodAt(directory, name, device.mode, device.device);
  }
  if (!made.ok()) return made;
  SNAP_TRY_VOID(sys::FChmodAt(directory, name, device.mode & 07777U));
  if (device.uid == 0 && device.gid == 0) return {};
  return sys::FChownAt(directory, name, device.uid, device.gid);
}

constexpr std::pair<const char*, const char*> kDeviceLinks[] = {{"/proc/self/fd", "fd"},
                                                                {"/proc/self/fd/0", "stdin"},
                                                                {"/proc/self/fd/1", "stdout"},
                                                                {"/proc/self/fd/2", "stderr"},
                                                                {"/proc/kcore", "core"}};

SysResult<void> MakeDeviceLinks(Child& child) {
  SNAP_TRY(const UniqueFd dev, OpenOrMakeTarget(child.Root(), "dev", TargetKind::kDirectory, Symlinks::kRefuse));
  for (const auto& [target, name] : kDeviceLinks) {
    const SysResult<void> made = sys::SymlinkAt(target, dev, name);
    if (!made.ok() && !(made.error() == EEXIST)) return made;
  }
  // A terminal must come from the container's own devpts, whatever the image has there.
  const SysResult<void> removed = sys::UnlinkAt(dev, "ptmx");
  if (!removed.ok() && !(removed.error() == ENOENT)) return removed;
  return sys::SymlinkAt("pts/ptmx", dev, "ptmx");
}

}  // namespace

SysResult<void> CutPropagation(Child& child) { return sys::Mount(nullptr, "/", nullptr, child.plan.host_propagation, nullptr); }

SysResult<void> TakeStaged(Child& child) {
  if (!child.plan.rootfs.staging) return {};
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

SysResult<void> OpenRoot(Child& child) {
  if (child.plan.rootfs_path.empty()) return {};
  SNAP_TRY(child.root, sys::OpenTree(FdRef::Cwd(), child.plan.rootfs_path.c_str(), OPEN_TREE_CLONE | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW));
  // What is mounted in here must not appear in the host's tree, whoever its peers were.
  return sys::MountSetAttr(child.root, 0, 0, MS_PRIVATE, false);
}

SysResult<void> MakeMounts(Child& child) {
  const std::vector<PlannedMount>& mounts = child.plan.rootfs.mounts;
  for (size_t i = 0; i < mounts.size(); ++i) {
    child.report.index = static_cast<int32_t>(i);
    if (!mounts[i].fs_type.empty()) {
      SNAP_TRY(child.plan.made[i], MakeFileSystem(mounts[i]));
    } else if (!mounts[i].host_source.empty()) {
      SNAP_TRY(child.plan.made[i], CloneSource(mounts[i]));
    }
  }
  if (!child.plan.rootfs.staging && !child.plan.masked_paths.empty()) {
    SNAP_TRY(child.plan.rootfs.null_device, sys::OpenTree(FdRef::Cwd(), "/dev/null", OPEN_TREE_CLONE));
    SNAP_TRY(const struct stat status, sys::FStat(child.plan.rootfs.null_device));
    if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) return Errno(ENODEV);
    SNAP_TRY(const UniqueFd context, sys::FsOpen("tmpfs"));
    SNAP_TRY_VOID(sys::FsConfigString(context, "mode", "755"));
    SNAP_TRY_VOID(sys::FsConfigString(context, "size", "0"));
    SNAP_TRY_VOID(sys::FsConfigCreate(context));
    SNAP_TRY(child.empty_dir, sys::FsMount(context, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  }
  return {};
}

// The host's devices, while they are in sight.
SysResult<void> OpenDevices(Child& child) {
  for (size_t i = 0; i < child.plan.devices.size() && child.plan.devices_are_bound; ++i) {
    child.report.index = static_cast<int32_t>(i);
    PlannedDevice& device = child.plan.devices[i];
    SNAP_TRY(device.host, sys::OpenTree(FdRef::Cwd(), device.host_path.c_str(), OPEN_TREE_CLONE));
    SNAP_TRY_VOID(sys::MountSetAttr(device.host, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0, MS_PRIVATE, false));
  }
  return {};
}

SysResult<void> AttachRootEarly(Child& child) {
  if (child.plan.attach_at_path) return {};
  return sys::MoveMountAt(child.Root(), FdRef::Cwd(), "/");
}
SysResult<void> AttachRootAtPath(Child& child) {
  if (!child.plan.attach_at_path) return {};
  return sys::MoveMountAt(child.Root(), FdRef::Cwd(), child.plan.rootfs_path.c_str());
}
SysResult<void> PivotEarly(Child& child) { return child.plan.attach_at_path ? SysResult<void>() : Pivot(child); }
SysResult<void> PivotLate(Child& child) { return child.plan.attach_at_path ? Pivot(child) : SysResult<void>(); }
SysResult<void> DetachOldRootEarly(Child& child) { return child.plan.attach_at_path ? SysResult<void>() : DetachOldRoot(child); }
SysResult<void> DetachOldRootLate(Child& child) { return child.plan.attach_at_path ? DetachOldRoot(child) : SysResult<void>(); }

SysResult<void> AttachMounts(Child& child) {
  for (size_t i = 0; i < child.plan.rootfs.mounts.size(); ++i) {
    child.report.index = static_cast<int32_t>(i);
    SNAP_TRY_VOID(AttachMount(child, i));
  }
  for (const auto& [path, target] : child.plan.links) {
    const char* name = nullptr;
    SNAP_TRY(const UniqueFd directory, OpenParent(child, path, name));
    const SysResult<void> linked = sys::SymlinkAt(target.c_str(), directory, name);
    if (!linked.ok() && !(linked.error() == EEXIST)) return linked;
  }
  for (size_t i = 0; i < child.plan.rootfs.mounts.size(); ++i) {
    if (!IsReadOnlyLate(child.plan.rootfs.mounts[i])) continue;
    child.report.index = static_cast<int32_t>(i);
    SNAP_TRY_VOID(sys::MountSetAttr(child.plan.made[i], MOUNT_ATTR_RDONLY, 0, 0, false));
  }
  return {};
}

// Through the procfs that was just made, before anything of the image is near it (CVE-2025-52881).
SysResult<void> WriteSysctls(Child& child) {
  for (size_t i = 0; i < child.plan.sysctls.size(); ++i) {
    child.report.index = static_cast<int32_t>(i);
    const auto& [path, value] = child.plan.sysctls[i];
    const FdRef proc = child.plan.made[static_cast<size_t>(child.plan.proc_mount)];
    SNAP_TRY(const UniqueFd file, sys::OpenAt2(proc, path.c_str(), O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV));
    SNAP_TRY_VOID(sys::WriteAll(file, value));
  }
  return {};
}

SysResult<void> MakeDevices(Child& child) {
  for (size_t i = 0; i < child.plan.devices.size(); ++i) {
    child.report.index = static_cast<int32_t>(i);
    const PlannedDevice& device = child.plan.devices[i];
    SNAP_TRY_VOID(child.plan.devices_are_bound ? BindDevice(child, device) : MakeDevice(child, device));
  }
  child.report.index = -1;
  if (child.plan.device_links) SNAP_TRY_VOID(MakeDeviceLinks(child));
  return {};
}

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
    const char* const path = child.plan.working_dir.c_str();
    // A program that joins a container that runs makes nothing in it.
    const FdRef root = child.Root().valid() ? child.Root() : FdRef(AT_FDCWD);
    SysResult<UniqueFd> dir = child.plan.make_working_dir
                                  ? OpenOrMakeTarget(root, path, TargetKind::kDirectory, Symlinks::kInside)
                                  : sys::OpenAt2(FdRef::Cwd(), path, O_PATH | O_DIRECTORY, RESOLVE_NO_MAGICLINKS);
    if (!dir.ok()) return dir.error();
    SNAP_TRY_VOID(sys::ChangeDir(*dir));
  }
  // "(unreachable)/..." would be a directory of the host (CVE-2024-21626).
  char path[4096];
  SNAP_TRY(const size_t size, sys::WorkingDir(path));
  if (size == 0 || path[0] != '/') return Errno(EXDEV);
  return {};
}

SysResult<void> MakeRootReadOnly(Child& child) {
  if (!child.plan.read_only_rootfs) return {};
  return sys::MountSetAttr(child.Root(), MOUNT_ATTR_RDONLY, 0, 0, false);
}

SysResult<void> SetRootPropagation(Child& child) {
  if (child.plan.root_propagation == 0) return {};
  return sys::MountSetAttr(child.Root(), 0, 0, child.plan.root_propagation & ~static_cast<unsigned long>(MS_REC),
                           (child.plan.root_propagation & MS_REC) != 0);
}

}  // namespace snap::runtime::steps
