// One UTF-8 decoder serves both questions: what is valid, and what must be escaped.
#include "fs/base/quote.h"

#include <fmt/format.h>

#include <cstddef>

namespace snap {
namespace {

// Length of the well-formed UTF-8 sequence at the front, 0 if there is none (RFC 3629, table 3-7 of Unicode).
size_t SequenceLength(std::string_view s) {
  auto at = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  auto continues = [&](size_t i) { return (at(i) & 0xC0U) == 0x80U; };
  const unsigned c = at(0);
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c <= 0xDF) return continues(1) ? 2 : 0;
  if (c >= 0xE0 && c <= 0xEF) {
    const unsigned low = c == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = c == 0xED ? 0x9F : 0xBF;
    return at(1) >= low && at(1) <= high && continues(2) ? 3 : 0;
  }
  if (c >= 0xF0 && c <= 0xF4) {
    const unsigned low = c == 0xF0 ? 0x90 : 0x80;
    const unsigned high = c == 0xF4 ? 0x8F : 0xBF;
    return at(1) >= low && at(1) <= high && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

void AppendEscaped(std::string& out, std::string_view bytes, bool escape_quote) {
  while (!bytes.empty()) {
    const size_t length = SequenceLength(bytes);
    const unsigned char c = static_cast<unsigned char>(bytes.front());
    // U+0080..U+009F are control characters too: terminals act on some of them.
    const bool c1_control = length == 2 && c == 0xC2 && static_cast<unsigned char>(bytes[1]) < 0xA0;
    if (length == 0) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", c);
      bytes.remove_prefix(1);
      continue;
    }
    if (c1_control) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}\\x{:02x}", c, static_cast<unsigned char>(bytes[1]));
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", c);
    } else if (c == '\\' || (c == '\'' && escape_quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else {
      out += bytes.substr(0, length);
    }
    bytes.remove_prefix(length);
  }
}

}  // namespace

std::string Quote(std::string_view bytes) {
  std::string out = "'";
  AppendEscaped(out, bytes, true);
  out += '\'';
  return out;
}

std::string EscapeUnprintable(std::string_view bytes) {
  std::string out;
  AppendEscaped(out, bytes, false);
  return out;
}

bool IsUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = SequenceLength(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

}  // namespace snap
