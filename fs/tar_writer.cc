// One way to write each thing: a value that fits its ustar field goes there, any other becomes a PAX record
// and the field is left empty. The ustar prefix field is not used: entries with a nanosecond time have
// records anyway.
#include "fs/tar_writer.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "fs/base/quote.h"

namespace snap {
namespace tar {
namespace {

constexpr size_t kBlock = 512;
constexpr uint64_t kMaxOctal7 = 07777777;       // 8-byte fields: seven digits and a NUL
constexpr uint64_t kMaxOctal11 = 077777777777;  // 12-byte fields

struct UstarHeader {
  char name[100];
  char mode[8];
  char uid[8];
  char gid[8];
  char size[12];
  char mtime[12];
  char checksum[8];
  char type;
  char link_name[100];
  char magic[6];
  char version[2];
  char user_name[32];
  char group_name[32];
  char device_major[8];
  char device_minor[8];
  char prefix[155];
  char unused[12];
};
static_assert(sizeof(UstarHeader) == kBlock);

template <size_t N>
void PutOctal(char (&field)[N], uint64_t value) {
  field[N - 1] = '\0';
  for (size_t i = N - 1; i-- > 0; value >>= 3U) field[i] = static_cast<char>('0' + (value & 7U));
}

template <size_t N>
void PutText(char (&field)[N], std::string_view text) {
  std::memcpy(field, text.data(), std::min(N, text.size()));
}

void AppendBlock(UstarHeader& header, std::string& out) {
  PutText(header.magic, "ustar");
  PutText(header.version, "00");
  std::memset(header.checksum, ' ', sizeof header.checksum);
  unsigned sum = 0;
  for (const char c : std::string_view(reinterpret_cast<const char*>(&header), sizeof header)) {
    sum += static_cast<unsigned char>(c);
  }
  // Six digits, NUL, space: the historical layout, which some readers insist on.
  header.checksum[6] = '\0';
  for (size_t i = 6; i-- > 0; sum >>= 3U) header.checksum[i] = static_cast<char>('0' + (sum & 7U));
  out.append(reinterpret_cast<const char*>(&header), sizeof header);
}

/// An extended header in the making. Records are in the order of their keys, whatever order the entry's
/// xattrs have.
using Records = std::map<std::string, std::string>;

/// "LENGTH KEY=VALUE\n", where LENGTH counts its own digits.
void AppendRecord(std::string& records, std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (rest + std::to_string(length).size() != length) length = rest + std::to_string(length).size();
  fmt::format_to(std::back_inserter(records), "{} {}=", length, key);
  records += value;
  records += '\n';
}

/// Decimal seconds: "-1.5" is half a second before one second before 1970.
std::string TimeText(timespec time) {
  int64_t seconds = time.tv_sec;
  int64_t nanoseconds = time.tv_nsec;
  const bool negative = seconds < 0;
  if (negative && nanoseconds != 0) {
    seconds += 1;
    nanoseconds = 1'000'000'000 - nanoseconds;
  }
  std::string text = fmt::format("{}{}", negative && seconds == 0 ? "-" : "", seconds);
  if (nanoseconds != 0) {
    text += fmt::format(".{:09}", nanoseconds);
    text.erase(text.find_last_not_of('0') + 1);
  }
  return text;
}

char TypeFlag(TarEntry::Kind kind) {
  switch (kind) {
    case TarEntry::Kind::kRegular:
      return '0';
    case TarEntry::Kind::kHardLink:
      return '1';
    case TarEntry::Kind::kSymlink:
      return '2';
    case TarEntry::Kind::kCharDevice:
      return '3';
    case TarEntry::Kind::kBlockDevice:
      return '4';
    case TarEntry::Kind::kDirectory:
      return '5';
    case TarEntry::Kind::kFifo:
      return '6';
  }
  return '0';
}

/// "DIRECTORY/NAME" for members that stand for another: what a reader without PAX would extract.
std::string StandInName(std::string_view directory, std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  std::string name(directory);
  name += '/';
  name += path.substr(path.rfind('/') + 1);
  name.resize(std::min(name.size(), sizeof(UstarHeader::name)));
  return name;
}

/// The map of GNU sparse 1.0: decimal numbers, a line each, padded to a block.
std::string SparseMap(const TarEntry& entry) {
  // A file that ends in a hole gets an empty extent at its end, as GNU tar writes it.
  const bool ends_in_hole =
      entry.extents.empty() || entry.extents.back().offset + entry.extents.back().size != entry.size;
  std::string map = fmt::format("{}\n", entry.extents.size() + (ends_in_hole ? 1 : 0));
  for (const DataExtent& extent : entry.extents) {
    fmt::format_to(std::back_inserter(map), "{}\n{}\n", extent.offset, extent.size);
  }
  if (ends_in_hole) fmt::format_to(std::back_inserter(map), "{}\n0\n", entry.size);
  map.resize(map.size() + Padding(map.size()));
  return map;
}

Result<void> CheckWritable(const TarEntry& entry) {
  const auto refuse = [&](std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument, "write tar entry {}: {}",
                     Quote(std::string_view(entry.path).substr(0, 200)), why);
  };
  if (entry.path.empty()) return refuse("it has no name");
  if (entry.path.find('\0') != std::string::npos) return refuse("a NUL in its name");
  if (entry.link_target.find('\0') != std::string::npos) return refuse("a NUL in its target");
  if (entry.device_major > kMaxOctal7 || entry.device_minor > kMaxOctal7)
    return refuse("device number too large");
  for (const Xattr& xattr : entry.attributes.xattrs) {
    if (xattr.name.empty() || xattr.name.find_first_of(std::string_view("=\0", 2)) != std::string::npos) {
      return refuse("the name of an extended attribute is empty or contains '='");
    }
  }
  uint64_t end = 0;
  for (const DataExtent& extent : entry.extents) {
    if (extent.offset < end || extent.size > entry.size || extent.offset > entry.size - extent.size) {
      return refuse("extents out of order");
    }
    end = extent.offset + extent.size;
    if (extent.size % kBlock != 0 && &extent != &entry.extents.back())
      return refuse("extents not in whole blocks");
  }
  return {};
}

}  // namespace

uint64_t StoredBytes(const TarEntry& entry) {
  if (entry.kind != TarEntry::Kind::kRegular) return 0;
  if (!entry.sparse) return entry.size;
  uint64_t sum = 0;
  for (const DataExtent& extent : entry.extents) sum += extent.size;
  return sum;
}

size_t Padding(uint64_t stored_bytes) {
  return (kBlock - static_cast<size_t>(stored_bytes % kBlock)) % kBlock;
}

Result<void> AppendHeader(const TarEntry& entry, std::string& out) {
  SNAP_TRY_VOID(CheckWritable(entry));
  const Attributes& attributes = entry.attributes;
  const bool regular = entry.kind == TarEntry::Kind::kRegular;
  const bool sparse = regular && entry.sparse;
  std::string path = entry.path;
  if (entry.kind == TarEntry::Kind::kDirectory && !path.ends_with('/')) path += '/';
  const std::string map = sparse ? SparseMap(entry) : std::string();
  const uint64_t size = StoredBytes(entry) + map.size();

  UstarHeader header{};
  Records records;
  if (sparse) {
    records["GNU.sparse.major"] = "1";
    records["GNU.sparse.minor"] = "0";
    records["GNU.sparse.name"] = path;
    records["GNU.sparse.realsize"] = std::to_string(entry.size);
    PutText(header.name, StandInName("GNUSparseFile.0", path));
  } else {
    if (path.size() > sizeof header.name) records["path"] = path;
    PutText(header.name, path);
  }
  const bool has_target = entry.kind == TarEntry::Kind::kHardLink || entry.kind == TarEntry::Kind::kSymlink;
  if (has_target) {
    if (entry.link_target.size() > sizeof header.link_name) records["linkpath"] = entry.link_target;
    PutText(header.link_name, entry.link_target);
  }
  const auto number = [&records](auto& field, uint64_t value, uint64_t max, const char* key) {
    PutOctal(field, value <= max ? value : 0);
    if (value > max) records[key] = std::to_string(value);
  };
  number(header.size, size, kMaxOctal11, "size");
  number(header.uid, attributes.uid, kMaxOctal7, "uid");
  number(header.gid, attributes.gid, kMaxOctal7, "gid");
  const auto seconds = static_cast<uint64_t>(std::max<int64_t>(attributes.mtime.tv_sec, 0));
  PutOctal(header.mtime, std::min(seconds, kMaxOctal11));
  if (attributes.mtime.tv_sec < 0 || seconds > kMaxOctal11 || attributes.mtime.tv_nsec != 0) {
    records["mtime"] = TimeText(attributes.mtime);
  }
  for (const Xattr& xattr : attributes.xattrs) records["SCHILY.xattr." + xattr.name] = xattr.value;

  if (!records.empty()) {
    std::string text;
    for (const auto& [key, value] : records) AppendRecord(text, key, value);
    UstarHeader extended{};
    PutText(extended.name, StandInName("PaxHeaders.0", path));
    PutOctal(extended.mode, 0644);
    PutOctal(extended.uid, 0);
    PutOctal(extended.gid, 0);
    PutOctal(extended.size, text.size());
    PutOctal(extended.mtime, 0);
    PutOctal(extended.device_major, 0);
    PutOctal(extended.device_minor, 0);
    extended.type = 'x';
    AppendBlock(extended, out);
    out += text;
    out.resize(out.size() + Padding(text.size()));
  }
  PutOctal(header.mode, attributes.permissions & 07777U);
  PutOctal(header.device_major, entry.device_major);
  PutOctal(header.device_minor, entry.device_minor);
  header.type = TypeFlag(entry.kind);
  AppendBlock(header, out);
  out += map;
  return {};
}

}  // namespace tar

Result<void> TarWriter::Begin(const TarEntry& entry) {
  SNAP_TRY_VOID(EndMember());
  header_.clear();
  SNAP_TRY_VOID(tar::AppendHeader(entry, header_));
  SNAP_TRY_VOID(sink_.Write(std::as_bytes(std::span(header_))));
  data_left_ = tar::StoredBytes(entry);
  padding_ = tar::Padding(data_left_);
  return {};
}

Result<void> TarWriter::Data(std::span<const std::byte> bytes) {
  if (bytes.size() > data_left_) {
    return MakeError(ErrorCode::kInvalidArgument, "write tar data: {} bytes more than the header says",
                     bytes.size() - data_left_);
  }
  if (bytes.empty()) return {};
  SNAP_TRY_VOID(sink_.Write(bytes));
  data_left_ -= bytes.size();
  return {};
}

Result<void> TarWriter::EndMember() {
  if (data_left_ != 0) {
    return MakeError(ErrorCode::kInvalidArgument, "write tar entry: {} bytes of the one before are missing",
                     data_left_);
  }
  constexpr std::byte kZeros[512] = {};
  if (padding_ != 0) SNAP_TRY_VOID(sink_.Write(std::span(kZeros).first(padding_)));
  padding_ = 0;
  return {};
}

Result<void> TarWriter::Finish() {
  SNAP_TRY_VOID(EndMember());
  constexpr std::byte kZeros[tar::kTrailerBytes] = {};
  return sink_.Write(kZeros);
}

}  // namespace snap
