// ChunkCursor: walks a ChunkSource by sizes that do not respect its chunks.
// Invariant: bytes are copied only when a piece that must be contiguous crosses the end of a chunk, and
// memory grows only with bytes that really arrived, never with a length somebody claimed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fs/base/result.h"
#include "fs/byte_source.h"

namespace snap {

/// Views are valid until the next call. Errors: whatever the source returns. Threads: one at a time.
class ChunkCursor {
 public:
  /// `source` must outlive the cursor.
  explicit ChunkCursor(ChunkSource& source) : source_(source) {}

  /// The next `size` bytes in one piece; fewer only at the end of the stream.
  Result<std::span<const std::byte>> Take(size_t size);
  /// What lies ready, between one byte and `max`; empty only at the end of the stream (or when `max` is 0).
  Result<std::span<const std::byte>> TakeSome(uint64_t max);
  /// Passes over `size` bytes; returns how many there were before the stream ended.
  Result<uint64_t> Skip(uint64_t size);
  /// Bytes taken and skipped so far.
  uint64_t position() const { return position_; }

 private:
  // Makes chunk_ non-empty unless the stream has ended.
  Result<void> Refill();
  std::span<const std::byte> Advance(size_t size);
  Result<std::span<const std::byte>> Gather(size_t size);

  ChunkSource& source_;
  std::span<const std::byte> chunk_;
  std::vector<std::byte> gathered_;
  uint64_t position_ = 0;
  bool ended_ = false;
};

}  // namespace snap
