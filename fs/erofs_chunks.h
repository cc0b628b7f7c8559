// Chunk indexes: how EROFS says where the pieces of a file are that has holes, or whose data is in another
// image. The file is cut into chunks of one size, a power of two of blocks; each has an index: a first block,
// or none for a hole. Invariant: no chunk is a mixture of data and hole, or of two runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fs/base/result.h"
#include "fs/layer_tree.h"

namespace snap::erofs {

struct ChunkPlan {
  unsigned bits = 0;  ///< log2 of a chunk's bytes
  uint64_t chunks = 0;
  uint64_t IndexBytes() const { return 8 * chunks; }
};

/// The largest chunks that fit the runs, which are ascending, disjoint and within `size` bytes (not 0).
/// Errors: kInvalidArgument for a run that is not aligned to blocks; kLimitExceeded when there would be too
/// many chunks: a huge file with little data at odd places.
Result<ChunkPlan> PlanChunks(uint64_t size, std::span<const LayerTree::Run> runs, unsigned block_bits);

/// Appends the indexes.
void EncodeChunks(const ChunkPlan& plan, std::span<const LayerTree::Run> runs, unsigned block_bits,
                  std::vector<std::byte>& out);

}  // namespace snap::erofs
