// RawInflate by ISA-L, which decodes into the caller's buffer and sums it in the same call.
// Invariant: ISA-L's own gzip framing stays unused, the one in inflate_gzip.cc serves both implementations.
#include <isa-l.h>

#include <algorithm>

#include "fs/raw_inflate.h"

namespace snap {
namespace {

// ISA-L counts in 32 bits; before 2.32.1 sums near their limit wrapped and overran a buffer.
constexpr size_t kMaxSpan = size_t{1} << 30U;

}  // namespace

struct RawInflate::State {
  inflate_state stream;
};

// Not value-initialised: isal_inflate_init sets what matters, the rest is 80 KiB of tables and history.
RawInflate::RawInflate() : state_(new State) { isal_inflate_init(&state_->stream); }
RawInflate::~RawInflate() = default;

void RawInflate::Reset() {
  isal_inflate_reset(&state_->stream);
  state_->stream.crc_flag = ISAL_GZIP_NO_HDR;  // sum the output, neither read nor check header and trailer
}

RawInflate::Step RawInflate::Decode(std::span<const std::byte> input, std::span<std::byte> room) {
  inflate_state& stream = state_->stream;
  const size_t input_size = std::min(input.size(), kMaxSpan);
  const size_t room_size = std::min(room.size(), kMaxSpan);
  // The library never writes to its input.
  stream.next_in = const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(input.data()));
  stream.avail_in = static_cast<uint32_t>(input_size);
  stream.next_out = reinterpret_cast<uint8_t*>(room.data());
  stream.avail_out = static_cast<uint32_t>(room_size);
  const int result = isal_inflate(&stream);

  // After an error the counts are wrong, by the margins of the library's inner loop. They wrap then, so the
  // comparisons would also find a loss of count that is not reported.
  if (result != ISAL_DECOMP_OK || stream.avail_in > input_size || stream.avail_out > room_size) {
    return {Status::kCorrupt, 0, 0};
  }
  Step step{Status::kMore, static_cast<ptrdiff_t>(input_size - stream.avail_in),
            room_size - stream.avail_out};
  if (stream.block_state == ISAL_BLOCK_FINISH) {
    step.status = Status::kEnd;
    // Whole bytes left in the bit buffer lie behind the stream. Newer versions put them back themselves and
    // say zero.
    step.consumed -= stream.read_in_length / 8;
    stream.read_in_length = 0;
    stream.read_in = 0;
  }
  return step;
}

uint32_t RawInflate::crc32() const { return state_->stream.crc; }

uint32_t RawInflate::Crc32(uint32_t crc, std::span<const std::byte> bytes) {
  return crc32_gzip_refl(crc, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

std::string_view RawInflate::Name() { return "isa-l"; }

}  // namespace snap
