#include "fs/read_ahead.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <condition_variable>
#include <functional>
#include <latch>
#include <mutex>
#include <new>
#include <set>

#include "tests/unit/fs/byte_samples.h"

namespace snap {
namespace {

using namespace testing_bytes;  // NOLINT(google-build-using-namespace)

Result<std::string> DrainChunks(ChunkSource& source) {
  std::string out;
  for (;;) {
    SNAP_TRY(const auto chunk, source.NextChunk());
    if (chunk.empty()) return out;
    out += Text(chunk);
  }
}

class FunctionSource final : public ByteSource {
 public:
  explicit FunctionSource(std::function<Result<size_t>(std::span<std::byte>)> read)
      : read_(std::move(read)) {}
  Result<size_t> Read(std::span<std::byte> buffer) override { return read_(buffer); }

 private:
  std::function<Result<size_t>(std::span<std::byte>)> read_;
};

/// Never ends; tells how much was read.
class EndlessSource final : public ByteSource {
 public:
  Result<size_t> Read(std::span<std::byte> buffer) override {
    const std::lock_guard lock(mutex_);
    read_ += buffer.size();
    changed_.notify_all();
    return buffer.size();
  }
  void WaitUntilRead(size_t bytes) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return read_ >= bytes; });
  }
  size_t bytes_read() {
    const std::lock_guard lock(mutex_);
    return read_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t read_ = 0;
};

TEST(ReadAhead, GivesTheSameBytesInOrder) {
  const std::string data = MixedData(1'000'003);
  for (const size_t piece : {size_t{999}, size_t{4096}, SIZE_MAX}) {
    for (const size_t buffers : {size_t{2}, size_t{3}, size_t{8}}) {
      for (const size_t buffer_bytes : {size_t{1000}, size_t{65536}, size_t{4} << 20U}) {
        PieceSource inner(data, piece);
        ReadAhead source(inner, {.max_buffers = buffers, .buffer_bytes = buffer_bytes});
        const auto got = DrainChunks(source);
        ASSERT_TRUE(got.ok());
        ASSERT_TRUE(*got == data) << piece << ' ' << buffers << ' ' << buffer_bytes;
        EXPECT_TRUE(source.NextChunk()->empty()) << "the end is final";
      }
    }
  }
}

TEST(ReadAhead, EmptySourceEndsAtOnce) {
  PieceSource inner("");
  ReadAhead source(inner);
  EXPECT_TRUE(source.NextChunk()->empty());
}

TEST(ReadAhead, ErrorArrivesAfterTheBytesBeforeIt) {
  const std::string data = MixedData(100'000);
  for (const size_t fail_after : {size_t{0}, size_t{1}, size_t{1000}, size_t{1001}, size_t{99'999}}) {
    PieceSource inner(data, 700, fail_after);
    ReadAhead source(inner, {.max_buffers = 4, .buffer_bytes = 1000});
    std::string out;
    for (;;) {
      const auto chunk = source.NextChunk();
      if (!chunk.ok()) {
        EXPECT_EQ(chunk.error().cause(), EIO);
        break;
      }
      ASSERT_FALSE(chunk->empty()) << "an error must not look like the end";
      out += Text(*chunk);
    }
    EXPECT_EQ(out, data.substr(0, fail_after));
    EXPECT_FALSE(source.NextChunk().ok()) << "the error is final";
  }
}

TEST(ReadAhead, ChunkStaysUntouchedUntilTheNextCall) {
  const std::string data = MixedData(64'000);
  PieceSource inner(data);
  ReadAhead source(inner, {.max_buffers = 2, .buffer_bytes = 1000});
  size_t position = 0;
  for (;;) {
    const auto chunk = *source.NextChunk();
    if (chunk.empty()) break;
    for (int i = 0; i < 50; ++i) {
      ASSERT_EQ(Text(chunk), data.substr(position, chunk.size()));
    }
    position += chunk.size();
  }
  EXPECT_EQ(position, data.size());
}

TEST(ReadAhead, DestructionStopsAProducerBlockedOnFullBuffers) {
  EndlessSource inner;
  {
    ReadAhead source(inner, {.max_buffers = 4, .buffer_bytes = 1000});
    inner.WaitUntilRead(4000);  // nothing is consumed: all buffers are full now
  }
  EXPECT_EQ(inner.bytes_read(), 4000U) << "it may not run further ahead than its buffers";
}

TEST(ReadAhead, DestructionAtAnyPointJoins) {
  for (size_t chunks = 0; chunks < 40; ++chunks) {
    EndlessSource inner;
    ReadAhead source(inner, {.max_buffers = 1 + 1 + chunks % 5, .buffer_bytes = 4096});
    for (size_t i = 0; i < chunks; ++i) ASSERT_EQ(source.NextChunk()->size() % 4096, 0U);
  }
}

TEST(ReadAhead, DestructionDoesNotWaitForAFullBuffer) {
  std::latch first_read(1);
  std::latch destroying(1);
  size_t reads = 0;
  FunctionSource inner([&](std::span<std::byte>) -> Result<size_t> {
    if (++reads == 1) {
      first_read.count_down();
      destroying.wait();
    }
    return size_t{1};  // at this rate the buffer takes seconds
  });
  constexpr size_t kBufferBytes = size_t{256} << 20U;
  auto source = std::make_unique<ReadAhead>(inner, ReadAheadOptions{.max_buffers = 2, .buffer_bytes = kBufferBytes});
  first_read.wait();
  std::thread destroyer([&] { source.reset(); });
  destroying.count_down();
  destroyer.join();
  EXPECT_LT(reads, kBufferBytes);
}

TEST(ReadAhead, WaitingConsumerGetsWhatThereIs) {
  // The source does not end before the consumer has seen something: with full buffers only, that would be a
  // gigabyte, byte by byte.
  std::atomic<bool> handed_over = false;
  FunctionSource inner([&](std::span<std::byte> buffer) -> Result<size_t> {
    if (handed_over.load()) return size_t{0};
    std::this_thread::yield();
    return size_t{std::min<size_t>(buffer.size(), 1)};
  });
  ReadAhead source(inner, {.max_buffers = 2, .buffer_bytes = size_t{1} << 30U});
  const auto chunk = source.NextChunk();
  ASSERT_TRUE(chunk.ok());
  EXPECT_GT(chunk->size(), 0U);
  EXPECT_LT(chunk->size(), size_t{1} << 30U);
  handed_over.store(true);
  EXPECT_TRUE(DrainChunks(source).ok());
}

TEST(ReadAhead, ThrowingSourceIsAnErrorNotACrash) {
  FunctionSource inner([](std::span<std::byte>) -> Result<size_t> { throw std::bad_alloc(); });
  ReadAhead source(inner);
  const auto chunk = source.NextChunk();
  ASSERT_FALSE(chunk.ok());
  EXPECT_EQ(chunk.error().code(), ErrorCode::kUnavailable);
}

TEST(ReadAhead, WithoutAThreadItReadsOnTheCallers) {
  pthread_attr_t before;
  ASSERT_EQ(pthread_getattr_default_np(&before), 0);
  pthread_attr_t impossible;
  ASSERT_EQ(pthread_attr_init(&impossible), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&impossible, (size_t{1} << 47U) - 65536), 0);
  ASSERT_EQ(pthread_setattr_default_np(&impossible), 0);
  const std::string data = MixedData(10'000);
  std::set<pthread_t> readers;
  PieceSource bytes(data, 100);
  FunctionSource inner([&](std::span<std::byte> buffer) {
    readers.insert(pthread_self());
    return bytes.Read(buffer);
  });
  BufferPool pool(4096);
  {
    ReadAhead source(inner, {.pool = &pool});
    ASSERT_EQ(pthread_setattr_default_np(&before), 0);
    EXPECT_EQ(*DrainChunks(source), data);
  }
  EXPECT_EQ(readers, std::set<pthread_t>{pthread_self()});
  EXPECT_EQ(pool.idle(), 1U);
  pthread_attr_destroy(&before);
  pthread_attr_destroy(&impossible);
}

TEST(BufferPool, BuffersAreAlignedAndReused) {
  BufferPool pool(1000, 2);
  BufferPool::Buffer a = pool.Take();
  BufferPool::Buffer b = pool.Take();
  BufferPool::Buffer c = pool.Take();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.get()) % BufferPool::kAlignment, 0U);
  const std::byte* last = b.get();
  pool.Return(std::move(a));
  pool.Return(std::move(b));
  pool.Return(std::move(c));  // one more than it keeps
  EXPECT_EQ(pool.idle(), 2U);
  EXPECT_EQ(pool.Take().get(), last) << "the warmest first";
}

TEST(BufferPool, LayersHandTheirBuffersOn) {
  BufferPool pool(1000);
  for (int layer = 0; layer < 3; ++layer) {
    EndlessSource inner;
    ReadAhead source(inner, {.max_buffers = 5, .pool = &pool});
    inner.WaitUntilRead(5000);
    ASSERT_EQ(source.NextChunk()->size(), 1000U);
    EXPECT_EQ(pool.idle(), 0U);
  }
  EXPECT_EQ(pool.idle(), 5U);
}

}  // namespace
}  // namespace snap
