// System calls on loop devices: files as block devices. FALLBACK: remove when every file system that images
// lie on can be mounted from without one (EROFS: Linux 6.12). Errors: the kernel's errno. Threads: safe.
#pragma once

#include <cstdint>
#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

/// A loop device that frees itself when its last user (this descriptor, a mount) is gone.
struct LoopDevice {
  UniqueFd device;
  std::string path;  ///< names this device as long as the descriptor is open
};
/// Binds a free loop device to `file` (open for reading), read-only, with blocks of `block_bytes`
/// (512..4096). Reads go through the file's page cache. Errors: ENOENT and the like when the machine has no
/// loop devices; EBUSY when others were always faster; EINVAL before Linux 5.8.
SysResult<LoopDevice> AttachLoop(FdRef file, uint32_t block_bytes);

}  // namespace snap::sys
