// What the fuzz targets of the compressed formats share: one stream is inflated in several ways, which must
// agree.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "fs/base/check.h"
#include "fs/byte_source.h"

namespace snap {

/// Delivers at most `piece` bytes a time.
class FuzzSource final : public ByteSource {
 public:
  FuzzSource(std::span<const std::byte> bytes, size_t piece) : bytes_(bytes), piece_(piece) {}
  Result<size_t> Read(std::span<std::byte> buffer) override {
    const size_t size = std::min({buffer.size(), piece_, bytes_.size()});
    if (size != 0) std::memcpy(buffer.data(), bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
    return size;
  }

 private:
  std::span<const std::byte> bytes_;
  const size_t piece_;
};

struct FuzzOutcome {
  bool ok = false;
  std::string output;  // all of it, when ok
};

inline FuzzOutcome FuzzInflate(std::span<const std::byte> compressed, Compression compression, size_t piece,
                               size_t room) {
  // Small enough that a bomb is cheap, and that both limits are met.
  const InflateLimits limits{.max_output = size_t{4} << 20U,
                             .max_ratio = 1000,
                             .ratio_free = size_t{1} << 20U,
                             .zstd_window_log_max = 23};
  // The decoders are partly assembler, which no sanitizer watches: look for writes beyond the buffer by hand.
  constexpr size_t kCanaryBytes = 512;
  constexpr char kCanary = '\x5a';
  std::string buffer(room + kCanaryBytes, kCanary);
  FuzzSource inner(compressed, piece);
  const auto source = MakeInflater(inner, compression, limits, "fuzz");
  FuzzOutcome outcome;
  for (;;) {
    const auto got = source->Read(std::as_writable_bytes(std::span(buffer.data(), room)));
    SNAP_CHECK(buffer.find_first_not_of(kCanary, room) == std::string::npos);
    if (!got.ok()) {
      const ErrorCode code = got.error().code();
      SNAP_CHECK(code == ErrorCode::kCorrupt || code == ErrorCode::kLimitExceeded);
      return outcome;
    }
    SNAP_CHECK(*got <= room);
    if (*got == 0) {
      outcome.ok = true;
      return outcome;
    }
    outcome.output.append(buffer, 0, *got);
    SNAP_CHECK(outcome.output.size() <= limits.max_output);
  }
}

/// Whatever the sizes of reads, a stream is accepted or not, and accepted with the same output.
inline void FuzzAgreement(const uint8_t* data, size_t size, Compression compression) {
  const auto compressed = std::as_bytes(std::span(data, size));
  const FuzzOutcome whole = FuzzInflate(compressed, compression, SIZE_MAX, size_t{1} << 17U);
  const FuzzOutcome pieces = FuzzInflate(compressed, compression, 1 + size % 7, 1000 + size % 4096);
  SNAP_CHECK(whole.ok == pieces.ok);
  if (whole.ok) SNAP_CHECK(whole.output == pieces.output);
}

}  // namespace snap
