// A directory's content into a fresh file system: what "tmpcopyup" starts with.
#pragma once

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::runtime {

/// Copies everything below `from` into `to`, an empty directory: directories, files, symlinks and hard-link-less other files with their
/// modes and owners; `to` gets those of `from`. Mounts below are not entered. Symlinks are never followed.
/// Allocates: not for a child of a process that had more than one thread.
/// Errors: of the calls; ENOSPC when it does not fit; ELOOP for more than 64 levels.
SysResult<void> CopyTree(FdRef from, FdRef to);

}  // namespace snap::runtime
