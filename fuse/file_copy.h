// Copying a file of a layer aside: its data with holes left out, and everything else that a file has.
// Invariant: an error leaves a file that nobody sees yet; nothing is skipped silently but what the target cannot hold and nobody sees.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fuse/layer.h"
#include "fuse/upper_file.h"

namespace snap::fuse {

/// Copies `size` bytes of `source` to the empty file `target` (O_RDWR): by sharing blocks where the file system can, else inside the
/// kernel, else through memory. Holes stay holes. Sets the size.
SysResult<void> CopyData(LayerFile& source, uint64_t size, FdRef target);

/// Xattrs of a lower file, by whatever reads them.
struct XattrSource {
  std::function<SysResult<std::vector<std::string>>()> list;
  std::function<SysResult<std::string>(const std::string&)> get;
};
/// `skip` says which are not copied.
SysResult<void> CopyXattrs(const XattrSource& source, const UpperFile& target,
                           const std::function<bool(const std::string&)>& skip);

}  // namespace snap::fuse
