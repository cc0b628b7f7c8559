#include "snapshotter/snapshot_chain.h"

#include <set>

namespace snap {

std::vector<ChainElement> ElementsOf(const SnapshotChain& chain) {
  std::vector<ChainElement> elements;
  std::set<LayerId> seen;
  for (const SnapshotLink* link = chain.get(); link != nullptr; link = link->below.get()) {
    if (link->has_upper) elements.push_back({.layer = nullptr, .upper = link->number});
    if (link->layer && seen.insert(link->layer->id).second)
      elements.push_back({.layer = &*link->layer, .upper = 0});
  }
  return elements;
}

const LayerManifest* TopLayer(const SnapshotChain& chain) {
  return chain != nullptr && !chain->has_upper && chain->layer ? &*chain->layer : nullptr;
}

}  // namespace snap
