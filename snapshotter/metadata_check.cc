// What can be derived, derived again and compared with what is there.
#include <algorithm>

#include "fs/base/quote.h"
#include "snapshotter/metadata_state.h"

namespace snap {

Result<std::vector<std::string>> Metadata::CheckReferences(bool repair) {
  const std::lock_guard guard(state_->mutex);
  std::vector<std::string> findings;
  DatabaseChanges batch;
  const auto report = [&](Table table, std::string_view key, std::string finding) {
    findings.push_back(std::move(finding));
    batch.Delete(Key(table, key));
  };
  const auto has = [&](Table table, std::string_view key) -> Result<bool> {
    SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(table, key)));
    return value.has_value();
  };
  std::set<std::string> objects_expected;  // references that layers need: object id, layer id
  std::set<std::string> expected;  // references that images need: layer id, image id
  SNAP_TRY_VOID(
      state_->Scan(Key(Table::kImage), [&](std::string_view key, std::string_view value) -> Result<bool> {
        SNAP_TRY(const Digest digest, codec::DigestFromKey(key, "an image"));
        SNAP_TRY(const ImageRecord image, codec::DecodeImage(ImageId{digest}, value));
        for (const LayerId& layer : image.layers) {
          std::string reference(codec::AsKey(layer.digest));
          reference.append(key);
          expected.insert(std::move(reference));
        }
        return true;
      }));
  SNAP_TRY_VOID(
      state_->Scan(Key(Table::kReference), [&](std::string_view key, std::string_view) -> Result<bool> {
        // The user of a layer is an image, or a snapshot by its number.
        if (key.size() == Digest::kBytes + codec::kNumberKeyBytes) {
          SNAP_TRY(const bool exists, has(Table::kSnapshotNumber, key.substr(Digest::kBytes)));
          if (!exists) report(Table::kReference, key, "a layer is referenced by a snapshot that is not there");
        } else if (expected.erase(std::string(key)) == 0) {
          report(Table::kReference, key, "a layer is referenced by an image that does not use it");
        }
        return true;
      }));
  for (const std::string& missing : expected) {
    findings.emplace_back("an image's reference to a layer is missing");
    batch.Put(Key(Table::kReference, missing), "");
  }
  SNAP_TRY_VOID(
      state_->Scan(Key(Table::kName), [&](std::string_view key, std::string_view value) -> Result<bool> {
        SNAP_TRY(const bool exists, has(Table::kImage, value));
        if (!exists) report(Table::kName, key, "name " + Quote(key) + " belongs to no image");
        return true;
      }));
  SNAP_TRY_VOID(
      state_->Scan(Key(Table::kImageName), [&](std::string_view key, std::string_view) -> Result<bool> {
        const std::string_view name = key.substr(std::min(key.size(), Digest::kBytes));
        SNAP_TRY(const std::optional<std::string> owner, state_->Get(Key(Table::kName, name)));
        if (!owner || *owner != key.substr(0, Digest::kBytes)) {
          report(Table::kImageName, key,
                 "name " + Quote(name) + " is listed for an image that does not have it");
        }
        return true;
      }));
  SNAP_TRY_VOID(
      state_->Scan(Key(Table::kDiffId), [&](std::string_view key, std::string_view) -> Result<bool> {
        SNAP_TRY(const bool exists, has(Table::kLayer, key.substr(std::min(key.size(), Digest::kBytes))));
        if (!exists) report(Table::kDiffId, key, "a DiffId leads to a layer that is not there");
        return true;
      }));
  SNAP_TRY_VOID(state_->Scan(
      Key(Table::kContainerName), [&](std::string_view key, std::string_view value) -> Result<bool> {
        SNAP_TRY(const bool exists, has(Table::kContainer, value));
        if (!exists)
          report(Table::kContainerName, key, "container name " + Quote(key) + " belongs to no container");
        return true;
      }));
  SNAP_TRY_VOID(state_->Scan(Key(Table::kLayerObjects), [&](std::string_view key, std::string_view value) -> Result<bool> {
    SNAP_TRY(const bool exists, has(Table::kLayer, key));
    if (!exists) {
      report(Table::kLayerObjects, key, "objects are listed for a layer that is not there");
      return true;
    }
    SNAP_TRY(const std::vector<ObjectId> objects, codec::DecodeObjects(value));
    for (const ObjectId& object : objects) {
      std::string reference = codec::ObjectKey(object);
      reference.append(key);
      objects_expected.insert(std::move(reference));
    }
    return true;
  }));
  SNAP_TRY_VOID(state_->Scan(Key(Table::kObjectReference), [&](std::string_view key, std::string_view) -> Result<bool> {
    if (objects_expected.erase(std::string(key)) == 0) {
      report(Table::kObjectReference, key, "an object is referenced by a layer that does not hold it");
    }
    return true;
  }));
  for (const std::string& missing : objects_expected) {
    findings.emplace_back("a layer's reference to an object is missing");
    batch.Put(Key(Table::kObjectReference, missing), "");
  }
  if (repair && !findings.empty()) SNAP_TRY_VOID(state_->Write(batch));
  return findings;
}

}  // namespace snap
