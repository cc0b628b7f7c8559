// Data goes run by run (SEEK_DATA, SEEK_HOLE). Every way to copy may be refused at the first byte (EXDEV, EOPNOTSUPP, EINVAL): then the
// next one is taken; later errors are errors.
#include "fuse/file_copy.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "fs/base/sys_file.h"

namespace snap::fuse {
namespace {

constexpr size_t kPiece = size_t{256} << 10U;

bool IsRefused(Errno error) {
  return error == EXDEV || error == EOPNOTSUPP || error == EINVAL || error == ENOSYS || error == ETXTBSY || error == EPERM;
}

SysResult<void> CopyThroughMemory(LayerFile& source, uint64_t begin, uint64_t end, FdRef target) {
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(kPiece, end - begin)));
  while (begin < end) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), end - begin));
    SNAP_TRY(const size_t got, source.Read(begin, std::span(buffer).first(wanted)));
    if (got == 0) return Errno(EIO);  // shorter than its size
    SNAP_TRY_VOID(sys::PWriteAll(target, std::span(buffer).first(got), begin));
    begin += got;
  }
  return {};
}

SysResult<void> CopyRun(LayerFile& source, uint64_t begin, uint64_t end, FdRef target, bool& in_kernel) {
  while (in_kernel && begin < end) {
    const SysResult<size_t> copied =
        sys::CopyFileRange(*source.descriptor(), begin, target, begin, static_cast<size_t>(std::min<uint64_t>(end - begin, 1U << 30U)));
    if (!copied.ok() && !IsRefused(copied.error())) return copied.error();
    if (!copied.ok() || *copied == 0) {
      in_kernel = false;
      break;
    }
    begin += *copied;
  }
  return CopyThroughMemory(source, begin, end, target);
}

}  // namespace

SysResult<void> CopyData(LayerFile& source, uint64_t size, FdRef target) {
  const std::optional<FdRef> descriptor = source.descriptor();
  if (descriptor && size > 0) {
    const SysResult<void> cloned = sys::CloneFile(target, *descriptor);
    if (cloned.ok()) {
      SNAP_TRY(const struct stat stat, sys::FStat(target));
      if (static_cast<uint64_t>(stat.st_size) != size) SNAP_TRY_VOID(sys::Truncate(target, size));
      return {};
    }
    if (!IsRefused(cloned.error()) && !(cloned.error() == ENOTTY)) return cloned.error();
  }
  bool in_kernel = descriptor.has_value();
  uint64_t position = 0;
  while (position < size) {
    const SysResult<uint64_t> data = source.Seek(position, SEEK_DATA);
    if (!data.ok() && data.error() == ENXIO) break;  // a hole to the end
    if (!data.ok()) return data.error();
    if (*data >= size) break;
    SNAP_TRY(const uint64_t hole, source.Seek(*data, SEEK_HOLE));
    const uint64_t end = std::min(hole, size);
    if (end <= *data) return Errno(EIO);
    SNAP_TRY_VOID(CopyRun(source, *data, end, target, in_kernel));
    position = end;
  }
  SNAP_TRY(const struct stat stat, sys::FStat(target));
  if (static_cast<uint64_t>(stat.st_size) == size) return {};
  return sys::Truncate(target, size);
}

SysResult<void> CopyXattrs(const XattrSource& source, const UpperFile& target,
                           const std::function<bool(const std::string&)>& skip) {
  const SysResult<std::vector<std::string>> names = source.list();
  if (!names.ok()) {
    if (names.error() == EOPNOTSUPP) return {};
    return names.error();
  }
  for (const std::string& name : *names) {
    if (skip(name)) continue;
    const SysResult<std::string> value = source.get(name);
    if (!value.ok() && value.error() == ENODATA) continue;  // gone since: cannot be in a layer, but is no reason to fail
    if (!value.ok()) return value.error();
    const SysResult<void> set = target.SetXattr(name, *value);
    if (set.ok()) continue;
    // Labels of security modules are the target's own affair, unless they carry rights.
    const bool matters = name == "security.capability" || !name.starts_with("security.");
    if (matters) return set.error();
    if (!(set.error() == EOPNOTSUPP) && !(set.error() == EPERM)) return set.error();
  }
  return {};
}

}  // namespace snap::fuse
