// What the parts of Store share. Included by store*.cc only.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "snapshotter/store.h"

namespace snap {

struct Store::State {
  StoreOptions options;                   // constant
  LayerStore layers;                      // own synchronisation
  std::shared_ptr<UnionBackend> backend;  // own synchronisation

  Metadata::OpenOptions OpenOptions(Metadata::Access access) const {
    return {.access = access, .on_wait = options.on_wait, .patience = options.lock_patience, .database = options.database};
  }
  Result<Metadata> OpenMetadata(Metadata::Access access) const {
    return Metadata::Open(layers.root(), layers.root_path(), OpenOptions(access));
  }
  Result<Metadata> Read() const { return OpenMetadata(Metadata::Access::kRead); }
  Result<Metadata> Write() const { return OpenMetadata(Metadata::Access::kWrite); }

  /// An empty stage that is held while directories and database rows may disagree. When its holder is killed,
  /// the next Open finds it without a holder and collects garbage.
  Result<LayerStage> MarkBusy() { return layers.Stage(); }

  /// The objects of a layer that is on disk, each once, whatever the database knows.
  Result<std::vector<ObjectId>> ObjectsOnDisk(const LayerManifest& manifest) const;
  /// Makes the row of a layer say what is on disk, after a migration or a replacement that was killed between the two.
  Result<void> BelieveDirectory(Metadata& metadata, const LayerManifest& row) const;
  /// For layers whose rows are gone: moves them and the objects that nothing references any more to the trash. What somebody
  /// has pinned stays, with its objects: an import that writes the rows again. The caller holds the database's lock.
  Result<void> DiscardOrphans(const Metadata::Orphans& orphans);

  /// The name of an image's merged image as its layers are recorded; empty when there is none.
  static Result<std::string> MergedKeyOf(const ImageRecord& image, Metadata& metadata);
  /// The merged images below views and active snapshots: of the packed layers at the bottom of each (see EngineLowers). By
  /// name, with the layers bottom first.
  static Result<std::map<std::string, std::vector<LayerId>>> MergedOfSnapshots(Metadata& metadata);
  /// The merged images that belong to no recorded image and below no snapshot.
  Result<std::vector<std::string>> UnownedMerged(Metadata& metadata) const;
  /// Removes them. Returns how many.
  Result<uint64_t> RemoveUnownedMerged(Metadata& metadata);

  /// Deletes what calls have moved to the trash. Not being able to is no failure of the call: it is collected
  /// later.
  void EmptyTrash() { (void)layers.EmptyTrash(); }
};

/// Allocated bytes of everything below a directory that is on its file system. Cost O(files).
Result<uint64_t> TreeBytes(FdRef parent, const std::string& name);

/// True for a container whose launcher is dead while its pid 1 lives: nobody supervises it. The kernel ends a container
/// with its launcher, except when pid 1 has changed its own user (prctl(2), PR_SET_PDEATHSIG).
bool IsOrphan(const ContainerRecord& container);
/// Kills an orphan and waits for its end, a second at most.
void EndOrphan(const ContainerRecord& container);

}  // namespace snap
