// What `ps`, `run`, `rm` and `gc` share about containers.
#pragma once

#include <string>
#include <vector>

#include "fs/base/result.h"
#include "tools/snap/context.h"

namespace snap::cli {

/// Removes containers that were to vanish at their end (run --rm) but whose launcher was killed before it
/// could. Returns the containers that are left. What cannot be removed is logged and stays for the next time.
Result<std::vector<ContainerRecord>> ReapContainers(Store& store);

/// Kills a running container and waits until its launcher has cleaned up, at most ten seconds; then kills
/// that too. Errors: kUnavailable when it is still there afterwards.
Result<void> KillContainer(const ContainerRecord& container);

/// The first 12 digits of a container's id.
std::string ShortId(const std::string& id);

}  // namespace snap::cli
