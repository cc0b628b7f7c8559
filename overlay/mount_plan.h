// MountPlan: a MountStack that was checked and turned into what overlayfs shall be asked for.
// Invariant: a plan has 1..500 lowers, all directories, and an upper only when it is to be written.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "fs/base/result.h"
#include "fs/union_backend.h"
#include "overlay/mount_options.h"

namespace snap::overlay {

struct MountPlan {
  std::vector<FdRef> lowers_top_first;
  std::optional<MountStack::Upper> upper;
  /// overlayfs refuses a single lower without an upper: an empty directory goes below it. (The layer itself,
  /// cloned read-only, would show its whiteouts as devices.)
  bool needs_empty_bottom = false;
  Behaviour behaviour;
  uint64_t attributes = 0;  ///< MOUNT_ATTR_*
};

/// Checks the layers and chooses the shape. The plan borrows the stack's descriptors.
/// A read-only mount of a stack with an upper takes the upper as its topmost lower: overlayfs empties the
/// work directory when it mounts, which must not happen under a running container. (With 500 lowers there is
/// no room for that; such an upper is mounted as one, read-only.) Errors: kInvalidArgument (no lower, too
/// many, not a directory, upper and work apart). Cost: one fstat per layer.
Result<MountPlan> PlanMount(const MountStack& stack, const MountOptions& options);

}  // namespace snap::overlay
