// Merged images: the metadata of a whole stack of packed layers in one EROFS image, whose files' data stays in the layers'
// images. However many layers there are, one is mounted, and a lookup goes into one directory. A cache: made when an image is
// imported or first mounted, and as good as the stack that it stands for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fs/layer_store.h"
#include "fs/layer_tree.h"
#include "snapshotter/layer_stack.h"

namespace snap {

/// The name of the merged image of these layers, by what is in their images: it refers to blocks in them. Empty when there is
/// none to make: fewer than two, one that is a tree, or more entries than should be in memory at once.
std::string MergedImageKey(const std::vector<StackedLayer>& layers_top_first);

/// Makes it unless it is there, and flushes it. `trees`: a layer's metadata where the caller has it (nullptr otherwise), in the
/// order of the layers. Errors: kLimitExceeded (more layers than an image has devices), kNoSpace, kIo, kCorrupt.
/// Cost: O(entries), about a microsecond each.
Result<void> MakeMergedImage(LayerStore& layers, const std::vector<StackedLayer>& layers_top_first,
                             const std::vector<const LayerTree*>& trees_top_first);
/// Whether the cached one is what would be made today. Cost: as making it.
Result<bool> IsMergedImageRight(LayerStore& layers, const std::vector<StackedLayer>& layers_top_first);

/// The same stack through its merged image, if there is one. `opened` keeps what the stack refers to.
struct MergedStack {
  MountStack stack;
  UniqueFd image;
};
Result<std::optional<MergedStack>> StackMerged(const LayerStore& layers, const std::vector<StackedLayer>& layers_top_first);

}  // namespace snap
