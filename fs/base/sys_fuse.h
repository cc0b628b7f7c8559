// The ioctls of /dev/fuse. Errors: the kernel's errno. Threads: safe.
#pragma once

#include <cstdint>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

/// FUSE_DEV_IOC_BACKING_OPEN (Linux 6.9): registers a regular file for passthrough; the descriptor may be closed afterwards.
/// Returns a positive id. Errors: EPERM (needs CAP_SYS_ADMIN in the first user namespace), ENOTTY, EOPNOTSUPP, ELOOP.
SysResult<int32_t> FuseBackingOpen(FdRef connection, FdRef file);
SysResult<void> FuseBackingClose(FdRef connection, int32_t id);

}  // namespace snap::sys
