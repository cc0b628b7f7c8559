// RawInflate by zlib, for processors without ISA-L.
// Invariant: a step never keeps input that it did not need, so nothing is ever given back.
#include <zlib.h>

#include <algorithm>
#include <new>

#include "fs/raw_inflate.h"

namespace snap {
namespace {

constexpr size_t kMaxSpan = size_t{1} << 30U;  // zlib counts in unsigned int
constexpr int kRawDeflate = -15;               // no header, 32 KiB window

}  // namespace

struct RawInflate::State {
  z_stream stream{};
  uint32_t crc = 0;
  State() {
    if (inflateInit2(&stream, kRawDeflate) != Z_OK) throw std::bad_alloc();
  }
  ~State() { inflateEnd(&stream); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

RawInflate::RawInflate() : state_(std::make_unique<State>()) {}
RawInflate::~RawInflate() = default;

void RawInflate::Reset() {
  inflateReset(&state_->stream);
  state_->crc = 0;
}

RawInflate::Step RawInflate::Decode(std::span<const std::byte> input, std::span<std::byte> room) {
  z_stream& stream = state_->stream;
  const auto input_size = static_cast<uInt>(std::min(input.size(), kMaxSpan));
  const auto room_size = static_cast<uInt>(std::min(room.size(), kMaxSpan));
  // zlib refuses a null pointer even with nothing to read, and never writes to its input.
  static const Bytef kNothing = 0;
  const auto* next = input_size == 0 ? &kNothing : reinterpret_cast<const Bytef*>(input.data());
  stream.next_in = const_cast<Bytef*>(next);
  stream.avail_in = input_size;
  stream.next_out = reinterpret_cast<Bytef*>(room.data());
  stream.avail_out = room_size;
  const int result = inflate(&stream, Z_NO_FLUSH);
  if (result == Z_MEM_ERROR) throw std::bad_alloc();  // like every other allocation that fails

  const size_t produced = room_size - stream.avail_out;
  state_->crc = Crc32(state_->crc, room.first(produced));
  // Z_BUF_ERROR only says that there was nothing to do.
  if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return {Status::kCorrupt, 0, 0};
  return {result == Z_STREAM_END ? Status::kEnd : Status::kMore,
          static_cast<ptrdiff_t>(input_size - stream.avail_in), produced};
}

uint32_t RawInflate::crc32() const { return state_->crc; }

uint32_t RawInflate::Crc32(uint32_t crc, std::span<const std::byte> bytes) {
  if (bytes.empty()) return crc;  // zlib takes a null pointer as "give the start value"
  return static_cast<uint32_t>(::crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::string_view RawInflate::Name() { return "zlib"; }

}  // namespace snap
