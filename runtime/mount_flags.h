// The options of a mount in a runtime specification, taken apart: attributes of the mount, flags and data of its file system,
// propagation, and what the runtime itself does. Source: runtime-spec config.md "Mounts", mount(8). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/result.h"
#include "runtime/spec.h"

namespace snap::runtime {

struct MountFlags {
  bool bind = false;            ///< "bind" or "rbind"
  bool recursive = false;       ///< "rbind"
  uint64_t set = 0, clear = 0;  ///< MOUNT_ATTR_* of this mount; what is in neither stays as it is
  uint64_t set_recursive = 0, clear_recursive = 0;  ///< the same for all mounts below: "rro", ...
  std::optional<uint64_t> propagation;              ///< MS_PRIVATE, ... for mount_setattr
  bool propagate_recursively = false;
  bool copy_up = false;         ///< "tmpcopyup": a tmpfs starts with what it covers
  bool idmapped = false, idmapped_recursively = false;  ///< "idmap", "ridmap"
  /// Of the file system: a key and its value, or a flag (nullopt).
  std::vector<std::pair<std::string, std::optional<std::string>>> data;
};

/// Errors: kInvalidArgument for an option that contradicts another or does not fit ("tmpcopyup" of what is no tmpfs), naming it. What
/// is not known here is the file system's affair.
Result<MountFlags> ParseMountFlags(const MountSpec& mount);

/// MS_PRIVATE and the like, with MS_REC: of linux.rootfsPropagation. kUnset: 0.
uint64_t PropagationFlags(Propagation propagation);

}  // namespace snap::runtime
