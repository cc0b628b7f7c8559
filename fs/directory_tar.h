// A directory tree as a tar stream: what `tar -c` would write, but deterministic and safe to point at a tree
// that somebody else changes.
// Invariant: the stream is a function of the tree: entries sorted by bytes, parents first, owners as numbers. A
// file that changes size while it is read is an error, never a stream that lies about it.
#pragma once

#include <memory>
#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/byte_source.h"

namespace snap {

struct DirectoryTarOptions {
  /// The tree is an overlayfs upper: whiteouts and opaque directories are written as ".wh." names, and the
  /// xattrs that steer overlayfs are left out. Otherwise the tree is archived as it is.
  bool overlay_upper = false;
  /// Files with holes as GNU sparse members. Off, holes become zeros: larger, but readable by every tar, and
  /// the stream no longer depends on how the file system happened to allocate.
  bool keep_holes = false;
};

/// The tree below `dir` (opened for reading), its root first as "./". Symlinks are never followed; other file
/// systems mounted in the tree are walked into, as tar does. Sockets are left out. Of names that share an
/// inode all but the first become hard links. Of "security." xattrs only security.capability is kept: the
/// rest is this host's policy. `name` is for errors. Nothing is read before the first Read.
/// Errors on Read: kBusy when a file or directory changes under the reader; kInvalidArgument for names that
/// cannot be said in a layer (".wh." in an overlay upper); kLimitExceeded for paths longer or deeper than
/// RelPath allows; the file system's own.
/// Cost: three descriptors whatever the depth; memory for the names of the directories on the way.
std::unique_ptr<ByteSource> MakeDirectoryTarSource(UniqueFd dir, std::string name,
                                                   DirectoryTarOptions options = {});

}  // namespace snap
