// Scratch: a small tmpfs that is in no mount namespace. It holds the empty bottom layer, mount points and
// probes.
#pragma once

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::overlay {

/// A detached, empty, writable tmpfs; gone with its descriptor. Errors: kPermission, kUnsupported (no fsopen:
/// < 5.2).
Result<UniqueFd> NewScratch();

}  // namespace snap::overlay
