// The mounts of a runtime specification, as far as they can be decided on the host.
#pragma once

#include "fs/base/result.h"
#include "runtime/oci_plan.h"

namespace snap::runtime {

/// Fills plan.rootfs.mounts, links, proc_mount and devpts_mount. Errors: kInvalidArgument, kNotFound (a source), kUnsupported, each with
/// the mount's destination. A mount on something in /proc is refused but for what engines show there on purpose (lxcfs' files); /proc
/// itself is a procfs or a bind of one (CVE-2019-16884).
Result<void> PlanMounts(const Spec& spec, const OciOptions& options, Plan& plan);

}  // namespace snap::runtime
