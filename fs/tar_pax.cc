// One pass over the records, then one look at what the GNU.sparse.* keys mean together.
// Keys of xattrs are taken as they stand: GNU tar writes '%' and '=' in them as %25 and %3D, Docker and
// containerd do not, and the layers are theirs.
#include "fs/tar_pax.h"

#include <algorithm>
#include <array>

#include "fs/base/quote.h"
#include "fs/tar_header.h"

namespace snap::tar {
namespace {

constexpr std::string_view kSchilyXattr = "SCHILY.xattr.";
constexpr std::string_view kLibarchiveXattr = "LIBARCHIVE.xattr.";
constexpr std::string_view kSparsePrefix = "GNU.sparse.";
constexpr size_t kMaxXattrName = 255;  // XATTR_NAME_MAX of Linux

struct Record {
  std::string_view key;
  std::string_view value;
};

std::string ShortQuote(std::string_view bytes) {
  constexpr size_t kShown = 64;
  return bytes.size() <= kShown ? Quote(bytes) : Quote(bytes.substr(0, kShown)) + "...";
}

// Takes one record off the front.
Result<Record> TakeRecord(std::string_view& records) {
  const size_t space = records.find(' ');
  const auto length = ParseDecimal(records.substr(0, std::min(space, records.size())));
  if (space == std::string_view::npos || !length) {
    return MakeError(ErrorCode::kCorrupt, "extended header has a record without a length");
  }
  if (*length <= space + 1 || *length > records.size()) {
    return MakeError(ErrorCode::kCorrupt, "extended header has a record of impossible length {}", *length);
  }
  const std::string_view record = records.substr(0, static_cast<size_t>(*length));
  if (record.back() != '\n') {
    return MakeError(ErrorCode::kCorrupt,
                     "extended header has a record that does not end where its length says");
  }
  const std::string_view body = record.substr(space + 1, record.size() - space - 2);
  const size_t equals = body.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return MakeError(ErrorCode::kCorrupt, "extended header has a record without a key");
  }
  const Record out{body.substr(0, equals), body.substr(equals + 1)};
  if (out.key.find('\0') != std::string_view::npos) {
    return MakeError(ErrorCode::kCorrupt, "extended header has a key with a NUL byte: {}",
                     ShortQuote(out.key));
  }
  records.remove_prefix(record.size());
  return out;
}

Error Malformed(const Record& record) {
  return MakeError(ErrorCode::kCorrupt, "extended header has a malformed '{}': {}",
                   EscapeUnprintable(record.key), ShortQuote(record.value));
}

Result<std::optional<uint64_t>> ParseSize(const Record& record) {
  if (record.value.empty()) return std::optional<uint64_t>();
  if (const auto value = ParseDecimal(record.value)) return value;
  return Malformed(record);
}

Result<std::optional<uint32_t>> ParseId(const Record& record) {
  // The last value means "leave unchanged" to chown(2): such a file would keep root as its owner.
  constexpr uint64_t kMaxId = 0xfffffffeU;
  if (record.value.empty()) return std::optional<uint32_t>();
  const auto value = ParseDecimal(record.value);
  if (!value || *value > kMaxId) return Malformed(record);
  return std::optional<uint32_t>(static_cast<uint32_t>(*value));
}

// "-1.5" is 1.5 seconds before 1970. Digits after the ninth are dropped towards the past, as POSIX wants.
Result<std::optional<timespec>> ParseTime(const Record& record) {
  constexpr long kSecond = 1'000'000'000;
  std::string_view text = record.value;
  if (text.empty()) return std::optional<timespec>();
  const bool negative = text.front() == '-';
  if (negative) text.remove_prefix(1);
  const size_t dot = text.find('.');
  const auto seconds = ParseDecimal(text.substr(0, std::min(dot, text.size())));
  if (!seconds) return Malformed(record);
  long nanoseconds = 0;
  bool rest = false;
  if (dot != std::string_view::npos) {
    long weight = kSecond / 10;
    for (const char c : text.substr(dot + 1)) {
      if (c < '0' || c > '9') return Malformed(record);
      nanoseconds += (c - '0') * weight;
      rest |= weight == 0 && c != '0';
      weight /= 10;
    }
  }
  timespec out{};
  out.tv_sec = static_cast<time_t>(*seconds);
  if (!negative) {
    out.tv_nsec = nanoseconds;
    return std::optional<timespec>(out);
  }
  if (rest) ++nanoseconds;
  out.tv_sec = -out.tv_sec;
  if (nanoseconds != 0) {
    // -INT64_MAX - 1 is still a time_t; a carried-over whole second cannot come on top of it.
    --out.tv_sec;
    out.tv_nsec = kSecond - nanoseconds;
  }
  return std::optional<timespec>(out);
}

// --- xattrs ----------------------------------------------------------------------------------------------

std::optional<unsigned> HexDigit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10;
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  return std::nullopt;
}

std::optional<std::string> DecodeUrl(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const auto high = HexDigit(text[i + 1]);
    const auto low = HexDigit(text[i + 2]);
    if (!high || !low) return std::nullopt;
    out += static_cast<char>((*high << 4U) | *low);
    i += 2;
  }
  return out;
}

// RFC 4648; libarchive leaves out the padding, so it is optional.
std::optional<std::string> DecodeBase64(std::string_view text) {
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  if (text.size() % 4 == 1) return std::nullopt;
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    uint32_t value = 0;
    if (c >= 'A' && c <= 'Z')
      value = static_cast<uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      value = static_cast<uint32_t>(c - 'a') + 26;
    else if (c >= '0' && c <= '9')
      value = static_cast<uint32_t>(c - '0') + 52;
    else if (c == '+')
      value = 62;
    else if (c == '/')
      value = 63;
    else
      return std::nullopt;
    bits = (bits << 6U) | value;
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>((bits >> count) & 0xFFU);
    }
  }
  return out;
}

Result<void> AddXattr(std::string_view name, std::string_view value, const TarLimits& limits,
                      std::vector<Xattr>& xattrs) {
  if (name.empty() || name.find('\0') != std::string_view::npos) {
    return MakeError(ErrorCode::kCorrupt, "extended header has an xattr without a usable name: {}",
                     ShortQuote(name));
  }
  if (name.size() > kMaxXattrName) {
    return MakeError(ErrorCode::kLimitExceeded, "xattr name {} has {} bytes, at most {} are possible",
                     ShortQuote(name), name.size(), kMaxXattrName);
  }
  if (value.size() > limits.max_xattr_value) {
    return MakeError(ErrorCode::kLimitExceeded, "xattr {} has {} bytes, at most {} are allowed",
                     ShortQuote(name), value.size(), limits.max_xattr_value);
  }
  // libarchive writes every xattr under both prefixes.
  const auto same =
      std::find_if(xattrs.begin(), xattrs.end(), [&](const Xattr& x) { return x.name == name; });
  if (same != xattrs.end()) {
    same->value = value;
    return {};
  }
  if (xattrs.size() >= limits.max_xattrs) {
    return MakeError(ErrorCode::kLimitExceeded, "entry has more than {} xattrs", limits.max_xattrs);
  }
  xattrs.push_back({std::string(name), std::string(value)});
  return {};
}

Result<void> AddLibarchiveXattr(const Record& record, const TarLimits& limits, std::vector<Xattr>& xattrs) {
  const auto name = DecodeUrl(record.key.substr(kLibarchiveXattr.size()));
  const auto value = DecodeBase64(record.value);
  if (!name || !value) return Malformed(record);
  return AddXattr(*name, *value, limits, xattrs);
}

// --- keys that must not contradict themselves ------------------------------------------------------------

class UniqueKeys {
 public:
  enum Key : uint8_t {
    kPath,
    kLinkPath,
    kStoredSize,
    kSparseName,
    kMajor,
    kMinor,
    kFileSize,
    kRealSize,
    kBlocks,
    kMap,
    kKeys
  };

  // The key's place, or kKeys for those that may be repeated.
  static Key Find(std::string_view key) {
    static constexpr std::array<std::string_view, kKeys> kNames = {"path",
                                                                   "linkpath",
                                                                   "size",
                                                                   "GNU.sparse.name",
                                                                   "GNU.sparse.major",
                                                                   "GNU.sparse.minor",
                                                                   "GNU.sparse.size",
                                                                   "GNU.sparse.realsize",
                                                                   "GNU.sparse.numblocks",
                                                                   "GNU.sparse.map"};
    return static_cast<Key>(std::find(kNames.begin(), kNames.end(), key) - kNames.begin());
  }
  Result<void> Set(Key key, const Record& record) {
    std::optional<std::string_view>& value = values_[key];
    if (value && *value != record.value) {
      return MakeError(ErrorCode::kCorrupt, "extended header has two different values of '{}'", record.key);
    }
    value = record.value;
    return {};
  }
  const std::optional<std::string_view>& operator[](Key key) const { return values_[key]; }

 private:
  std::array<std::optional<std::string_view>, kKeys> values_;
};
using Key = UniqueKeys::Key;

// --- sparse files ----------------------------------------------------------------------------------------

// The records of format 0.0 come as alternating offsets and sizes.
Result<void> AddPairRecord(const Record& record, const TarLimits& limits, bool& expects_size,
                           PaxSparse& sparse) {
  const bool is_size = record.key == "GNU.sparse.numbytes";
  if (!is_size && record.key != "GNU.sparse.offset") {
    return MakeError(ErrorCode::kUnsupported, "extended header has an unknown key {}",
                     ShortQuote(record.key));
  }
  const auto value = ParseDecimal(record.value);
  if (!value || is_size != expects_size) return Malformed(record);
  expects_size = !is_size;
  if (is_size) {
    sparse.pairs.back().size = *value;
    return {};
  }
  if (sparse.pairs.size() >= limits.max_sparse_extents) {
    return MakeError(ErrorCode::kLimitExceeded, "sparse map has more than {} extents",
                     limits.max_sparse_extents);
  }
  sparse.pairs.push_back({*value, 0});
  return {};
}

// The record of format 0.1: "offset,size,offset,size".
Result<void> ParseMapRecord(std::string_view map, const TarLimits& limits, PaxSparse& sparse) {
  bool expects_size = false;
  while (!map.empty()) {
    const size_t comma = map.find(',');
    const std::string_view number = map.substr(0, std::min(comma, map.size()));
    const Record as_record{expects_size ? "GNU.sparse.numbytes" : "GNU.sparse.offset", number};
    SNAP_TRY_VOID(AddPairRecord(as_record, limits, expects_size, sparse));
    if (comma == std::string_view::npos) break;
    map.remove_prefix(comma + 1);
    if (map.empty()) return MakeError(ErrorCode::kCorrupt, "sparse map ends in a comma");
  }
  if (expects_size) return MakeError(ErrorCode::kCorrupt, "sparse map has an offset without a size");
  return {};
}

Result<uint64_t> Required(const UniqueKeys& keys, Key key, std::string_view name) {
  if (!keys[key]) return MakeError(ErrorCode::kCorrupt, "sparse file lacks '{}'", name);
  const auto value = ParseDecimal(*keys[key]);
  if (!value) return Malformed({name, *keys[key]});
  return *value;
}

// Decides which of the formats the GNU.sparse.* records are, and that they are all of it.
Result<void> ResolveSparse(const UniqueKeys& keys, const TarLimits& limits, PaxSparse& sparse) {
  uint64_t major = 0;
  if (keys[Key::kMajor]) {
    SNAP_TRY(major, Required(keys, Key::kMajor, "GNU.sparse.major"));
    SNAP_TRY(const uint64_t minor, Required(keys, Key::kMinor, "GNU.sparse.minor"));
    if (major > 1 || (major == 1 && minor != 0) || minor > 1) {
      return MakeError(ErrorCode::kUnsupported, "sparse format {}.{} is unknown", major, minor);
    }
  }
  if (keys[Key::kSparseName]) {
    if (keys[Key::kSparseName]->empty())
      return MakeError(ErrorCode::kCorrupt, "sparse file has an empty name");
    sparse.name = *keys[Key::kSparseName];
  }
  if (keys[Key::kFileSize] && keys[Key::kRealSize] && *keys[Key::kFileSize] != *keys[Key::kRealSize]) {
    return MakeError(ErrorCode::kCorrupt, "sparse file has two different sizes");
  }
  if (major == 1) {
    if (keys[Key::kMap] || keys[Key::kBlocks] || !sparse.pairs.empty()) {
      return MakeError(ErrorCode::kCorrupt, "sparse file mixes formats");
    }
    SNAP_TRY(sparse.file_size, Required(keys, Key::kRealSize, "GNU.sparse.realsize"));
    sparse.map = PaxSparse::Map::kInData;
    return {};
  }
  SNAP_TRY(sparse.file_size, Required(keys, Key::kFileSize, "GNU.sparse.size"));
  SNAP_TRY(const uint64_t blocks, Required(keys, Key::kBlocks, "GNU.sparse.numblocks"));
  if (keys[Key::kMap]) {
    if (!sparse.pairs.empty()) return MakeError(ErrorCode::kCorrupt, "sparse file mixes formats");
    SNAP_TRY_VOID(ParseMapRecord(*keys[Key::kMap], limits, sparse));
  }
  if (blocks != sparse.pairs.size()) {
    return MakeError(ErrorCode::kCorrupt, "sparse map has {} extents, {} were announced", sparse.pairs.size(),
                     blocks);
  }
  sparse.map = PaxSparse::Map::kInHeader;
  return {};
}

// A name of the entry or of its target. Its length is the caller's to check.
Result<void> CheckName(const Record& record) {
  if (record.value.find('\0') == std::string_view::npos) return {};
  return MakeError(ErrorCode::kCorrupt, "extended header has a '{}' with a NUL byte", record.key);
}

}  // namespace

void PaxHeader::Clear() {
  path.clear();
  link_target.clear();
  size.reset();
  uid.reset();
  gid.reset();
  mtime.reset();
  xattrs.clear();
  sparse.map = PaxSparse::Map::kNone;
  sparse.name.clear();
  sparse.file_size = 0;
  sparse.pairs.clear();
}

Result<void> ParsePax(std::string_view records, const TarLimits& limits, PaxHeader& header) {
  UniqueKeys unique;
  bool is_sparse = false;
  bool expects_size = false;
  while (!records.empty()) {
    SNAP_TRY(const Record record, TakeRecord(records));
    const Key key = UniqueKeys::Find(record.key);
    if (key != Key::kKeys) SNAP_TRY_VOID(unique.Set(key, record));
    if (record.key.starts_with(kSparsePrefix)) is_sparse = true;

    if (key == Key::kPath) {
      SNAP_TRY_VOID(CheckName(record));
      header.path = record.value;
    } else if (key == Key::kLinkPath) {
      SNAP_TRY_VOID(CheckName(record));
      header.link_target = record.value;
    } else if (key == Key::kSparseName) {
      SNAP_TRY_VOID(CheckName(record));
    } else if (key == Key::kStoredSize) {
      SNAP_TRY(header.size, ParseSize(record));
    } else if (record.key == "uid") {
      SNAP_TRY(header.uid, ParseId(record));
    } else if (record.key == "gid") {
      SNAP_TRY(header.gid, ParseId(record));
    } else if (record.key == "mtime") {
      SNAP_TRY(header.mtime, ParseTime(record));
    } else if (record.key.starts_with(kSchilyXattr)) {
      SNAP_TRY_VOID(AddXattr(record.key.substr(kSchilyXattr.size()), record.value, limits, header.xattrs));
    } else if (record.key.starts_with(kLibarchiveXattr)) {
      SNAP_TRY_VOID(AddLibarchiveXattr(record, limits, header.xattrs));
    } else if (key == Key::kKeys && record.key.starts_with(kSparsePrefix)) {
      SNAP_TRY_VOID(AddPairRecord(record, limits, expects_size, header.sparse));
    }
  }
  if (!is_sparse) return {};
  if (expects_size) return MakeError(ErrorCode::kCorrupt, "sparse map has an offset without a size");
  return ResolveSparse(unique, limits, header.sparse);
}

Result<void> CheckGlobalPax(std::string_view records) {
  while (!records.empty()) {
    SNAP_TRY(const Record record, TakeRecord(records));
    // GNU.volume.* says that the archive begins in the middle of a file.
    if (UniqueKeys::Find(record.key) != Key::kKeys || record.key.starts_with(kSparsePrefix) ||
        record.key.starts_with("GNU.volume.")) {
      return MakeError(ErrorCode::kUnsupported, "global header sets '{}' for all files",
                       EscapeUnprintable(record.key));
    }
  }
  return {};
}

}  // namespace snap::tar
