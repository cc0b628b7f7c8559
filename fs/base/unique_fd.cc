#include "fs/base/unique_fd.h"

#include <unistd.h>

namespace snap {

void UniqueFd::Reset() {
  const int fd = std::exchange(fd_, -1);
  if (fd >= 0) (void)::close(fd);  // whatever mattered was fsynced before; close errors come too late to act on
}

}  // namespace snap
