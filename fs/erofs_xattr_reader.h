// The xattrs of an inode of an image that is not to be trusted.
#pragma once

#include <cstdint>
#include <vector>

#include "fs/base/result.h"
#include "fs/erofs_image.h"
#include "fs/erofs_inode.h"
#include "fs/layer_entry.h"

namespace snap::erofs {

/// All of them with full names, sorted. Shared ones may be much larger than what refers to them: at most 255
/// times 64 KiB for an inode. Errors: kCorrupt (two of a name included), kIo.
Result<std::vector<Xattr>> ReadXattrs(const ErofsImage& image, const ErofsInode& inode);

}  // namespace snap::erofs
