// Garbage: directories without rows, rows that nothing references, containers whose launcher was killed.
// Decided and renamed under the database's lock; deleted after it.
#include <map>
#include <set>

#include "fs/base/quote.h"
#include "snapshotter/store_state.h"

namespace snap {
namespace {

constexpr const char* kNoImage = "no image and no snapshot uses it";

/// What is found, in totals and, as far as they are wanted, one by one.
class Findings {
 public:
  Findings(GcReport& report, size_t max) : report_(report), max_(max) {}
  void Add(uint64_t& count, std::string_view type, std::string id, uint64_t bytes, std::string_view reason) {
    ++count;
    report_.bytes += bytes;
    if (report_.findings.size() >= max_) return;
    report_.findings.push_back({std::string(type), std::move(id), bytes, std::string(reason)});
  }

 private:
  GcReport& report_;
  const size_t max_;
};

/// Objects that no layer needs. One that an import is about to use gets its name back from that import.
Result<void> CollectObjects(LayerStore& layers, const std::set<ObjectId>& needed, bool dry_run, GcReport& report,
                            Findings& findings) {
  std::vector<ObjectId> unneeded;
  SNAP_TRY_VOID(layers.objects().ForEach([&](const std::optional<ObjectId>& id, const std::string&) -> Result<void> {
    if (id && !needed.contains(*id)) unneeded.push_back(*id);
    return {};
  }));
  for (const ObjectId& object : unneeded) {
    findings.Add(report.objects, "object", object.Path(), object.size, "no layer holds it");
  }
  return dry_run ? Result<void>() : layers.DiscardObjects(unneeded);
}

}  // namespace

namespace {

/// Uppers that no row names. `owned`: filled with those that one does.
Result<std::vector<std::string>> OrphanUppers(LayerStore& layers, Metadata& metadata, std::set<std::string> owned) {
  SNAP_TRY_VOID(metadata.ScanSnapshots("", [&](const SnapshotRecord& record) -> Result<bool> {
    if (record.has_upper) owned.insert(SnapshotUpperName(record.number));
    return true;
  }));
  SNAP_TRY(std::vector<std::string> uppers, layers.ListUppers());
  std::erase_if(uppers, [&](const std::string& upper) { return owned.contains(upper) || upper.starts_with(Store::kMountUpperPrefix); });
  return uppers;
}

/// Before the lock is held for long: what they take is only to be told.
Result<std::map<std::string, uint64_t>> MeasureOrphanUppers(const Store::State& state, LayerStore& layers) {
  std::vector<std::string> orphans;
  {
    SNAP_TRY(Metadata metadata, state.Read());
    std::set<std::string> owned;
    SNAP_TRY(const std::vector<ContainerRecord> containers, metadata.Containers());
    for (const ContainerRecord& container : containers) {
      if (!container.remove_at_exit || Store::IsRunning(container)) owned.insert(container.id);
    }
    SNAP_TRY(orphans, OrphanUppers(layers, metadata, std::move(owned)));
  }
  std::map<std::string, uint64_t> bytes;
  for (const std::string& upper : orphans) {
    SNAP_TRY(bytes[upper], TreeBytes(layers.root(), "snapshots/" + upper));
  }
  return bytes;
}

}  // namespace

Result<GcReport> Store::CollectGarbage(bool dry_run, size_t max_findings) {
  LayerStore& layers = state_->layers;
  SNAP_TRY(const auto orphan_bytes, MeasureOrphanUppers(*state_, layers));
  GcReport report;
  Findings findings(report, max_findings);
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
      findings.Add(report.layers, "layer", id.ToString(), record.manifest.usage.disk_bytes, kNoImage);
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
      findings.Add(report.layers, "layer", id.ToString(), manifest.ok() ? manifest->usage.disk_bytes : 0,
                   manifest.ok() ? "the database does not know it" : "its layer.json cannot be used");
      if (!dry_run) SNAP_TRY_VOID(layers.Discard(id));
    }
    SNAP_TRY_VOID(CollectObjects(layers, needed, dry_run, report, findings));
    SNAP_TRY(const std::vector<std::string> merged, state_->UnownedMerged(metadata));
    for (const std::string& name : merged) {
      findings.Add(report.merged, "merged image", name, 0, "no image and no snapshot is this stack of layers");
      if (!dry_run) SNAP_TRY_VOID(layers.RemoveMerged(name));
    }

    SNAP_TRY(const std::vector<ContainerRecord> containers, metadata.Containers());
    std::set<std::string> owned;
    for (const ContainerRecord& container : containers) {
      if (!dry_run && IsOrphan(container)) EndOrphan(container);
      if (!container.remove_at_exit || IsRunning(container)) {
        owned.insert(container.id);
        continue;
      }
      findings.Add(report.containers, "container", container.id, 0, "it was to be removed at its end, and its launcher is gone");
      if (!dry_run) SNAP_TRY_VOID(metadata.RemoveContainer(container.id));  // its upper has no owner now
    }
    SNAP_TRY(const std::vector<std::string> orphans, OrphanUppers(layers, metadata, std::move(owned)));
    if (!dry_run && !orphans.empty()) SNAP_TRY_VOID(metadata.Sync());  // their rows may have gone a moment ago
    for (const std::string& upper : orphans) {
      const auto measured = orphan_bytes.find(upper);
      findings.Add(report.uppers, "upper", upper, measured == orphan_bytes.end() ? 0 : measured->second,
                   "no container and no snapshot has it");
      if (!dry_run) {
        const Result<void> discarded = layers.DiscardUpper(upper);
        // Who removed the snapshot that it belonged to was faster.
        if (!discarded.ok() && discarded.error().code() != ErrorCode::kNotFound) return discarded.error();
      }
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
