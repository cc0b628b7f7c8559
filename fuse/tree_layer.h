// A layer that is a directory tree, as engines extract it.
#pragma once

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fuse/dir_fds.h"
#include "fuse/layer.h"

namespace snap::fuse {

/// `root`: a directory (O_PATH is enough), best below a read-only mount: then even a file that the kernel opens again for
/// passthrough cannot be written. What is mounted in the tree is shown too, with numbers that may then be equal to others.
/// `fds` outlives the layer. Errors: kInvalidArgument (no directory), kIo.
Result<Layer> OpenTreeLayer(UniqueFd root, DirFds& fds);

}  // namespace snap::fuse
