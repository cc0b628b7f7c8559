// A directory tree as a tar stream: what `tar -c` would write, but deterministic and safe to point at a tree
// that somebody else changes.
// Invariant: the stream is a function of the tree: see TreeEntries. A file that changes size while it is read
// is an error, never a stream that lies about it.
#pragma once

#include <memory>
#include <string>

#include "fs/base/unique_fd.h"
#include "fs/byte_source.h"
#include "fs/tree_entries.h"

namespace snap {

/// The archive of what `entries` gives, its end included. Nothing is read before the first Read, which fills
/// its buffer but at the end of the stream. Errors on Read: those of TreeEntries and tar::AppendHeader.
std::unique_ptr<ByteSource> MakeTarSource(std::unique_ptr<TreeEntries> entries);

struct DirectoryTarOptions {
  /// Files with holes as GNU sparse members. Off, holes become zeros: larger, but readable by every tar, and
  /// the stream no longer depends on how the file system happened to allocate.
  bool keep_holes = false;
};

/// The tree below `dir` as it is, overlayfs' marks and whiteouts included. `name` is for errors.
std::unique_ptr<ByteSource> MakeDirectoryTarSource(UniqueFd dir, std::string name,
                                                   DirectoryTarOptions options = {});

}  // namespace snap
