// Sparse files in tars: three ways to say where the data of a file with holes belongs.
//   old GNU ('S'):  offset/size pairs in the header block, continued in extension blocks
//   PAX 0.0, 0.1:   the pairs are records of the extended header
//   PAX 1.0:        the pairs are decimal lines in front of the file's data, padded to a block
// Source: GNU tar manual, "Storing Sparse Files".
// Invariant: a finished map is ascending and disjoint, lies within the file, and accounts for every stored
// byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/layer_entry.h"

namespace snap::tar {

/// Collects extents into a vector of the caller, checking as it goes. Empty extents (GNU tar marks the end of
/// a file that ends in a hole with one) are checked, counted and left out.
class SparseMap {
 public:
  /// Clears `extents`, which must outlive this.
  SparseMap(std::vector<DataExtent>& extents, size_t max_extents);
  /// Errors: kCorrupt when the extent is negative, overflows, or begins before the previous one ended;
  /// kLimitExceeded.
  Result<void> Add(int64_t offset, int64_t size);
  /// Errors: kCorrupt when the map reaches beyond `file_size` or does not describe exactly `stored_size`
  /// bytes.
  Result<void> Finish(uint64_t file_size, uint64_t stored_size) const;

 private:
  std::vector<DataExtent>& extents_;
  size_t max_extents_;
  size_t count_ = 0;
  uint64_t end_ = 0;
  uint64_t stored_ = 0;
};

/// An extension block of the old GNU format: its pairs, and the flag that says that another block follows.
inline constexpr size_t kExtensionMapBytes = 504;
/// Adds the pairs of a header's or an extension block's map field. `more` is the flag of the same block.
Result<void> AddOldGnuPairs(std::string_view map_field, bool more, SparseMap& map);

/// Reads the map of PAX 1.0 block by block.
class MapReader {
 public:
  explicit MapReader(SparseMap& map) : map_(map) {}
  /// Returns true when the map is complete; what is left of the block is padding. Errors: as SparseMap::Add,
  /// and kCorrupt for anything but decimal lines.
  Result<bool> AddBlock(std::string_view block);

 private:
  Result<void> AddNumber(uint64_t number);

  SparseMap& map_;
  enum class Expect : uint8_t { kCountLine, kOffsetLine, kSizeLine } expect_ = Expect::kCountLine;
  uint64_t pairs_left_ = 0;
  uint64_t offset_ = 0;
  uint64_t number_ = 0;
  size_t digits_ = 0;
};

}  // namespace snap::tar
