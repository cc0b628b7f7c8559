// What the parts of Metadata share. Included by metadata*.cc only.
#pragma once

#include <rocksdb/db.h>

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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
  kReference = 'E',        // layer id, image id ->
  kLayerObjects = 'W',     // layer id -> object ids
  kObjectReference = 'Q',  // object id, layer id ->
  kContainer = 'C',        // id -> record
  kContainerName = 'P',    // name -> container id
};

std::string Key(Table table, std::string_view first = {}, std::string_view second = {});
inline std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }
Error FromStatus(const rocksdb::Status& status, std::string_view what);
Result<void> WriteBatch(rocksdb::DB& db, rocksdb::WriteBatch& batch, bool sync);
rocksdb::ReadOptions FastReads();
void AddLayerRows(rocksdb::WriteBatch& batch, const LayerAddition& layer);
void DeleteLayerRows(rocksdb::WriteBatch& batch, const LayerManifest& manifest, const std::vector<ObjectId>& objects);

struct Metadata::State {
  StoreLock lock;
  Access access;
  std::mutex mutex;                 // makes read-then-write one step for the threads of this process
  std::unique_ptr<rocksdb::DB> db;  // closed before the lock goes

  State(StoreLock held, Access wanted) : lock(std::move(held)), access(wanted) {}
  ~State() { db.reset(); }

  Result<std::optional<std::string>> Get(const std::string& key) {
    std::string value;
    const rocksdb::Status status = db->Get(FastReads(), key, &value);
    if (status.ok()) return std::optional(std::move(value));
    // A lost file is a path that is not found; a plain "not found" is the answer no.
    if (status.IsNotFound() && !status.IsPathNotFound()) return std::optional<std::string>();
    return FromStatus(status, "read database");
  }

  /// Calls `visit(rest of key, value)` for every key with the prefix, in key order, until it returns false.
  template <typename Visit>
  Result<void> Scan(const std::string& prefix, Visit visit) {
    const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator(FastReads()));
    for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next()) {
      std::string_view key = View(it->key());
      key.remove_prefix(prefix.size());
      SNAP_TRY(const bool more, visit(key, View(it->value())));
      if (!more) break;
    }
    if (!it->status().ok()) return FromStatus(it->status(), "read database");
    return {};
  }

  Result<void> Write(rocksdb::WriteBatch& batch, bool sync = true) {
    SNAP_CHECK(access == Access::kWrite);
    return WriteBatch(*db, batch, sync);
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

  /// Images that use a layer, `except` not counted.
  Result<uint32_t> References(const LayerId& id, const std::optional<ImageId>& except) {
    uint32_t count = 0;
    SNAP_TRY_VOID(Scan(Key(Table::kReference, codec::AsKey(id.digest)),
                       [&](std::string_view image, std::string_view) -> Result<bool> {
                         if (!except || image != codec::AsKey(except->digest)) ++count;
                         return true;
                       }));
    return count;
  }

  Result<void> TakeName(rocksdb::WriteBatch& batch, std::string_view name, const ImageId& id) {
    SNAP_TRY(const std::optional<std::string> previous, Get(Key(Table::kName, name)));
    if (previous) batch.Delete(Key(Table::kImageName, *previous, name));
    batch.Put(Key(Table::kName, name), rocksdb::Slice(codec::AsKey(id.digest).data(), Digest::kBytes));
    batch.Put(Key(Table::kImageName, codec::AsKey(id.digest), name), "");
    return {};
  }
};

}  // namespace snap
