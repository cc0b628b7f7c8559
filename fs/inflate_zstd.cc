// The Zstandard format: any number of frames, skippable ones among them. Source: RFC 8878, 3.1.
// Invariant: libzstd only ever sees frames of the current format. It would also accept those of its
// forerunners (versions 0.5 to 0.7), whose decoders are old, rarely tested and no part of any image format.
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <new>

#include "fs/base/quote.h"
#include "fs/inflate.h"

namespace snap {
namespace {

constexpr uint32_t kSkippableMagic = 0x184D2A50;  // and the fifteen after it
constexpr uint32_t kSkippableMask = 0xFFFFFFF0;
constexpr size_t kMagicBytes = 4;
constexpr size_t kMaxHeaderBytes = 18;  // magic included
static_assert(kMaxHeaderBytes <= InflateInput::kHeadroom);

/// Of a whole frame header, magic included, from its descriptor byte (RFC 8878, 3.1.1.1).
size_t HeaderBytes(unsigned descriptor) {
  constexpr size_t kDictionaryIdBytes[] = {0, 1, 2, 4};
  constexpr size_t kContentSizeBytes[] = {0, 2, 4, 8};
  const bool single_segment = (descriptor & 0x20U) != 0;
  const unsigned content_size_flag = descriptor >> 6U;
  return kMagicBytes + 1 + kDictionaryIdBytes[descriptor & 3U] + kContentSizeBytes[content_size_flag] +
         (!single_segment || content_size_flag == 0 ? 1
                                                    : 0);  // a window descriptor, or a one-byte content size
}

struct FreeContext {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

class ZstdDecoder final : public Decoder {
 public:
  ZstdDecoder(ByteSource& inner, unsigned window_log_max, std::string name);

  Result<size_t> Decode(std::span<std::byte> buffer) override;
  uint64_t consumed() const override { return input_.consumed(); }

 private:
  enum class Phase : uint8_t { kFrameStart, kFrame, kSkippable, kEnd };

  Result<void> StartFrame();
  Result<void> LookAtHeader();
  Result<void> SkipSome();
  /// Some of the frame into the front of `room`, or none and the next phase.
  Result<size_t> DecodeFrame(std::span<std::byte> room);

  Result<unsigned> Byte();  // errors: kCorrupt at the end of input
  Result<uint32_t> LittleEndian32();
  Error Corrupt(std::string_view what) const {
    return MakeError(ErrorCode::kCorrupt, "inflate {}: zstd: {} at compressed byte {}", Quote(name_), what,
                     input_.consumed());
  }
  Error Truncated() const { return Corrupt("ends early"); }
  Error FromLibrary(size_t code) const;

  InflateInput input_;
  const std::unique_ptr<ZSTD_DCtx, FreeContext> context_;
  const std::string name_;
  Phase phase_ = Phase::kFrameStart;
  bool any_frame_ = false;
  bool output_pending_ = false;  // the last step filled its room: go on before reading more
  uint32_t skippable_left_ = 0;
  uint64_t frame_bytes_ = 0;  // output of the current frame
  uint64_t frame_bytes_declared_ = 0;
};

ZstdDecoder::ZstdDecoder(ByteSource& inner, unsigned window_log_max, std::string name)
    : input_(inner), context_(ZSTD_createDCtx()), name_(std::move(name)) {
  if (context_ == nullptr) throw std::bad_alloc();
  const ZSTD_bounds bounds = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax);
  const auto lower = static_cast<unsigned>(bounds.lowerBound);
  const auto upper = static_cast<unsigned>(bounds.upperBound);
  const auto value = static_cast<int>(std::clamp(window_log_max, lower, upper));
  SNAP_CHECK(ZSTD_isError(ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, value)) == 0);
}

Error ZstdDecoder::FromLibrary(size_t code) const {
  switch (ZSTD_getErrorCode(code)) {
    case ZSTD_error_frameParameter_windowTooLarge:
      return MakeError(ErrorCode::kLimitExceeded,
                       "inflate {}: zstd: the frame at compressed byte {} needs too large a "
                       "window",
                       Quote(name_), input_.consumed());
    case ZSTD_error_memory_allocation:
      return MakeError(ErrorCode::kUnavailable, "inflate {}: zstd: out of memory", Quote(name_));
    default:
      return Corrupt(ZSTD_getErrorName(code));
  }
}

Result<unsigned> ZstdDecoder::Byte() {
  SNAP_TRY(const int byte, input_.NextByte());
  if (byte < 0) return Truncated();
  return static_cast<unsigned>(byte);
}

Result<uint32_t> ZstdDecoder::LittleEndian32() {
  uint32_t value = 0;
  for (unsigned shift = 0; shift < 32; shift += 8) {
    SNAP_TRY(const uint32_t byte, Byte());
    value |= byte << shift;
  }
  return value;
}

Result<void> ZstdDecoder::StartFrame() {
  SNAP_TRY(const bool more, input_.Refill());
  if (!more) {
    if (!any_frame_) return Truncated();
    phase_ = Phase::kEnd;
    return {};
  }
  SNAP_TRY(const uint32_t magic, LittleEndian32());
  if ((magic & kSkippableMask) == kSkippableMagic) {
    SNAP_TRY(skippable_left_, LittleEndian32());
    phase_ = Phase::kSkippable;
    return {};
  }
  if (magic != ZSTD_MAGICNUMBER)
    return Corrupt(any_frame_ ? "garbage after the last frame" : "no zstd header");
  input_.Advance(-static_cast<ptrdiff_t>(kMagicBytes));
  return LookAtHeader();
}

// Afterwards the input is back at the magic: a frame that the library sees from its first byte and has room
// for is decoded without a copy.
Result<void> ZstdDecoder::LookAtHeader() {
  std::array<std::byte, kMaxHeaderBytes> header{};
  size_t size = 0;
  for (size_t wanted = kMagicBytes + 1; size < wanted; ++size) {
    SNAP_TRY(const unsigned byte, Byte());
    header[size] = static_cast<std::byte>(byte);
    if (size == kMagicBytes) wanted = HeaderBytes(byte);
  }
  input_.Advance(-static_cast<ptrdiff_t>(size));
  // "Unknown" and, for a header that the library will refuse in a moment, "error".
  frame_bytes_declared_ = ZSTD_getFrameContentSize(header.data(), size);
  frame_bytes_ = 0;
  output_pending_ = false;
  phase_ = Phase::kFrame;
  return {};
}

Result<void> ZstdDecoder::SkipSome() {
  if (skippable_left_ != 0) {
    SNAP_TRY(const bool more, input_.Refill());
    if (!more) return Truncated();
    const size_t size = std::min<size_t>(skippable_left_, input_.bytes().size());
    input_.Advance(static_cast<ptrdiff_t>(size));
    skippable_left_ -= static_cast<uint32_t>(size);
  }
  if (skippable_left_ == 0) {
    any_frame_ = true;
    phase_ = Phase::kFrameStart;
  }
  return {};
}

Result<size_t> ZstdDecoder::DecodeFrame(std::span<std::byte> room) {
  if (input_.empty() && !output_pending_) {
    SNAP_TRY(const bool more, input_.Refill());
    if (!more) return Truncated();
  }
  ZSTD_inBuffer in{input_.bytes().data(), input_.bytes().size(), 0};
  ZSTD_outBuffer out{room.data(), room.size(), 0};
  const size_t left = ZSTD_decompressStream(context_.get(), &out, &in);
  if (ZSTD_isError(left) != 0) return FromLibrary(left);
  input_.Advance(static_cast<ptrdiff_t>(in.pos));
  output_pending_ = out.pos == out.size;
  frame_bytes_ += out.pos;
  if (left == 0) {
    // The library does not compare them when the last block is empty.
    if (frame_bytes_declared_ != ZSTD_CONTENTSIZE_UNKNOWN && frame_bytes_declared_ != frame_bytes_) {
      return Corrupt("content length differs");
    }
    any_frame_ = true;
    output_pending_ = false;
    phase_ = Phase::kFrameStart;
  }
  return out.pos;
}

Result<size_t> ZstdDecoder::Decode(std::span<std::byte> buffer) {
  size_t filled = 0;
  while (filled < buffer.size() && phase_ != Phase::kEnd) {
    if (filled != 0 && input_.empty() && !output_pending_) break;  // do not wait with output in hand
    switch (phase_) {
      case Phase::kFrameStart:
        SNAP_TRY_VOID(StartFrame());
        break;
      case Phase::kSkippable:
        SNAP_TRY_VOID(SkipSome());
        break;
      case Phase::kFrame: {
        SNAP_TRY(const size_t got, DecodeFrame(buffer.subspan(filled)));
        filled += got;
        break;
      }
      case Phase::kEnd:
        break;
    }
  }
  return filled;
}

}  // namespace

std::unique_ptr<Decoder> MakeZstdDecoder(ByteSource& inner, unsigned window_log_max, std::string name) {
  return std::make_unique<ZstdDecoder>(inner, window_log_max, std::move(name));
}

}  // namespace snap
