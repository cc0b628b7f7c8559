// LayerEditor: what settling changes in a layer whose archive has ended but that is not committed yet: names that the archive
// left to the layers below. Implementations: TreeEditor (a directory), PackedWriter (metadata in memory).
#pragma once

#include "fs/base/rel_path.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_entry.h"

namespace snap {

/// Paths are the layer's own; directories on the way must be there. Threads: one at a time. After an error only destruction is
/// allowed.
class LayerEditor {
 public:
  virtual ~LayerEditor() = default;
  enum class Found { kNothing, kDirectory, kOther };
  virtual Result<Found> Look(const RelPath& path) = 0;
  /// 0755, root, 1970; nothing must be there.
  virtual Result<void> MakeDirectory(const RelPath& path) = 0;
  /// Moves all entries of one directory to another and removes it. False, and nothing is changed, when a name is taken there or
  /// the directory is opaque.
  virtual Result<bool> MoveEntries(const RelPath& from, const RelPath& to) = 0;
  /// Copies a file of any type but directories, with all attributes, to a free name. `directory`/`name` is where it is now.
  virtual Result<void> CopyIn(const RelPath& path, FdRef directory, const char* name) = 0;
  /// Gives a file of this layer a further, free name.
  virtual Result<void> Link(const RelPath& path, const RelPath& target) = 0;
  virtual Result<void> SetAttributes(const RelPath& directory, const Attributes& attributes) = 0;
  /// Call once, last: directories that were only changed by the edits get their times back.
  virtual Result<void> Close() = 0;
};

}  // namespace snap
