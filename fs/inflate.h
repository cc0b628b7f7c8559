// Decoder: what a compression format has to implement to become a ByteSource. Internal to fs/; users call
// MakeInflater in byte_source.h.
// Invariant: decoders know their format, MakeInflater's source knows the limits; each is written once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "fs/base/result.h"
#include "fs/byte_source.h"

namespace snap {

/// Threads: one at a time.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Fills the front of a non-empty buffer; 0 only at the end of the stream. With output in hand it returns
  /// that rather than wait for more input. Errors: kCorrupt, kLimitExceeded (memory that the format asks
  /// for), and whatever the inner source returns.
  virtual Result<size_t> Decode(std::span<std::byte> buffer) = 0;
  /// Compressed bytes used so far, not counting what is only buffered.
  virtual uint64_t consumed() const = 0;
};

std::unique_ptr<Decoder> MakeGzipDecoder(ByteSource& inner, std::string name);
std::unique_ptr<Decoder> MakeZstdDecoder(ByteSource& inner, unsigned window_log_max, std::string name);

/// The compressed bytes that were read but not used. Before them stay the last kHeadroom used ones, so that a
/// decoder can go back that far over any refill.
class InflateInput {
 public:
  static constexpr size_t kHeadroom = 32;
  static constexpr size_t kCapacity = size_t{256} << 10U;

  /// `inner` must outlive this.
  explicit InflateInput(ByteSource& inner)
      : inner_(inner), buffer_(std::make_unique_for_overwrite<std::byte[]>(kHeadroom + kCapacity)) {}

  std::span<const std::byte> bytes() const { return {buffer_.get() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  uint64_t consumed() const { return consumed_; }

  /// Uses `size` bytes up; a negative size gives that many back (at most kHeadroom, and only ones used
  /// before).
  void Advance(ptrdiff_t size);
  /// Reads on when everything is used up; false at the end of the input. Cost: at most one read of the inner
  /// source.
  Result<bool> Refill();
  /// The next byte in 0…255, or -1 at the end of the input.
  Result<int> NextByte();

 private:
  ByteSource& inner_;
  std::unique_ptr<std::byte[]> buffer_;
  size_t begin_ = kHeadroom;
  size_t end_ = kHeadroom;
  uint64_t consumed_ = 0;
  bool at_end_ = false;
};

}  // namespace snap
