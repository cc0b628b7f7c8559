// LayerTree: the metadata of one layer, or of several merged ones, in memory: names, inodes and where their data is. What
// PackedWriter fills, the merge combines, settling edits and an EROFS image stores.
// Invariant: a name belongs to one directory and one inode; directories have one name, other inodes `links` of them; inode 0 is
// the root directory; an inode without a name is not part of the tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/layer_entry.h"
#include "fs/object_id.h"

namespace snap {

class LayerTree {
 public:
  using InodeId = uint32_t;
  using EntryId = uint32_t;
  static constexpr InodeId kRoot = 0;
  static constexpr uint32_t kNone = 0xFFFFFFFF;

  /// A run of a regular file's data in an image; what no run covers is a hole.
  struct Run {
    uint64_t offset = 0;  ///< in the file, bytes; a multiple of the block size
    uint64_t size = 0;    ///< bytes; a multiple of the block size except at the file's end
    uint64_t block = 0;   ///< first block, in units of the image's block size
    uint16_t device = 0;  ///< 0: the image itself; n: the n-th further device
  };

  struct Inode {
    FileType type = FileType::kRegular;
    bool opaque = false;    ///< directory: nothing of lower layers shows
    bool implied = false;   ///< directory: never named by the stream, attributes are those of the layers below
    uint16_t permissions = 0;  ///< the 07777 bits
    uint32_t uid = 0;
    uint32_t gid = 0;
    uint32_t mtime_ns = 0;
    int64_t mtime = 0;      ///< seconds since 1970
    uint32_t links = 0;     ///< names; 1 for directories
    uint32_t xattrs = 0;    ///< for Xattrs(); 0 is the empty set
    uint64_t size = 0;      ///< regular: bytes; symlink: of the target
    uint64_t device = 0;    ///< dev_t of devices; a character device 0:0 is a whiteout
    /// Regular: the only run, if it has one that starts at 0 and covers the file, is here; else see `data`.
    uint64_t block = 0;
    uint16_t run_device = 0;
    enum class Data : uint8_t { kNone, kContiguous, kRuns, kObject } data_kind = Data::kNone;
    uint32_t data = kNone;  ///< kRuns: for Runs(); kObject: for Object(); symlinks: for Target(); directories: first child
    bool IsWhiteout() const { return type == FileType::kCharDevice && device == 0; }
  };

  struct Entry {
    InodeId directory = kNone;
    InodeId inode = kNone;     ///< kNone: removed
    EntryId next = kNone;      ///< next child of `directory`, in no order
    uint32_t name_offset = 0;
    uint8_t name_size = 0;     ///< 1..255
  };

  /// With a root: 0755, root, 1970, implied.
  LayerTree();
  LayerTree(LayerTree&&) noexcept;
  LayerTree& operator=(LayerTree&&) noexcept;
  ~LayerTree();

  /// O(1). kNone when there is none.
  EntryId Find(InodeId directory, std::string_view name) const;
  /// Adds a name; there must be none of it in `directory`. Counts the link.
  EntryId AddEntry(InodeId directory, std::string_view name, InodeId inode);
  /// Removes a name; an inode whose last name goes is no part of the tree any more, what is below a directory goes with it.
  void RemoveEntry(EntryId entry);
  /// Moves a name to another directory (where it must be free); contents of directories move along.
  void MoveEntry(EntryId entry, InodeId directory, std::string_view name);
  InodeId AddInode(const Inode& inode);

  const Inode& inode(InodeId id) const;
  Inode& inode(InodeId id);
  const Entry& entry(EntryId id) const;
  std::string_view Name(EntryId id) const;
  /// First child in no order; follow Entry::next, skipping entries whose inode is kNone.
  EntryId FirstChild(InodeId directory) const;
  /// All children sorted bytewise by name. O(n log n).
  std::vector<EntryId> SortedChildren(InodeId directory) const;
  size_t inode_count() const;  ///< ever added, the root included
  size_t entry_count() const;  ///< ever added
  size_t live_entries() const;

  /// Interned: the same set gives the same id. Order is kept.
  uint32_t InternXattrs(const std::vector<Xattr>& xattrs);
  const std::vector<Xattr>& Xattrs(uint32_t id) const;
  uint32_t AddTarget(std::string_view target);
  std::string_view Target(const Inode& symlink) const;
  uint32_t AddRuns(std::vector<Run> runs);
  /// Of a regular file with data in images: ascending, disjoint; the contiguous one included.
  std::vector<Run> Runs(const Inode& file) const;
  uint32_t AddObject(const ObjectId& object);
  const ObjectId& Object(const Inode& file) const;
  /// Sets attributes from a stream's entry.
  void SetAttributes(InodeId id, const Attributes& attributes);
  Attributes AttributesOf(InodeId id) const;

  /// Rough sum of what is held; the owner compares it with a limit.
  uint64_t memory_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snap
