// Small members are walked over by the reader itself; past a large one the reader is started afresh behind
// it, so that an archive of many gigabytes is indexed by reading its headers only.
#include "fs/archive_index.h"

#include <cstdlib>

#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/tar_reader.h"

namespace snap {
namespace {

constexpr uint64_t kTarBlock = 512;
constexpr size_t kHeaderReadBytes = 4096;
constexpr uint64_t kWorthSeeking = uint64_t{64} << 10U;  ///< bytes of data
constexpr int kMaxLinkHops = 16;

/// Where a symlink in `directory` leads, as text. Docker's archives link layers as "../<id>/layer.tar".
Result<std::string> ResolveLink(std::string_view directory, std::string_view target) {
  const auto outside = [&] {
    return MakeError(ErrorCode::kCorrupt, "symlink to {} leads out of the archive",
                     Quote(target.substr(0, 200)));
  };
  if (target.starts_with('/')) return outside();
  std::string out(directory);
  while (!target.empty()) {
    const size_t slash = target.find('/');
    const std::string_view name = target.substr(0, slash);
    target.remove_prefix(slash == std::string_view::npos ? target.size() : slash + 1);
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      if (out.empty()) return outside();
      const size_t last = out.rfind('/');
      out.resize(last == std::string::npos ? 0 : last);
      continue;
    }
    if (!out.empty()) out += '/';
    out += name;
  }
  return out;
}

Result<void> CopyAll(ByteSource& from, FdRef to, std::string_view what) {
  constexpr size_t kBufferBytes = size_t{1} << 20U;
  const auto buffer = std::make_unique<std::byte[]>(kBufferBytes);
  for (;;) {
    SNAP_TRY(const size_t got, from.Read(std::span(buffer.get(), kBufferBytes)));
    if (got == 0) return {};
    SNAP_TRY_SYS_VOID(sys::WriteAll(to, std::span<const std::byte>(buffer.get(), got)), "write {}", what);
  }
}

Result<UniqueFd> OpenUnnamedFile(const std::string& directory) {
  SysResult<UniqueFd> file = sys::OpenAt(FdRef::Cwd(), directory.c_str(), O_TMPFILE | O_RDWR | O_EXCL, 0600);
  if (file.ok()) return std::move(*file);
  if (file.error() != EOPNOTSUPP && file.error() != EISDIR) {
    return Error(file.error(), "make a temporary file in " + Quote(directory));
  }
  // FALLBACK: file systems without O_TMPFILE (FUSE, older overlayfs): a random name that is removed at once.
  const std::string path = directory + "/snap-" + sys::RandomHex128();
  SNAP_TRY_SYS(UniqueFd named,
               sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600),
               "make the temporary file {}", Quote(path));
  SNAP_TRY_SYS_VOID(sys::UnlinkAt(FdRef::Cwd(), path.c_str()), "remove the temporary file {}", Quote(path));
  return named;
}

Result<SeekableArchive> Spool(UniqueFd input, const std::string& path, const InflateLimits& limits) {
  const char* const configured = std::getenv("TMPDIR");
  const std::string directory = configured != nullptr && *configured != '\0' ? configured : "/var/tmp";
  SeekableArchive out;
  SNAP_TRY(out.file, OpenUnnamedFile(directory));
  const std::unique_ptr<ByteSource> raw = MakeFdSource(std::move(input), path);
  SNAP_TRY(const std::unique_ptr<ByteSource> plain, MakeDetectingInflater(*raw, limits, path));
  SNAP_TRY_VOID(
      CopyAll(*plain, out.file, fmt::format("{} to a temporary file in {}", Quote(path), Quote(directory))));
  SNAP_TRY_SYS(out.size, sys::Seek(out.file, 0, SEEK_CUR), "read the size of {}", Quote(path));
  return out;
}

}  // namespace

Result<Compression> DetectCompressionAt(FdRef file, uint64_t offset, uint64_t size, std::string_view name) {
  constexpr size_t kMagicBytes = 8;
  std::byte first[kMagicBytes];
  size_t have = 0;
  while (have < std::min<uint64_t>(kMagicBytes, size)) {
    SNAP_TRY_SYS(const size_t got, sys::PRead(file, std::span(first).subspan(have), offset + have), "read {}",
                 Quote(name));
    if (got == 0) break;
    have += got;
  }
  return DetectCompression(
      std::span<const std::byte>(first, static_cast<size_t>(std::min<uint64_t>(have, size))));
}

Result<SeekableArchive> OpenSeekableArchive(const std::string& path, const InflateLimits& limits) {
  SeekableArchive out;
  if (path == "-") {
    SNAP_TRY_SYS(out.file, sys::Dup(FdRef(STDIN_FILENO)), "read standard input");
  } else {
    SNAP_TRY_SYS(out.file, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_NOCTTY), "open {}",
                 Quote(path));
  }
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(out.file), "stat {}", Quote(path));
  if (S_ISDIR(stat.st_mode)) {
    return MakeError(ErrorCode::kInvalidArgument, "open {}: is a directory, not an archive", Quote(path));
  }
  if (path == "-" || !S_ISREG(stat.st_mode)) return Spool(std::move(out.file), path, limits);
  out.size = static_cast<uint64_t>(stat.st_size);
  SNAP_TRY(const Compression compression, DetectCompressionAt(out.file, 0, out.size, path));
  if (compression != Compression::kNone) return Spool(std::move(out.file), path, limits);
  return out;
}

Result<ArchiveIndex> ArchiveIndex::Read(FdRef archive, uint64_t size, std::string_view archive_name,
                                        const ArchiveIndexLimits& limits) {
  const std::string where = "read archive " + Quote(archive_name);
  ArchiveIndex out;
  size_t members = 0;
  size_t name_bytes = 0;
  for (uint64_t base = 0;;) {
    const std::unique_ptr<ByteSource> bytes =
        MakeRangeSource(archive, base, size - base, std::string(archive_name));
    ChunkedSource chunks(*bytes, kHeaderReadBytes);
    TarReader reader(chunks);
    uint64_t next_base = 0;
    while (next_base == 0) {
      Result<const TarEntry*> next = reader.Next();
      if (!next.ok()) {
        return std::move(next).error().Wrap(base == 0 ? where
                                                      : fmt::format("{} (offsets from {})", where, base));
      }
      const TarEntry* const entry = *next;
      if (entry == nullptr) return out;
      name_bytes += entry->path.size() + entry->link_target.size();
      if (++members > limits.max_members || name_bytes > limits.max_name_bytes) {
        return MakeError(ErrorCode::kLimitExceeded, "{}: more than {} members, or {} bytes of names", where,
                         limits.max_members, limits.max_name_bytes);
      }
      Result<RelPath> path = RelPath::Parse(entry->path);
      if (!path.ok()) return MakeError(ErrorCode::kCorrupt, "{}: {}", where, path.error().message());
      Member member;
      const uint64_t data = base + reader.position();
      switch (entry->kind) {
        case TarEntry::Kind::kDirectory:
          continue;
        case TarEntry::Kind::kRegular:
          if (entry->sparse) {
            return MakeError(ErrorCode::kUnsupported, "{}: member {} is stored sparse", where,
                             Quote(path->str()));
          }
          if (data > size || entry->size > size - data) {
            return MakeError(ErrorCode::kCorrupt, "{}: ends within member {}", where, Quote(path->str()));
          }
          member.kind = Member::Kind::kFile;
          member.file = {.offset = data, .size = entry->size};
          if (entry->size >= kWorthSeeking) {
            next_base = data + (entry->size + kTarBlock - 1) / kTarBlock * kTarBlock;
            if (next_base > size) {
              return MakeError(ErrorCode::kCorrupt, "{}: ends behind member {}", where, Quote(path->str()));
            }
          }
          break;
        case TarEntry::Kind::kSymlink:
          member.kind = Member::Kind::kSymlink;
          member.target = entry->link_target;
          break;
        case TarEntry::Kind::kHardLink:
          member.kind = Member::Kind::kHardLink;
          member.target = entry->link_target;
          break;
        default:
          break;
      }
      // Which of two members wins differs between readers: an archive that means two things is not read at
      // all.
      if (!out.members_.emplace(path->str(), std::move(member)).second) {
        return MakeError(ErrorCode::kCorrupt, "{}: member {} appears twice", where, Quote(path->str()));
      }
    }
    base = next_base;
  }
}

Result<ArchiveIndex::File> ArchiveIndex::Find(std::string_view path) const {
  const auto corrupt = [&](const std::string& why) {
    return MakeError(ErrorCode::kCorrupt, "member {}: {}", Quote(path.substr(0, 200)), why);
  };
  Result<RelPath> parsed = RelPath::Parse(path);
  if (!parsed.ok()) return corrupt(parsed.error().message());
  std::string name = parsed->str();
  for (int hops = 0; hops < kMaxLinkHops; ++hops) {
    const auto found = members_.find(name);
    if (found == members_.end()) {
      return MakeError(ErrorCode::kNotFound, "member {}{} is not in the archive", Quote(path.substr(0, 200)),
                       hops == 0 ? "" : ", a link to " + Quote(std::string_view(name).substr(0, 200)) + ",");
    }
    const Member& member = found->second;
    switch (member.kind) {
      case Member::Kind::kFile:
        return member.file;
      case Member::Kind::kOther:
        return corrupt("not a regular file");
      case Member::Kind::kHardLink: {
        Result<RelPath> target = RelPath::Parse(member.target);
        if (!target.ok()) return corrupt("hard link: " + target.error().message());
        name = target->str();
        break;
      }
      case Member::Kind::kSymlink: {
        const size_t slash = name.rfind('/');
        Result<std::string> target = ResolveLink(
            std::string_view(name).substr(0, slash == std::string::npos ? 0 : slash), member.target);
        if (!target.ok()) return corrupt(target.error().message());
        name = std::move(*target);
        break;
      }
    }
  }
  return corrupt("a loop of links");
}

}  // namespace snap
