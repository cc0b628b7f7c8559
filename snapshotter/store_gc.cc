// Garbage: directories without rows, rows that nothing references, containers whose launcher was killed.
// Decided and renamed under the database's lock; deleted after it.
#include <set>

#include "fs/base/quote.h"
#include "snapshotter/store_state.h"

namespace snap {
namespace {

/// Objects that no layer needs. One that an import is about to use gets its name back from that import.
Result<void> CollectObjects(LayerStore& layers, const std::set<ObjectId>& needed, bool dry_run, GcReport& report) {
  std::vector<ObjectId> unneeded;
  SNAP_TRY_VOID(layers.objects().ForEach([&](const std::optional<ObjectId>& id, const std::string&) -> Result<void> {
    if (id && !needed.contains(*id)) unneeded.push_back(*id);
    return {};
  }));
  for (const ObjectId& object : unneeded) {
    ++report.objects;
    report.bytes += object.size;
  }
  return dry_run ? Result<void>() : layers.DiscardObjects(unneeded);
}

}  // namespace

Result<GcReport> Store::CollectGarbage(bool dry_run) {
  LayerStore& layers = state_->layers;
  GcReport report;
  {
    SNAP_TRY(Metadata metadata, dry_run ? state_->Read() : state_->Write());
    SNAP_TRY(const std::vector<LayerRecord> records, metadata.Layers());
    std::set<LayerId> known;
    for (const LayerRecord& record : records) {
      const LayerId& id = record.manifest.id;
      known.insert(id);
      if (!dry_run) SNAP_TRY_VOID(state_->BelieveDirectory(metadata, record.manifest));
      if (record.references != 0) continue;
      const Result<bool> pinned = layers.IsPinned(id);
      if (pinned.ok() && *pinned) continue;  // an import is about to reference it
      ++report.layers;
      report.bytes += record.manifest.usage.disk_bytes;
      if (dry_run) continue;
      SNAP_TRY(const std::vector<ObjectId> objects, metadata.RemoveLayer(id));
      known.erase(id);  // an import may pin it just now: then its objects are needed
      SNAP_TRY_VOID(state_->DiscardOrphans({{id}, objects}));
    }
    SNAP_TRY(std::set<ObjectId> needed, metadata.ReferencedObjects());
    SNAP_TRY(const std::vector<LayerId> present, layers.List());
    for (const LayerId& id : present) {
      if (known.contains(id)) continue;
      SNAP_TRY(const bool pinned, layers.IsPinned(id));
      const Result<LayerManifest> manifest = layers.Find(id);
      if (pinned) {
        if (!manifest.ok()) continue;
        SNAP_TRY(const std::vector<ObjectId> objects, state_->ObjectsOnDisk(*manifest));
        needed.insert(objects.begin(), objects.end());
        continue;
      }
      ++report.layers;
      if (manifest.ok()) report.bytes += manifest->usage.disk_bytes;
      if (!dry_run) SNAP_TRY_VOID(layers.Discard(id));
    }
    SNAP_TRY_VOID(CollectObjects(layers, needed, dry_run, report));
    SNAP_TRY(report.merged, state_->RemoveUnownedMerged(metadata, dry_run));

    SNAP_TRY(const std::vector<ContainerRecord> containers, metadata.Containers());
    std::set<std::string> owned;
    for (const ContainerRecord& container : containers) {
      if (!dry_run && IsOrphan(container)) EndOrphan(container);
      if (!container.remove_at_exit || IsRunning(container)) {
        owned.insert(container.id);
        continue;
      }
      ++report.containers;
      if (!dry_run) SNAP_TRY_VOID(metadata.RemoveContainer(container.id));  // its upper has no owner now
    }
    SNAP_TRY(const std::vector<std::string> uppers, layers.ListUppers());
    for (const std::string& upper : uppers) {
      if (owned.contains(upper) || upper.starts_with(kMountUpperPrefix)) continue;
      ++report.uppers;
      SNAP_TRY(const uint64_t bytes, TreeBytes(layers.root(), "snapshots/" + upper));
      report.bytes += bytes;
      if (!dry_run) SNAP_TRY_VOID(layers.DiscardUpper(upper));
    }
  }
  if (!dry_run) (void)state_->backend->ReleaseUnusedImages();  // what could not be unmounted is found again next time
  SNAP_TRY(const LayerStore::Garbage garbage, layers.CollectGarbage(dry_run));
  report.stages = garbage.stages;
  // What was moved to the trash above is counted where it came from.
  const uint64_t moved = dry_run ? 0 : report.layers + report.uppers + (report.objects != 0 ? 1 : 0);
  report.trash = garbage.trash > moved ? garbage.trash - moved : 0;
  return report;
}

}  // namespace snap
