// PAX extended headers: "LENGTH KEY=VALUE\n" records that override fields of the header that follows.
// Sources: POSIX.1-2017 pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files"; star's
// SCHILY.xattr and libarchive's LIBARCHIVE.xattr keys as their tar(5) pages describe them. Invariant: the
// records are taken whole or not at all; a malformed one is an error, never skipped, because a reader that
// skips it sees other sizes and names than one that does not.
#pragma once

#include <time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/layer_entry.h"
#include "fs/tar_reader.h"

namespace snap::tar {

/// What the GNU.sparse.* records say.
struct PaxSparse {
  enum class Map : uint8_t { kNone, kInHeader, kInData };  ///< not sparse; formats 0.0 and 0.1; format 1.0
  Map map = Map::kNone;
  std::string name;        ///< the file's real name; empty: as in the header
  uint64_t file_size = 0;  ///< expanded
  struct Pair {
    uint64_t offset;
    uint64_t size;
  };
  std::vector<Pair> pairs;  ///< of kInHeader, as written
};

/// What one extended header says. An empty value means "as in the header" (POSIX), except for xattrs, where
/// it is the value: Docker writes such records.
struct PaxHeader {
  std::string path;         ///< empty: not given
  std::string link_target;  ///< empty: not given
  std::optional<uint64_t> size;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<timespec> mtime;
  std::vector<Xattr> xattrs;  ///< names without prefix, in order of first appearance
  PaxSparse sparse;

  /// Keeps the strings' memory.
  void Clear();
};

/// Reads the records of an 'x' header into a cleared `header`. For keys given twice the last one counts
/// (POSIX), but two different values of what decides where the next header lies or what the file is called
/// (path, linkpath, size, GNU.sparse.*) are refused. Other keys (atime, ctime, uname, gname, comment,
/// SCHILY.*, vendors') are ignored. Errors: kCorrupt; kLimitExceeded; kUnsupported for a GNU.sparse format
/// after 1.0. `header` is then undefined.
Result<void> ParsePax(std::string_view records, const TarLimits& limits, PaxHeader& header);

/// Checks the records of a 'g' header, whose values are ignored (as Docker and containerd do; git archive
/// writes a comment there). Errors: kCorrupt; kUnsupported when it sets a path, a size or a sparse map for
/// all files.
Result<void> CheckGlobalPax(std::string_view records);

}  // namespace snap::tar
