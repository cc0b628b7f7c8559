// Layers opened for a mount, whatever their formats.
#pragma once

#include <vector>

#include "fs/layer_store.h"
#include "fs/union_backend.h"

namespace snap {

/// The part of a committed layer that is mounted: its directory (O_PATH) or its image.
struct StackedLayer;
struct OpenedLayer {
  LayerManifest manifest;
  UniqueFd content;
  StackedLayer Stacked() const;
};
/// Refuses what must not be served (see LayerStore::Find).
Result<OpenedLayer> OpenLayer(const LayerStore& layers, const LayerId& id);

/// Lowers for a mount of layers given top first. The kernel refuses one directory twice; a lower occurrence of a layer
/// shows nothing that its topmost one does not show or hide itself, so only that one is kept.
struct StackedLayer {
  LayerId id;
  LayerFormat format = LayerFormat::kTree;
  FdRef content;
  ImageChecksums checksums;  ///< packed: which bytes the image has
  uint64_t entries = 0;
};
MountStack StackLayers(const LayerStore& layers, const std::vector<StackedLayer>& layers_top_first);

/// The root directory's, as the layer has them.
Result<Attributes> RootAttributes(LayerFormat format, FdRef content);

}  // namespace snap
