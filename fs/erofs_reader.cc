// The single questions: each reads the few bytes that it needs. Load, the whole, is in erofs_load.cc.
#include "fs/erofs_reader.h"

#include <algorithm>

#include "fs/erofs_directory.h"
#include "fs/erofs_image.h"
#include "fs/erofs_inode.h"
#include "fs/erofs_load.h"
#include "fs/erofs_xattr_reader.h"

namespace snap {

using erofs::DirectoryBlock;
using erofs::ErofsImage;
using erofs::ErofsInode;

struct ErofsReader::State {
  ErofsImage image;

  Result<ErofsInode> InodeOf(NodeId node, FileType type, const char* what) const {
    SNAP_TRY(const ErofsInode inode, erofs::ReadInode(image, node));
    if (inode.type != type) return image.CorruptInode(node, "it is not a {}", what);
    return inode;
  }
  uint64_t DirectoryBlocks(const ErofsInode& inode) const {
    return ((inode.size - 1) >> image.block_bits()) + 1;
  }
};

ErofsReader::ErofsReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ErofsReader::ErofsReader(ErofsReader&&) noexcept = default;
ErofsReader& ErofsReader::operator=(ErofsReader&&) noexcept = default;
ErofsReader::~ErofsReader() = default;

Result<ErofsReader> ErofsReader::Open(FdRef image, std::string name) {
  SNAP_TRY(ErofsImage opened, ErofsImage::Open(image, std::move(name)));
  return ErofsReader(std::make_unique<State>(State{std::move(opened)}));
}

Result<bool> ErofsReader::HoldMetadata(uint64_t max_bytes) {
  if (state_->image.metadata_bytes() > max_bytes) return false;
  SNAP_TRY_VOID(state_->image.HoldMetadata());
  return true;
}

ErofsReader::NodeId ErofsReader::root() const { return state_->image.root(); }
FdRef ErofsReader::image() const { return state_->image.file(); }
unsigned ErofsReader::block_bits() const { return state_->image.block_bits(); }
uint64_t ErofsReader::blocks() const { return state_->image.blocks(); }
uint64_t ErofsReader::inode_count() const { return state_->image.inode_count(); }
size_t ErofsReader::device_count() const { return state_->image.device_count(); }

Result<ErofsReader::Node> ErofsReader::Stat(NodeId node) const {
  SNAP_TRY(const ErofsInode inode, erofs::ReadInode(state_->image, node));
  Node out;
  out.id = node;
  out.type = inode.type;
  out.permissions = inode.permissions;
  out.uid = inode.uid;
  out.gid = inode.gid;
  out.links = inode.links;
  out.mtime = inode.mtime;
  out.size = inode.size;
  out.tail_bytes = inode.tail_bytes;
  out.device = inode.device;
  return out;
}

Result<std::vector<ErofsReader::DirEntry>> ErofsReader::List(NodeId directory) const {
  SNAP_TRY(const ErofsInode inode, state_->InodeOf(directory, FileType::kDirectory, "directory"));
  std::vector<DirEntry> entries;
  std::vector<std::byte> scratch;
  for (uint64_t i = 0; i < state_->DirectoryBlocks(inode); ++i) {
    SNAP_TRY(const DirectoryBlock block, erofs::ReadDirectoryBlock(state_->image, inode, i, scratch));
    for (size_t k = 0; k < block.size(); ++k) {
      const DirectoryBlock::Item item = block.at(k);
      if (!item.IsDots()) entries.push_back({std::string(item.name), item.nid, item.type});
    }
  }
  return entries;
}

Result<std::optional<ErofsReader::NodeId>> ErofsReader::Lookup(NodeId directory,
                                                               std::string_view name) const {
  SNAP_TRY(const ErofsInode inode, state_->InodeOf(directory, FileType::kDirectory, "directory"));
  std::vector<std::byte> scratch;
  // The last block whose first name is not behind the one that is wanted.
  uint64_t low = 0;
  uint64_t high = state_->DirectoryBlocks(inode);
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    SNAP_TRY(const DirectoryBlock block, erofs::ReadDirectoryBlock(state_->image, inode, middle, scratch));
    (block.at(0).name <= name ? low : high) = middle;
  }
  SNAP_TRY(const DirectoryBlock block, erofs::ReadDirectoryBlock(state_->image, inode, low, scratch));
  for (size_t k = 0; k < block.size(); ++k) {
    const DirectoryBlock::Item item = block.at(k);
    if (item.name == name && !item.IsDots()) return std::optional<NodeId>(item.nid);
  }
  return std::optional<NodeId>();
}

Result<std::string> ErofsReader::ReadLink(NodeId symlink) const {
  SNAP_TRY(const ErofsInode inode, state_->InodeOf(symlink, FileType::kSymlink, "symlink"));
  return erofs::ReadTarget(state_->image, inode);
}

Result<std::vector<Xattr>> ErofsReader::Xattrs(NodeId node) const {
  SNAP_TRY(const ErofsInode inode, erofs::ReadInode(state_->image, node));
  return erofs::ReadXattrs(state_->image, inode);
}

Result<std::vector<LayerTree::Run>> ErofsReader::Runs(NodeId file, size_t max_runs) const {
  SNAP_TRY(const ErofsInode inode, state_->InodeOf(file, FileType::kRegular, "regular file"));
  return erofs::ReadRuns(state_->image, inode, max_runs);
}

Result<size_t> ErofsReader::ReadFile(NodeId file, uint64_t offset, std::span<std::byte> buffer) const {
  SNAP_TRY(const ErofsInode inode, state_->InodeOf(file, FileType::kRegular, "regular file"));
  if (offset >= inode.size) return size_t{0};
  const std::span<std::byte> wanted = buffer.first(std::min<uint64_t>(buffer.size(), inode.size - offset));
  SNAP_TRY_VOID(erofs::ReadData(state_->image, inode, offset, wanted));
  return wanted.size();
}

Result<LayerTree> ErofsReader::Load() const { return erofs::LoadTree(state_->image); }

}  // namespace snap
