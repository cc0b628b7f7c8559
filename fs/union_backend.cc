// Mount owns a detached mount by descriptor. Once attached, the mount point keeps the tree and the descriptor
// is only a way into it; before that the descriptor is all there is.
#include "fs/union_backend.h"

#include <sys/stat.h>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"

namespace snap {

Result<void> Mount::AttachTo(FdRef directory) {
  SNAP_CHECK(fd_.valid());
  const auto where = [&] { return Quote(sys::DescribeFd(directory)); };
  // The kernel would take a second attach as a request to move the mount away from the first place.
  if (attached_) {
    return MakeError(ErrorCode::kInvalidArgument, "attach mount to {}: it is attached already", where());
  }
  SNAP_TRY_SYS(const struct stat target, sys::FStat(directory), "attach mount to {}", where());
  if (!S_ISDIR(target.st_mode)) return Error(Errno(ENOTDIR), fmt::format("attach mount to {}", where()));
  SNAP_TRY_SYS_VOID(sys::MoveMountTo(fd_, directory), "attach mount to {}", where());
  attached_ = true;
  if (holds_) holds_->Outlived();
  return {};
}

}  // namespace snap
