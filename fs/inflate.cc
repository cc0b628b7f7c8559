// From the name of a compression to a source of plain bytes: detection, limits, and the decoders' input
// buffer. Invariant: no byte beyond a limit is ever handed out; a bomb costs at most one buffer of memory and
// work.
#include "fs/inflate.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "fs/base/quote.h"

namespace snap {
namespace {

/// Compression::kNone: only the limit applies.
class PlainDecoder final : public Decoder {
 public:
  explicit PlainDecoder(ByteSource& inner) : inner_(inner) {}
  Result<size_t> Decode(std::span<std::byte> buffer) override {
    SNAP_TRY(const size_t got, inner_.Read(buffer));
    consumed_ += got;
    return got;
  }
  uint64_t consumed() const override { return consumed_; }

 private:
  ByteSource& inner_;
  uint64_t consumed_ = 0;
};

class InflatingSource final : public ByteSource {
 public:
  InflatingSource(std::unique_ptr<Decoder> decoder, const InflateLimits& limits, std::string name)
      : decoder_(std::move(decoder)), limits_(limits), name_(std::move(name)) {}

  Result<size_t> Read(std::span<std::byte> buffer) override {
    SNAP_TRY(const size_t got, decoder_->Decode(buffer));
    output_ += got;
    if (output_ > limits_.max_output) [[unlikely]] {
      return MakeError(ErrorCode::kLimitExceeded, "inflate {}: more than {} bytes of output", Quote(name_),
                       limits_.max_output);
    }
    if (output_ > limits_.ratio_free &&
        output_ / std::max<uint64_t>(limits_.max_ratio, 1) > decoder_->consumed()) [[unlikely]] {
      return MakeError(ErrorCode::kLimitExceeded, "inflate {}: {} bytes became {}, more than {}:1",
                       Quote(name_), decoder_->consumed(), output_, limits_.max_ratio);
    }
    return got;
  }

 private:
  const std::unique_ptr<Decoder> decoder_;
  const InflateLimits limits_;
  const std::string name_;
  uint64_t output_ = 0;
};

constexpr size_t kMagicBytes = 4;

/// Looks at the first bytes of a source, then gives them back in front of the rest.
class DetectingSource final : public ByteSource {
 public:
  explicit DetectingSource(ByteSource& inner) : replay_(inner) {}

  Result<void> Detect(const InflateLimits& limits, std::string name) {
    SNAP_TRY_VOID(replay_.Peek());
    inflater_ = MakeInflater(replay_, DetectCompression(replay_.peeked()), limits, std::move(name));
    return {};
  }
  Result<size_t> Read(std::span<std::byte> buffer) override { return inflater_->Read(buffer); }

 private:
  class Replay final : public ByteSource {
   public:
    explicit Replay(ByteSource& inner) : inner_(inner) {}
    Result<void> Peek() {
      while (size_ < bytes_.size()) {
        SNAP_TRY(const size_t got, inner_.Read(std::span(bytes_).subspan(size_)));
        if (got == 0) break;
        size_ += got;
      }
      return {};
    }
    std::span<const std::byte> peeked() const { return std::span(bytes_).first(size_); }
    Result<size_t> Read(std::span<std::byte> buffer) override {
      if (replayed_ == size_) return inner_.Read(buffer);
      const size_t size = std::min(buffer.size(), size_ - replayed_);
      std::memcpy(buffer.data(), bytes_.data() + replayed_, size);
      replayed_ += size;
      return size;
    }

   private:
    ByteSource& inner_;
    std::array<std::byte, kMagicBytes> bytes_{};
    size_t size_ = 0;
    size_t replayed_ = 0;
  };

  Replay replay_;
  std::unique_ptr<ByteSource> inflater_;
};

}  // namespace

void InflateInput::Advance(ptrdiff_t size) {
  SNAP_CHECK(size <= static_cast<ptrdiff_t>(end_ - begin_) && size >= -static_cast<ptrdiff_t>(begin_));
  begin_ = static_cast<size_t>(static_cast<ptrdiff_t>(begin_) + size);
  consumed_ += static_cast<uint64_t>(size);
}

Result<bool> InflateInput::Refill() {
  if (!empty()) return true;
  if (at_end_) return false;
  std::memmove(buffer_.get(), buffer_.get() + end_ - kHeadroom, kHeadroom);
  begin_ = end_ = kHeadroom;
  SNAP_TRY(const size_t got, inner_.Read(std::span(buffer_.get() + kHeadroom, kCapacity)));
  end_ += got;
  at_end_ = got == 0;
  return got != 0;
}

Result<int> InflateInput::NextByte() {
  if (empty()) {
    SNAP_TRY(const bool more, Refill());
    if (!more) return -1;
  }
  const int byte = std::to_integer<int>(buffer_[begin_]);
  Advance(1);
  return byte;
}

std::string_view CompressionName(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "none";
    case Compression::kGzip:
      return "gzip";
    case Compression::kZstd:
      return "zstd";
  }
  return "unknown";
}

Compression DetectCompression(std::span<const std::byte> first_bytes) {
  if (first_bytes.size() < kMagicBytes) return Compression::kNone;
  std::array<unsigned, kMagicBytes> b{};
  for (size_t i = 0; i < b.size(); ++i) b[i] = std::to_integer<unsigned>(first_bytes[i]);
  if (b[0] == 0x1f && b[1] == 0x8b && b[2] == 8) return Compression::kGzip;
  const bool frame = b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd;
  const bool skippable_frame = (b[0] & 0xf0U) == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18;
  return frame || skippable_frame ? Compression::kZstd : Compression::kNone;
}

std::unique_ptr<ByteSource> MakeInflater(ByteSource& inner, Compression compression,
                                         const InflateLimits& limits, std::string name) {
  std::unique_ptr<Decoder> decoder;
  switch (compression) {
    case Compression::kNone:
      decoder = std::make_unique<PlainDecoder>(inner);
      break;
    case Compression::kGzip:
      decoder = MakeGzipDecoder(inner, name);
      break;
    case Compression::kZstd:
      decoder = MakeZstdDecoder(inner, limits.zstd_window_log_max, name);
      break;
  }
  return std::make_unique<InflatingSource>(std::move(decoder), limits, std::move(name));
}

Result<std::unique_ptr<ByteSource>> MakeDetectingInflater(ByteSource& inner, const InflateLimits& limits,
                                                          std::string name) {
  auto source = std::make_unique<DetectingSource>(inner);
  SNAP_TRY_VOID(source->Detect(limits, std::move(name)));
  return std::unique_ptr<ByteSource>(std::move(source));
}

}  // namespace snap
