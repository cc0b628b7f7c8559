// Writing an EROFS image: the metadata of a LayerTree behind data that is in the file already.
//   | superblock, device table | data, in stream order | inodes, xattrs, small directories | directory blocks | shared xattrs |
// Sources of the format: Linux Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h. docs/disk-layout.md has the subset.
// Invariant: the same tree and options give the same bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_tree.h"

namespace snap {

struct ErofsOptions {
  unsigned block_bits = 9;         ///< 9..12: blocks of 512 to 4096 bytes
  uint64_t first_free_block = 0;   ///< metadata goes here; everything before it but the header is data
  struct Device {
    std::string tag;               ///< at most 63 bytes, for people
    uint64_t blocks = 0;
  };
  std::vector<Device> devices;     ///< further images that runs refer to, in order; at most 65535
  /// Mounts of one overlay should have different ones, and not zero: overlayfs falls back to xino=off with a warning in the
  /// kernel's log. Zero: a hash of the metadata.
  std::array<uint8_t, 16> uuid{};
};

/// The first block that data may use: behind the superblock and a table of `devices` devices.
uint64_t ErofsDataStart(unsigned block_bits, size_t devices = 0);

/// Writes everything but the data and returns the size of the image in bytes (a multiple of the block size; the file is
/// extended to it). In the image overlayfs finds: whiteouts as character devices 0:0, "trusted.overlay.opaque" on opaque
/// directories, "trusted.overlay.origin" on directories that hold whiteouts, "trusted.overlay.metacopy" and ".redirect" on files
/// whose data is an object (and no data of their own: read directly they are holes).
/// Directories have the links that a file system without overlay shows: two and their directories.
/// Errors: kLimitExceeded (an image, xattrs or directory beyond the format; a sparse file of more than 16 million chunks: one of
/// terabytes with data at odd places), kUnsupported (an xattr in a namespace that EROFS does not have, like system.nfs4_acl),
/// kInvalidArgument (runs outside the data, an overlay.* xattr), kNoSpace, kIo. Durability: none.
/// Cost: O(entries log entries), a few large writes; memory about the size of the metadata.
Result<uint64_t> WriteErofs(FdRef image, const LayerTree& tree, const ErofsOptions& options);

}  // namespace snap
