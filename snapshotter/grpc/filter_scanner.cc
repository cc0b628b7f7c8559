#include "snapshotter/grpc/filter_scanner.h"

#include <re2/re2.h>

#include "fs/base/quote.h"

namespace snap {
namespace {

bool IsFieldByte(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}
bool IsOperatorByte(char c) { return c == '=' || c == '!' || c == '~'; }

/// Categories beyond ASCII come from RE2's Unicode tables, so that we need none.
bool IsBlank(std::string_view character) {
  if (character.size() == 1) return (character[0] >= '\t' && character[0] <= '\r') || character[0] == ' ';
  static const re2::RE2 kPattern("[\\pZ\\x{85}]");
  return re2::RE2::FullMatch(re2::StringPiece(character.data(), character.size()), kPattern);
}
bool IsValueCharacter(std::string_view character) {
  if (character.size() == 1) return character[0] > ' ' && character[0] <= '~' && character[0] != ',';
  static const re2::RE2 kPattern("[\\pL\\pM\\pN\\pP\\pS]");
  return re2::RE2::FullMatch(re2::StringPiece(character.data(), character.size()), kPattern);
}

size_t CharacterBytes(char first) {
  const auto byte = static_cast<unsigned char>(first);
  if (byte < 0x80U) return 1;
  if (byte < 0xe0U) return 2;
  return byte < 0xf0U ? 3 : 4;
}

void AppendUtf8(uint32_t rune, std::string& out) {
  constexpr uint32_t kReplacement = 0xfffd;
  if (rune >= 0xd800U && rune <= 0xdfffU) rune = kReplacement;  // as Go encodes half of a surrogate pair
  const auto put = [&](uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (rune < 0x80U) {
    put(rune);
  } else if (rune < 0x800U) {
    put(0xc0U | (rune >> 6U));
    put(0x80U | (rune & 0x3fU));
  } else if (rune < 0x10000U) {
    put(0xe0U | (rune >> 12U));
    put(0x80U | ((rune >> 6U) & 0x3fU));
    put(0x80U | (rune & 0x3fU));
  } else {
    put(0xf0U | (rune >> 18U));
    put(0x80U | ((rune >> 12U) & 0x3fU));
    put(0x80U | ((rune >> 6U) & 0x3fU));
    put(0x80U | (rune & 0x3fU));
  }
}

unsigned DigitValue(char c) {
  constexpr unsigned kNone = 16;
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10U;
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10U;
  return kNone;
}

}  // namespace

Error FilterScanner::Complaint(size_t position, std::string_view what) const {
  return MakeError(ErrorCode::kInvalidArgument, "parse filter {}: {} at byte {}", Quote(input_), what,
                   position + 1);
}

Result<FilterScanner::Character> FilterScanner::PeekCharacter() const {
  if (AtEnd()) return Character{};
  const std::string_view bytes = input_.substr(position_, CharacterBytes(input_[position_]));
  if (bytes[0] == '\0') return Complaint(position_, "NUL");
  // U+FFFD is what a broken encoding decodes to, and refused like one.
  if (!IsUtf8(bytes) || bytes == "\xef\xbf\xbd") return Complaint(position_, "not UTF-8");
  return Character{bytes, bytes.size() == 1 ? bytes[0] : '\0'};
}

Result<FilterToken> FilterScanner::Next() {
  SNAP_TRY(Character character, PeekCharacter());
  while (!character.bytes.empty() && IsBlank(character.bytes)) {
    position_ += character.bytes.size();
    SNAP_TRY(character, PeekCharacter());
  }
  const size_t start = position_;
  const auto token = [&](FilterTokenKind kind) {
    return FilterToken{kind, std::string(input_.substr(start, position_ - start)), '\0', start};
  };
  if (character.bytes.empty()) return token(FilterTokenKind::kEnd);
  const char c = character.ascii;
  if (c == '"' || c == '/' || c == '|') return Quoted(c);
  if (c == ',' || c == '.') {
    ++position_;
    expects_value_ = false;
    return token(FilterTokenKind::kSeparator);
  }
  if (IsOperatorByte(c)) {
    while (IsOperatorByte(Peek())) ++position_;
    expects_value_ = true;
    return token(FilterTokenKind::kOperator);
  }
  if (expects_value_) {
    expects_value_ = false;
    position_ += character.bytes.size();  // the first character may be any
    while (true) {
      const Result<Character> next = PeekCharacter();
      if (!next.ok() || next->bytes.empty() || !IsValueCharacter(next->bytes)) break;
      position_ += next->bytes.size();
    }
    return token(FilterTokenKind::kValue);
  }
  if (IsFieldByte(c)) {
    while (IsFieldByte(Peek())) ++position_;
    return token(FilterTokenKind::kField);
  }
  position_ += character.bytes.size();
  return token(FilterTokenKind::kOther);
}

Result<FilterToken> FilterScanner::Quoted(char quote) {
  FilterToken token{FilterTokenKind::kQuoted, "", quote, position_};
  ++position_;
  while (true) {
    SNAP_TRY(const Character character, PeekCharacter());
    if (character.bytes.empty() || character.ascii == '\n') {
      return Complaint(token.position, "quoted text that does not end");
    }
    position_ += character.bytes.size();
    if (character.ascii == quote) return token;
    if (character.ascii == '\\') {
      SNAP_TRY_VOID(Escape(quote, token.text));
    } else {
      token.text += character.bytes;
    }
  }
}

Result<void> FilterScanner::Escape(char quote, std::string& out) {
  static constexpr std::string_view kLetters = "abfnrtv\\";
  static constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\";
  const size_t start = position_ - 1;
  const char c = Peek();
  if (const size_t simple = kLetters.find(c); !AtEnd() && simple != std::string_view::npos) {
    ++position_;
    out += kMeanings[simple];
    return {};
  }
  if (!AtEnd() && c == quote) {
    ++position_;
    out += c;
    return {};
  }
  if (c >= '0' && c <= '7') {
    SNAP_TRY(const uint32_t value, Digits(8, 3));
    constexpr uint32_t kMaxByte = 255;
    if (value > kMaxByte) return Complaint(start, "octal escape above \\377");
    out += static_cast<char>(static_cast<unsigned char>(value));
    return {};
  }
  const unsigned digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (digits == 0) return Complaint(start, "unknown escape");
  ++position_;
  SNAP_TRY(const uint32_t value, Digits(16, digits));
  constexpr uint32_t kMaxRune = 0x10ffff;
  if (value > kMaxRune) return Complaint(start, "escape beyond Unicode");
  if (c == 'x') {
    out += static_cast<char>(static_cast<unsigned char>(value));  // a byte, not a character
  } else {
    AppendUtf8(value, out);
  }
  return {};
}

Result<uint32_t> FilterScanner::Digits(unsigned base, unsigned count) {
  uint32_t value = 0;
  for (unsigned i = 0; i < count; ++i) {
    const unsigned digit = DigitValue(Peek());
    if (digit >= base) return Complaint(position_, "escape with too few digits");
    value = value * base + digit;
    ++position_;
  }
  return value;
}

}  // namespace snap
