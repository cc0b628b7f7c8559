// Blobs of containerd's content store on this machine's disk: read where they are instead of through a
// socket. Layout: <root>/blobs/<algorithm>/<hex> (containerd plugins/content/local).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/unique_fd.h"

namespace snap {

/// The blob when one of the roots has it whole: a regular file, not through a symlink, of that size. What it
/// holds is for the reader to verify. nullopt in all other cases: containerd can still be asked, and knows
/// better what is wrong.
std::optional<UniqueFd> OpenLocalBlob(const std::vector<std::string>& roots, const Digest& digest,
                                      uint64_t size);

}  // namespace snap
