// BufferPool: page-aligned buffers of one size, kept for the next user. The first touch of fresh memory costs
// more than inflating into it (page faults, and in a virtual machine the host's too), so layers hand theirs
// on. Invariant: the most recently returned buffer, warm in the cache, is the next one given out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "fs/base/synchronized.h"

namespace snap {

/// Threads: safe. Must outlive every user that will return a buffer.
class BufferPool {
 public:
  static constexpr size_t kAlignment = 4096;
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t(kAlignment)); }
  };
  /// Owns its memory with or without the pool. Content: whatever the last user left.
  using Buffer = std::unique_ptr<std::byte[], Free>;

  /// `max_idle`: returned buffers beyond that many are freed.
  explicit BufferPool(size_t buffer_bytes = size_t{1} << 20U, size_t max_idle = 32);

  Buffer Take();
  /// `buffer` came from a Take of this pool.
  void Return(Buffer buffer);
  size_t buffer_bytes() const { return buffer_bytes_; }
  /// How many buffers wait for a user.
  size_t idle();

 private:
  const size_t buffer_bytes_;
  const size_t max_idle_;
  Synchronized<std::vector<Buffer>> idle_;
};

}  // namespace snap
