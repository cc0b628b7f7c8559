// Mount points and directories inside a hostile rootfs: resolved once, made when missing, held by descriptor.
// Invariant: whatever the rootfs holds, the result is inside `root`; a name is never resolved twice for one use.
// Runs in the cloned child: nothing here allocates.
#pragma once

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::runtime {

enum class TargetKind { kDirectory, kFile };
enum class Symlinks {
  kRefuse,  ///< ELOOP: where a symlink can only be an attack (/proc, /sys, /dev)
  kInside,  ///< followed as a chroot would see them; a dangling one is followed to the place that is then made
};

/// An O_PATH descriptor of `path` (relative to `root`; a leading '/' means the root too). Missing directories are made
/// with mode 0755 and a missing file empty with 0644, less the umask.
/// Errors: ELOOP for refused, looping or magic symlinks; ENOTDIR or EISDIR for the wrong kind; EROFS and the like when
/// something cannot be made; ENAMETOOLONG.
SysResult<UniqueFd> OpenOrMakeTarget(FdRef root, const char* path, TargetKind kind, Symlinks symlinks);

}  // namespace snap::runtime
