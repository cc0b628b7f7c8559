// The maker pushes and the compressor pulls: between them is a short queue of large buffers and a thread.
#include "snapshotter/grpc/layer_upload.h"

#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "fs/compress.h"

namespace snap {
namespace {

using Buffer = std::vector<std::byte>;

/// Threads: one pushes, one pulls.
class Queue {
 public:
  /// Waits for room. False: nobody pulls any more.
  bool Push(Buffer buffer) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return buffers_.size() < kMaxBuffers || abandoned_; });
    if (abandoned_) return false;
    buffers_.push_back(std::move(buffer));
    changed_.notify_all();
    return true;
  }
  void End(Result<void> result) {
    const std::lock_guard lock(mutex_);
    result_.emplace(std::move(result));
    changed_.notify_all();
  }
  void Abandon() {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
    changed_.notify_all();
  }
  /// Empty at the end.
  Result<Buffer> Pull() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !buffers_.empty() || result_.has_value(); });
    if (buffers_.empty()) {
      if (!result_->ok()) return result_->error();
      return Buffer{};
    }
    Buffer buffer = std::move(buffers_.front());
    buffers_.pop_front();
    changed_.notify_all();
    return buffer;
  }

 private:
  static constexpr size_t kMaxBuffers = 4;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Buffer> buffers_;          // guarded by mutex_, like all below
  std::optional<Result<void>> result_;  // the maker's, when it is done
  bool abandoned_ = false;
};

/// Headers are small: what is pushed is not.
class QueueSink final : public ByteSink {
 public:
  explicit QueueSink(Queue& queue) : queue_(queue) {}
  Result<void> Write(std::span<const std::byte> bytes) override {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    constexpr size_t kPushBytes = size_t{256} << 10U;
    if (buffer_.size() < kPushBytes) return {};
    return Flush();
  }
  Result<void> Flush() {
    if (buffer_.empty()) return {};
    if (!queue_.Push(std::exchange(buffer_, {})))
      return Error(ErrorCode::kCancelled, "make a layer: nobody wants it");
    return {};
  }

 private:
  Queue& queue_;
  Buffer buffer_;
};

class QueueSource final : public ByteSource {
 public:
  explicit QueueSource(Queue& queue) : queue_(queue) {}
  Result<size_t> Read(std::span<std::byte> out) override {
    if (position_ == buffer_.size()) {
      SNAP_TRY(buffer_, queue_.Pull());
      position_ = 0;
    }
    const size_t size = std::min(out.size(), buffer_.size() - position_);
    if (size > 0) std::memcpy(out.data(), buffer_.data() + position_, size);
    position_ += size;
    return size;
  }

 private:
  Queue& queue_;
  Buffer buffer_;
  size_t position_ = 0;
};

Result<UploadedLayer> Upload(ByteSource& tar, Compression compression, ContentWriter& writer) {
  DigestingSource plain(tar);
  const std::unique_ptr<ByteSource> compressed = MakeCompressor(plain, compression);
  Sha256 hasher;
  UploadedLayer layer;
  Buffer buffer(ContentWriter::kMaxAppendBytes);
  size_t filled = 0;
  bool ended = false;
  while (!ended) {
    SNAP_TRY(const size_t size, compressed->Read(std::span(buffer).subspan(filled)));
    filled += size;
    ended = size == 0;
    if (filled == 0 || (!ended && filled < buffer.size())) continue;
    const auto bytes = std::span<const std::byte>(buffer).first(filled);
    hasher.Update(bytes);
    SNAP_TRY_VOID(writer.Append(bytes));
    layer.blob_bytes += filled;
    filled = 0;
  }
  SNAP_TRY(layer.diff_id.digest, plain.Finish());
  layer.blob = std::move(hasher).Finish();
  return layer;
}

}  // namespace

Result<UploadedLayer> UploadLayer(const std::function<Result<void>(ByteSink& sink)>& make,
                                  Compression compression, ContentWriter& writer) {
  Queue queue;
  std::thread maker([&] {
    QueueSink sink(queue);
    try {
      Result<void> made = make(sink);
      if (made.ok()) made = sink.Flush();
      queue.End(std::move(made));
    } catch (const std::exception& exception) {
      queue.End(Error(ErrorCode::kInternal, exception.what()));
    }
  });
  QueueSource tar(queue);
  Result<UploadedLayer> layer = Upload(tar, compression, writer);
  queue.Abandon();
  maker.join();
  return layer;
}

}  // namespace snap
