// One 512-byte tar header block: where the fields lie and how its numbers are written.
// Sources: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
// Invariant: a field that is not exactly what the format allows is an error, not a guess.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "fs/base/result.h"

namespace snap::tar {

inline constexpr size_t kBlockBytes = 512;

struct Field {
  size_t offset;
  size_t size;
};
inline constexpr Field kName{0, 100};
inline constexpr Field kMode{100, 8};
inline constexpr Field kUid{108, 8};
inline constexpr Field kGid{116, 8};
inline constexpr Field kSize{124, 12};
inline constexpr Field kMtime{136, 12};
inline constexpr Field kChecksum{148, 8};
inline constexpr size_t kTypeOffset = 156;
inline constexpr Field kLinkName{157, 100};
inline constexpr Field kMagic{257, 8};  // magic and version
inline constexpr Field kDeviceMajor{329, 8};
inline constexpr Field kDeviceMinor{337, 8};
inline constexpr Field kPrefix{345, 155};      // ustar
inline constexpr Field kStarPrefix{345, 131};  // Schilling's star keeps times behind a shorter prefix
inline constexpr Field kGnuSparseMap{386, 96};
inline constexpr Field kGnuSparseMore{482, 1};
inline constexpr Field kGnuRealSize{483, 12};

enum class Dialect : uint8_t {
  kV7,       ///< no magic: no prefix, no device numbers
  kUstar,    ///< POSIX, with or without extended headers
  kStar,     ///< ustar with "tar" in the last four bytes
  kGnu,      ///< "ustar  ": no prefix, the room is used for sparse files
  kForeign,  ///< "ustar" with another version: readers disagree on what its prefix means
};

/// A view of one block; the bytes belong to the caller. Every call is O(512).
class Header {
 public:
  /// `block` has kBlockBytes bytes.
  explicit Header(std::string_view block) : block_(block) {}

  bool IsZero() const;
  /// True when the stored checksum is the sum of the block's bytes, as unsigned or (old Sun tars) as signed
  /// numbers.
  bool ChecksumMatches() const;
  Dialect dialect() const;
  char type() const { return block_[kTypeOffset]; }
  std::string_view Raw(Field field) const { return block_.substr(field.offset, field.size); }
  /// The field up to its first NUL.
  std::string_view Text(Field field) const;
  /// Octal digits or GNU's base-256. Errors: kCorrupt, naming the field.
  Result<int64_t> Number(Field field, std::string_view what) const;

 private:
  std::string_view block_;
};

/// A numeric field: spaces or NULs, octal digits, spaces or NULs (an empty field is 0); or, with the top bit
/// of the first byte set, a big-endian two's complement number in the remaining bits. Nothing for anything
/// else.
std::optional<int64_t> ParseNumber(std::string_view field);
/// One or more decimal digits up to INT64_MAX and nothing else: how PAX and sparse maps write sizes.
std::optional<uint64_t> ParseDecimal(std::string_view text);

}  // namespace snap::tar
