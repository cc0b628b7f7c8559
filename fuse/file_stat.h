// One statx with everything that is shown of a file.
#pragma once

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fuse/layer.h"

namespace snap::fuse {

/// Of a name in a directory, not followed; "" is the descriptor itself.
SysResult<FileStat> StatOf(FdRef dir, const char* name);

}  // namespace snap::fuse
