// The fixed parts of a tar index. docs/disk-layout.md, "tar.idx", is the specification. Internal to
// tar_index_*.cc.
//   | magic | one zstd frame of records | objects | trailer |
// Invariant: every byte of the file is covered by a checksum or compared with a constant.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fs/xxhash.h"

namespace snap::tar_index {

inline constexpr std::string_view kMagic("snaptix\x01", 8);  ///< the last byte is the version

inline constexpr size_t kObjectBytes = 28;  ///< hash, size, variant

/// Offsets in the trailer.
inline constexpr size_t kFrameBytesAt = 0;
inline constexpr size_t kObjectCountAt = 8;
inline constexpr size_t kTarBytesAt = 16;
inline constexpr size_t kFrameHashAt = 24;
inline constexpr size_t kObjectsHashAt = 40;
inline constexpr size_t kTrailerHashAt = 56;
inline constexpr size_t kTrailerMagicAt = 72;
inline constexpr size_t kTrailerBytes = 80;

/// A literal is cut into records of at most this, so that a writer needs no more memory.
inline constexpr size_t kMaxLiteral = size_t{64} << 10U;
inline constexpr size_t kLiteralSizeBytes = 4;
inline constexpr size_t kMaxVarintBytes = 10;

/// The window of the frame: matches are in the headers just before, and a reader holds it in memory.
inline constexpr unsigned kWindowLog = 19;

template <typename T>
void PutLittle(std::byte* at, T value) {
  for (size_t i = 0; i < sizeof(T); ++i, value = static_cast<T>(value >> 8U)) {
    at[i] = static_cast<std::byte>(value & 0xFFU);
  }
}
template <typename T>
T GetLittle(const std::byte* at) {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;) value = static_cast<T>(value << 8U) | std::to_integer<T>(at[i]);
  return value;
}

/// Signed distances as small unsigned numbers: 0, -1, 1, -2, ... Both wrap around like the offsets they are
/// made of.
inline uint64_t ZigZag(uint64_t delta) { return (delta << 1U) ^ (uint64_t{0} - (delta >> 63U)); }
inline uint64_t UnZigZag(uint64_t value) { return (value >> 1U) ^ (uint64_t{0} - (value & 1U)); }

}  // namespace snap::tar_index
