// What changed between two trees: by comparing two mounted images, or by reading a container's upper over its
// image. Invariant: trees are only read, never through symlinks; names in the result are raw bytes.
#pragma once

#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::cli {

struct Change {
  enum class Kind : char { kAdded = 'A', kChanged = 'C', kDeleted = 'D' };
  Kind kind = Kind::kChanged;
  std::string path;  ///< "/etc/passwd"
  friend bool operator==(const Change&, const Change&) = default;
};

/// Compares type, permissions, owner, xattrs, size, link target, device and content; times alone are no
/// change. Files that are the same inode are not read. Of a deleted directory only the top is named, of an
/// added one everything; a directory that holds changes is changed itself, as in `docker diff`. Sorted by
/// path within each directory. Cost: O(entries) and the bytes of files of equal size that are not the same
/// inode.
Result<std::vector<Change>> CompareTrees(FdRef old_root, FdRef new_root);

/// Reads overlayfs' upper directory: whiteouts are deletions, entries that `lower_root` has are changes
/// (copied up), others are additions; an opaque directory deletes what only the lower has. The empty mount
/// points that the launcher makes where an image has none (/proc, /etc/hosts, ...) are no change. Of a
/// directory that was renamed the upper has only a redirect: what is in it is looked up in `merged_root`, the
/// container's mounted tree. Cost: O(entries of the upper, and of renamed directories).
Result<std::vector<Change>> ReadUpper(FdRef upper_root, FdRef lower_root, FdRef merged_root);

}  // namespace snap::cli
