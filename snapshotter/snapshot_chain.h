// The chain of parents below a snapshot, as it is needed again and again: what each one adds, in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "fs/layer_store.h"

namespace snap {

/// A committed snapshot and what is below it. Never changes.
struct SnapshotLink {
  uint64_t number = 0;
  std::shared_ptr<const SnapshotLink> below;
  std::optional<LayerManifest> layer;
  bool has_upper = false;           ///< above the layer
  std::optional<ChainId> chain_id;  ///< when each of them is one layer and nothing else
};
using SnapshotChain = std::shared_ptr<const SnapshotLink>;  // nullptr: nothing below

/// What is stacked: a layer, or the upper of a snapshot.
struct ChainElement {
  const LayerManifest* layer = nullptr;  ///< owned by the chain
  uint64_t upper = 0;                    ///< number of the snapshot, when there is no layer
};
/// Top first. Of a layer that occurs twice only the upper occurrence: the lower one shows nothing that it
/// does not show or hide.
std::vector<ChainElement> ElementsOf(const SnapshotChain& chain);
/// The topmost layer's, when nothing lies above it; nullptr otherwise.
const LayerManifest* TopLayer(const SnapshotChain& chain);

}  // namespace snap
