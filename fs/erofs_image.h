// ErofsImage: the bytes of an EROFS image and its superblock: bounded access for those who decode the rest.
// Invariant: no byte outside the image is ever looked at, whatever an offset in the image says. Bytes are
// read with pread, never mapped: a file that gets shorter is an error then, not a signal.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::erofs {

/// Threads: safe (constant after Open and HoldMetadata).
class ErofsImage {
 public:
  /// Errors: kCorrupt, kUnsupported, kIo.
  static Result<ErofsImage> Open(FdRef file, std::string name);
  FdRef file() const { return file_; }

  unsigned block_bits() const { return block_bits_; }
  uint64_t block_bytes() const { return uint64_t{1} << block_bits_; }
  uint64_t blocks() const { return blocks_; }
  uint64_t bytes() const { return blocks_ << block_bits_; }
  uint64_t inode_count() const { return inode_count_; }
  uint64_t root() const { return root_; }
  uint64_t meta_offset() const { return meta_offset_; }
  uint64_t xattr_offset() const { return xattr_offset_; }
  int64_t epoch() const { return epoch_; }
  uint32_t epoch_ns() const { return epoch_ns_; }
  bool has_xattr_filter() const { return has_xattr_filter_; }
  size_t device_count() const { return device_blocks_.size(); }
  /// 0 is the image itself; `device` is at most device_count().
  uint64_t BlocksOf(size_t device) const { return device == 0 ? blocks_ : device_blocks_[device - 1]; }
  /// Inode numbers are below this.
  uint64_t nid_limit() const;

  /// Exactly these bytes, valid as long as `scratch` is unchanged and this lives. Errors: kCorrupt when the
  /// image ends before.
  Result<std::span<const std::byte>> View(uint64_t offset, size_t size,
                                          std::vector<std::byte>& scratch) const;
  /// Exactly these bytes, into `buffer`. Errors: kCorrupt when the image ends before.
  Result<void> Copy(uint64_t offset, std::span<std::byte> buffer) const;

  /// Reads everything from the first inode or shared xattr to the end into memory; View is free there from
  /// then on. Errors: kLimitExceeded when that is more than kMaxHeld, kIo, kCorrupt.
  Result<void> HoldMetadata();
  static constexpr uint64_t kMaxHeld = uint64_t{1} << 30U;  ///< about ten million files
  uint64_t held_bytes() const { return held_.size(); }
  /// What HoldMetadata would read.
  uint64_t metadata_bytes() const { return bytes() - metadata_offset(); }

  template <typename... Args>
  Error Corrupt(fmt::format_string<Args...> format, Args&&... args) const {
    return MakeError(ErrorCode::kCorrupt, "EROFS image {}: {}", Quote(name_),
                     fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  Error CorruptInode(uint64_t nid, fmt::format_string<Args...> format, Args&&... args) const {
    return MakeError(ErrorCode::kCorrupt, "EROFS image {}: inode {}: {}", Quote(name_), nid,
                     fmt::format(format, std::forward<Args>(args)...));
  }
  const std::string& name() const { return name_; }

 private:
  ErofsImage(FdRef file, std::string name) : file_(file), name_(std::move(name)) {}
  uint64_t metadata_offset() const {
    return xattr_offset_ == 0 || meta_offset_ < xattr_offset_ ? meta_offset_ : xattr_offset_;
  }
  bool IsWithin(uint64_t offset, uint64_t size) const {
    return offset <= bytes() && size <= bytes() - offset;
  }
  /// The bytes when they are held; otherwise nothing.
  std::span<const std::byte> Held(uint64_t offset, size_t size) const;
  Result<void> ReadInto(uint64_t offset, std::span<std::byte> buffer) const;
  Result<void> ReadSuperBlock();
  Result<void> ReadDevices(uint64_t offset, size_t count);

  FdRef file_;
  std::string name_;
  unsigned block_bits_ = 0;
  bool has_xattr_filter_ = false;
  uint64_t blocks_ = 0;
  uint64_t inode_count_ = 0;
  uint64_t root_ = 0;
  uint64_t meta_offset_ = 0;
  uint64_t xattr_offset_ = 0;
  int64_t epoch_ = 0;
  uint32_t epoch_ns_ = 0;
  std::vector<uint64_t> device_blocks_;
  std::vector<std::byte> held_;
  uint64_t held_offset_ = 0;
};

}  // namespace snap::erofs
