// Tokens of a filter. Internal to filter.cc.
// Invariant: a value is only looked for after an operator, so that labels.a.b and ==a.b are told apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace snap {

enum class FilterTokenKind : uint8_t { kEnd, kField, kQuoted, kValue, kSeparator, kOperator, kOther };

struct FilterToken {
  FilterTokenKind kind = FilterTokenKind::kEnd;
  std::string text;     ///< as written; of a quoted one: what the quotes mean
  char quote = '\0';    ///< of a quoted one
  size_t position = 0;  ///< of its first byte
};

/// Threads: one at a time.
class FilterScanner {
 public:
  /// `input` must outlive this.
  explicit FilterScanner(std::string_view input) : input_(input) {}

  /// The next token; blanks before it are skipped. Errors: kInvalidArgument (quoting, bytes that are not
  /// UTF-8, NUL).
  Result<FilterToken> Next();
  /// The next byte as it stands, without skipping anything; '\0' at the end.
  char Peek() const { return position_ < input_.size() ? input_[position_] : '\0'; }
  bool AtEnd() const { return position_ >= input_.size(); }
  size_t position() const { return position_; }

  Error Complaint(size_t position, std::string_view what) const;

 private:
  struct Character {
    std::string_view bytes;  ///< empty at the end
    char ascii = '\0';       ///< '\0': not ASCII, or the end
  };
  Result<Character> PeekCharacter() const;
  Result<FilterToken> Quoted(char quote);
  Result<void> Escape(char quote, std::string& out);
  Result<uint32_t> Digits(unsigned base, unsigned count);

  std::string_view input_;
  size_t position_ = 0;
  bool expects_value_ = false;
};

}  // namespace snap
