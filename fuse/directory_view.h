// DirectoryView: what the layers below the upper together say about the names of one directory: whiteouts applied, the topmost
// entry of each name, built once.
// All spellings of whiteouts and opaque marks are read: devices 0:0, ".wh.NAME" and ".wh..wh..opq" files, the xattrs
// trusted.overlay.opaque, user.overlay.opaque and user.fuseoverlayfs.opaque, and empty files with overlay.whiteout in a
// directory marked overlay.opaque=x. Sources: Documentation/filesystems/overlayfs.rst, OCI image-spec layer.md.
// Invariant: immutable after Build, as the layers are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fuse/layer.h"

namespace snap::fuse {

/// Whether nothing of the layers below shows in a directory. Cost: two questions to the layer when it has no marks.
SysResult<bool> IsOpaque(LayerDir& directory);

/// Threads: safe. Memory: about 32 bytes and the name for each entry.
class DirectoryView {
 public:
  /// `dirs_top_first`: the directory in each layer that has it, cut where an opaque mark ends the merge.
  /// Cost: O(entries of all of them). Errors: those of reading them; EOVERFLOW for more than 65,535 layers or 4 GiB of names.
  static SysResult<std::shared_ptr<const DirectoryView>> Build(std::span<const std::shared_ptr<LayerDir>> dirs_top_first);

  /// Where a directory further down has the name as a directory too.
  struct Part {
    uint64_t inode = 0;
    size_t layer = 0;
  };
  struct Found {
    LayerName name;
    size_t layer = 0;             ///< index of the directory that has it, in what Build was given
    std::span<const Part> below;  ///< of a directory: what it merges with, next one first; valid as long as the view
  };
  /// O(1).
  std::optional<Found> Find(std::string_view name) const;
  size_t size() const { return items_.size(); }
  /// In an order that does not change as long as the view lives. The names are valid as long too.
  void ForEach(const std::function<void(std::string_view name)>& visit) const;

  /// A directory that was found, in every layer that has a part of it; ends with an opaque one. `dirs_top_first` as for Build.
  static SysResult<std::vector<std::shared_ptr<LayerDir>>> ResolveDirectory(
      const Found& found, std::span<const std::shared_ptr<LayerDir>> dirs_top_first);

 private:
  struct Item {
    uint64_t inode = 0;
    uint32_t name_offset = 0;
    uint32_t first_part = 0;
    uint16_t parts = 0;
    uint16_t layer = 0;
    uint8_t name_size = 0;
    FileType type = FileType::kRegular;
  };
  class Builder;
  std::string_view NameOf(const Item& item) const { return std::string_view(names_).substr(item.name_offset, item.name_size); }

  std::vector<Item> items_;
  std::vector<Part> parts_;
  std::string names_;
  std::vector<uint32_t> buckets_;  // by hash of the name: index of the item + 1; 0: free
};

}  // namespace snap::fuse
