// The gzip file format: any number of members, each a header, a deflate stream, and a trailer that proves it.
// Source: RFC 1952. Invariant: the end is only reported when every member's CRC-32 and length agreed and
// every byte of the input was accounted for.
#include <array>
#include <cstdint>

#include "fs/base/quote.h"
#include "fs/inflate.h"
#include "fs/raw_inflate.h"

namespace snap {
namespace {

static_assert(RawInflate::kMaxGivenBack <= InflateInput::kHeadroom);

// RFC 1952, 2.3.1
constexpr unsigned kMagic1 = 0x1f;
constexpr unsigned kMagic2 = 0x8b;
constexpr unsigned kMethodDeflate = 8;
constexpr unsigned kFlagHeaderCrc = 0x02;
constexpr unsigned kFlagExtra = 0x04;
constexpr unsigned kFlagName = 0x08;
constexpr unsigned kFlagComment = 0x10;
constexpr unsigned kFlagsReserved = 0xe0;

class GzipDecoder final : public Decoder {
 public:
  GzipDecoder(ByteSource& inner, std::string name) : input_(inner), name_(std::move(name)) {}

  Result<size_t> Decode(std::span<std::byte> buffer) override;
  uint64_t consumed() const override { return input_.consumed(); }

 private:
  enum class Phase : uint8_t { kHeader, kBody, kTrailer, kBetweenMembers, kEnd };

  Result<void> ReadHeader();
  /// Some of the body into the front of `room`, or none and the next phase.
  Result<size_t> DecodeBody(std::span<std::byte> room);
  Result<void> CheckTrailer();
  /// Another member, the end, or padding up to it.
  Result<void> LookBehindMember();

  Result<unsigned> Byte();  // errors: kCorrupt at the end of input
  Result<unsigned> HeaderByte();
  Result<uint32_t> LittleEndian32();
  Result<void> SkipHeaderString();
  Error Corrupt(std::string_view what) const {
    return MakeError(ErrorCode::kCorrupt, "inflate {}: gzip: {} at compressed byte {}", Quote(name_), what,
                     input_.consumed());
  }
  Error Truncated() const { return Corrupt("ends early"); }

  InflateInput input_;
  RawInflate inflate_;
  const std::string name_;
  Phase phase_ = Phase::kHeader;
  bool output_pending_ = false;  // the last step filled its room: go on before reading more
  uint32_t header_crc_ = 0;
  uint32_t member_bytes_ = 0;  // modulo 2^32, as ISIZE is
};

Result<unsigned> GzipDecoder::Byte() {
  SNAP_TRY(const int byte, input_.NextByte());
  if (byte < 0) return Truncated();
  return static_cast<unsigned>(byte);
}

Result<unsigned> GzipDecoder::HeaderByte() {
  SNAP_TRY(const unsigned byte, Byte());
  const auto value = static_cast<std::byte>(byte);
  header_crc_ = RawInflate::Crc32(header_crc_, std::span(&value, 1));
  return byte;
}

Result<uint32_t> GzipDecoder::LittleEndian32() {
  uint32_t value = 0;
  for (unsigned shift = 0; shift < 32; shift += 8) {
    SNAP_TRY(const uint32_t byte, Byte());
    value |= byte << shift;
  }
  return value;
}

Result<void> GzipDecoder::SkipHeaderString() {
  for (;;) {
    SNAP_TRY(const unsigned byte, HeaderByte());
    if (byte == 0) return {};
  }
}

Result<void> GzipDecoder::ReadHeader() {
  header_crc_ = 0;
  std::array<unsigned, 10> fixed{};
  for (size_t i = 0; i < fixed.size(); ++i) {
    SNAP_TRY(fixed[i], HeaderByte());
    if ((i == 0 && fixed[i] != kMagic1) || (i == 1 && fixed[i] != kMagic2)) return Corrupt("no gzip header");
  }
  if (fixed[2] != kMethodDeflate) return Corrupt("compression method is not deflate");
  const unsigned flags = fixed[3];  // the rest (time, level, system) says nothing about the content
  if ((flags & kFlagsReserved) != 0) return Corrupt("reserved header flags");
  if ((flags & kFlagExtra) != 0) {
    SNAP_TRY(const unsigned low, HeaderByte());
    SNAP_TRY(const unsigned high, HeaderByte());
    for (unsigned left = low | high << 8U; left != 0; --left) {
      SNAP_TRY([[maybe_unused]] const unsigned ignored, HeaderByte());
    }
  }
  if ((flags & kFlagName) != 0) SNAP_TRY_VOID(SkipHeaderString());
  if ((flags & kFlagComment) != 0) SNAP_TRY_VOID(SkipHeaderString());
  if ((flags & kFlagHeaderCrc) != 0) {
    const uint32_t expected = header_crc_ & 0xffffU;
    SNAP_TRY(const unsigned low, Byte());
    SNAP_TRY(const unsigned high, Byte());
    if ((low | high << 8U) != expected) return Corrupt("header checksum differs");
  }
  inflate_.Reset();
  member_bytes_ = 0;
  output_pending_ = false;
  phase_ = Phase::kBody;
  return {};
}

Result<size_t> GzipDecoder::DecodeBody(std::span<std::byte> room) {
  if (input_.empty() && !output_pending_) {
    SNAP_TRY(const bool more, input_.Refill());
    if (!more) return Truncated();
  }
  const RawInflate::Step step = inflate_.Decode(input_.bytes(), room);
  input_.Advance(step.consumed);
  member_bytes_ += static_cast<uint32_t>(step.produced);
  output_pending_ = step.produced == room.size();
  if (step.status == RawInflate::Status::kCorrupt) return Corrupt("invalid deflate data");
  if (step.status == RawInflate::Status::kEnd) {
    phase_ = Phase::kTrailer;
  } else if (step.consumed == 0 && step.produced == 0 && !input_.empty()) {
    // A decoder that neither advances nor complains would spin here.
    return Corrupt("deflate data that leads nowhere");
  }
  return step.produced;
}

Result<void> GzipDecoder::CheckTrailer() {
  SNAP_TRY(const uint32_t crc, LittleEndian32());
  SNAP_TRY(const uint32_t size, LittleEndian32());
  if (crc != inflate_.crc32()) return Corrupt("content checksum differs");
  if (size != member_bytes_) return Corrupt("content length differs");
  phase_ = Phase::kBetweenMembers;
  return {};
}

Result<void> GzipDecoder::LookBehindMember() {
  SNAP_TRY(int byte, input_.NextByte());
  if (byte == static_cast<int>(kMagic1)) {
    input_.Advance(-1);
    phase_ = Phase::kHeader;
    return {};
  }
  while (byte == 0) {  // padding of tapes and of tools that write whole blocks
    SNAP_TRY(byte, input_.NextByte());
  }
  if (byte > 0) return Corrupt("garbage after the last member");
  phase_ = Phase::kEnd;
  return {};
}

Result<size_t> GzipDecoder::Decode(std::span<std::byte> buffer) {
  size_t filled = 0;
  while (filled < buffer.size() && phase_ != Phase::kEnd) {
    if (filled != 0 && input_.empty() && !output_pending_) break;  // do not wait with output in hand
    switch (phase_) {
      case Phase::kHeader:
        SNAP_TRY_VOID(ReadHeader());
        break;
      case Phase::kBody: {
        SNAP_TRY(const size_t got, DecodeBody(buffer.subspan(filled)));
        filled += got;
        break;
      }
      case Phase::kTrailer:
        SNAP_TRY_VOID(CheckTrailer());
        break;
      case Phase::kBetweenMembers:
        SNAP_TRY_VOID(LookBehindMember());
        break;
      case Phase::kEnd:
        break;
    }
  }
  return filled;
}

}  // namespace

std::unique_ptr<Decoder> MakeGzipDecoder(ByteSource& inner, std::string name) {
  return std::make_unique<GzipDecoder>(inner, std::move(name));
}

}  // namespace snap
