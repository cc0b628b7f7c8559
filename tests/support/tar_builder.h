// TarBuilder: writes tars header by header, right or wrong on purpose; what GNU tar would never write, a test
// can. Invariant: a builder does what it is told: nothing is checked, and only the checksum and the padding
// are added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace snap::test {

using PaxRecords = std::vector<std::pair<std::string, std::string>>;

/// "LENGTH KEY=VALUE\n" with the right length.
std::string PaxRecord(std::string_view key, std::string_view value);
/// `width - 1` octal digits and a NUL; GNU's base-256 when the value is negative or too large for that.
std::string TarNumber(int64_t value, size_t width);
/// Big-endian two's complement in `width` bytes with the marker bit set.
std::string TarBase256(int64_t value, size_t width);

struct TarSpec {
  enum class Magic { kUstar, kGnu, kStar, kV7 };
  std::string name{};
  char type = '0';
  std::string data{};             ///< follows the header, padded to a block
  std::optional<int64_t> size{};  ///< of the header when it is to differ from data.size()
  int64_t mode = 0644;
  int64_t uid = 0;
  int64_t gid = 0;
  int64_t mtime = 0;
  std::string link{};
  std::string prefix{};
  int64_t device_major = 0;
  int64_t device_minor = 0;
  Magic magic = Magic::kUstar;
  PaxRecords pax{};  ///< an 'x' header in front, if there are any
  /// Bytes to put at an offset of the block, before the checksum is taken.
  std::vector<std::pair<size_t, std::string>> patches{};
  int64_t checksum_error = 0;  ///< added to the right checksum
};

class TarBuilder {
 public:
  TarBuilder& Add(const TarSpec& spec);
  TarBuilder& File(std::string name, std::string data) {
    return Add({.name = std::move(name), .data = std::move(data)});
  }
  TarBuilder& Directory(std::string name) {
    return Add({.name = std::move(name), .type = '5', .mode = 0755});
  }
  TarBuilder& Symlink(std::string name, std::string target) {
    return Add({.name = std::move(name), .type = '2', .mode = 0777, .link = std::move(target)});
  }
  TarBuilder& HardLink(std::string name, std::string target) {
    return Add({.name = std::move(name), .type = '1', .link = std::move(target)});
  }
  /// An extended header ('x') or a global one ('g').
  TarBuilder& Pax(const PaxRecords& records, char type = 'x');
  /// The same with any bytes as records.
  TarBuilder& PaxRaw(std::string records, char type = 'x');
  /// GNU's long name ('L') or long link target ('K'); a NUL is appended.
  TarBuilder& LongName(std::string name, char type = 'L');
  TarBuilder& Raw(std::string_view bytes);
  TarBuilder& Zeros(size_t bytes);

  /// What is written so far.
  const std::string& bytes() const { return bytes_; }
  /// With the end marker.
  std::string Finish() { return Zeros(1024).bytes_; }

 private:
  std::string bytes_;
};

}  // namespace snap::test
