// ErofsLayout: where every inode, directory and symlink target of an image goes, decided before anything is
// written. Order: depth first, all children of a directory together, since they are what is looked at after
// listing it; `find` and `ls -lR` then read the image from front to back. Invariant: every name that is
// reachable from the root has a place; the same tree gives the same places.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/erofs_chunks.h"
#include "fs/erofs_directory.h"
#include "fs/erofs_xattrs.h"
#include "fs/layer_tree.h"

namespace snap::erofs {

struct Node {
  LayerTree::InodeId inode = LayerTree::kNone;
  uint32_t parent = 0;    ///< directories: the node of the directory they are in; the root's own
  uint32_t children = 0;  ///< directories: their part of ErofsLayout::sorted_entries
  uint32_t child_count = 0;
  uint32_t subdirectories = 0;
  ErofsXattrs::SetId xattrs = ErofsXattrs::kEmpty;
  bool holds_whiteouts = false;
  uint8_t chunk_bits = 0;    ///< 0: no chunk indexes
  bool inline_tail = false;  ///< the last, partial block of the content follows the inode
  uint64_t chunks = 0;
  uint64_t position = 0;       ///< bytes, in the inode area
  uint64_t content_bytes = 0;  ///< of a directory's entries or a symlink's target
  uint64_t content_block = 0;  ///< of its first block in the content area
};

/// What the layout needs to know of the image.
struct LayoutLimits {
  unsigned block_bits = 9;
  uint64_t first_data_block = 0;  ///< data of this image is in [first_data_block, end_data_block)
  uint64_t end_data_block = 0;
  std::vector<uint64_t> device_blocks;
};

class ErofsLayout {
 public:
  /// `tree` must outlive the layout. Errors: as WriteErofs.
  static Result<ErofsLayout> Make(const LayerTree& tree, const LayoutLimits& limits);

  /// In the order of the image.
  const std::vector<uint32_t>& placed() const { return placed_; }
  const Node& node(uint32_t index) const { return nodes_[index]; }
  size_t inode_count() const { return nodes_.size(); }
  uint64_t Nid(uint32_t node) const;
  uint64_t root_nid() const { return Nid(0); }
  /// What follows the node's inode besides xattrs starts here, in the inode area.
  uint64_t TailPosition(const Node& node) const;
  const ErofsXattrs& xattrs() const { return xattrs_; }
  uint64_t inode_area_bytes() const { return inode_area_bytes_; }
  uint64_t content_blocks() const { return content_blocks_; }

  /// The entries of a directory with their final inode numbers, dots included.
  void Items(uint32_t node, std::vector<DirectoryItem>& items) const;

 private:
  ErofsLayout(const LayerTree& tree, unsigned block_bits)
      : tree_(&tree), block_bits_(block_bits), node_of_(tree.inode_count(), LayerTree::kNone) {}

  uint64_t block_bytes() const { return uint64_t{1} << block_bits_; }
  void Number();
  uint32_t AddNode(LayerTree::InodeId inode, uint32_t parent);
  Result<void> CollectXattrs();
  Result<ErofsXattrs::SetId> XattrsOf(const Node& node);
  Result<void> Measure(const LayoutLimits& limits);
  Result<void> MeasureFile(Node& node, const LayoutLimits& limits);
  void Place();
  void PlaceGroup(uint32_t begin, uint32_t end);
  bool TryPlace(uint32_t index);
  bool TailFits(const Node& node, uint64_t position) const;
  uint64_t TailBytes(const Node& node) const;

  const LayerTree* tree_;
  unsigned block_bits_;
  std::vector<uint32_t> node_of_;  // by InodeId
  std::vector<Node> nodes_;        // children of one directory together
  std::vector<uint32_t> groups_;   // first node of each such group
  std::vector<LayerTree::EntryId> sorted_entries_;
  std::vector<uint32_t> placed_;
  ErofsXattrs xattrs_;
  std::vector<ErofsXattrs::SetId> plain_sets_;  // by the tree's xattr number
  uint64_t inode_area_bytes_ = 0;
  uint64_t content_blocks_ = 0;
};

}  // namespace snap::erofs
