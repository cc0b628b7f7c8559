// UnionBackend on snap-fuse: the same trees where the kernel has no overlayfs or EROFS, or does not let us use them.
#pragma once

#include <memory>
#include <string>

#include "fs/union_backend.h"

namespace snap {

struct FuseBackendOptions {
  /// The program that serves mounts; looked for in PATH unless it has a slash.
  std::string server = "snap-fuse";
};

/// Every mount has a server process of its own, in a session of its own, that ends with the mount: when the last mount of the tree
/// and the last descriptor of it are gone. A server that is killed leaves a tree whose every use is an error (ENOTCONN).
/// Packed layers are read by the server, so CanMountPacked never fails; MountPackedLayer does (kUnsupported): a union does not show
/// whiteouts. Uppers have the kernel's marks, so one can be mounted by either backend in turn.
/// Never fails: what is missing is said by MountStacked and Features.
std::shared_ptr<UnionBackend> MakeFuseBackend(FuseBackendOptions options = {});

}  // namespace snap
