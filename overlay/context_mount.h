// Mounting through a file system context (fsopen, fsconfig, fsmount): layers one by one, no page limit,
// nothing escaped, nothing in any namespace.
#pragma once

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "overlay/mount_plan.h"

namespace snap::overlay {

enum class LayerNaming {
  kDescriptor,  ///< FSCONFIG_SET_FD: no path is walked; kernels since 6.13
  kProcPath,    ///< "/proc/self/fd/N": for kernels whose lowerdir+ only takes strings (at most 255 bytes)
};

/// A detached overlay mount. `bottom` is the empty directory for plans that need one, otherwise unused.
/// Errors: the kernel's errno as cause, with its own words when it left any in the context.
Result<UniqueFd> MountByContext(const MountPlan& plan, LayerNaming naming, FdRef bottom);

}  // namespace snap::overlay
