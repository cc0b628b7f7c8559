// The fast path of Take is one comparison: 511 of 512 headers lie within one chunk of any sensible size.
#include "fs/chunk_cursor.h"

#include <algorithm>

namespace snap {

Result<void> ChunkCursor::Refill() {
  if (!chunk_.empty() || ended_) return {};
  SNAP_TRY(chunk_, source_.NextChunk());
  ended_ = chunk_.empty();
  return {};
}

std::span<const std::byte> ChunkCursor::Advance(size_t size) {
  const std::span<const std::byte> bytes = chunk_.first(size);
  chunk_ = chunk_.subspan(size);
  position_ += size;
  return bytes;
}

Result<std::span<const std::byte>> ChunkCursor::Take(size_t size) {
  if (chunk_.empty()) SNAP_TRY_VOID(Refill());
  if (size <= chunk_.size()) [[likely]]
    return Advance(size);
  return Gather(size);
}

Result<std::span<const std::byte>> ChunkCursor::Gather(size_t size) {
  gathered_.clear();
  while (gathered_.size() < size && !chunk_.empty()) {
    const auto piece = Advance(std::min(size - gathered_.size(), chunk_.size()));
    gathered_.insert(gathered_.end(), piece.begin(), piece.end());
    SNAP_TRY_VOID(Refill());
  }
  return std::span<const std::byte>(gathered_);
}

Result<std::span<const std::byte>> ChunkCursor::TakeSome(uint64_t max) {
  if (chunk_.empty() && max != 0) SNAP_TRY_VOID(Refill());
  return Advance(static_cast<size_t>(std::min<uint64_t>(max, chunk_.size())));
}

Result<uint64_t> ChunkCursor::Skip(uint64_t size) {
  uint64_t left = size;
  while (left != 0) {
    SNAP_TRY(const auto piece, TakeSome(left));
    if (piece.empty()) break;
    left -= piece.size();
  }
  return size - left;
}

}  // namespace snap
