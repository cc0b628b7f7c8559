// The mounts of a container, as Docker gives them, prepared by the parent as far as they do not depend on the child's
// namespaces. What does (proc, sysfs, mqueue, cgroup2) is only planned here and made in the child.
// Invariant: everything is a detached descriptor; nothing appears in the caller's mount namespace, and all of it dies
// with its last descriptor or with the container's mount namespace.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "runtime/container.h"
#include "runtime/target.h"

namespace snap::runtime {

/// Names inside the staging tmpfs, which never gets a place in the container itself; single files and the empty
/// directory of it do.
inline constexpr std::array<const char*, 3> kStagedFiles = {"hostname", "hosts", "resolv.conf"};
inline constexpr const char* kStagedEmptyDir = "empty";

/// One mount, in order. Exactly one of fs_type, prepared, staged and console says what is mounted.
struct PlannedMount {
  std::string what;               ///< for messages: "mount '/proc'"
  std::string target;             ///< path in the rootfs without leading '/'
  TargetKind kind = TargetKind::kDirectory;
  Symlinks symlinks = Symlinks::kRefuse;
  const char* fs_type = nullptr;  ///< made by the child, in its own namespaces
  uint64_t attributes = 0;        ///< MOUNT_ATTR_* for fs_type
  UniqueFd prepared;              ///< a detached mount
  int staged = -1;                ///< index into kStagedFiles
  bool console = false;           ///< the container's end of its pty
  bool from_user = false;         ///< a -v bind: may not cover the root or anything on procfs
};

struct RootfsPlan {
  UniqueFd rootfs;       ///< detached, propagation private
  UniqueFd staging;      ///< detached tmpfs
  UniqueFd null_device;  ///< detached bind of the host's /dev/null, checked to be device 1:3
  UniqueFd devpts;       ///< detached; attached by the entry of `mounts` whose target is dev/pts
  std::vector<PlannedMount> mounts;
};

/// Errors: as of the system calls; kInvalidArgument for a bind target that may not be covered.
/// Host side effect: the source directory of a bind that does not exist is made (mode 0755), as Docker's -v does.
Result<RootfsPlan> PlanRootfs(const ContainerSpec& spec, const std::string& hostname, UniqueFd rootfs);

}  // namespace snap::runtime
