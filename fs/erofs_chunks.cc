// A run may start at a chunk's start only and end there or at the file's end, so the chunk size is what
// divides all these.
#include "fs/erofs_chunks.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "fs/erofs_format.h"

namespace snap::erofs {
namespace {

// 128 MiB of indexes: data anywhere in a file of 8 GiB, or at multiples of 512 KiB in one of 8 TiB.
constexpr uint64_t kMaxChunks = uint64_t{1} << 24U;

}  // namespace

Result<ChunkPlan> PlanChunks(uint64_t size, std::span<const LayerTree::Run> runs, unsigned block_bits) {
  uint64_t boundaries = 0;
  for (const LayerTree::Run& run : runs) {
    boundaries |= run.offset;
    if (run.offset + run.size != size) boundaries |= run.offset + run.size;
  }
  unsigned bits = std::max(block_bits, static_cast<unsigned>(std::bit_width(size - 1)));
  bits = std::min(bits, block_bits + kChunkBitsMask);
  if (boundaries != 0) bits = std::min(bits, static_cast<unsigned>(std::countr_zero(boundaries)));
  if (bits < block_bits) {
    return MakeError(ErrorCode::kInvalidArgument, "a run of data is not aligned to blocks of {} bytes",
                     1U << block_bits);
  }
  const ChunkPlan plan{bits, ((size - 1) >> bits) + 1};
  if (plan.chunks > kMaxChunks) {
    return MakeError(ErrorCode::kLimitExceeded,
                     "a sparse file of {} bytes needs {} chunks, at most {} are allowed", size, plan.chunks,
                     kMaxChunks);
  }
  return plan;
}

void EncodeChunks(const ChunkPlan& plan, std::span<const LayerTree::Run> runs, unsigned block_bits,
                  std::vector<std::byte>& out) {
  const size_t start = out.size();
  out.resize(start + plan.IndexBytes());
  ChunkIndex hole;
  hole.block = kNoBlock;
  for (uint64_t i = 0; i < plan.chunks; ++i)
    std::memcpy(out.data() + start + i * sizeof(hole), &hole, sizeof(hole));
  for (const LayerTree::Run& run : runs) {
    const uint64_t last = (run.offset + run.size - 1) >> plan.bits;
    for (uint64_t i = run.offset >> plan.bits; i <= last; ++i) {
      ChunkIndex index;
      index.device = run.device;
      index.block = static_cast<uint32_t>(run.block + (((i << plan.bits) - run.offset) >> block_bits));
      std::memcpy(out.data() + start + i * sizeof(index), &index, sizeof(index));
    }
  }
}

}  // namespace snap::erofs
