// One producer, one consumer, two piles of buffers: filled ones in order, free ones as a stack, so that a
// consumer that keeps up works in one or two buffers that stay in the cache. Locks are taken per buffer,
// never held while reading. Invariant: a buffer is in exactly one place: filled, free, or in the hands of the
// producer or the consumer.
#include "fs/read_ahead.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <system_error>
#include <utility>
#include <vector>

#include "fs/base/synchronized.h"

namespace snap {

struct ReadAhead::State {
  struct Filled {
    BufferPool::Buffer buffer;
    size_t size = 0;
  };
  struct Piles {
    std::deque<Filled> filled;             // oldest first
    std::vector<BufferPool::Buffer> free;  // most recently used last
    size_t taken = 0;                      // from the pool, in all
    bool at_end = false;                   // nothing follows `filled` but `failure`
    std::optional<Error> failure;
  };

  State(ByteSource& inner_source, BufferPool& buffer_pool, size_t max)
      : inner(inner_source), pool(buffer_pool), max_buffers(max) {}

  /// The producer's thread. Ends at the end of the source, at its first error, or when stopped.
  void Produce();
  /// A buffer to fill, once there is one; none when stopped.
  BufferPool::Buffer WaitForBuffer();

  // Constant after construction.
  ByteSource& inner;
  BufferPool& pool;
  const size_t max_buffers;
  // Own synchronisation. Written under the lock of `piles`, read without it as hints while a buffer fills.
  std::atomic<bool> stop = false;
  std::atomic<bool> consumer_waits = false;
  Synchronized<Piles> piles;
  std::condition_variable producer_may_go;  // a buffer became free, or stop
  std::condition_variable consumer_may_go;  // a buffer was filled, or the end
  // The consumer's.
  Filled in_hand;
};

BufferPool::Buffer ReadAhead::State::WaitForBuffer() {
  {
    auto locked = piles.Lock();
    producer_may_go.wait(locked.lock(),
                         [&] { return stop.load() || !locked->free.empty() || locked->taken < max_buffers; });
    if (stop.load()) return nullptr;
    if (!locked->free.empty()) {
      BufferPool::Buffer buffer = std::move(locked->free.back());
      locked->free.pop_back();
      return buffer;
    }
    ++locked->taken;
  }
  return pool.Take();
}

void ReadAhead::State::Produce() {
  for (bool at_end = false; !at_end;) {
    Filled filled{WaitForBuffer()};
    if (filled.buffer == nullptr) return;
    std::optional<Error> failure;
    const std::span<std::byte> room(filled.buffer.get(), pool.buffer_bytes());
    while (filled.size < room.size()) {
      const auto got = inner.Read(room.subspan(filled.size));
      if (!got.ok()) failure = got.error();
      at_end = !got.ok() || *got == 0;
      if (at_end) break;
      filled.size += *got;
      if (stop.load(std::memory_order_relaxed) || consumer_waits.load(std::memory_order_relaxed)) break;
    }
    auto locked = piles.Lock();
    if (filled.size != 0) {
      locked->filled.push_back(std::move(filled));
    } else {
      locked->free.push_back(std::move(filled.buffer));
    }
    locked->at_end = at_end;
    locked->failure = std::move(failure);
    consumer_may_go.notify_one();
  }
}

ReadAhead::ReadAhead(ByteSource& inner, const ReadAheadOptions& options) {
  SNAP_CHECK(options.max_buffers >= 2);
  BufferPool& pool = options.pool != nullptr ? *options.pool : own_pool_.emplace(options.buffer_bytes, 0);
  state_ = std::make_unique<State>(inner, pool, options.max_buffers);
  try {
    producer_ = std::thread([state = state_.get()] {
      try {
        state->Produce();
      } catch (const std::exception& e) {  // in practice std::bad_alloc
        auto locked = state->piles.Lock();
        locked->at_end = true;
        locked->failure = MakeError(ErrorCode::kUnavailable, "read ahead: {}", e.what());
        state->consumer_may_go.notify_one();
      }
    });
  } catch (const std::system_error&) {
    state_->in_hand.buffer = pool.Take();  // NextChunk reads by itself
  }
}

ReadAhead::~ReadAhead() {
  if (producer_.joinable()) {
    {
      auto locked = state_->piles.Lock();
      state_->stop.store(true);
      state_->producer_may_go.notify_one();
    }
    producer_.join();
  }
  auto locked = state_->piles.Lock();
  const auto give_back = [&](BufferPool::Buffer& buffer) {
    if (buffer != nullptr) state_->pool.Return(std::move(buffer));
  };
  give_back(state_->in_hand.buffer);
  for (State::Filled& filled : locked->filled) give_back(filled.buffer);
  for (BufferPool::Buffer& buffer : locked->free) give_back(buffer);
}

Result<std::span<const std::byte>> ReadAhead::NextChunk() {
  State::Filled& in_hand = state_->in_hand;
  if (!producer_.joinable()) {
    SNAP_TRY(in_hand.size, state_->inner.Read(std::span(in_hand.buffer.get(), state_->pool.buffer_bytes())));
    return std::span<const std::byte>(in_hand.buffer.get(), in_hand.size);
  }
  auto locked = state_->piles.Lock();
  if (in_hand.buffer != nullptr) {
    locked->free.push_back(std::move(in_hand.buffer));
    state_->producer_may_go.notify_one();
  }
  if (locked->filled.empty() && !locked->at_end) {
    state_->consumer_waits.store(true);
    state_->consumer_may_go.wait(locked.lock(), [&] { return !locked->filled.empty() || locked->at_end; });
    state_->consumer_waits.store(false);
  }
  if (locked->filled.empty()) {
    if (locked->failure.has_value()) return *locked->failure;
    return std::span<const std::byte>();
  }
  in_hand = std::move(locked->filled.front());
  locked->filled.pop_front();
  return std::span<const std::byte>(in_hand.buffer.get(), in_hand.size);
}

}  // namespace snap
