// Mounting EROFS images (packed layers) read-only.
#pragma once

#include <span>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::overlay {

/// What the kernel reads an image from. Only kAuto should be used outside tests.
enum class ErofsBacking {
  kAuto,  ///< the file, or a loop device where that is refused
  kFile,  ///< the file itself: since 6.12, on file systems that can (tmpfs cannot, 2026)
  kLoop,  ///< FALLBACK: remove when kernel >= 6.12 is the baseline and nobody has a store on tmpfs
};

/// A detached read-only mount (nosuid, nodev: whoever looks into the tree itself, below the overlay, gets
/// nothing to use). `image` and `devices` (further images in the order of the image's device table) are open
/// for reading, and needed only until this returns; the kernel keeps the files. Mounts share nothing, not
/// even of one image (see ImageMounts). Errors: kUnsupported (no EROFS; neither file nor loop), kCorrupt (no
/// EROFS image; shorter than it says; what the kernel refuses in one), kInvalidArgument (not the number of
/// devices that the image refers to), kPermission. Before the kernel sees an image its size is compared with
/// what its superblock says, and so are the devices': the kernel would only notice when somebody reads what
/// is missing (EIO, EUCLEAN; the same for files that shrink later). Cost: one or two small reads and some 50
/// µs, and a few µs per device.
Result<UniqueFd> MountErofs(FdRef image, std::span<const FdRef> devices,
                            ErofsBacking backing = ErofsBacking::kAuto);

}  // namespace snap::overlay
