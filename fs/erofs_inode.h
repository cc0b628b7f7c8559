// ErofsInode: one inode of an image that is not to be trusted, and where its content is.
// Invariant: after ReadInode its xattrs, its content's blocks or its chunk indexes are known to lie within
// the image.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/erofs_directory.h"
#include "fs/erofs_image.h"
#include "fs/layer_entry.h"
#include "fs/layer_tree.h"

namespace snap::erofs {

struct ErofsInode {
  uint64_t nid = 0;
  FileType type = FileType::kRegular;
  uint16_t permissions = 0;
  uint16_t layout = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t links = 0;
  timespec mtime{};
  uint64_t size = 0;          ///< of devices, fifos and sockets 0
  uint32_t place = 0;         ///< see the format
  uint64_t xattr_offset = 0;  ///< bytes, in the image
  uint64_t xattr_bytes = 0;
  uint64_t body_offset = 0;  ///< behind the xattrs
  uint64_t tail_bytes = 0;   ///< of the content, at body_offset: what an inline layout has there
  unsigned chunk_bits = 0;   ///< 0: not in chunks

  /// Of devices: 0 for others.
  dev_t device = 0;
};

/// Errors: kCorrupt, kIo.
Result<ErofsInode> ReadInode(const ErofsImage& image, uint64_t nid);

/// Block `index`, which exists, of a directory. Valid as long as `scratch` and `image`. Errors: kCorrupt,
/// kIo.
Result<DirectoryBlock> ReadDirectoryBlock(const ErofsImage& image, const ErofsInode& inode, uint64_t index,
                                          std::vector<std::byte>& scratch);

/// The target of a symlink. Errors: kCorrupt, kIo.
Result<std::string> ReadTarget(const ErofsImage& image, const ErofsInode& inode);

/// Bytes of chunk indexes; 0 when there are none.
uint64_t ChunkIndexBytes(const ErofsInode& inode);

/// Runs of a regular file: without holes and inline tail. Errors: kCorrupt, kIo, kLimitExceeded for more than
/// `max_runs`. Cost: O(chunks).
Result<std::vector<LayerTree::Run>> ReadRuns(const ErofsImage& image, const ErofsInode& inode,
                                             size_t max_runs = SIZE_MAX);

/// Bytes of a regular file; `buffer` is within its size. Errors: kInvalidArgument for data on another device.
Result<void> ReadData(const ErofsImage& image, const ErofsInode& inode, uint64_t offset,
                      std::span<std::byte> buffer);

}  // namespace snap::erofs
