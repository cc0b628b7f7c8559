// LayerWriter: receives the content of one layer, in stream order, and stages it in some on-disk format.
// Implementations: TreeWriter (a plain directory), PackedWriter (an EROFS image and objects).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/rel_path.h"
#include "fs/base/result.h"
#include "fs/layer_entry.h"

namespace snap {

/// What a layer takes and holds; stored in layer.json.
struct LayerUsage {
  uint64_t entries = 0;      ///< files of any type, whiteouts included, hard links counted once per name
  uint64_t data_bytes = 0;   ///< sum of the sizes of regular files, hard links counted once
  uint64_t disk_bytes = 0;   ///< allocated for this layer alone; for trees, metadata estimated by st_blocks
  uint64_t object_bytes = 0; ///< of the large files, which other layers may share: sum of their sizes
};

/// A hard link whose target is not in this layer: it can only be made when the layers below are known.
struct LowerLink {
  RelPath path;
  RelPath target;
};

struct LayerSummary {
  LayerUsage usage;
  /// Directories that the stream never named but that some entry lies in. Created 0755 root, mtime 0; their real
  /// attributes are those of the same directory in the layers below.
  std::vector<RelPath> implied_directories;
  std::vector<LowerLink> lower_links;
  bool root_named = false;  ///< the stream gave the root's attributes; otherwise they are 0755 root, mtime 0
};

/// Later entries replace earlier ones of the same name ("last wins", as tar extracts); a directory over a directory
/// only changes its attributes. A parent that is not a directory is never followed: kInvalidArgument.
/// Durability: none; what Finish returns is complete but not flushed.
/// Threads: one at a time. After an error only destruction is allowed; staged content is removed by the owner of the
/// staging directory.
class LayerWriter {
 public:
  virtual ~LayerWriter() = default;
  /// The root's own attributes when `path` is the root.
  virtual Result<void> Directory(const RelPath& path, const Attributes& attributes) = 0;
  virtual Result<void> Symlink(const RelPath& path, std::string_view target, const Attributes& attributes) = 0;
  /// Character or block device or fifo. A 0:0 character device is refused (kInvalidArgument): it would be a whiteout.
  virtual Result<void> Node(const RelPath& path, FileType type, dev_t device, const Attributes& attributes) = 0;
  virtual Result<void> HardLink(const RelPath& path, const RelPath& target) = 0;

  /// A regular file of `size` bytes: BeginFile, WriteData in ascending order without overlap, EndFile. What is not
  /// written is a hole.
  virtual Result<void> BeginFile(const RelPath& path, const Attributes& attributes, uint64_t size) = 0;
  virtual Result<void> WriteData(uint64_t offset, std::span<const std::byte> data) = 0;
  virtual Result<void> EndFile() = 0;

  /// `path` of the layers below is gone. Ignored when this layer itself has an entry of that name (earlier or later):
  /// whiteouts only apply to lower layers.
  virtual Result<void> Whiteout(const RelPath& path) = 0;
  /// All lower entries of the directory are hidden; the layer's own stay, whatever the order.
  virtual Result<void> OpaqueDirectory(const RelPath& path) = 0;

  /// Call once, last: applies what had to wait (directory times) and reports deferred errors.
  virtual Result<LayerSummary> Finish() = 0;
};

}  // namespace snap
