// The kernel names a free device, anybody may take it before us: then the next one is tried.
#include "fs/base/sys_loop.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "fs/base/sys_file.h"

namespace snap::sys {

SysResult<LoopDevice> AttachLoop(FdRef file, uint32_t block_bytes) {
  constexpr int kTries = 64;
  SNAP_TRY(const UniqueFd control, OpenAt(FdRef::Cwd(), "/dev/loop-control", O_RDWR));
  loop_config config{};
  config.fd = static_cast<__u32>(file.get());
  config.block_size = block_bytes;
  config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
  for (int i = 0; i < kTries; ++i) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return LastErrno();
    std::string path = fmt::format("/dev/loop{}", number);
    auto device = OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY);
    if (!device.ok()) {
      if (device.error() == ENXIO) continue;  // freed and removed meanwhile
      return device.error();
    }
    if (::ioctl(device->get(), LOOP_CONFIGURE, &config) == 0)
      return LoopDevice{std::move(*device), std::move(path)};
    if (errno != EBUSY) return LastErrno();
  }
  return Errno(EBUSY);
}

}  // namespace snap::sys
