// What the parts of Store share. Included by store*.cc only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "snapshotter/store.h"

namespace snap {

struct Store::State {
  StoreOptions options;                   // constant
  LayerStore layers;                      // own synchronisation
  std::shared_ptr<UnionBackend> backend;  // own synchronisation

  Result<Metadata> OpenMetadata(Metadata::Access access) const {
    return Metadata::Open(layers.root(), layers.root_path(), options.on_wait, access);
  }
  Result<Metadata> Read() const { return OpenMetadata(Metadata::Access::kRead); }
  Result<Metadata> Write() const { return OpenMetadata(Metadata::Access::kWrite); }

  /// An empty stage that is held while directories and database rows may disagree. When its holder is killed,
  /// the next Open finds it without a holder and collects garbage.
  Result<LayerStage> MarkBusy() { return layers.Stage(); }

  /// Deletes what calls have moved to the trash. Not being able to is no failure of the call: it is collected
  /// later.
  void EmptyTrash() { (void)layers.EmptyTrash(); }
};

/// Lowers for a mount of trees given top first. The kernel refuses one directory twice; a lower occurrence of a layer
/// shows nothing that its topmost one does not show or hide itself, so only that one is kept.
struct StackedTree {
  LayerId id;
  FdRef tree;
};
std::vector<FdRef> LowersTopFirst(const std::vector<StackedTree>& trees_top_first);

/// Allocated bytes of everything below a directory that is on its file system. Cost O(files).
Result<uint64_t> TreeBytes(FdRef parent, const std::string& name);

/// True for a container whose launcher is dead while its pid 1 lives: nobody supervises it. The kernel ends a container
/// with its launcher, except when pid 1 has changed its own user (prctl(2), PR_SET_PDEATHSIG).
bool IsOrphan(const ContainerRecord& container);
/// Kills an orphan and waits for its end, a second at most.
void EndOrphan(const ContainerRecord& container);

}  // namespace snap
