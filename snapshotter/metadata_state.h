// What the parts of Metadata share. Included by metadata*.cc only.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "snapshotter/database.h"
#include "snapshotter/metadata.h"
#include "snapshotter/metadata_codec.h"
#include "snapshotter/store_lock.h"

namespace snap {

// First byte of each key; docs/metadata-schema.md.
enum class Table : char {
  kImage = 'I',            // id -> record
  kName = 'N',             // name -> image id
  kImageName = 'R',        // image id, name ->
  kLayer = 'L',            // id -> record
  kDiffId = 'D',           // diff id, layer id ->
  kBlob = 'B',             // blob id, layer id ->
  kReference = 'E',        // layer id, image id or snapshot number ->
  kLayerObjects = 'W',     // layer id -> object ids
  kObjectReference = 'Q',  // object id, layer id ->
  kContainer = 'C',        // id -> record
  kContainerName = 'P',    // name -> container id
  kSnapshot = 'T',         // name -> record
  kSnapshotNumber = 'U',   // number -> name
  kSnapshotChild = 'V',    // parent's number, child's number ->
  kSnapshotNext = 'X',     // "next" -> the next number
  kSnapshotTarget = 'Y',   // label's value, NUL, number ->
};

std::string Key(Table table, std::string_view first = {}, std::string_view second = {});
void AddLayerRows(DatabaseChanges& batch, const LayerAddition& layer);
void DeleteLayerRows(DatabaseChanges& batch, const LayerManifest& manifest, const std::vector<ObjectId>& objects);

struct Metadata::State {
  StoreLock lock;
  Access access;
  std::mutex mutex;              // makes read-then-write one step for the threads of this process
  std::shared_ptr<Database> db;  // after the lock, so that it is let go before

  State(StoreLock held, Access wanted, std::shared_ptr<Database> database)
      : lock(std::move(held)), access(wanted), db(std::move(database)) {}

  Result<std::optional<std::string>> Get(std::string_view key) { return db->Get(key); }

  /// Calls `visit(rest of key, value)` for every key with the prefix, in key order, until it returns false.
  template <typename Visit>
  Result<void> Scan(const std::string& prefix, Visit visit) {
    return db->Scan(prefix, {}, [&](std::string_view key, std::string_view value) -> Result<bool> {
      return visit(key.substr(prefix.size()), value);
    });
  }

  Result<void> Write(const DatabaseChanges& batch, bool sync = true) {
    SNAP_CHECK(access == Access::kWrite);
    return db->Write(batch, sync);
  }

  Result<std::vector<std::string>> NamesOf(const ImageId& id) {
    std::vector<std::string> names;
    SNAP_TRY_VOID(Scan(Key(Table::kImageName, codec::AsKey(id.digest)),
                       [&](std::string_view name, std::string_view) -> Result<bool> {
                         names.emplace_back(name);
                         return true;
                       }));
    return names;
  }

  Result<std::optional<ImageRecord>> Image(const ImageId& id) {
    SNAP_TRY(const std::optional<std::string> value, Get(Key(Table::kImage, codec::AsKey(id.digest))));
    if (!value) return std::optional<ImageRecord>();
    SNAP_TRY(ImageRecord image, codec::DecodeImage(id, *value));
    SNAP_TRY(image.names, NamesOf(id));
    return std::optional(std::move(image));
  }

  Result<std::optional<LayerManifest>> Layer(const LayerId& id) {
    SNAP_TRY(const std::optional<std::string> value, Get(Key(Table::kLayer, codec::AsKey(id.digest))));
    if (!value) return std::optional<LayerManifest>();
    SNAP_TRY(LayerManifest manifest, codec::DecodeLayer(id, *value));
    return std::optional(std::move(manifest));
  }

  /// As recorded; empty for a layer without objects.
  Result<std::vector<ObjectId>> ObjectsOf(const LayerId& id) {
    SNAP_TRY(const std::optional<std::string> value, Get(Key(Table::kLayerObjects, codec::AsKey(id.digest))));
    if (!value) return std::vector<ObjectId>();
    return codec::DecodeObjects(*value);
  }

  /// Those of `objects` that no layer but `layers` references.
  Result<std::vector<ObjectId>> OnlyIn(const std::set<ObjectId>& objects, const std::set<LayerId>& layers);

  /// Images and snapshots that use a layer, `except` not counted.
  Result<uint32_t> References(const LayerId& id, const std::optional<ImageId>& except) {
    uint32_t count = 0;
    SNAP_TRY_VOID(Scan(Key(Table::kReference, codec::AsKey(id.digest)),
                       [&](std::string_view user, std::string_view) -> Result<bool> {
                         if (!except || user != codec::AsKey(except->digest)) ++count;
                         return true;
                       }));
    return count;
  }

  Result<void> TakeName(DatabaseChanges& batch, std::string_view name, const ImageId& id) {
    SNAP_TRY(const std::optional<std::string> previous, Get(Key(Table::kName, name)));
    if (previous) batch.Delete(Key(Table::kImageName, *previous, name));
    batch.Put(Key(Table::kName, name), codec::AsKey(id.digest));
    batch.Put(Key(Table::kImageName, codec::AsKey(id.digest), name), "");
    return {};
  }
};

}  // namespace snap
