// What the kernel's overlayfs stores in "overlay.origin" of a copied-up file: which file of a layer it was, by handle.
// Format: struct ovl_fb in fs/overlayfs/overlayfs.h of Linux: version 0, magic 0xfb, length, flags, handle type, the super block's
// uuid, the handle's bytes.
#pragma once

#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::fuse {

/// Of a name in a directory, not followed; "" is the descriptor itself. Errors: EOPNOTSUPP where the file system has no handles or
/// does not tell its uuid.
SysResult<std::string> EncodeOrigin(FdRef dir, const char* name);

}  // namespace snap::fuse
