#include "tests/support/tar_builder.h"

#include <fmt/format.h>

#include <algorithm>

namespace snap::test {
namespace {

void Put(std::string& block, size_t offset, size_t room, std::string_view text) {
  const std::string_view cut = text.substr(0, room);
  std::copy(cut.begin(), cut.end(), block.begin() + static_cast<std::ptrdiff_t>(offset));
}

std::string Block(const TarSpec& spec) {
  std::string block(512, '\0');
  Put(block, 0, 100, spec.name);
  Put(block, 100, 8, TarNumber(spec.mode, 8));
  Put(block, 108, 8, TarNumber(spec.uid, 8));
  Put(block, 116, 8, TarNumber(spec.gid, 8));
  Put(block, 124, 12, TarNumber(spec.size.value_or(static_cast<int64_t>(spec.data.size())), 12));
  Put(block, 136, 12, TarNumber(spec.mtime, 12));
  block[156] = spec.type;
  Put(block, 157, 100, spec.link);
  if (spec.magic != TarSpec::Magic::kV7) {
    Put(block, 257, 8, spec.magic == TarSpec::Magic::kGnu ? "ustar  " : std::string_view("ustar\00000", 8));
    Put(block, 329, 8, TarNumber(spec.device_major, 8));
    Put(block, 337, 8, TarNumber(spec.device_minor, 8));
    Put(block, 345, 155, spec.prefix);
  }
  if (spec.magic == TarSpec::Magic::kStar) Put(block, 508, 4, "tar");
  for (const auto& [offset, bytes] : spec.patches) Put(block, offset, 512 - offset, bytes);
  Put(block, 148, 8, "        ");
  int64_t sum = spec.checksum_error;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  Put(block, 148, 8, fmt::format("{:06o}", sum));
  block[154] = '\0';
  return block;
}

}  // namespace

std::string PaxRecord(std::string_view key, std::string_view value) {
  // The length counts its own digits.
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (fmt::format("{}", length).size() + rest != length) ++length;
  return fmt::format("{} {}={}\n", length, key, value);
}

std::string TarBase256(int64_t value, size_t width) {
  std::string out(width, value < 0 ? '\xff' : '\0');
  for (size_t i = 0; i < std::min<size_t>(width, 8); ++i) {
    out[width - 1 - i] = static_cast<char>((static_cast<uint64_t>(value) >> (8 * i)) & 0xFFU);
  }
  out[0] = static_cast<char>(static_cast<unsigned char>(out[0]) | 0x80U);
  return out;
}

std::string TarNumber(int64_t value, size_t width) {
  const bool fits = value >= 0 && (static_cast<uint64_t>(value) >> (3 * (width - 1))) == 0;
  if (!fits) return TarBase256(value, width);
  std::string out = fmt::format("{:0{}o}", value, width - 1);
  out += '\0';
  return out;
}

TarBuilder& TarBuilder::Add(const TarSpec& spec) {
  if (!spec.pax.empty()) Pax(spec.pax);
  bytes_ += Block(spec);
  bytes_ += spec.data;
  return Zeros((512 - spec.data.size() % 512) % 512);
}

TarBuilder& TarBuilder::Pax(const PaxRecords& records, char type) {
  std::string text;
  for (const auto& [key, value] : records) text += PaxRecord(key, value);
  return PaxRaw(std::move(text), type);
}

TarBuilder& TarBuilder::PaxRaw(std::string records, char type) {
  return Add({.name = "PaxHeaders/entry", .type = type, .data = std::move(records)});
}

TarBuilder& TarBuilder::LongName(std::string name, char type) {
  name += '\0';
  return Add({.name = "././@LongLink", .type = type, .data = std::move(name), .magic = TarSpec::Magic::kGnu});
}

TarBuilder& TarBuilder::Raw(std::string_view bytes) {
  bytes_ += bytes;
  return *this;
}

TarBuilder& TarBuilder::Zeros(size_t bytes) {
  bytes_.append(bytes, '\0');
  return *this;
}

}  // namespace snap::test
