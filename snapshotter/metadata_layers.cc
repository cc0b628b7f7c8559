// Layers, and which objects they hold. References are edges, so that nothing can drift.
#include <algorithm>

#include "fs/base/quote.h"
#include "snapshotter/metadata_state.h"

namespace snap {

void AddLayerRows(DatabaseChanges& batch, const LayerAddition& layer) {
  const std::string_view id = codec::AsKey(layer.manifest.id.digest);
  batch.Put(Key(Table::kLayer, id), codec::EncodeLayer(layer.manifest));
  if (!layer.manifest.settled) batch.Put(Key(Table::kDiffId, codec::AsKey(layer.manifest.diff_id.digest), id), "");
  if (layer.manifest.blob_id) batch.Put(Key(Table::kBlob, codec::AsKey(layer.manifest.blob_id->digest), id), "");
  if (!layer.objects || layer.objects->empty()) return;
  batch.Put(Key(Table::kLayerObjects, id), codec::EncodeObjects(*layer.objects));
  for (const ObjectId& object : *layer.objects) batch.Put(Key(Table::kObjectReference, codec::ObjectKey(object), id), "");
}

void DeleteLayerRows(DatabaseChanges& batch, const LayerManifest& manifest, const std::vector<ObjectId>& objects) {
  const std::string_view id = codec::AsKey(manifest.id.digest);
  batch.Delete(Key(Table::kLayer, id));
  batch.Delete(Key(Table::kDiffId, codec::AsKey(manifest.diff_id.digest), id));
  if (manifest.blob_id) batch.Delete(Key(Table::kBlob, codec::AsKey(manifest.blob_id->digest), id));
  if (objects.empty()) return;
  batch.Delete(Key(Table::kLayerObjects, id));
  for (const ObjectId& object : objects) batch.Delete(Key(Table::kObjectReference, codec::ObjectKey(object), id));
}

Result<std::vector<ObjectId>> Metadata::State::OnlyIn(const std::set<ObjectId>& objects, const std::set<LayerId>& layers) {
  std::vector<ObjectId> only;
  for (const ObjectId& object : objects) {
    bool elsewhere = false;
    SNAP_TRY_VOID(Scan(Key(Table::kObjectReference, codec::ObjectKey(object)),
                       [&](std::string_view key, std::string_view) -> Result<bool> {
                         SNAP_TRY(const Digest digest, codec::DigestFromKey(key, "an object's layer"));
                         elsewhere = !layers.contains(LayerId{digest});
                         return !elsewhere;
                       }));
    if (!elsewhere) only.push_back(object);
  }
  return only;
}

Result<std::optional<LayerRecord>> Metadata::Layer(const LayerId& id) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(std::optional<LayerManifest> manifest, state_->Layer(id));
  if (!manifest) return std::optional<LayerRecord>();
  SNAP_TRY(const uint32_t references, state_->References(id, std::nullopt));
  return std::optional(LayerRecord{std::move(*manifest), references});
}

Result<std::vector<LayerRecord>> Metadata::Layers() {
  const std::lock_guard guard(state_->mutex);
  std::vector<LayerRecord> layers;
  SNAP_TRY_VOID(
      state_->Scan(Key(Table::kLayer), [&](std::string_view key, std::string_view value) -> Result<bool> {
        SNAP_TRY(const Digest digest, codec::DigestFromKey(key, "a layer"));
        SNAP_TRY(LayerManifest manifest, codec::DecodeLayer(LayerId{digest}, value));
        layers.push_back({std::move(manifest), 0});
        return true;
      }));
  // Both scans run in key order: one walk beside the other.
  auto layer = layers.begin();
  SNAP_TRY_VOID(
      state_->Scan(Key(Table::kReference), [&](std::string_view key, std::string_view) -> Result<bool> {
        const std::string_view id = key.substr(0, Digest::kBytes);
        while (layer != layers.end() && codec::AsKey(layer->manifest.id.digest) < id) ++layer;
        if (layer != layers.end() && codec::AsKey(layer->manifest.id.digest) == id) ++layer->references;
        return true;
      }));
  return layers;
}

Result<std::optional<LayerId>> Metadata::LayerByDiffId(const DiffId& diff_id) {
  const std::lock_guard guard(state_->mutex);
  std::optional<LayerId> found;
  SNAP_TRY_VOID(state_->Scan(Key(Table::kDiffId, codec::AsKey(diff_id.digest)),
                             [&](std::string_view key, std::string_view) -> Result<bool> {
                               SNAP_TRY(const Digest digest, codec::DigestFromKey(key, "a DiffId"));
                               found = LayerId{digest};
                               return false;
                             }));
  return found;
}

Result<std::vector<LayerId>> Metadata::LayersByBlob(const BlobId& blob_id) {
  const std::lock_guard guard(state_->mutex);
  std::vector<LayerId> found;
  SNAP_TRY_VOID(state_->Scan(Key(Table::kBlob, codec::AsKey(blob_id.digest)),
                             [&](std::string_view key, std::string_view) -> Result<bool> {
                               SNAP_TRY(const Digest digest, codec::DigestFromKey(key, "a blob"));
                               found.push_back(LayerId{digest});
                               return true;
                             }));
  return found;
}

Result<std::vector<DiffId>> Metadata::DiffIds() {
  const std::lock_guard guard(state_->mutex);
  std::vector<DiffId> found;
  SNAP_TRY_VOID(state_->Scan(Key(Table::kDiffId), [&](std::string_view key, std::string_view) -> Result<bool> {
    SNAP_TRY(const Digest digest, codec::DigestFromKey(key.substr(0, Digest::kBytes), "a DiffId"));
    if (found.empty() || found.back().digest != digest) found.push_back(DiffId{digest});
    return true;
  }));
  return found;
}

Result<void> Metadata::PutLayer(const LayerAddition& layer) {
  const std::lock_guard guard(state_->mutex);
  DatabaseChanges batch;
  SNAP_TRY(const std::optional<LayerManifest> before, state_->Layer(layer.manifest.id));
  SNAP_TRY(const std::vector<ObjectId> held, state_->ObjectsOf(layer.manifest.id));
  if (before) DeleteLayerRows(batch, *before, layer.objects ? held : std::vector<ObjectId>());
  AddLayerRows(batch, layer);
  return state_->Write(batch);
}

Result<std::vector<ObjectId>> Metadata::ReplaceLayer(const LayerAddition& layer) {
  std::set<ObjectId> dropped;
  {
    const std::lock_guard guard(state_->mutex);
    SNAP_TRY(const std::vector<ObjectId> held, state_->ObjectsOf(layer.manifest.id));
    dropped.insert(held.begin(), held.end());
  }
  SNAP_CHECK(layer.objects.has_value());
  for (const ObjectId& object : *layer.objects) dropped.erase(object);
  SNAP_TRY_VOID(PutLayer(layer));
  const std::lock_guard guard(state_->mutex);
  return state_->OnlyIn(dropped, {});
}

Result<std::vector<ObjectId>> Metadata::RemoveLayer(const LayerId& id) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const uint32_t references, state_->References(id, std::nullopt));
  if (references != 0) {
    return MakeError(ErrorCode::kBusy, "remove layer {}: {} images or snapshots use it", id.ToString(), references);
  }
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kLayer, codec::AsKey(id.digest))));
  if (!value) return std::vector<ObjectId>();
  SNAP_TRY(const std::vector<ObjectId> held, state_->ObjectsOf(id));
  SNAP_TRY(std::vector<ObjectId> unreferenced, state_->OnlyIn({held.begin(), held.end()}, {id}));
  DatabaseChanges batch;
  const Result<LayerManifest> manifest = codec::DecodeLayer(id, *value);
  if (manifest.ok()) DeleteLayerRows(batch, *manifest, held);
  batch.Delete(Key(Table::kLayer, codec::AsKey(id.digest)));
  SNAP_TRY_VOID(state_->Write(batch));
  return unreferenced;
}

Result<std::vector<ObjectId>> Metadata::ObjectsOfLayer(const LayerId& id) {
  const std::lock_guard guard(state_->mutex);
  return state_->ObjectsOf(id);
}

Result<std::set<ObjectId>> Metadata::ReferencedObjects() {
  const std::lock_guard guard(state_->mutex);
  std::set<ObjectId> objects;
  SNAP_TRY_VOID(state_->Scan(Key(Table::kObjectReference), [&](std::string_view key, std::string_view) -> Result<bool> {
    SNAP_TRY(const ObjectId object, codec::ObjectFromKey(key));
    objects.insert(objects.end(), object);
    return true;
  }));
  return objects;
}

}  // namespace snap
