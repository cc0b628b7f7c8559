// TreeEditor: settling a layer that is a plain directory.
#pragma once

#include <map>

#include "fs/base/sys_file.h"
#include "fs/layer_editor.h"

namespace snap {

/// Paths are opened beneath the tree, one descriptor at a time; symlinks of the layer are never followed.
class TreeEditor final : public LayerEditor {
 public:
  /// `tree`: a finished TreeWriter's root; must outlive this.
  explicit TreeEditor(FdRef tree) : tree_(tree) {}
  Result<Found> Look(const RelPath& path) override;
  Result<void> MakeDirectory(const RelPath& path) override;
  Result<bool> MoveEntries(const RelPath& from, const RelPath& to) override;
  Result<void> CopyIn(const RelPath& path, FdRef directory, const char* name) override;
  Result<void> Link(const RelPath& path, const RelPath& target) override;
  Result<void> SetAttributes(const RelPath& directory, const Attributes& attributes) override;
  Result<void> Close() override;

 private:
  Result<UniqueFd> OpenDirectory(const RelPath& path) const;
  Result<void> Touch(const RelPath& directory);

  const FdRef tree_;
  std::map<RelPath, sys::Times> times_;  // of directories before they were changed here
};

}  // namespace snap
