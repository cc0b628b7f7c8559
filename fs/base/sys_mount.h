// System calls on mounts: the descriptor-based API (fsopen, fsconfig, fsmount, open_tree, move_mount) and mount(2).
// Invariant: mounts are held as descriptors until attached; a detached mount dies with its last descriptor.
// Errors: the kernel's errno. Threads: safe.
#pragma once

#include <linux/mount.h>

#include <cstdint>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

SysResult<UniqueFd> FsOpen(const char* fs_type);
/// String values are limited to 255 bytes by the kernel.
SysResult<void> FsConfigString(FdRef context, const char* key, const char* value);
SysResult<void> FsConfigFlag(FdRef context, const char* key);
/// FSCONFIG_SET_FD: the option takes a descriptor (overlayfs layers since 6.13, proc's pidns).
SysResult<void> FsConfigFd(FdRef context, const char* key, FdRef value);
SysResult<void> FsConfigCreate(FdRef context);
/// A detached mount. `attributes` are MOUNT_ATTR_*.
SysResult<UniqueFd> FsMount(FdRef context, uint64_t attributes);
/// What the kernel wrote to the context's message log, e.g. "overlay: lowerdir+ must be absolute"; "" when nothing.
std::string FsContextMessages(FdRef context);

/// `flags` are OPEN_TREE_* and AT_*; OPEN_TREE_CLOEXEC is added.
SysResult<UniqueFd> OpenTree(FdRef dir, const char* path, unsigned flags);
/// Attaches a detached mount onto an open directory or file.
SysResult<void> MoveMountTo(FdRef mount, FdRef target);
/// Attaches a detached mount at a path below `dir`.
SysResult<void> MoveMountAt(FdRef mount, FdRef dir, const char* path);
/// mount_setattr(2) on an open mount; `recursive` adds AT_RECURSIVE.
SysResult<void> MountSetAttr(FdRef mount, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive);
/// Gives an open detached mount the id mapping of a user namespace.
SysResult<void> MountSetIdmap(FdRef mount, FdRef user_namespace);

/// mount(2). `data` at most one page.
SysResult<void> Mount(const char* source, const char* target, const char* fs_type, unsigned long flags,
                      const char* data);
/// MNT_DETACH and UMOUNT_NOFOLLOW; <sys/mount.h>, which has them, cannot be included beside <linux/mount.h>.
inline constexpr int kUnmountDetach = 2;
inline constexpr int kUnmountNoFollow = 8;
SysResult<void> Unmount(const char* path, int flags);
/// pivot_root(2).
SysResult<void> PivotRoot(const char* new_root, const char* put_old);

/// One line of /proc/self/mountinfo, unescaped.
struct MountInfo {
  uint64_t id, parent_id;
  std::string root, mount_point, fs_type, source, super_options;
};
/// Cost O(mounts of the namespace).
SysResult<std::vector<MountInfo>> ListMounts();

}  // namespace snap::sys
