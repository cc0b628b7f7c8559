// ReadAhead: a source read on a thread of its own, so that inflating runs beside parsing, hashing and
// writing. Invariant: what the consumer sees is what the source gave, in order, and an error only after the
// bytes before it.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <thread>

#include "fs/base/result.h"
#include "fs/buffer_pool.h"
#include "fs/byte_source.h"

namespace snap {

struct ReadAheadOptions {
  size_t max_buffers = 8;                  ///< at least 2; one of them is the consumer's
  size_t buffer_bytes = size_t{1} << 20U;  ///< ignored with a pool, which has its own size
  BufferPool* pool = nullptr;              ///< where buffers come from and return to; must outlive this
};

/// Memory: as many buffers as the producer is really ahead, up to max_buffers.
/// Threads: one consumer; `inner` belongs to the producer's thread until the destructor returns. When no
/// thread can be started (a process limit), NextChunk reads on the caller's. Cost: two uncontended lock
/// operations per chunk. Chunks are full buffers, except while the consumer waits: then it gets what there is
/// after each read of `inner`.
class ReadAhead final : public ChunkSource {
 public:
  /// Starts reading. `inner` must outlive this.
  explicit ReadAhead(ByteSource& inner, const ReadAheadOptions& options = {});
  /// Stops the producer, wherever it is, and waits for it: no longer than one read of `inner` takes. To
  /// interrupt a read that blocks (a pipe), end its input.
  ~ReadAhead() override;
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  Result<std::span<const std::byte>> NextChunk() override;

 private:
  struct State;
  std::optional<BufferPool> own_pool_;
  std::unique_ptr<State> state_;
  std::thread producer_;
};

}  // namespace snap
