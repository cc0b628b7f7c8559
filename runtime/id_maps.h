// Gives a new user namespace its ids.
#pragma once

#include <vector>

#include "fs/base/result.h"
#include "runtime/spec.h"

namespace snap::runtime {

/// Writes /proc/PID/{uid,gid}_map: directly where that is allowed, otherwise by newuidmap(1) and newgidmap(1), which know the ranges of
/// /etc/subuid. A single own id needs neither; setgroups is denied then.
/// Errors: kPermission, with what would be needed; kNotFound (no newuidmap).
Result<void> WriteIdMaps(pid_t pid, const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids);

}  // namespace snap::runtime
