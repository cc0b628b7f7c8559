// How layers appear: flushed, named by one rename, and only then told of; and how one takes another's place.
#include "fs/layer_store.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>

#include <algorithm>

#include "fs/base/fault.h"
#include "fs/base/time.h"
#include "fs/layer_store_state.h"

namespace snap {

Result<void> LayerStore::MakeDurable(LayerPin& pin) const {
  if (pin.manifest.durable) return {};
  // An error that nobody has been told yet is reported to new descriptors too, so nothing gets lost here.
  SNAP_TRY_SYS_VOID(sys::SyncFs(pin.directory), "flush layer {}", pin.manifest.id.ToString());
  LayerManifest manifest = pin.manifest;
  manifest.durable = true;
  const std::string temporary = ".layer.json." + sys::RandomHex128();
  SNAP_TRY_VOID(ReplaceFile(pin.directory, temporary.c_str(), kManifestName, LayerManifestJson(manifest),
                            kManifestMode));
  pin.manifest = std::move(manifest);
  return {};
}

Result<LayerManifest> LayerStore::Commit(LayerStage stage, LayerManifest manifest, Durability durability) {
  std::vector<StagedLayer> layers;
  layers.push_back({std::move(stage), std::move(manifest)});
  SNAP_TRY(std::vector<LayerPin> pins, CommitAll(std::move(layers), durability));
  return std::move(pins.front().manifest);
}

Result<std::vector<LayerPin>> LayerStore::CommitAll(std::vector<StagedLayer> layers, Durability durability) {
  const LayerDirectories& store = *state_->directories;
  std::vector<LayerPin> pins;
  if (layers.empty()) return pins;

  for (StagedLayer& layer : layers) {
    layer.manifest.boot_id = store.boot_id;
    layer.manifest.durable = durability == Durability::kFull;
    if (layer.manifest.created.empty()) layer.manifest.created = NowRfc3339();
    SNAP_TRY_VOID(WriteNewFile(layer.stage.directory(), kManifestName, LayerManifestJson(layer.manifest),
                               kManifestMode));
  }
  SNAP_FAULT_POINT("layer.commit.before_flush");
  if (durability == Durability::kFull) {
    // One syncfs instead of an fsync per file and directory; docs/durability.md has the figures. It reports
    // the errors since its descriptor was opened, so it goes through the stage that was opened first. A
    // failed flush is never retried: returning here discards every stage.
    const auto first = std::min_element(layers.begin(), layers.end(), [](const auto& a, const auto& b) {
      return a.stage.state_->sequence < b.stage.state_->sequence;
    });
    SNAP_TRY_SYS_VOID(sys::SyncFs(first->stage.directory()), "flush layers");
  }
  SNAP_FAULT_POINT("layer.commit.after_flush");

  const auto publish = [&](StagedLayer& layer) -> Result<LayerPin> {
    LayerStage::State& stage = *layer.stage.state_;
    const LayerId id = layer.manifest.id;
    const std::string name = id.Hex();
    const auto rename = [&] {
      return sys::RenameAt(stage.boot, stage.name.c_str(), store.layers, name.c_str(), RENAME_NOREPLACE);
    };
    for (;;) {
      SysResult<void> renamed = rename();
      if (renamed.ok()) {
        LayerPin pin{std::move(layer.manifest), true, std::move(stage.directory)};
        layer.stage.state_.reset();  // it is no stage any more: nothing to remove
        return pin;
      }
      if (!(renamed.error() == EEXIST) && !(renamed.error() == ENOTEMPTY)) {
        return Error(renamed.error(), "commit layer " + id.ToString());
      }
      Result<LayerPin> existing = Pin(id);
      if (existing.ok()) {
        if (durability == Durability::kFull) SNAP_TRY_VOID(MakeDurable(*existing));
        return existing;  // the stage dies with `layers`
      }
      if (existing.error().code() == ErrorCode::kNotFound) continue;
      if (existing.error().code() != ErrorCode::kCorrupt) return existing;
      // Two processes may find the same bad layer: the second must look again, or it would throw away what
      // the first has just put there.
      SNAP_TRY_SYS(const UniqueFd parent, OpenDir(store.root, "layers"), "open layers");
      SNAP_TRY_SYS_VOID(sys::Flock(parent, LOCK_EX), "lock layers");
      const Result<LayerManifest> again = Find(id);
      if (!again.ok() && again.error().code() == ErrorCode::kCorrupt) SNAP_TRY_VOID(Discard(id));
    }
  };

  Result<void> outcome;
  for (StagedLayer& layer : layers) {
    Result<LayerPin> pin = publish(layer);
    if (!pin.ok()) {
      outcome = std::move(pin).error();
      break;
    }
    pins.push_back(std::move(pin).value());
  }
  const auto finish = [&]() -> Result<void> {
    SNAP_TRY_VOID(std::move(outcome));
    SNAP_FAULT_POINT("layer.commit.after_rename");
    if (durability == Durability::kFull) SNAP_TRY_SYS_VOID(sys::Fsync(store.layers), "flush layers/");
    SNAP_FAULT_POINT("layer.commit.after_parent_flush");
    return {};
  };
  if (Result<void> finished = finish(); !finished.ok()) {
    std::vector<LayerId> added;
    for (const LayerPin& pin : pins) {
      if (pin.created) added.push_back(pin.manifest.id);
    }
    pins.clear();  // several of them may hold the same layer
    for (const LayerId& id : added)
      (void)Discard(id);  // kBusy: another import has it by now and will record it
    return std::move(finished).error();
  }
  return pins;
}

Result<LayerManifest> LayerStore::Replace(LayerStage stage, LayerManifest manifest) {
  const LayerDirectories& store = *state_->directories;
  const LayerStage::State& made = *stage.state_;
  const std::string name = manifest.id.Hex();
  manifest.boot_id = store.boot_id;
  manifest.durable = true;
  SNAP_TRY_VOID(WriteNewFile(stage.directory(), kManifestName, LayerManifestJson(manifest), kManifestMode));
  SNAP_TRY_SYS_VOID(sys::SyncFs(stage.directory()), "flush layer {}", manifest.id.ToString());
  SNAP_TRY_SYS(const UniqueFd old, OpenDir(store.layers, name.c_str()), "replace layer {}", manifest.id.ToString());
  SNAP_TRY_SYS(const bool locked, TryLockExclusive(old), "lock layer {}", manifest.id.ToString());
  if (!locked) return MakeError(ErrorCode::kBusy, "replace layer {}: an import is using it", manifest.id.ToString());
  SNAP_TRY_SYS(const bool same, IsSameFile(old, store.layers, name.c_str()), "look at layer {}", manifest.id.ToString());
  if (!same) return MakeError(ErrorCode::kNotFound, "replace layer {}: somebody else did", manifest.id.ToString());
  SNAP_TRY_SYS_VOID(sys::RenameAt(made.boot, made.name.c_str(), store.layers, name.c_str(), RENAME_EXCHANGE),
                    "replace layer {}", manifest.id.ToString());
  SNAP_FAULT_POINT("layer.replace.after_exchange");
  SNAP_TRY_SYS_VOID(sys::Fsync(store.layers), "flush layers/");
  return manifest;  // the stage is the old layer now, and goes with its owner
}

}  // namespace snap
