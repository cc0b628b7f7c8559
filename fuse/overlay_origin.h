// What the kernel's overlayfs stores in "overlay.origin" of a copied-up file: which file of a layer it was, by handle.
// Format: struct ovl_fb in fs/overlayfs/overlayfs.h of Linux: version 0, magic 0xfb, length, flags, handle type, the super
// block's uuid, the handle's bytes.
#pragma once

#include <array>
#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::fuse {

/// `uuid`: of the file system (sys::FileSystemUuid). Of a name in a directory, not followed; "" is the descriptor itself.
/// Errors: EOPNOTSUPP where the file system has no handles.
SysResult<std::string> EncodeOrigin(FdRef dir, const char* name, const std::array<char, 16>& uuid);

}  // namespace snap::fuse
