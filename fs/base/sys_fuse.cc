// Numbers and layout as in linux/fuse.h of 6.9, which Debian 12's headers are older than.
#include "fs/base/sys_fuse.h"

#include <sys/ioctl.h>

#include <cerrno>

namespace snap::sys {
namespace {

struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
constexpr unsigned long kBackingClose = _IOW(229, 2, uint32_t);

}  // namespace

SysResult<int32_t> FuseBackingOpen(FdRef connection, FdRef file) {
  BackingMap map{file.get(), 0, 0};
  const int id = ::ioctl(connection.get(), kBackingOpen, &map);
  if (id <= 0) return id < 0 ? LastErrno() : Errno(EIO);
  return id;
}

SysResult<void> FuseBackingClose(FdRef connection, int32_t id) {
  auto number = static_cast<uint32_t>(id);
  if (::ioctl(connection.get(), kBackingClose, &number) < 0) return LastErrno();
  return {};
}

}  // namespace snap::sys
