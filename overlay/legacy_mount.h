// FALLBACK: remove when kernel >= 6.8 is the baseline. Mounting with mount(2), for kernels whose overlayfs
// takes its lower layers only as one option text of at most a page.
#pragma once

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "overlay/mount_plan.h"

namespace snap::overlay {

/// A detached overlay mount, made in a private mount namespace, so that nobody ever sees it attached. Needs
/// open_tree and move_mount (5.2), and as many free descriptors as there are layers. Layers must be in the
/// caller's mount namespace on kernels before 6.15, or detached as the plan says: those
/// are used up. Errors: kInvalidArgument when upper and work have no
/// common parent on their mount; the kernel's errno as cause. Cost: a thread and a copy of the mount
/// namespace; two system calls per lower.
Result<UniqueFd> MountLegacy(const MountPlan& plan);

}  // namespace snap::overlay
