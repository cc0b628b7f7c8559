// TarWriter: members as ustar headers, with PAX records where ustar cannot say it; TarReader is its inverse.
// Formats: POSIX.1-2017 pax; SCHILY.xattr.* for extended attributes (star, GNU tar, Docker); GNU sparse 1.0 for
// files with holes ("Sparse Formats", GNU tar manual). Owners are numbers only.
// Invariant: the bytes are a function of the entries: equal entries give an equal archive, on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "fs/base/result.h"
#include "fs/tar_reader.h"

namespace snap {

/// Takes bytes. Threads: one at a time.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Result<void> Write(std::span<const std::byte> bytes) = 0;
};

namespace tar {

inline constexpr size_t kTrailerBytes = 1024;  ///< two zero blocks end an archive

/// Appends to `out` everything that comes before a member's data: extended header, header, and the map of a
/// sparse file. The data follows (StoredBytes of it), then Padding zeros. Directories get a trailing '/'; the
/// path is written as it is otherwise. Only a regular file has size and extents. The extents of a sparse file
/// ascend and lie within its size; all but the last are whole blocks of 512 bytes, since readers differ about
/// where the next one starts if not.
/// Errors: kInvalidArgument for what a tar cannot hold (a NUL in a name, '=' in the name of an xattr, device
/// numbers above 2097151, such extents); `out` is unchanged then.
Result<void> AppendHeader(const TarEntry& entry, std::string& out);
/// Bytes of data that follow the header: the size, or the sum of the extents.
uint64_t StoredBytes(const TarEntry& entry);
/// Zeros after `stored_bytes` of data, up to the next block.
size_t Padding(uint64_t stored_bytes);

}  // namespace tar

/// Writes an archive member by member: Begin, Data until StoredBytes are written, ..., Finish.
/// Threads: one at a time.
class TarWriter {
 public:
  /// `sink` must outlive the writer.
  explicit TarWriter(ByteSink& sink) : sink_(sink) {}

  /// Errors: as tar::AppendHeader; kInvalidArgument when the member before has not got all its data; the sink's.
  Result<void> Begin(const TarEntry& entry);
  /// The next bytes of the current member's data, extent after extent. kInvalidArgument beyond StoredBytes.
  Result<void> Data(std::span<const std::byte> bytes);
  /// Ends the archive. Does not flush the sink.
  Result<void> Finish();

 private:
  Result<void> EndMember();

  ByteSink& sink_;
  std::string header_;
  uint64_t data_left_ = 0;
  size_t padding_ = 0;
};

}  // namespace snap
