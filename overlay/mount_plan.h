// MountPlan: a MountStack that was checked and turned into what overlayfs shall be asked for.
// Invariant: a plan has 1..500 lowers (the objects counted), all directories, and an upper only when it is to
// be written.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fs/base/result.h"
#include "fs/union_backend.h"
#include "overlay/mount_options.h"

namespace snap::overlay {

struct MountPlan {
  struct Lower {
    FdRef directory;
    bool detached = false;  ///< the root of a mount that is in no namespace
  };
  std::vector<Lower> lowers_top_first;
  std::optional<FdRef> objects;  ///< a data-only layer below all
  std::optional<MountStack::Upper> upper;
  /// overlayfs refuses a single lower without an upper: an empty directory goes below it. (The layer itself,
  /// cloned read-only, would show its whiteouts as devices.)
  bool needs_empty_bottom = false;
  Behaviour behaviour;
  uint64_t attributes = 0;  ///< MOUNT_ATTR_*
};

/// The mount that a packed lower has become.
struct PackedRoot {
  UniqueFd root;
  bool detached = true;
};

/// What can be checked before packed lowers are mounted. Errors: kInvalidArgument (no lower, too many),
/// kUnsupported (packed lowers with user_xattr).
Result<void> CheckStack(const MountStack& stack, const MountOptions& options);

/// Checks the layers and chooses the shape. `packed`: one per packed lower, in their order; the stack has
/// passed CheckStack. The plan borrows both arguments' descriptors. A read-only mount of a stack with an
/// upper takes the upper as its topmost lower: overlayfs empties the work directory when it mounts, which
/// must not happen under a running container. (With 500 lowers there is no room for that; such an upper is
/// mounted as one, read-only.) Errors: kInvalidArgument (not a directory, upper and work apart). Cost: one
/// fstat per layer.
Result<MountPlan> PlanMount(const MountStack& stack, std::span<const PackedRoot> packed,
                            const MountOptions& options);

}  // namespace snap::overlay
