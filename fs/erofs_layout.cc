// Three passes: number the inodes, collect their xattrs (what is shared is only known then, and with it how
// large inodes are), and place them. A tail must lie in one block; inodes that would break that wait for the
// next good place among their siblings.
#include "fs/erofs_layout.h"

#include <algorithm>
#include <deque>
#include <limits>

#include "fs/base/check.h"
#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/erofs_format.h"
#include "fs/whiteout.h"

namespace snap::erofs {
namespace {

using Inode = LayerTree::Inode;

// Not slot 0: readdir(3) takes inode number 0 for a deleted file. Two slots, so that inodes without tail
// cross no block.
constexpr uint64_t kFirstPosition = sizeof(InodeExtended);
// Siblings that wait for a better place. More would save little and cost order.
constexpr size_t kMaxWaiting = 8;
constexpr size_t kMaxTarget = RelPath::kMaxPath - 1;

}  // namespace

Result<ErofsLayout> ErofsLayout::Make(const LayerTree& tree, const LayoutLimits& limits) {
  ErofsLayout layout(tree, limits.block_bits);
  layout.Number();
  SNAP_TRY_VOID(layout.CollectXattrs());
  SNAP_TRY_VOID(layout.Measure(limits));
  layout.Place();
  return layout;
}

uint64_t ErofsLayout::Nid(uint32_t node) const { return nodes_[node].position / kInodeSlot; }

uint32_t ErofsLayout::AddNode(LayerTree::InodeId inode, uint32_t parent) {
  const auto index = static_cast<uint32_t>(nodes_.size());
  Node node;
  node.inode = inode;
  node.parent = parent;
  node_of_[inode] = index;
  if (tree_->inode(inode).type == FileType::kDirectory) {
    const std::vector<LayerTree::EntryId> children = tree_->SortedChildren(inode);
    node.children = static_cast<uint32_t>(sorted_entries_.size());
    node.child_count = static_cast<uint32_t>(children.size());
    sorted_entries_.insert(sorted_entries_.end(), children.begin(), children.end());
    for (const LayerTree::EntryId child : children) {
      const Inode& below = tree_->inode(tree_->entry(child).inode);
      if (below.type == FileType::kDirectory) ++node.subdirectories;
      if (below.IsWhiteout()) node.holds_whiteouts = true;
    }
  }
  nodes_.push_back(node);
  return index;
}

void ErofsLayout::Number() {
  nodes_.reserve(tree_->inode_count());
  sorted_entries_.reserve(tree_->live_entries());
  groups_.push_back(0);
  std::vector<uint32_t> directories{AddNode(LayerTree::kRoot, 0)};
  while (!directories.empty()) {
    const uint32_t directory = directories.back();
    directories.pop_back();
    const size_t waiting = directories.size();
    groups_.push_back(static_cast<uint32_t>(nodes_.size()));
    const Node parent = nodes_[directory];
    for (uint32_t i = 0; i < parent.child_count; ++i) {
      const LayerTree::InodeId inode = tree_->entry(sorted_entries_[parent.children + i]).inode;
      if (node_of_[inode] != LayerTree::kNone) continue;  // a further name
      const uint32_t node = AddNode(inode, directory);
      if (tree_->inode(inode).type == FileType::kDirectory) directories.push_back(node);
    }
    std::reverse(directories.begin() + static_cast<ptrdiff_t>(waiting), directories.end());
  }
  groups_.push_back(static_cast<uint32_t>(nodes_.size()));
}

// --- xattrs
// --------------------------------------------------------------------------------------------------

Result<void> ErofsLayout::CollectXattrs() {
  for (Node& node : nodes_) {
    SNAP_TRY(node.xattrs, XattrsOf(node));
    xattrs_.Use(node.xattrs);
  }
  return xattrs_.Settle();
}

Result<ErofsXattrs::SetId> ErofsLayout::XattrsOf(const Node& node) {
  const Inode& inode = tree_->inode(node.inode);
  const bool is_object = inode.type == FileType::kRegular && inode.data_kind == Inode::Data::kObject;
  const bool is_plain = !inode.opaque && !node.holds_whiteouts && !is_object;
  if (is_plain && inode.xattrs == 0) return ErofsXattrs::kEmpty;
  constexpr auto kUnknown = std::numeric_limits<ErofsXattrs::SetId>::max();
  if (plain_sets_.size() <= inode.xattrs) plain_sets_.resize(inode.xattrs + size_t{1}, kUnknown);
  if (is_plain && plain_sets_[inode.xattrs] != kUnknown) return plain_sets_[inode.xattrs];

  std::vector<Xattr> xattrs = tree_->Xattrs(inode.xattrs);
  for (const Xattr& xattr : xattrs) {
    if (whiteout::IsOverlayXattr(xattr.name)) {
      return MakeError(ErrorCode::kInvalidArgument, "xattr {} would direct an overlay mount",
                       Quote(xattr.name));
    }
  }
  if (inode.opaque) xattrs.push_back({whiteout::kOpaqueXattr, std::string(whiteout::kOpaqueValue)});
  if (node.holds_whiteouts) xattrs.push_back({whiteout::kOriginXattr, ""});
  if (is_object) {
    const ObjectId& object = tree_->Object(inode);
    if (object.size != inode.size) {
      return MakeError(ErrorCode::kInvalidArgument, "a file of {} bytes refers to an object of {}",
                       inode.size, object.size);
    }
    xattrs.push_back({whiteout::kMetacopyXattr, ""});
    xattrs.push_back({whiteout::kRedirectXattr, "/" + object.Path()});
  }
  SNAP_TRY(const ErofsXattrs::SetId set, xattrs_.AddSet(xattrs));
  if (is_plain) plain_sets_[inode.xattrs] = set;
  return set;
}

// --- sizes
// ---------------------------------------------------------------------------------------------------

Result<void> ErofsLayout::Measure(const LayoutLimits& limits) {
  std::vector<DirectoryItem> items;
  for (uint32_t index = 0; index < nodes_.size(); ++index) {
    Node& node = nodes_[index];
    const Inode& inode = tree_->inode(node.inode);
    switch (inode.type) {
      case FileType::kDirectory:
        Items(index, items);
        node.content_bytes = DirectoryBytes(items, block_bytes());
        if (node.content_bytes > std::numeric_limits<uint32_t>::max()) {
          return MakeError(ErrorCode::kLimitExceeded, "a directory of {} entries is too large",
                           node.child_count);
        }
        break;
      case FileType::kSymlink:
        node.content_bytes = tree_->Target(inode).size();
        if (node.content_bytes == 0 || node.content_bytes > kMaxTarget) {
          return MakeError(ErrorCode::kLimitExceeded, "a symlink's target has {} bytes, 1 to {} are possible",
                           node.content_bytes, kMaxTarget);
        }
        break;
      case FileType::kRegular:
        SNAP_TRY_VOID(MeasureFile(node, limits));
        break;
      case FileType::kCharDevice:
      case FileType::kBlockDevice:
        if (!EncodeDevice(inode.device)) {
          return MakeError(ErrorCode::kLimitExceeded, "device number {:#x} is beyond what Linux has",
                           inode.device);
        }
        break;
      case FileType::kFifo:
      case FileType::kSocket:
        break;
    }
    const uint64_t tail = TailBytes(node);
    node.inline_tail =
        tail != 0 && sizeof(InodeExtended) + xattrs_.Body(node.xattrs).size() + tail <= block_bytes();
  }
  return {};
}

Result<void> ErofsLayout::MeasureFile(Node& node, const LayoutLimits& limits) {
  const Inode& inode = tree_->inode(node.inode);
  if (inode.size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return MakeError(ErrorCode::kLimitExceeded, "a file of {} bytes is too large", inode.size);
  }
  if (inode.size == 0) return {};
  const std::vector<LayerTree::Run> runs = tree_->Runs(inode);
  uint64_t end = 0;
  for (const LayerTree::Run& run : runs) {
    const bool in_file =
        run.offset >= end && run.size != 0 && run.offset < inode.size && run.size <= inode.size - run.offset;
    if (!in_file)
      return MakeError(ErrorCode::kInvalidArgument, "runs of a file overlap or lie outside of it");
    end = run.offset + run.size;
    const uint64_t blocks = ((run.size - 1) >> block_bits_) + 1;
    const bool known = run.device <= limits.device_blocks.size();
    const uint64_t first_block = run.device == 0 ? limits.first_data_block : 0;
    const uint64_t end_block = run.device == 0 ? limits.end_data_block
                               : known         ? limits.device_blocks[run.device - size_t{1}]
                                               : 0;
    if (run.block < first_block || run.block > end_block || blocks > end_block - run.block) {
      return MakeError(ErrorCode::kInvalidArgument, "a run of {} blocks at block {} is outside device {}",
                       blocks, run.block, run.device);
    }
  }
  const bool contiguous =
      runs.size() == 1 && runs[0].device == 0 && runs[0].offset == 0 && runs[0].size == inode.size;
  if (contiguous) return {};
  SNAP_TRY(const ChunkPlan plan, PlanChunks(inode.size, runs, block_bits_));
  node.chunk_bits = static_cast<uint8_t>(plan.bits);
  node.chunks = plan.chunks;
  return {};
}

void ErofsLayout::Items(uint32_t node_index, std::vector<DirectoryItem>& items) const {
  const Node& node = nodes_[node_index];
  items.clear();
  for (uint32_t i = 0; i < node.child_count; ++i) {
    const LayerTree::EntryId entry = sorted_entries_[node.children + i];
    const LayerTree::InodeId inode = tree_->entry(entry).inode;
    items.push_back({tree_->Name(entry), Nid(node_of_[inode]), tree_->inode(inode).type});
  }
  InsertDots(items, Nid(node_index), Nid(node.parent));
}

// --- places
// --------------------------------------------------------------------------------------------------

uint64_t ErofsLayout::TailBytes(const Node& node) const { return node.content_bytes % block_bytes(); }

uint64_t ErofsLayout::TailPosition(const Node& node) const {
  const uint64_t end = node.position + sizeof(InodeExtended) + xattrs_.Body(node.xattrs).size();
  return node.chunk_bits == 0 ? end : RoundUp(end, sizeof(ChunkIndex));
}

// Stricter than the format asks: also the last byte of the inode itself is in the tail's block. Then the
// kernel has a symlink's target at hand with its inode; kernels before 6.2 call any other inline target
// corrupt.
bool ErofsLayout::TailFits(const Node& node, uint64_t position) const {
  if (!node.inline_tail) return true;
  const uint64_t end = position + sizeof(InodeExtended) + xattrs_.Body(node.xattrs).size() + TailBytes(node);
  return (position + sizeof(InodeExtended) - 1) >> block_bits_ == (end - 1) >> block_bits_;
}

bool ErofsLayout::TryPlace(uint32_t index) {
  Node& node = nodes_[index];
  if (!TailFits(node, inode_area_bytes_)) return false;
  node.position = inode_area_bytes_;
  node.content_block = content_blocks_;
  const uint64_t tail = node.inline_tail ? TailBytes(node) : 0;
  content_blocks_ += RoundUp(node.content_bytes - tail, block_bytes()) >> block_bits_;
  inode_area_bytes_ = RoundUp(TailPosition(node) + tail + node.chunks * sizeof(ChunkIndex), kInodeSlot);
  placed_.push_back(index);
  return true;
}

void ErofsLayout::PlaceGroup(uint32_t begin, uint32_t end) {
  std::deque<uint32_t> waiting;
  const auto place_at_block_start = [&] {
    if (!TryPlace(waiting.front())) {
      inode_area_bytes_ = RoundUp(inode_area_bytes_, block_bytes());
      SNAP_CHECK(TryPlace(waiting.front()));
    }
    waiting.pop_front();
  };
  for (uint32_t index = begin; index < end; ++index) {
    std::erase_if(waiting, [this](uint32_t earlier) { return TryPlace(earlier); });
    if (TryPlace(index)) continue;
    waiting.push_back(index);
    if (waiting.size() > kMaxWaiting) place_at_block_start();
  }
  while (!waiting.empty()) place_at_block_start();
}

void ErofsLayout::Place() {
  inode_area_bytes_ = kFirstPosition;
  placed_.reserve(nodes_.size());
  for (size_t i = 0; i + 1 < groups_.size(); ++i) PlaceGroup(groups_[i], groups_[i + 1]);
}

}  // namespace snap::erofs
