// Images and their names; the references that keep layers, and with them objects.
#include <algorithm>

#include "fs/base/quote.h"
#include "snapshotter/metadata_state.h"

namespace snap {

Result<void> Metadata::PutImage(const ImageRecord& image, const std::vector<LayerAddition>& new_layers) {
  const std::lock_guard guard(state_->mutex);
  DatabaseChanges batch;
  const std::string_view id = codec::AsKey(image.id.digest);
  SNAP_TRY(const std::optional<ImageRecord> before, state_->Image(image.id));
  if (before) {
    for (const LayerId& layer : before->layers)
      batch.Delete(Key(Table::kReference, codec::AsKey(layer.digest), id));
    for (const std::string& name : before->names) {
      batch.Delete(Key(Table::kName, name));
      batch.Delete(Key(Table::kImageName, id, name));
    }
  }
  for (const LayerId& layer : image.layers) {
    const auto is_it = [&](const LayerAddition& addition) { return addition.manifest.id == layer; };
    const auto added = std::find_if(new_layers.begin(), new_layers.end(), is_it);
    SNAP_TRY(const std::optional<LayerManifest> known, state_->Layer(layer));
    if (!known && added == new_layers.end()) {
      return MakeError(ErrorCode::kNotFound, "record image {}: layer {} is not in the store",
                       image.id.ToString(), layer.ToString());
    }
    // A row can be older than the directory: a bad layer was replaced, or an unflushed one flushed.
    if (added != new_layers.end()) {
      if (known && added->objects) {
        SNAP_TRY(const std::vector<ObjectId> held, state_->ObjectsOf(layer));
        DeleteLayerRows(batch, *known, held);
      }
      AddLayerRows(batch, *added);
    }
    batch.Put(Key(Table::kReference, codec::AsKey(layer.digest), id), "");
  }
  batch.Put(Key(Table::kImage, id), codec::EncodeImage(image));
  for (const std::string& name : image.names) SNAP_TRY_VOID(state_->TakeName(batch, name, image.id));
  return state_->Write(batch);
}

Result<std::vector<ImageRecord>> Metadata::Images() {
  const std::lock_guard guard(state_->mutex);
  std::vector<ImageRecord> images;
  SNAP_TRY_VOID(
      state_->Scan(Key(Table::kImage), [&](std::string_view key, std::string_view value) -> Result<bool> {
        SNAP_TRY(const Digest digest, codec::DigestFromKey(key, "an image"));
        SNAP_TRY(ImageRecord image, codec::DecodeImage(ImageId{digest}, value));
        SNAP_TRY(image.names, state_->NamesOf(image.id));
        images.push_back(std::move(image));
        return true;
      }));
  return images;
}

Result<std::optional<ImageRecord>> Metadata::ImageById(const ImageId& id) {
  const std::lock_guard guard(state_->mutex);
  return state_->Image(id);
}

Result<std::optional<ImageId>> Metadata::ImageByName(std::string_view name) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kName, name)));
  if (!value) return std::optional<ImageId>();
  SNAP_TRY(const Digest digest, codec::DigestFromKey(*value, "name " + Quote(name)));
  return std::optional(ImageId{digest});
}

Result<void> Metadata::SetName(std::string_view name, const ImageId& id) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<ImageRecord> image, state_->Image(id));
  if (!image) return MakeError(ErrorCode::kNotFound, "name image {}: there is no such image", id.ToString());
  DatabaseChanges batch;
  SNAP_TRY_VOID(state_->TakeName(batch, name, id));
  return state_->Write(batch);
}

Result<void> Metadata::RemoveName(std::string_view name) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kName, name)));
  if (!value) return MakeError(ErrorCode::kNotFound, "remove name {}: there is none", Quote(name));
  DatabaseChanges batch;
  batch.Delete(Key(Table::kName, name));
  batch.Delete(Key(Table::kImageName, *value, name));
  return state_->Write(batch);
}

Result<Metadata::Orphans> Metadata::RemoveImage(const ImageId& id) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<ImageRecord> image, state_->Image(id));
  if (!image)
    return MakeError(ErrorCode::kNotFound, "remove image {}: there is no such image", id.ToString());
  DatabaseChanges batch;
  const std::string_view key = codec::AsKey(id.digest);
  batch.Delete(Key(Table::kImage, key));
  for (const std::string& name : image->names) {
    batch.Delete(Key(Table::kName, name));
    batch.Delete(Key(Table::kImageName, key, name));
  }
  std::set<LayerId> orphans;
  std::set<ObjectId> objects;
  for (const LayerId& layer : std::set<LayerId>(image->layers.begin(), image->layers.end())) {
    batch.Delete(Key(Table::kReference, codec::AsKey(layer.digest), key));
    SNAP_TRY(const uint32_t others, state_->References(layer, id));
    if (others != 0) continue;
    orphans.insert(layer);
    SNAP_TRY(const std::optional<LayerManifest> manifest, state_->Layer(layer));
    if (!manifest) continue;
    SNAP_TRY(const std::vector<ObjectId> held, state_->ObjectsOf(layer));
    DeleteLayerRows(batch, *manifest, held);
    objects.insert(held.begin(), held.end());
  }
  SNAP_TRY(std::vector<ObjectId> unreferenced, state_->OnlyIn(objects, orphans));
  SNAP_TRY_VOID(state_->Write(batch));
  return Orphans{{orphans.begin(), orphans.end()}, std::move(unreferenced)};
}

}  // namespace snap
