// ArchiveIndex: where each file of an uncompressed tar archive lies, so that blobs are read in place by range.
// Invariant: nothing outside the archive can be named: member names and link targets are resolved as text inside
// the index, and a member that is listed lies wholly within the file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/byte_source.h"

namespace snap {

struct ArchiveIndexLimits {
  size_t max_members = 100'000;
  size_t max_name_bytes = size_t{32} << 20U;  ///< names and link targets together
};

class ArchiveIndex {
 public:
  struct File {
    uint64_t offset = 0;  ///< of its data in the archive
    uint64_t size = 0;
  };

  /// Walks the headers of `archive` (uncompressed, `size` bytes).
  /// Errors: kCorrupt (malformed or truncated, names with '..', a name used twice), kLimitExceeded,
  /// kUnsupported (sparse members).
  /// Cost: one read per member; data of 64 KiB and more is not read.
  static Result<ArchiveIndex> Read(FdRef archive, uint64_t size, std::string_view archive_name,
                                   const ArchiveIndexLimits& limits = {});

  /// A regular file, hard and symbolic links resolved within the archive.
  /// Errors: kNotFound; kCorrupt (link out of the archive, link loop, not a regular file).
  Result<File> Find(std::string_view path) const;
  bool Contains(std::string_view path) const { return members_.contains(std::string(path)); }

 private:
  struct Member {
    enum class Kind : uint8_t { kFile, kSymlink, kHardLink, kOther } kind = Kind::kOther;
    File file;
    std::string target;
  };
  std::unordered_map<std::string, Member> members_;
};

/// An archive that can be read at any offset.
struct SeekableArchive {
  UniqueFd file;
  uint64_t size = 0;
};
/// Opens a file that the user named. What is compressed or cannot be seeked ('-', a pipe) is first written,
/// decompressed, to an unnamed file in $TMPDIR or /var/tmp, which goes with the descriptor.
/// Errors: kNotFound, kInvalidArgument (a directory), kCorrupt and kLimitExceeded (decompression), kNoSpace.
Result<SeekableArchive> OpenSeekableArchive(const std::string& path, const InflateLimits& limits = {});

/// The compression of the bytes at `offset`, by magic number.
Result<Compression> DetectCompressionAt(FdRef file, uint64_t offset, uint64_t size, std::string_view name);

}  // namespace snap
