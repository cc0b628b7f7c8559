// PackedLowers: the mounts that the packed lowers of one stack become, shared ones where that is wanted and
// possible.
#pragma once

#include <memory>
#include <vector>

#include "fs/base/result.h"
#include "fs/union_backend.h"
#include "overlay/erofs_mount.h"
#include "overlay/image_mounts.h"
#include "overlay/mount_plan.h"

namespace snap::overlay {

struct PackedLowers {
  std::vector<PackedRoot> roots;      ///< one per packed lower, in their order
  std::unique_ptr<MountHolds> holds;  ///< nullptr when nothing is shared
};

/// `shared`: nullptr for mounts of one's own. Errors: as MountErofs; nothing is mounted then.
Result<PackedLowers> MountPackedLowers(const MountStack& stack, const std::shared_ptr<ImageMounts>& shared,
                                       ErofsBacking backing);

}  // namespace snap::overlay
