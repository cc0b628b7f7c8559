// RawInflate: one deflate stream (RFC 1951) decoded step by step, its output summed with CRC-32 on the way.
// Two implementations of this one class, chosen at build time: raw_inflate_isal.cc (fast, few processors) and
// raw_inflate_zlib.cc (everywhere). Framing, limits and errors' texts are the caller's, so that both behave
// alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace snap {

/// Threads: one at a time. Memory: below 100 KiB, whatever the stream says.
class RawInflate {
 public:
  /// How many bytes of earlier input a step may give back, see Step::consumed.
  static constexpr size_t kMaxGivenBack = 8;

  enum class Status : uint8_t {
    kMore,     ///< room is full, or all input is used up: continue with what was missing
    kEnd,      ///< the stream's last byte is decoded; what follows belongs to somebody else
    kCorrupt,  ///< not a deflate stream; nothing consumed, nothing produced, not to be continued
  };
  struct Step {
    Status status;
    /// Of the input. Negative (down to -kMaxGivenBack) when bytes that an earlier step took turn out to lie
    /// after the stream's end.
    ptrdiff_t consumed;
    size_t produced;
  };

  RawInflate();
  ~RawInflate();
  RawInflate(const RawInflate&) = delete;
  RawInflate& operator=(const RawInflate&) = delete;

  /// Starts another stream; also needed before the first.
  void Reset();
  /// Decodes until the room is full or the input used up. The input may be empty when an earlier step filled
  /// its room: output may be pending. The room is not empty.
  Step Decode(std::span<const std::byte> input, std::span<std::byte> room);
  /// CRC-32 of the output since Reset.
  uint32_t crc32() const;

  /// CRC-32 (of gzip) continued from `crc`; 0 starts.
  static uint32_t Crc32(uint32_t crc, std::span<const std::byte> bytes);
  /// "isa-l" or "zlib"
  static std::string_view Name();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snap
