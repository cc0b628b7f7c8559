// Behind the data come three areas, each written front to back: inodes (with xattrs, chunk indexes and small
// contents), blocks of directories and long targets, shared xattrs. The header is written last: without it
// the file is no image.
#include "fs/erofs_writer.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "fs/base/check.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/erofs_format.h"
#include "fs/erofs_layout.h"
#include "fs/xxhash.h"

namespace snap {
namespace {

using erofs::ErofsLayout;
using erofs::Node;

constexpr size_t kBufferBytes = size_t{4} << 20U;
constexpr size_t kMaxDevices = 65535;
// An address of all ones means a hole.
constexpr uint64_t kMaxBlocks = erofs::kNoBlock - 1;

/// One area of the image, buffered.
class Area {
 public:
  Area(FdRef file, uint64_t offset, Xxh3Hasher& hasher) : file_(file), offset_(offset), hasher_(&hasher) {}

  void Append(std::span<const std::byte> bytes) { buffer_.insert(buffer_.end(), bytes.begin(), bytes.end()); }
  void Append(std::string_view text) { Append(std::as_bytes(std::span(text))); }
  /// Zeros up to `position` from the area's start.
  void PadTo(uint64_t position) {
    SNAP_CHECK(position >= size());
    buffer_.resize(buffer_.size() + (position - size()));
  }
  uint64_t size() const { return flushed_ + buffer_.size(); }
  Result<void> FlushIfLarge() { return buffer_.size() < kBufferBytes ? Result<void>() : Flush(); }
  Result<void> Flush() {
    SNAP_TRY_SYS_VOID(sys::PWriteAll(file_, buffer_, offset_ + flushed_), "write {}",
                      Quote(sys::DescribeFd(file_)));
    hasher_->Update(buffer_);
    flushed_ += buffer_.size();
    buffer_.clear();
    return {};
  }

 private:
  FdRef file_;
  uint64_t offset_;
  Xxh3Hasher* hasher_;
  uint64_t flushed_ = 0;
  std::vector<std::byte> buffer_;
};

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

/// First blocks of the areas.
struct Places {
  uint64_t inodes = 0;
  uint64_t contents = 0;
  uint64_t shared_xattrs = 0;
  uint64_t end = 0;
};

class ImageWriter {
 public:
  ImageWriter(FdRef file, const LayerTree& tree, const ErofsOptions& options, const ErofsLayout& layout,
              const Places& places)
      : file_(file),
        tree_(tree),
        options_(options),
        layout_(layout),
        places_(places),
        inodes_(file, places.inodes << options.block_bits, hasher_),
        contents_(file, places.contents << options.block_bits, hasher_) {}

  Result<void> Write() {
    for (const uint32_t index : layout_.placed()) {
      WriteNode(index);
      SNAP_TRY_VOID(inodes_.FlushIfLarge());
      SNAP_TRY_VOID(contents_.FlushIfLarge());
    }
    inodes_.PadTo((places_.contents - places_.inodes) << options_.block_bits);
    SNAP_TRY_VOID(inodes_.Flush());
    SNAP_TRY_VOID(contents_.Flush());
    Area shared(file_, places_.shared_xattrs << options_.block_bits, hasher_);
    shared.Append(layout_.xattrs().SharedArea());
    shared.PadTo((places_.end - places_.shared_xattrs) << options_.block_bits);
    SNAP_TRY_VOID(shared.Flush());
    return WriteHeader();
  }

 private:
  void WriteNode(uint32_t index);
  /// The directory's entries or the symlink's target.
  std::span<const std::byte> Content(uint32_t index);
  Result<void> WriteHeader();

  FdRef file_;
  const LayerTree& tree_;
  const ErofsOptions& options_;
  const ErofsLayout& layout_;
  const Places places_;
  Xxh3Hasher hasher_;
  Area inodes_;
  Area contents_;
  uint32_t written_ = 0;
  bool has_chunks_ = false;
  bool has_xattrs_ = false;
  std::vector<erofs::DirectoryItem> items_;
  std::vector<std::byte> content_;
};

std::span<const std::byte> ImageWriter::Content(uint32_t index) {
  const LayerTree::Inode& inode = tree_.inode(layout_.node(index).inode);
  if (inode.type == FileType::kSymlink) return std::as_bytes(std::span(tree_.Target(inode)));
  if (inode.type != FileType::kDirectory) return {};
  layout_.Items(index, items_);
  content_.clear();
  erofs::EncodeDirectory(items_, size_t{1} << options_.block_bits, content_);
  SNAP_CHECK(content_.size() == layout_.node(index).content_bytes);
  return content_;
}

void ImageWriter::WriteNode(uint32_t index) {
  const Node& node = layout_.node(index);
  const LayerTree::Inode& inode = tree_.inode(node.inode);
  const std::span<const std::byte> content = Content(index);
  const size_t tail_bytes = node.inline_tail ? content.size() % (size_t{1} << options_.block_bits) : 0;
  const size_t block_part = content.size() - tail_bytes;

  const bool is_device = inode.type == FileType::kCharDevice || inode.type == FileType::kBlockDevice;
  uint16_t format = erofs::kLayoutPlain;
  uint64_t place = 0;
  if (node.chunk_bits != 0) {
    format = erofs::kLayoutChunks;
    place = erofs::kChunkIndexes | (node.chunk_bits - options_.block_bits);
    has_chunks_ = true;
  } else if (is_device) {
    place = erofs::EncodeDevice(inode.device).value_or(0);
  } else if (!content.empty()) {
    if (node.inline_tail) format = erofs::kLayoutInline;
    if (block_part != 0) place = places_.contents + node.content_block;
  } else if (inode.type == FileType::kRegular && inode.size != 0) {
    place = tree_.Runs(inode).front().block;
  }

  erofs::InodeExtended out;
  out.format = static_cast<uint16_t>(erofs::kFormatExtended | format << erofs::kFormatLayoutShift);
  out.xattr_count = layout_.xattrs().Count(node.xattrs);
  out.mode = erofs::Mode(inode.type, inode.permissions);
  out.size = inode.type == FileType::kRegular ? inode.size : content.size();
  out.place = static_cast<uint32_t>(place);
  out.ino = ++written_;
  out.uid = inode.uid;
  out.gid = inode.gid;
  out.mtime = static_cast<uint64_t>(inode.mtime);
  out.mtime_ns = inode.mtime_ns;
  out.links = inode.type == FileType::kDirectory ? 2 + node.subdirectories : inode.links;

  inodes_.PadTo(node.position);
  inodes_.Append(BytesOf(out));
  inodes_.Append(layout_.xattrs().Body(node.xattrs));
  has_xattrs_ = has_xattrs_ || node.xattrs != ErofsXattrs::kEmpty;
  if (node.chunk_bits != 0) {
    inodes_.PadTo(layout_.TailPosition(node));
    std::vector<std::byte> indexes;
    erofs::EncodeChunks({node.chunk_bits, node.chunks}, tree_.Runs(inode), options_.block_bits, indexes);
    inodes_.Append(indexes);
  }
  inodes_.Append(content.last(tail_bytes));
  if (block_part != 0) {
    SNAP_CHECK(contents_.size() == node.content_block << options_.block_bits);
    contents_.Append(content.first(block_part));
    contents_.PadTo(erofs::RoundUp(contents_.size(), uint64_t{1} << options_.block_bits));
  }
}

Result<void> ImageWriter::WriteHeader() {
  erofs::SuperBlock super;
  super.magic = erofs::kMagic;
  super.feature_compat =
      erofs::kCompatChecksum | erofs::kCompatMtime | (has_xattrs_ ? erofs::kCompatXattrFilter : 0);
  super.block_bits = static_cast<uint8_t>(options_.block_bits);
  super.root_nid = static_cast<uint16_t>(layout_.root_nid());
  super.inodes = layout_.inode_count();
  super.blocks = static_cast<uint32_t>(places_.end);
  super.meta_block = static_cast<uint32_t>(places_.inodes);
  super.xattr_block =
      layout_.xattrs().SharedArea().empty() ? 0 : static_cast<uint32_t>(places_.shared_xattrs);
  super.uuid = options_.uuid;
  if (super.uuid == decltype(super.uuid){}) {
    super.uuid = hasher_.Finish();
    super.uuid[6] =
        static_cast<uint8_t>((super.uuid[6] & 0x0FU) | 0x80U);  // version 8 and the variant of RFC 9562
    super.uuid[8] = static_cast<uint8_t>((super.uuid[8] & 0x3FU) | 0x80U);
  }
  super.feature_incompat = (has_chunks_ ? erofs::kIncompatChunkedFile : 0) |
                           (options_.devices.empty() ? 0 : erofs::kIncompatDeviceTable);
  super.extra_devices = static_cast<uint16_t>(options_.devices.size());
  super.device_table_slot =
      options_.devices.empty() ? 0
                               : static_cast<uint16_t>(erofs::kDeviceTableOffset / sizeof(erofs::DeviceSlot));

  std::vector<std::byte> header(ErofsDataStart(options_.block_bits, options_.devices.size())
                                << options_.block_bits);
  for (size_t i = 0; i < options_.devices.size(); ++i) {
    const ErofsOptions::Device& device = options_.devices[i];
    erofs::DeviceSlot slot;
    std::copy(device.tag.begin(), device.tag.end(), slot.tag.begin());
    slot.blocks = static_cast<uint32_t>(device.blocks);
    std::memcpy(header.data() + erofs::kDeviceTableOffset + i * sizeof(slot), &slot, sizeof(slot));
  }
  std::byte* const at = header.data() + erofs::kSuperOffset;
  std::memcpy(at, &super, sizeof(super));
  super.checksum = erofs::Checksum(std::span<const std::byte>(header).subspan(
      erofs::kSuperOffset, erofs::ChecksummedBytes(options_.block_bits)));
  std::memcpy(at, &super, sizeof(super));
  SNAP_TRY_SYS_VOID(sys::PWriteAll(file_, header, 0), "write {}", Quote(sys::DescribeFd(file_)));
  return {};
}

Result<void> CheckOptions(const ErofsOptions& options) {
  if (options.block_bits < erofs::kMinBlockBits || options.block_bits > erofs::kMaxBlockBits) {
    return MakeError(ErrorCode::kInvalidArgument, "an EROFS image cannot have blocks of 2^{} bytes",
                     options.block_bits);
  }
  if (options.devices.size() > kMaxDevices) {
    return MakeError(ErrorCode::kLimitExceeded, "an EROFS image cannot have {} devices",
                     options.devices.size());
  }
  for (const ErofsOptions::Device& device : options.devices) {
    if (device.tag.size() >= sizeof(erofs::DeviceSlot::tag)) {
      return MakeError(ErrorCode::kInvalidArgument, "tag {} of a device is too long", Quote(device.tag));
    }
    if (device.blocks > kMaxBlocks) {
      return MakeError(ErrorCode::kLimitExceeded, "a device of {} blocks is too large for EROFS",
                       device.blocks);
    }
  }
  if (options.first_free_block < ErofsDataStart(options.block_bits, options.devices.size())) {
    return MakeError(ErrorCode::kInvalidArgument, "metadata at block {} would overlap the image's header",
                     options.first_free_block);
  }
  return {};
}

}  // namespace

uint64_t ErofsDataStart(unsigned block_bits, size_t devices) {
  const uint64_t end = erofs::kDeviceTableOffset + devices * sizeof(erofs::DeviceSlot);
  return erofs::RoundUp(end, uint64_t{1} << block_bits) >> block_bits;
}

Result<uint64_t> WriteErofs(FdRef image, const LayerTree& tree, const ErofsOptions& options) {
  SNAP_TRY_VOID(CheckOptions(options));
  erofs::LayoutLimits limits;
  limits.block_bits = options.block_bits;
  limits.first_data_block = ErofsDataStart(options.block_bits, options.devices.size());
  limits.end_data_block = options.first_free_block;
  for (const ErofsOptions::Device& device : options.devices) limits.device_blocks.push_back(device.blocks);
  SNAP_TRY(const ErofsLayout layout, ErofsLayout::Make(tree, limits));

  const auto blocks = [&](uint64_t bytes) {
    return erofs::RoundUp(bytes, uint64_t{1} << options.block_bits) >> options.block_bits;
  };
  Places places;
  places.inodes = options.first_free_block;
  places.contents = places.inodes + blocks(layout.inode_area_bytes());
  places.shared_xattrs = places.contents + layout.content_blocks();
  places.end = places.shared_xattrs + blocks(layout.xattrs().SharedArea().size());
  if (places.inodes > kMaxBlocks || places.end > kMaxBlocks) {
    return MakeError(ErrorCode::kLimitExceeded, "an EROFS image cannot have {} blocks of {} bytes",
                     places.end, uint64_t{1} << options.block_bits);
  }
  SNAP_CHECK(layout.root_nid() <= std::numeric_limits<uint16_t>::max());
  SNAP_TRY_VOID(ImageWriter(image, tree, options, layout, places).Write());
  return places.end << options.block_bits;
}

}  // namespace snap
