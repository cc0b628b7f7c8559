// Field access and numbers of the header block. GNU tar, Go and libarchive differ in what garbage they
// tolerate in numeric fields; a file whose size two readers see differently hides entries from one of them
// (CVE-2025-62518 was of this family), so only what all of them read alike is accepted.
#include "fs/tar_header.h"

#include <algorithm>
#include <limits>

namespace snap::tar {
namespace {

constexpr bool IsBlank(char c) { return c == ' ' || c == '\0'; }

std::optional<int64_t> ParseBase256(std::string_view field) {
  const auto first = static_cast<unsigned char>(field.front());
  const bool negative = (first & 0x40U) != 0;
  // The marker bit is replaced by the sign, which then extends to the left of the number.
  uint64_t value = negative ? ~uint64_t{0} : 0;
  const uint64_t sign_byte = value & 0xFFU;
  for (size_t i = 0; i < field.size(); ++i) {
    uint64_t byte = static_cast<unsigned char>(field[i]);
    if (i == 0) byte = negative ? byte : byte & 0x7FU;
    if ((value >> 56U) != sign_byte) return std::nullopt;
    value = (value << 8U) | byte;
  }
  const bool sign_bit = (value >> 63U) != 0;
  if (sign_bit != negative) return std::nullopt;
  return static_cast<int64_t>(value);
}

}  // namespace

std::optional<int64_t> ParseNumber(std::string_view field) {
  if (field.empty()) return std::nullopt;
  if ((static_cast<unsigned char>(field.front()) & 0x80U) != 0) return ParseBase256(field);
  size_t i = 0;
  while (i < field.size() && IsBlank(field[i])) ++i;
  uint64_t value = 0;
  for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i) {
    if ((value >> 60U) != 0) return std::nullopt;
    value = (value << 3U) | static_cast<uint64_t>(field[i] - '0');
  }
  for (; i < field.size(); ++i) {
    if (!IsBlank(field[i])) return std::nullopt;
  }
  return static_cast<int64_t>(value);
}

std::optional<uint64_t> ParseDecimal(std::string_view text) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  if (text.empty()) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<uint64_t>(c - '0');
    if (value > (kMax - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

bool Header::IsZero() const {
  return std::all_of(block_.begin(), block_.end(), [](char c) { return c == '\0'; });
}

bool Header::ChecksumMatches() const {
  const auto stored = ParseNumber(Raw(kChecksum));
  if (!stored) return false;
  // The sums are taken with spaces in place of the checksum field itself.
  int64_t sum = static_cast<int64_t>(kChecksum.size) * ' ';
  uint32_t all = 0;
  for (const char c : block_) all += static_cast<unsigned char>(c);
  for (const char c : Raw(kChecksum)) all -= static_cast<unsigned char>(c);
  sum += all;
  if (sum == *stored) return true;
  // A signed byte is 256 less than the unsigned one when its top bit is set.
  for (const char c : block_) sum -= (static_cast<unsigned char>(c) & 0x80U) != 0 ? 256 : 0;
  for (const char c : Raw(kChecksum)) sum += (static_cast<unsigned char>(c) & 0x80U) != 0 ? 256 : 0;
  return sum == *stored;
}

Dialect Header::dialect() const {
  const std::string_view magic = Raw(kMagic);
  if (magic == std::string_view("ustar\00000", 8)) {
    return block_.substr(508) == std::string_view("tar\0", 4) ? Dialect::kStar : Dialect::kUstar;
  }
  if (magic == std::string_view("ustar  \0", 8)) return Dialect::kGnu;
  return magic.starts_with("ustar") ? Dialect::kForeign : Dialect::kV7;
}

std::string_view Header::Text(Field field) const {
  const std::string_view raw = Raw(field);
  return raw.substr(0, raw.find('\0'));
}

Result<int64_t> Header::Number(Field field, std::string_view what) const {
  if (const auto value = ParseNumber(Raw(field))) return *value;
  return MakeError(ErrorCode::kCorrupt, "{} is not a number that fits", what);
}

}  // namespace snap::tar
