// Migration: the same layers in another format, one after another. Between two layers the store is as good as before; a layer
// is either in its old format or in the new one.
#include <algorithm>
#include <set>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/erofs_reader.h"
#include "fs/layer_copy.h"
#include "fs/tree_writer.h"
#include "snapshotter/layer_import.h"
#include "snapshotter/store_state.h"

namespace snap {
namespace {

/// The layer once more, in a stage of its own.
struct Converted {
  LayerStage stage;
  LayerManifest manifest;
  std::vector<ObjectId> objects;
};

Result<Converted> ToTree(LayerStore& layers, const LayerManifest& manifest) {
  SNAP_TRY(const UniqueFd content, layers.OpenImage(manifest.id));
  SNAP_TRY(const ErofsReader image, ErofsReader::Open(content, "image of layer " + manifest.id.ToString()));
  SNAP_TRY(LayerStage stage, layers.Stage(LayerFormat::kTree));
  SNAP_TRY(std::unique_ptr<IoEngine> engine, MakeIoEngine(IoEngineKind::kAuto));
  Converted out{std::move(stage), manifest, {}};
  TreeWriter writer(out.stage.tree(), std::move(engine));
  SNAP_TRY_VOID(CopyPackedLayer(image, layers.objects(), writer));
  SNAP_TRY(const LayerSummary summary, writer.Finish());
  out.manifest.format = LayerFormat::kTree;
  out.manifest.usage = summary.usage;
  out.manifest.checksums = {};
  out.manifest.exact_tar = false;
  return out;
}

Result<Converted> ToPacked(LayerStore& layers, const LayerManifest& manifest, ObjectStage& objects) {
  SNAP_TRY(const UniqueFd content, layers.OpenTree(manifest.id));
  SNAP_TRY(LayerStage stage, layers.Stage(LayerFormat::kPacked));
  SNAP_TRY(std::unique_ptr<IoEngine> engine, MakeIoEngine(IoEngineKind::kAuto));
  Converted out{std::move(stage), manifest, {}};
  // The tar is not known; what the index still says is which objects the layer holds.
  SNAP_TRY(const std::unique_ptr<PackedStage> packed, PackedStage::Make(out.stage, objects, std::move(engine), false));
  SNAP_TRY_VOID(CopyTreeLayer(content, *packed->writer));
  SNAP_TRY(const LayerSummary summary, packed->writer->Finish());
  (void)summary;
  SNAP_TRY(SealedLayer sealed, packed->Seal());
  out.manifest.format = LayerFormat::kPacked;
  out.manifest.usage = sealed.usage;
  out.manifest.checksums = sealed.checksums;
  out.objects = std::move(sealed.objects);
  return out;
}

Result<void> CheckUnused(Metadata& metadata, const LayerId& id) {
  // An engine was told where the layer is, and that this does not change.
  SNAP_TRY(const std::vector<uint64_t> snapshots, metadata.SnapshotsOfLayer(id, 1));
  if (!snapshots.empty()) return MakeError(ErrorCode::kBusy, "migrate layer {}: an engine's snapshot uses it", id.digest.Short());
  SNAP_TRY(const std::vector<ImageRecord> images, metadata.Images());
  SNAP_TRY(const std::vector<ContainerRecord> containers, metadata.Containers());
  for (const ImageRecord& image : images) {
    if (std::find(image.layers.begin(), image.layers.end(), id) == image.layers.end()) continue;
    for (const ContainerRecord& container : containers) {
      if (container.image != image.id || !Store::IsRunning(container)) continue;
      return MakeError(ErrorCode::kBusy, "migrate layer {}: running container {} uses it", id.digest.Short(),
                       Quote(container.name));
    }
  }
  return {};
}

}  // namespace

Result<bool> Store::MigrateLayer(const LayerId& id, LayerFormat format) {
  SNAP_TRY(const LayerStage busy, state_->MarkBusy());
  std::optional<LayerPin> pin;  // while it is read nobody removes it
  SNAP_TRY(pin, state_->layers.Pin(id));
  const LayerManifest manifest = pin->manifest;
  if (manifest.format == format) {
    SNAP_TRY(Metadata metadata, state_->Write());
    SNAP_TRY(const std::optional<LayerRecord> row, metadata.Layer(id));
    if (row) SNAP_TRY_VOID(state_->BelieveDirectory(metadata, row->manifest));  // of a migration that was killed
    return false;
  }
  if (format == LayerFormat::kPacked) SNAP_TRY_VOID(state_->backend->CanMountPacked());
  ObjectStage objects(state_->layers.objects(), busy.tree());
  SNAP_TRY(Converted converted, format == LayerFormat::kTree ? ToTree(state_->layers, manifest)
                                                             : ToPacked(state_->layers, manifest, objects));
  {
    SNAP_TRY(Metadata metadata, state_->Write());
    SNAP_TRY_VOID(CheckUnused(metadata, id));
    SNAP_TRY(const std::optional<LayerRecord> known, metadata.Layer(id));
    if (!known) return MakeError(ErrorCode::kNotFound, "migrate layer {}: it was removed", id.digest.Short());
    SNAP_TRY(const std::vector<ObjectId> before, metadata.ObjectsOfLayer(id));
    // References to old and new objects while either may be what is on disk.
    std::set<ObjectId> both(before.begin(), before.end());
    both.insert(converted.objects.begin(), converted.objects.end());
    SNAP_TRY_VOID(objects.Publish(false));
    SNAP_TRY_VOID(metadata.PutLayer({known->manifest, {both.begin(), both.end()}}));
    SNAP_FAULT_POINT("store.migrate.before_replace");
    pin.reset();
    const Result<LayerManifest> stored = state_->layers.Replace(std::move(converted.stage), converted.manifest);
    if (!stored.ok()) {
      // What is on disk decides, whichever it is: an error can come after the exchange.
      (void)state_->BelieveDirectory(metadata, converted.manifest);
      return stored.error();
    }
    SNAP_FAULT_POINT("store.migrate.after_replace");
    SNAP_TRY(const std::vector<ObjectId> unreferenced, metadata.ReplaceLayer({*stored, converted.objects}));
    SNAP_TRY_VOID(state_->layers.DiscardObjects(unreferenced));
    SNAP_TRY(const uint64_t merged, state_->RemoveUnownedMerged(metadata));
    (void)merged;
  }
  state_->EmptyTrash();
  return true;
}

}  // namespace snap
