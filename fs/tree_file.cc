// The end is checked by asking for one byte more than should be there, in the same call as the last data.
#include "fs/tree_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs/base/sys_file.h"
#include "fs/tar_reader.h"
#include "fs/tar_writer.h"

namespace snap {

Error ChangedWhileRead(const std::string& quoted_path, std::string_view how) {
  return MakeError(ErrorCode::kBusy, "read {}: {} while it was being read", quoted_path, how);
}

Result<FoundHoles> FindHoles(FdRef file, uint64_t size, const std::string& quoted_path) {
  // More extents than a reader accepts (TarLimits) are not worth keeping: such a file is written out in full.
  const size_t max_extents = TarLimits().max_sparse_extents - 1;
  FoundHoles found;
  uint64_t stored = 0;
  for (uint64_t offset = 0; offset < size;) {
    const auto data = sys::Seek(file, static_cast<int64_t>(offset), SEEK_DATA);
    if (!data.ok() && data.error() == ENXIO) break;                 // a hole up to the end
    if (!data.ok() && data.error() == EINVAL) return FoundHoles();  // a file system that does not tell
    if (!data.ok()) return Error(data.error(), "find the holes of " + quoted_path);
    if (*data >= size) break;
    SNAP_TRY_SYS(const uint64_t hole, sys::Seek(file, static_cast<int64_t>(*data), SEEK_HOLE),
                 "find the holes of {}", quoted_path);
    const uint64_t end = std::min(hole, size);
    if (end <= *data) return ChangedWhileRead(quoted_path, "changed");
    if (!found.extents.empty() && tar::Padding(found.extents.back().size) != 0) return FoundHoles();
    found.extents.push_back({.offset = *data, .size = end - *data});
    if (found.extents.size() > max_extents) return FoundHoles();
    stored += end - *data;
    offset = end;
  }
  if (stored == size) return FoundHoles();
  found.sparse = true;
  return found;
}

Result<size_t> TreeFile::Read(std::span<std::byte> buffer) {
  while (next_extent_ < extents_.size() && in_extent_ == extents_[next_extent_].size) {
    ++next_extent_;
    in_extent_ = 0;
  }
  if (next_extent_ == extents_.size()) {
    if (!end_seen_) {
      std::byte probe[1];
      SNAP_TRY_SYS(const size_t more, sys::PRead(file_, probe, size_), "read {}", quoted_path_);
      if (more != 0) return ChangedWhileRead(quoted_path_, "grew");
    }
    file_.Reset();
    return size_t{0};
  }
  const DataExtent& extent = extents_[next_extent_];
  const uint64_t left = extent.size - in_extent_;
  const uint64_t beyond = extent.offset + extent.size == size_ ? 1 : 0;
  const auto wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), left + beyond));
  SNAP_TRY_SYS(const size_t got, sys::PRead(file_, buffer.first(wanted), extent.offset + in_extent_),
               "read {}", quoted_path_);
  if (got == 0) return ChangedWhileRead(quoted_path_, "shrank");
  if (got > left) return ChangedWhileRead(quoted_path_, "grew");
  end_seen_ = got == left && wanted > left;
  in_extent_ += got;
  return got;
}

}  // namespace snap
