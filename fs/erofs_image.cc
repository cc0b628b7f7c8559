// The superblock is the only part with a checksum. It is demanded, so that a flipped feature bit does not
// switch it off.
#include "fs/erofs_image.h"

#include <algorithm>
#include <cstring>

#include "fs/base/sys_file.h"
#include "fs/erofs_format.h"

namespace snap::erofs {
namespace {

constexpr uint32_t kKnownIncompat = kIncompatChunkedFile | kIncompatDeviceTable;
constexpr size_t kReadPiece = size_t{4} << 20U;

}  // namespace

Result<ErofsImage> ErofsImage::Open(FdRef file, std::string name) {
  ErofsImage image(file, std::move(name));
  SNAP_TRY_VOID(image.ReadSuperBlock());
  return image;
}

Result<void> ErofsImage::ReadSuperBlock() {
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(file_), "stat EROFS image {}", Quote(name_));
  const uint64_t file_bytes = stat.st_size < 0 ? 0 : static_cast<uint64_t>(stat.st_size);
  if (file_bytes < kSuperOffset + sizeof(SuperBlock)) return Corrupt("it is too short to be one");
  std::array<std::byte, ChecksummedBytes(kMaxBlockBits)> bytes{};
  const std::span<std::byte> available =
      std::span(bytes).first(std::min(bytes.size(), file_bytes - kSuperOffset));
  SNAP_TRY_VOID(ReadInto(kSuperOffset, available));
  const auto super = Read<SuperBlock>(bytes);

  if (super.magic != kMagic) return Corrupt("its magic number is wrong");
  if (super.block_bits < kMinBlockBits || super.block_bits > kMaxBlockBits ||
      super.directory_block_bits != 0) {
    return MakeError(ErrorCode::kUnsupported, "EROFS image {}: it has blocks of 2^{} bytes", Quote(name_),
                     super.block_bits);
  }
  const size_t summed = ChecksummedBytes(super.block_bits);
  if (summed > available.size()) return Corrupt("its first block is not complete");
  if ((super.feature_compat & kCompatChecksum) == 0) return Corrupt("its superblock has no checksum");
  if (Checksum(available.first(summed)) != super.checksum)
    return Corrupt("the checksum of its superblock is wrong");
  if ((super.feature_incompat & ~kKnownIncompat) != 0) {
    return MakeError(ErrorCode::kUnsupported, "EROFS image {}: it has unknown features {:#x}", Quote(name_),
                     super.feature_incompat & ~kKnownIncompat);
  }

  block_bits_ = super.block_bits;
  blocks_ = super.blocks;
  if (this->bytes() > file_bytes) return Corrupt("it has {} bytes, the file {}", this->bytes(), file_bytes);
  meta_offset_ = uint64_t{super.meta_block} << block_bits_;
  xattr_offset_ = uint64_t{super.xattr_block} << block_bits_;
  if (meta_offset_ >= this->bytes() || xattr_offset_ > this->bytes())
    return Corrupt("its metadata is outside of it");
  has_xattr_filter_ = (super.feature_compat & kCompatXattrFilter) != 0 && super.xattr_filter_reserved == 0;
  inode_count_ = super.inodes;
  root_ = super.root_nid;
  epoch_ = static_cast<int64_t>(uint64_t{super.epoch});
  epoch_ns_ = super.epoch_ns;
  if (epoch_ns_ >= 1'000'000'000) return Corrupt("its epoch has {} ns", epoch_ns_);
  if ((super.feature_incompat & kIncompatDeviceTable) == 0) return {};
  return ReadDevices(uint64_t{super.device_table_slot} * sizeof(DeviceSlot), super.extra_devices);
}

Result<void> ErofsImage::ReadDevices(uint64_t offset, size_t count) {
  std::vector<std::byte> scratch;
  SNAP_TRY(const auto table, View(offset, count * sizeof(DeviceSlot), scratch));
  device_blocks_.reserve(count);
  for (size_t i = 0; i < count; ++i)
    device_blocks_.push_back(Read<DeviceSlot>(table.subspan(i * sizeof(DeviceSlot))).blocks);
  return {};
}

uint64_t ErofsImage::nid_limit() const { return (bytes() - meta_offset_) / kInodeSlot; }

std::span<const std::byte> ErofsImage::Held(uint64_t offset, size_t size) const {
  if (offset < held_offset_ || offset - held_offset_ > held_.size()) return {};
  const size_t start = offset - held_offset_;
  return size <= held_.size() - start ? std::span<const std::byte>(held_).subspan(start, size)
                                      : std::span<const std::byte>();
}

Result<std::span<const std::byte>> ErofsImage::View(uint64_t offset, size_t size,
                                                    std::vector<std::byte>& scratch) const {
  if (!IsWithin(offset, size))
    return Corrupt("{} bytes at {} are beyond its end at {}", size, offset, bytes());
  if (const auto held = Held(offset, size); !held.empty()) return held;
  scratch.resize(size);
  SNAP_TRY_VOID(ReadInto(offset, scratch));
  return std::span<const std::byte>(scratch);
}

Result<void> ErofsImage::Copy(uint64_t offset, std::span<std::byte> buffer) const {
  if (!IsWithin(offset, buffer.size()))
    return Corrupt("{} bytes at {} are beyond its end at {}", buffer.size(), offset, bytes());
  if (const auto held = Held(offset, buffer.size()); !held.empty()) {
    std::copy(held.begin(), held.end(), buffer.begin());
    return {};
  }
  return ReadInto(offset, buffer);
}

Result<void> ErofsImage::ReadInto(uint64_t offset, std::span<std::byte> buffer) const {
  while (!buffer.empty()) {
    SNAP_TRY_SYS(const size_t got, sys::PRead(file_, buffer, offset), "read EROFS image {}", Quote(name_));
    if (got == 0) return Corrupt("the file ends at {}, within the image", offset);
    buffer = buffer.subspan(got);
    offset += got;
  }
  return {};
}

Result<void> ErofsImage::HoldMetadata() {
  const uint64_t start = metadata_offset();
  const uint64_t size = metadata_bytes();
  if (size > kMaxHeld) {
    return MakeError(ErrorCode::kLimitExceeded, "EROFS image {}: {} bytes of metadata are too many",
                     Quote(name_), size);
  }
  std::vector<std::byte> held(size);
  for (size_t at = 0; at < size; at += kReadPiece) {
    SNAP_TRY_VOID(ReadInto(start + at, std::span(held).subspan(at, std::min(kReadPiece, size - at))));
  }
  held_ = std::move(held);
  held_offset_ = start;
  return {};
}

}  // namespace snap::erofs
