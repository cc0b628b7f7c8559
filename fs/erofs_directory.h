// A directory as EROFS stores it: blocks of entries, filled one after the other. Names cannot cross blocks.
// Invariant: DirectoryBytes and EncodeDirectory fill blocks by the same rule.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/layer_entry.h"

namespace snap::erofs {

struct DirectoryItem {
  std::string_view name;
  uint64_t nid = 0;
  FileType type = FileType::kRegular;
};

/// Puts '.' and '..' where they belong among names that are sorted bytewise.
void InsertDots(std::vector<DirectoryItem>& sorted, uint64_t self, uint64_t parent);

/// The size of the directory: whole blocks, and of the last one what is used. `sorted` has the dots.
uint64_t DirectoryBytes(std::span<const DirectoryItem> sorted, size_t block_bytes);

/// Appends that many bytes.
void EncodeDirectory(std::span<const DirectoryItem> sorted, size_t block_bytes, std::vector<std::byte>& out);

/// One block of a directory of an image that is not to be trusted.
class DirectoryBlock {
 public:
  struct Item {
    std::string_view name;
    uint64_t nid = 0;
    FileType type = FileType::kRegular;
    bool IsDots() const { return name == "." || name == ".."; }
  };
  /// `block` must outlive this. Errors: kCorrupt unless every entry lies within the block and has a name that
  /// a file can have (or is '.' or '..').
  static Result<DirectoryBlock> Parse(std::span<const std::byte> block);
  size_t size() const { return count_; }
  Item at(size_t index) const;

 private:
  DirectoryBlock(std::span<const std::byte> block, size_t count) : block_(block), count_(count) {}
  std::string_view Name(size_t index) const;
  std::span<const std::byte> block_;
  size_t count_;
};

}  // namespace snap::erofs
