// A packed layer, read from its images without mounting them: metadata from the EROFS image, small files from it or its
// devices, large files from objects/. docs/disk-layout.md, "Packed layers".
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fuse/layer.h"

namespace snap::fuse {

struct PackedLayerFiles {
  UniqueFd image;                 ///< open for reading
  std::vector<UniqueFd> devices;  ///< the further images that it refers to, in their order; open for reading
  /// Where the redirects of large files lead: a directory of objects, shared by layers. nullptr: there are none.
  std::shared_ptr<const UniqueFd> objects;
  /// The layer's id: for messages, and what its inode numbers are told apart by. Always the same for the same image, and
  /// different for different ones. Empty: they are told apart by the image file's own number.
  std::string name;
};

inline constexpr uint64_t kMaxHeldMetadata = uint64_t{64} << 20U;  ///< bytes; a file takes about a hundred

/// Holds the metadata in memory when it has at most `max_held_bytes`: then nothing but opening and reading files needs a system
/// call. Errors: kCorrupt, kUnsupported, kIo; kInvalidArgument when the image has another number of devices. What is only found
/// to be wrong later (bit rot, a hostile image, an object that is missing or has another size) is EIO.
/// The marks that lead to objects (overlay.metacopy, overlay.redirect) are not shown; whiteouts and opaque marks are. There are
/// no origins.
Result<Layer> OpenPackedLayer(PackedLayerFiles files, uint64_t max_held_bytes = kMaxHeldMetadata);

}  // namespace snap::fuse
