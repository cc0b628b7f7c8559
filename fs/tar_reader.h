// TarReader: one pass over a tar stream, entry by entry, without copying file data.
// Formats: POSIX ustar, PAX (POSIX.1-2008 "pax Interchange Format"), GNU tar (long names, base-256 numbers, sparse
// old/0.0/0.1/1.0). Sources: POSIX.1-2017 pax; GNU tar manual, "Basic Tar Format" and "Sparse Formats".
// Invariant: the stream is hostile: every number is range-checked, every length bounded before memory is taken, a
// malformed header is an error and never skipped, and PAX values override ustar fields everywhere, the length to
// skip included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/byte_source.h"
#include "fs/layer_entry.h"

namespace snap {

struct TarLimits {
  size_t max_pax_bytes = size_t{1} << 20U;  ///< of one entry's extended headers
  size_t max_name_bytes = 8192;             ///< of a path or link target as written; RelPath decides what is usable
  size_t max_xattrs = 256;                  ///< of one entry
  size_t max_xattr_value = size_t{64} << 10U;
  size_t max_sparse_extents = 65536;
  uint64_t max_entries = 10'000'000;
  uint64_t max_file_size = uint64_t{8} << 40U;
};

struct TarEntry {
  enum class Kind : uint8_t { kRegular, kHardLink, kSymlink, kCharDevice, kBlockDevice, kDirectory, kFifo };
  Kind kind = Kind::kRegular;
  std::string path;         ///< raw bytes as archived, e.g. "./usr/bin/env"; not yet safe
  std::string link_target;  ///< of hard links (a path in the archive) and symlinks (any bytes)
  Attributes attributes;    ///< xattrs in archive order, names without the SCHILY.xattr. or LIBARCHIVE.xattr. prefix
  uint64_t size = 0;        ///< of the expanded file, bytes; 0 for everything but regular files
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  bool sparse = false;              ///< extents say where data is; otherwise it is one run of `size` bytes
  std::vector<DataExtent> extents;  ///< ascending, disjoint, not empty, within `size`; none when all is a hole
};

/// Threads: one at a time. Cost: no allocation per entry beyond the strings of TarEntry, which are reused.
class TarReader {
 public:
  /// `source` must outlive the reader.
  explicit TarReader(ChunkSource& source, const TarLimits& limits = {});
  ~TarReader();
  TarReader(TarReader&&) noexcept;

  /// The next entry, or nullptr at the end of the archive (two zero blocks, or end of stream at a block boundary
  /// after at least one zero block; anything else is truncation). Unread data of the previous entry is skipped.
  /// The pointer is valid until the next call of Next. Links, directories, devices and fifos have no data, whatever
  /// their size field says (as in Go's archive/tar); an empty regular file whose name ends in '/' is a directory (v7).
  /// Errors stay: every later call returns the same one. kCorrupt with the byte offset of the header; kLimitExceeded; kUnsupported for a type that layers never
  /// hold (multi-volume, incremental dumps); whatever the source returns.
  Result<const TarEntry*> Next();

  struct Data {
    uint64_t offset = 0;              ///< in the expanded file
    std::span<const std::byte> bytes; ///< empty at the end of the file's data; valid until the next call
  };
  /// Data of the current regular file, in order; holes are skipped.
  Result<Data> NextData();

  /// Uncompressed bytes consumed so far.
  uint64_t position() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snap
