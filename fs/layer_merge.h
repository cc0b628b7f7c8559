// Merging layers: the tree that overlayfs shows for a stack of them, computed from their metadata alone.
#pragma once

#include <vector>

#include "fs/base/result.h"
#include "fs/layer_tree.h"

namespace snap {

/// The stack's tree, layers given bottom first. Whiteouts and opaque marks are resolved: none is left, no directory of the
/// result is opaque. A directory of several layers has the attributes of the topmost one. Link counts are those of the names
/// that are left. Runs on device d (0: the layer's image itself) of layer i are on device `first_device[i] + d` of the result;
/// objects stay objects. Cost: O(entries).
Result<LayerTree> MergeLayers(const std::vector<const LayerTree*>& layers_bottom_first,
                              const std::vector<uint16_t>& first_device);

}  // namespace snap
