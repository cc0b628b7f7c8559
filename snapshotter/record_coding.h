// How fields follow each other in records and messages: numbers are LEB128, strings and lists carry their
// length in front. Invariant: decoding never reads past the value and never allocates more than the value has
// bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "fs/base/digest.h"

namespace snap::codec {

class Encoder {
 public:
  /// `first`: the version of a record, the kind of a message.
  explicit Encoder(uint8_t first) { out_.push_back(static_cast<char>(first)); }
  void Number(uint64_t value) {
    while (value >= 0x80) {
      out_.push_back(static_cast<char>((value & 0x7fU) | 0x80U));
      value >>= 7U;
    }
    out_.push_back(static_cast<char>(value));
  }
  void Text(std::string_view text) {
    Number(text.size());
    out_.append(text);
  }
  void Raw(const Digest& digest) {
    out_.append(reinterpret_cast<const char*>(digest.bytes().data()), digest.bytes().size());
  }
  std::string Take() && { return std::move(out_); }

 private:
  std::string out_;
};

/// Keeps the first failure; after it every read gives an empty value, so that callers check once.
class Decoder {
 public:
  Decoder(std::string_view value, uint8_t first) : rest_(value) {
    if (rest_.empty() || static_cast<uint8_t>(rest_.front()) != first) {
      Fail();
    } else {
      rest_.remove_prefix(1);
    }
  }
  uint64_t Number() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7fU) << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    Fail();
    return 0;
  }
  std::string Text() { return std::string(View()); }
  /// The same where it lies.
  std::string_view View() { return Bytes(Number()); }
  Digest Raw() {
    const std::string_view bytes = Bytes(Digest::kBytes);
    Digest::Bytes out{};
    if (bytes.size() == out.size()) std::memcpy(out.data(), bytes.data(), out.size());
    return Digest(out);
  }
  /// A list's length; every element takes at least one byte, so a longer list than bytes is corrupt.
  uint64_t Count() {
    const uint64_t count = Number();
    if (count > rest_.size()) Fail();
    return failed_ ? 0 : count;
  }
  bool Valid() const { return !failed_; }
  bool CompleteAndValid() const { return !failed_ && rest_.empty(); }

 private:
  void Fail() {
    failed_ = true;
    rest_ = {};
  }
  std::string_view Bytes(uint64_t size) {
    if (size > rest_.size()) {
      Fail();
      return {};
    }
    const std::string_view bytes = rest_.substr(0, static_cast<size_t>(size));
    rest_.remove_prefix(static_cast<size_t>(size));
    return bytes;
  }

  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace snap::codec
