// The EROFS disk format, as far as we write and read it: structures, constants and the codes in their fields.
// Everything is little endian. Sources: Linux Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h.
// Invariant: structures are bytes (alignment 1, no padding), so they are copied to and from any offset.
#pragma once

#include <sys/types.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "fs/layer_entry.h"

namespace snap::erofs {

/// An unsigned number as it lies on disk.
template <typename T>
class Le {
 public:
  static_assert(std::is_unsigned_v<T>);
  Le() = default;
  Le(T value) { Set(value); }  // NOLINT(google-explicit-constructor): reads and writes like the number it is
  Le& operator=(T value) {
    Set(value);
    return *this;
  }
  operator T() const {  // NOLINT(google-explicit-constructor)
    T value = 0;
    if constexpr (std::endian::native == std::endian::little) {
      std::memcpy(&value, bytes_.data(), sizeof(T));
    } else {
      for (size_t i = sizeof(T); i-- > 0;) value = static_cast<T>(value << 8U | bytes_[i]);
    }
    return value;
  }

 private:
  void Set(T value) {
    if constexpr (std::endian::native == std::endian::little) {
      std::memcpy(bytes_.data(), &value, sizeof(T));
    } else {
      for (uint8_t& byte : bytes_) {
        byte = static_cast<uint8_t>(value);
        value = static_cast<T>(value >> 8U);
      }
    }
  }
  std::array<uint8_t, sizeof(T)> bytes_{};
};
using Le16 = Le<uint16_t>;
using Le32 = Le<uint32_t>;
using Le64 = Le<uint64_t>;

/// The structure at the start of `bytes`, which must hold it.
template <typename T>
T Read(std::span<const std::byte> bytes) {
  static_assert(alignof(T) == 1 && std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

// --- superblock
// ----------------------------------------------------------------------------------------------
constexpr uint64_t kSuperOffset = 1024;  ///< whatever the block size; what is before it is free
constexpr uint32_t kMagic = 0xE0F5E1E2;
constexpr unsigned kMinBlockBits = 9;
constexpr unsigned kMaxBlockBits = 12;  ///< the kernel's limit is its page size

constexpr uint32_t kCompatChecksum = 0x1;
constexpr uint32_t kCompatMtime = 0x2;  ///< i_mtime is the modification time, not the change time
constexpr uint32_t kCompatXattrFilter = 0x4;
constexpr uint32_t kIncompatChunkedFile = 0x4;
constexpr uint32_t kIncompatDeviceTable = 0x8;

struct SuperBlock {
  Le32 magic;
  Le32 checksum;  ///< see Checksum()
  Le32 feature_compat;
  uint8_t block_bits = 0;
  uint8_t extension_slots = 0;  ///< the superblock has this many times 16 bytes more
  Le16 root_nid;
  Le64 inodes;
  Le64 epoch;  ///< seconds, signed; compact inodes count from here
  Le32 epoch_ns;
  Le32 blocks;       ///< of this image, without further devices
  Le32 meta_block;   ///< inode n is at meta_block * block size + 32 * n
  Le32 xattr_block;  ///< shared xattr i is at xattr_block * block size + 4 * i
  std::array<uint8_t, 16> uuid{};
  std::array<uint8_t, 16> volume_name{};
  Le32 feature_incompat;
  Le16 compression;
  Le16 extra_devices;
  Le16 device_table_slot;            ///< the table is at 128 times this
  uint8_t directory_block_bits = 0;  ///< always 0
  uint8_t xattr_prefixes = 0;
  Le32 xattr_prefix_start;
  Le64 packed_nid;
  uint8_t xattr_filter_reserved = 0;  ///< 0, or the filter is not used
  std::array<uint8_t, 23> reserved{};
};
static_assert(sizeof(SuperBlock) == 128 && alignof(SuperBlock) == 1);
static_assert(offsetof(SuperBlock, feature_incompat) == 80 && offsetof(SuperBlock, packed_nid) == 96);

struct DeviceSlot {
  std::array<char, 64> tag{};
  Le32 blocks;
  Le32 unified_address;  ///< 0: only reached by its number
  std::array<uint8_t, 56> reserved{};
};
static_assert(sizeof(DeviceSlot) == 128 && alignof(DeviceSlot) == 1);
constexpr uint64_t kDeviceTableOffset = kSuperOffset + sizeof(SuperBlock);
static_assert(kDeviceTableOffset % sizeof(DeviceSlot) == 0);

/// How many bytes from kSuperOffset the checksum covers: the rest of block 0, or a whole block when that is
/// none.
constexpr size_t ChecksummedBytes(unsigned block_bits) {
  const size_t block = size_t{1} << block_bits;
  return block > kSuperOffset ? block - kSuperOffset : block;
}
/// CRC-32C that starts with all ones and is not inverted at the end; the checksum field counts as zero.
/// `bytes` are the ChecksummedBytes() from kSuperOffset on.
uint32_t Checksum(std::span<const std::byte> bytes);

// --- inodes
// --------------------------------------------------------------------------------------------------
constexpr uint64_t kInodeSlot = 32;  ///< inodes start at multiples of it; their number is the slot's
constexpr uint16_t kFormatExtended = 0x1;
constexpr unsigned kFormatLayoutShift = 1;
constexpr uint16_t kFormatLayoutMask = 0x7;
constexpr uint16_t kFormatKnownBits = 0xF;
constexpr uint16_t kLayoutPlain = 0;   ///< all data in blocks, one after the other
constexpr uint16_t kLayoutInline = 2;  ///< the last, partial block is right behind inode and xattrs
constexpr uint16_t kLayoutChunks = 4;  ///< chunk indexes behind inode and xattrs

struct InodeExtended {
  Le16 format;
  Le16 xattr_count;  ///< 0, or 1 + (bytes of xattrs - 12) / 4
  Le16 mode;
  Le16 reserved;
  Le64 size;
  Le32 place;  ///< plain, inline: first block; chunks: format; devices: number
  Le32 ino;    ///< for 32-bit stat
  Le32 uid;
  Le32 gid;
  Le64 mtime;  ///< signed seconds since 1970
  Le32 mtime_ns;
  Le32 links;
  std::array<uint8_t, 16> reserved2{};
};
static_assert(sizeof(InodeExtended) == 64 && alignof(InodeExtended) == 1);

struct InodeCompact {
  Le16 format;
  Le16 xattr_count;
  Le16 mode;
  Le16 links;
  Le32 size;
  Le32 mtime;  ///< seconds after the superblock's epoch
  Le32 place;
  Le32 ino;
  Le16 uid;
  Le16 gid;
  Le32 reserved;
};
static_assert(sizeof(InodeCompact) == 32 && alignof(InodeCompact) == 1);

// --- chunks
// --------------------------------------------------------------------------------------------------
constexpr uint32_t kChunkBitsMask = 0x1F;  ///< log2 of blocks per chunk
constexpr uint32_t kChunkIndexes = 0x20;   ///< entries are ChunkIndex; otherwise just Le32 blocks
constexpr uint32_t kNoBlock = 0xFFFFFFFF;  ///< a hole

struct ChunkIndex {
  Le16 block_high;  ///< 0 without the 48-bit feature
  Le16 device;      ///< 0: this image; n: slot n - 1 of the device table
  Le32 block;
};
static_assert(sizeof(ChunkIndex) == 8 && alignof(ChunkIndex) == 1);

// --- xattrs
// --------------------------------------------------------------------------------------------------
/// Behind the inode when it has xattrs: this header, Le32 numbers of shared xattrs, then entries.
struct XattrHeader {
  Le32 name_filter;  ///< a set bit: no xattr whose name has this hash (kXattrFilterSeed)
  uint8_t shared = 0;
  std::array<uint8_t, 7> reserved{};
};
static_assert(sizeof(XattrHeader) == 12 && alignof(XattrHeader) == 1);
/// Then the name without its prefix and the value; padded to kXattrAlign.
struct XattrEntry {
  uint8_t name_size = 0;
  uint8_t prefix = 0;
  Le16 value_size;
};
static_assert(sizeof(XattrEntry) == 4 && alignof(XattrEntry) == 1);
constexpr size_t kXattrAlign = 4;
constexpr uint32_t kXattrFilterSeed =
    0x25BBE08F;  ///< + prefix; XXH32 of the name without its prefix, low five bits

struct XattrName {
  uint8_t prefix = 0;
  std::string_view rest;
};
/// nullopt for a name that no prefix fits.
std::optional<XattrName> SplitXattrName(std::string_view name);
/// nullopt for an unknown code.
std::optional<std::string_view> XattrPrefix(uint8_t prefix);
uint32_t XattrFilterBit(const XattrName& name);

// --- directories
// ---------------------------------------------------------------------------------------------
/// A directory block is an array of these and the names, in the same order; names have no terminator, but the
/// last one of a block that it does not fill is followed by a NUL. All names of a directory, '.' and '..'
/// too, ascend bytewise.
struct Dirent {
  Le64 nid;
  Le16 name_offset;  ///< in the block; the first one's says how many there are
  uint8_t type = 0;
  uint8_t reserved = 0;
};
static_assert(sizeof(Dirent) == 12 && alignof(Dirent) == 1);

// --- codes
// ---------------------------------------------------------------------------------------------------
uint8_t DirentType(FileType type);
std::optional<FileType> TypeOfDirent(uint8_t type);
/// File type and permissions as st_mode has them.
uint16_t Mode(FileType type, uint16_t permissions);
/// nullopt for a number beyond 12 bits of major and 20 of minor, which no kernel has.
std::optional<uint32_t> EncodeDevice(dev_t device);
dev_t DecodeDevice(uint32_t encoded);

constexpr uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace snap::erofs
