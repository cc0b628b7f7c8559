#include "fs/object_id.h"

#include <charconv>

#include "fs/base/quote.h"

namespace snap {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/// The whole of `text` as a number without sign or leading zeros.
template <typename T>
bool ParseNumber(std::string_view text, int base, T& value) {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string ObjectId::Path() const {
  std::string path;
  path.reserve(2 * hash.size() + 24);
  for (const uint8_t byte : hash) {
    path += kDigits[byte >> 4U];
    path += kDigits[byte & 15U];
    if (path.size() == 2) path += '/';
  }
  path += fmt::format("-{:x}", size);
  if (variant != 0) path += fmt::format(".{}", variant);
  return path;
}

bool ObjectId::IsShard(std::string_view name) {
  return name.size() == 2 && HexValue(name[0]) >= 0 && HexValue(name[1]) >= 0;
}

Result<ObjectId> ObjectId::ParsePath(std::string_view path) {
  const auto invalid = [&] {
    return MakeError(ErrorCode::kInvalidArgument, "{} is not the path of an object", Quote(path));
  };
  constexpr size_t kHexEnd = 33;  // two digits, a slash, thirty digits
  ObjectId id;
  if (path.size() <= kHexEnd || path[2] != '/' || path[kHexEnd] != '-') return invalid();
  size_t at = 0;
  for (uint8_t& byte : id.hash) {
    const int high = HexValue(path[at]);
    const int low = HexValue(path[at + 1]);
    if (high < 0 || low < 0) return invalid();
    byte = static_cast<uint8_t>(high * 16 + low);
    at += at == 0 ? 3 : 2;
  }
  std::string_view rest = path.substr(kHexEnd + 1);
  if (const size_t dot = rest.find('.'); dot != std::string_view::npos) {
    if (!ParseNumber(rest.substr(dot + 1), 10, id.variant) || id.variant == 0) return invalid();
    rest = rest.substr(0, dot);
  }
  // from_chars takes upper-case digits too.
  if (rest.find_first_not_of(kDigits) != std::string_view::npos || !ParseNumber(rest, 16, id.size)) {
    return invalid();
  }
  return id;
}

}  // namespace snap
