// The mounts of a container, as Docker gives them, prepared by the parent as far as they do not depend on the child's
// namespaces. What does (proc, sysfs, mqueue, cgroup2) is only planned here and made in the child.
// Invariant: everything is a detached descriptor; nothing appears in the caller's mount namespace, and all of it dies
// with its last descriptor or with the container's mount namespace.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
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

/// One mount, in order. Exactly one of fs_type, host_source, prepared, staged and console says what is mounted.
struct PlannedMount {
  std::string what;               ///< for messages: "mount '/proc'"
  std::string target;             ///< path in the rootfs without leading '/'
  TargetKind kind = TargetKind::kDirectory;
  Symlinks symlinks = Symlinks::kRefuse;
  std::string fs_type;            ///< made by the child, in its own namespaces
  std::string fs_source;          ///< what the mount table calls it; "": fs_type
  std::vector<std::pair<std::string, std::optional<std::string>>> data;  ///< options of the file system; without a value: a flag
  uint64_t attributes = 0;        ///< MOUNT_ATTR_* for fs_type
  bool copy_up = false;           ///< it starts with what it covers
  std::string host_source;        ///< opened by the child in its copy of the host's mounts
  bool recursive = false;
  UniqueFd prepared;              ///< a detached mount
  // Of host_source, and of fs_type in the end:
  uint64_t set = 0, clear = 0, set_recursive = 0, clear_recursive = 0;  ///< MOUNT_ATTR_*
  std::optional<uint64_t> propagation;                                  ///< MS_*
  bool propagate_recursively = false;
  UniqueFd id_mapping;            ///< a user namespace; invalid: ids as they are
  int staged = -1;                ///< index into kStagedFiles
  bool console = false;           ///< the container's end of its pty
  bool from_user = false;         ///< a -v bind: may not cover the root or anything on procfs
};

/// Gives a detached mount its attributes and propagation, all but read-only for a new file system: that comes when everything is
/// mounted. Allocates nothing.
SysResult<void> ApplyAttributes(const PlannedMount& mount, FdRef made);
/// Mount points may have to be made in it.
bool IsReadOnlyLate(const PlannedMount& mount);

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
