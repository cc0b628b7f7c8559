// The order of headers in the stream: any number of prefixes (PAX 'x', GNU 'L' and 'K', global 'g'), one
// header, its data. Where GNU tar, Go's archive/tar (Docker, containerd) and libarchive would disagree on
// what an archive holds, it is refused; where one must choose, the choice is Go's, because it wrote and read
// nearly every layer there is:
//   - links, devices, fifos and directories have no data, whatever their size field says;
//   - a regular file without data whose name ends in '/' is a directory (v7 had no type for them).
// Invariant: stored_left_ + padding_ is always the distance to the next header.
#include "fs/tar_reader.h"

#include <algorithm>
#include <limits>

#include "fs/base/quote.h"
#include "fs/chunk_cursor.h"
#include "fs/tar_header.h"
#include "fs/tar_pax.h"
#include "fs/tar_sparse.h"

namespace snap {
namespace {

using tar::Header;
using tar::kBlockBytes;

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint64_t PaddingAfter(uint64_t size) { return (kBlockBytes - size % kBlockBytes) % kBlockBytes; }

Error Corrupt(const char* reason) { return {ErrorCode::kCorrupt, reason}; }

// A non-negative number of at most `max`.
Result<uint64_t> BoundedNumber(const Header& header, tar::Field field, std::string_view what, uint64_t max) {
  SNAP_TRY(const int64_t value, header.Number(field, what));
  if (value < 0 || static_cast<uint64_t>(value) > max) {
    return MakeError(ErrorCode::kCorrupt, "{} {} is out of range", what, value);
  }
  return static_cast<uint64_t>(value);
}

Result<TarEntry::Kind> KindOf(char type) {
  using Kind = TarEntry::Kind;
  switch (type) {
    case '0':
    case '\0':
    case '7':  // contiguous: the same on every file system of today
    case 'S':
      return Kind::kRegular;
    case '1':
      return Kind::kHardLink;
    case '2':
      return Kind::kSymlink;
    case '3':
      return Kind::kCharDevice;
    case '4':
      return Kind::kBlockDevice;
    case '5':
      return Kind::kDirectory;
    case '6':
      return Kind::kFifo;
    default:
      return MakeError(ErrorCode::kUnsupported, "type {} of entry is not one that layers hold",
                       Quote(std::string_view(&type, 1)));
  }
}

}  // namespace

struct TarReader::State {
  State(ChunkSource& source, const TarLimits& tar_limits) : in(source), limits(tar_limits) {}

  Result<const TarEntry*> NextEntry();
  Result<Data> EntryData();
  Result<void> SkipRest();
  Result<bool> EndsHere();
  Result<std::string_view> TakePrefixData(const Header& header, size_t max_bytes);
  Result<void> TakePax(const Header& header);
  Result<void> TakeGlobalPax(const Header& header);
  Result<void> TakeLongName(const Header& header, std::string& name);
  Result<void> FillEntry(const Header& header);
  Result<void> FillNames(const Header& header);
  Result<void> FillAttributes(const Header& header);
  Result<void> FillDevice(const Header& header);
  Result<void> FillSize(const Header& header);
  Result<void> FillOldSparse(const Header& header);
  Result<void> FillPaxSparse(const Header& header);
  Result<void> TakeMapBlocks(tar::SparseMap& map);
  bool HasPrefix() const { return have_pax || !long_name.empty() || !long_target.empty(); }

  ChunkCursor in;
  const TarLimits limits;
  TarEntry entry;
  std::optional<Error> failure;  // what every later call returns
  bool ended = false;
  uint64_t entries = 0;
  uint64_t header_offset = 0;

  // What the prefixes of the entry being read say. Names are empty when there was none.
  tar::PaxHeader pax;
  bool have_pax = false;
  std::string long_name;
  std::string long_target;
  uint64_t prefix_bytes = 0;

  // Where in the entry's data we are.
  uint64_t stored_left = 0;
  uint64_t padding = 0;
  size_t extent = 0;
  uint64_t extent_done = 0;
};

// --- the sequence of headers -----------------------------------------------------------------------------

Result<void> TarReader::State::SkipRest() {
  const uint64_t rest = stored_left + padding;
  if (rest == 0) return {};
  SNAP_TRY(const uint64_t skipped, in.Skip(rest));
  if (skipped != rest) return Corrupt("archive ends within the data of an entry");
  stored_left = 0;
  padding = 0;
  return {};
}

// Called after one zero block: the second one may be missing, but nothing else may stand in its place.
Result<bool> TarReader::State::EndsHere() {
  if (HasPrefix()) return Corrupt("extended header is followed by the end of the archive");
  SNAP_TRY(const auto second, in.Take(kBlockBytes));
  if (second.empty()) return true;
  if (second.size() < kBlockBytes) return Corrupt("archive ends within a block");
  if (!Header(AsText(second)).IsZero()) return Corrupt("a single zero block is followed by more");
  return true;
}

Result<const TarEntry*> TarReader::State::NextEntry() {
  SNAP_TRY_VOID(SkipRest());
  have_pax = false;
  long_name.clear();
  long_target.clear();
  prefix_bytes = 0;
  for (;;) {
    header_offset = in.position();
    SNAP_TRY(const auto block, in.Take(kBlockBytes));
    if (block.empty()) return Corrupt("archive ends without its end marker");
    if (block.size() < kBlockBytes) return Corrupt("archive ends within a block");
    const Header header(AsText(block));
    if (block.front() == std::byte{0} && header.IsZero()) {
      SNAP_TRY(ended, EndsHere());
      return static_cast<const TarEntry*>(nullptr);
    }
    if (!header.ChecksumMatches()) return Corrupt("checksum does not match");
    switch (header.type()) {
      case 'x':
        SNAP_TRY_VOID(TakePax(header));
        continue;
      case 'g':
        SNAP_TRY_VOID(TakeGlobalPax(header));
        continue;
      case 'L':
        SNAP_TRY_VOID(TakeLongName(header, long_name));
        continue;
      case 'K':
        SNAP_TRY_VOID(TakeLongName(header, long_target));
        continue;
      default:
        break;
    }
    if (++entries > limits.max_entries) {
      return MakeError(ErrorCode::kLimitExceeded, "archive has more than {} entries", limits.max_entries);
    }
    SNAP_TRY_VOID(FillEntry(header));
    return &entry;
  }
}

// --- prefixes --------------------------------------------------------------------------------------------

// The view is valid until the next use of `in`; the padding behind it is still to be skipped.
Result<std::string_view> TarReader::State::TakePrefixData(const Header& header, size_t max_bytes) {
  constexpr uint64_t kMaxSize = std::numeric_limits<int64_t>::max();
  SNAP_TRY(const uint64_t size, BoundedNumber(header, tar::kSize, "size", kMaxSize));
  if (size > max_bytes || size + prefix_bytes > limits.max_pax_bytes) {
    return MakeError(ErrorCode::kLimitExceeded, "extended header of {} bytes is larger than allowed", size);
  }
  prefix_bytes += size;
  SNAP_TRY(const auto bytes, in.Take(static_cast<size_t>(size)));
  if (bytes.size() != size) return Corrupt("archive ends within an extended header");
  stored_left = 0;
  padding = PaddingAfter(size);
  return AsText(bytes);
}

Result<void> TarReader::State::TakePax(const Header& header) {
  if (have_pax) return Corrupt("extended header is followed by another one");
  SNAP_TRY(const std::string_view records, TakePrefixData(header, limits.max_pax_bytes));
  have_pax = true;
  pax.Clear();
  SNAP_TRY_VOID(tar::ParsePax(records, limits, pax));
  return SkipRest();
}

Result<void> TarReader::State::TakeGlobalPax(const Header& header) {
  if (HasPrefix()) return Corrupt("extended header is followed by a global one");
  SNAP_TRY(const std::string_view records, TakePrefixData(header, limits.max_pax_bytes));
  SNAP_TRY_VOID(tar::CheckGlobalPax(records));
  prefix_bytes = 0;  // every global header stands alone and nothing of it is kept
  return SkipRest();
}

Result<void> TarReader::State::TakeLongName(const Header& header, std::string& name) {
  if (!name.empty()) return Corrupt("long name is followed by another one");
  SNAP_TRY(std::string_view text, TakePrefixData(header, limits.max_name_bytes + 1));
  const size_t end = text.find_last_not_of('\0');
  text = text.substr(0, end == std::string_view::npos ? 0 : end + 1);
  if (text.empty()) return Corrupt("long name is empty");
  if (text.find('\0') != std::string_view::npos) return Corrupt("long name contains a NUL byte");
  name = text;
  return SkipRest();
}

// --- the entry itself ------------------------------------------------------------------------------------

// `header` is a view into the stream: everything is taken from it before FillSize reads on.
Result<void> TarReader::State::FillEntry(const Header& header) {
  if (!have_pax) pax.Clear();
  SNAP_TRY(entry.kind, KindOf(header.type()));
  if (header.dialect() == tar::Dialect::kForeign) return Corrupt("magic is neither POSIX' nor GNU tar's");
  SNAP_TRY_VOID(FillNames(header));
  SNAP_TRY_VOID(FillAttributes(header));
  SNAP_TRY_VOID(FillDevice(header));
  return FillSize(header);
}

Result<void> TarReader::State::FillNames(const Header& header) {
  // Go prefers the GNU name, GNU tar the PAX one.
  if (!pax.path.empty() && !long_name.empty() && pax.path != long_name) {
    return Corrupt("long name differs from the extended header's path");
  }
  if (!pax.link_target.empty() && !long_target.empty() && pax.link_target != long_target) {
    return Corrupt("long link target differs from the extended header's linkpath");
  }
  if (!pax.sparse.name.empty()) {
    entry.path = pax.sparse.name;
  } else if (!pax.path.empty()) {
    entry.path = pax.path;
  } else if (!long_name.empty()) {
    entry.path = long_name;
  } else {
    entry.path.clear();
    const tar::Dialect dialect = header.dialect();
    if (dialect == tar::Dialect::kUstar || dialect == tar::Dialect::kStar) {
      entry.path = header.Text(dialect == tar::Dialect::kStar ? tar::kStarPrefix : tar::kPrefix);
      if (!entry.path.empty()) entry.path += '/';
    }
    entry.path += header.Text(tar::kName);
  }
  if (entry.path.empty()) return Corrupt("entry has no name");

  entry.link_target.clear();
  if (entry.kind == TarEntry::Kind::kHardLink || entry.kind == TarEntry::Kind::kSymlink) {
    if (!pax.link_target.empty()) {
      entry.link_target = pax.link_target;
    } else if (!long_target.empty()) {
      entry.link_target = long_target;
    } else {
      entry.link_target = header.Text(tar::kLinkName);
    }
    if (entry.link_target.empty()) return Corrupt("link has no target");
  }
  if (std::max(entry.path.size(), entry.link_target.size()) > limits.max_name_bytes) {
    return MakeError(ErrorCode::kLimitExceeded, "name has more than {} bytes", limits.max_name_bytes);
  }
  return {};
}

Result<void> TarReader::State::FillAttributes(const Header& header) {
  constexpr uint32_t kPermissionBits = 07777;
  constexpr uint64_t kMaxMode = 0xffffffffU;
  constexpr uint64_t kMaxId = 0xfffffffeU;  // the last one means "leave unchanged" to chown(2)
  Attributes& out = entry.attributes;
  // Some writers repeat the file type above the permissions.
  SNAP_TRY(const uint64_t mode, BoundedNumber(header, tar::kMode, "mode", kMaxMode));
  out.permissions = static_cast<uint32_t>(mode) & kPermissionBits;
  // A field that the extended header overrides may hold anything: writers leave it empty, cut it or put zeros
  // there.
  if (pax.uid) {
    out.uid = *pax.uid;
  } else {
    SNAP_TRY(const uint64_t uid, BoundedNumber(header, tar::kUid, "uid", kMaxId));
    out.uid = static_cast<uint32_t>(uid);
  }
  if (pax.gid) {
    out.gid = *pax.gid;
  } else {
    SNAP_TRY(const uint64_t gid, BoundedNumber(header, tar::kGid, "gid", kMaxId));
    out.gid = static_cast<uint32_t>(gid);
  }
  if (pax.mtime) {
    out.mtime = *pax.mtime;
  } else {
    SNAP_TRY(const int64_t seconds, header.Number(tar::kMtime, "mtime"));
    out.mtime = {.tv_sec = static_cast<time_t>(seconds), .tv_nsec = 0};
  }
  out.xattrs.swap(pax.xattrs);  // the next extended header clears what is left behind
  return {};
}

Result<void> TarReader::State::FillDevice(const Header& header) {
  entry.device_major = 0;
  entry.device_minor = 0;
  const bool is_device =
      entry.kind == TarEntry::Kind::kCharDevice || entry.kind == TarEntry::Kind::kBlockDevice;
  if (!is_device || header.dialect() == tar::Dialect::kV7) return {};
  constexpr uint64_t kMax = std::numeric_limits<uint32_t>::max();
  SNAP_TRY(const uint64_t major, BoundedNumber(header, tar::kDeviceMajor, "device number", kMax));
  SNAP_TRY(const uint64_t minor, BoundedNumber(header, tar::kDeviceMinor, "device number", kMax));
  entry.device_major = static_cast<uint32_t>(major);
  entry.device_minor = static_cast<uint32_t>(minor);
  return {};
}

Result<void> TarReader::State::FillSize(const Header& header) {
  constexpr uint64_t kMaxSize = std::numeric_limits<int64_t>::max();
  entry.size = 0;
  entry.sparse = false;
  entry.extents.clear();
  extent = 0;
  extent_done = 0;
  uint64_t stored = 0;
  if (pax.size) {
    stored = *pax.size;
  } else {
    SNAP_TRY(stored, BoundedNumber(header, tar::kSize, "size", kMaxSize));
  }
  if (entry.kind != TarEntry::Kind::kRegular) {
    if (pax.sparse.map != tar::PaxSparse::Map::kNone)
      return Corrupt("entry with a sparse map is not a regular file");
    return {};
  }
  if (stored > limits.max_file_size) {
    return MakeError(ErrorCode::kLimitExceeded, "file of {} bytes is larger than allowed", stored);
  }
  stored_left = stored;
  padding = PaddingAfter(stored);
  entry.size = stored;
  if (header.type() == 'S') {
    SNAP_TRY_VOID(FillOldSparse(header));
  } else if (pax.sparse.map != tar::PaxSparse::Map::kNone) {
    SNAP_TRY_VOID(FillPaxSparse(header));
  }
  if (entry.path.back() == '/') {
    if (stored != 0 || entry.sparse) return Corrupt("regular file has data and a directory's name");
    entry.kind = TarEntry::Kind::kDirectory;
  }
  return {};
}

// --- sparse files ----------------------------------------------------------------------------------------

Result<void> TarReader::State::FillOldSparse(const Header& header) {
  // star uses the same type with another layout.
  if (header.dialect() != tar::Dialect::kGnu)
    return Error(ErrorCode::kUnsupported, "sparse file is not GNU tar's");
  if (pax.sparse.map != tar::PaxSparse::Map::kNone) return Corrupt("sparse file has two maps");
  SNAP_TRY(entry.size, BoundedNumber(header, tar::kGnuRealSize, "size of sparse file", limits.max_file_size));
  entry.sparse = true;
  tar::SparseMap map(entry.extents, limits.max_sparse_extents);
  bool more = header.Raw(tar::kGnuSparseMore).front() != '\0';
  SNAP_TRY_VOID(tar::AddOldGnuPairs(header.Raw(tar::kGnuSparseMap), more, map));
  while (more) {
    SNAP_TRY(const auto block, in.Take(kBlockBytes));
    if (block.size() < kBlockBytes) return Corrupt("archive ends within a sparse map");
    const std::string_view text = AsText(block);
    more = text[tar::kExtensionMapBytes] != '\0';
    SNAP_TRY_VOID(tar::AddOldGnuPairs(text.substr(0, tar::kExtensionMapBytes), more, map));
  }
  return map.Finish(entry.size, stored_left);
}

Result<void> TarReader::State::FillPaxSparse(const Header& header) {
  if (header.dialect() == tar::Dialect::kGnu || header.dialect() == tar::Dialect::kV7) {
    return Corrupt("sparse map of an extended header belongs to a header that is not POSIX'");
  }
  const tar::PaxSparse& sparse = pax.sparse;
  if (sparse.file_size > limits.max_file_size) {
    return MakeError(ErrorCode::kLimitExceeded, "sparse file of {} bytes is larger than allowed",
                     sparse.file_size);
  }
  entry.size = sparse.file_size;
  entry.sparse = true;
  tar::SparseMap map(entry.extents, limits.max_sparse_extents);
  if (sparse.map == tar::PaxSparse::Map::kInData) {
    SNAP_TRY_VOID(TakeMapBlocks(map));
  } else {
    for (const auto& pair : sparse.pairs) {
      SNAP_TRY_VOID(map.Add(static_cast<int64_t>(pair.offset), static_cast<int64_t>(pair.size)));
    }
  }
  return map.Finish(entry.size, stored_left);
}

// The map comes in whole blocks that count as stored data.
Result<void> TarReader::State::TakeMapBlocks(tar::SparseMap& map) {
  tar::MapReader reader(map);
  for (bool complete = false; !complete; stored_left -= kBlockBytes) {
    if (stored_left < kBlockBytes) return Corrupt("sparse map is longer than the data it stands in");
    SNAP_TRY(const auto block, in.Take(kBlockBytes));
    if (block.size() < kBlockBytes) return Corrupt("archive ends within a sparse map");
    SNAP_TRY(complete, reader.AddBlock(AsText(block)));
  }
  return {};
}

// --- data ------------------------------------------------------------------------------------------------

Result<TarReader::Data> TarReader::State::EntryData() {
  if (stored_left == 0) return Data{entry.size, {}};
  Data data;
  uint64_t run = stored_left;
  if (entry.sparse) {
    // Finish has proved that the extents hold exactly stored_left bytes: there is one that is not done.
    const DataExtent& current = entry.extents[extent];
    run = current.size - extent_done;
    data.offset = current.offset + extent_done;
  } else {
    data.offset = entry.size - stored_left;
  }
  SNAP_TRY(data.bytes, in.TakeSome(run));
  if (data.bytes.empty()) return Corrupt("archive ends within the data of an entry");
  stored_left -= data.bytes.size();
  if (entry.sparse) {
    extent_done += data.bytes.size();
    if (data.bytes.size() == run) {
      ++extent;
      extent_done = 0;
    }
  }
  return data;
}

// --- public ----------------------------------------------------------------------------------------------

TarReader::TarReader(ChunkSource& source, const TarLimits& limits)
    : state_(std::make_unique<State>(source, limits)) {}
TarReader::~TarReader() = default;
TarReader::TarReader(TarReader&&) noexcept = default;

Result<const TarEntry*> TarReader::Next() {
  State& s = *state_;
  if (s.failure) return *s.failure;
  if (s.ended) return static_cast<const TarEntry*>(nullptr);
  auto entry = s.NextEntry();
  if (entry.ok()) return entry;
  s.failure = std::move(entry).error().Wrap(fmt::format("read tar header at byte {}", s.header_offset));
  return *s.failure;
}

Result<TarReader::Data> TarReader::NextData() {
  State& s = *state_;
  if (s.failure) return *s.failure;
  auto data = s.EntryData();
  if (data.ok()) return data;
  s.failure = std::move(data).error().Wrap(fmt::format("read tar entry at byte {}", s.header_offset));
  return *s.failure;
}

uint64_t TarReader::position() const { return state_->in.position(); }

}  // namespace snap
