#include "snapshotter/store_database.h"

#include <fcntl.h>

#include <chrono>
#include <thread>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "snapshotter/metadata_state.h"

namespace snap {
namespace {

constexpr std::string_view kSchemaVersion = "3";
constexpr std::string_view kSchemaWithoutSnapshots = "2";  // the same without tables U, T, V, X
constexpr const char* kSchemaKey = "S";

/// A missing database may only be made where nothing shows that there was one.
Result<void> RefuseLayersWithoutDatabase(FdRef root) {
  const SysResult<UniqueFd> layers = sys::OpenAt(root, "layers", O_RDONLY | O_DIRECTORY);
  if (!layers.ok()) return {};
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(*layers), "list layers");
  if (entries.empty()) return {};
  return MakeError(ErrorCode::kCorrupt,
                   "open database: it is gone but {} layers are there; run `snap system check --rebuild`",
                   entries.size());
}

/// A daemon that was killed closes its files one after another: that nobody listens on its socket any more
/// does not mean yet that RocksDB's own lock is free.
Result<std::unique_ptr<RocksDatabase>> OpenPatiently(const std::string& root_path,
                                                     RocksDatabase::Access access) {
  constexpr auto kNap = std::chrono::milliseconds(5);
  constexpr int kTries = 400;
  for (int tries = 1;; ++tries) {
    Result<std::unique_ptr<RocksDatabase>> db = RocksDatabase::Open(root_path, access);
    if (db.ok() || db.error().code() != ErrorCode::kBusy || tries == kTries) return db;
    std::this_thread::sleep_for(kNap);
  }
}

}  // namespace

Result<void> CreateStoreDatabase(FdRef root, const std::string& root_path,
                                 const std::vector<LayerAddition>& layers) {
  DatabaseChanges first;
  first.Put(kSchemaKey, kSchemaVersion);
  for (const LayerAddition& layer : layers) AddLayerRows(first, layer);
  return RocksDatabase::Create(root, root_path, first);
}

Result<void> AgreeOnSchema(Database& db, bool upgrade) {
  SNAP_TRY(const std::optional<std::string> schema, db.Get(kSchemaKey));
  if (!schema) {
    return MakeError(ErrorCode::kCorrupt,
                     "open database: it has no schema version; run `snap system check --rebuild`");
  }
  if (*schema == kSchemaVersion) return {};
  if (*schema != kSchemaWithoutSnapshots) {
    return MakeError(ErrorCode::kUnsupported,
                     "open database: schema version {} is not known to this program (it knows {})",
                     Quote(*schema), kSchemaVersion);
  }
  if (!upgrade) return {};
  DatabaseChanges change;
  change.Put(kSchemaKey, kSchemaVersion);
  // Version 3 finds layers by their blobs too.
  const std::string layers = Key(Table::kLayer);
  SNAP_TRY_VOID(db.Scan(layers, {}, [&](std::string_view key, std::string_view value) -> Result<bool> {
    SNAP_TRY(const Digest id, codec::DigestFromKey(key.substr(layers.size()), "a layer"));
    SNAP_TRY(const LayerManifest manifest, codec::DecodeLayer(LayerId{id}, value));
    if (manifest.blob_id)
      change.Put(Key(Table::kBlob, codec::AsKey(manifest.blob_id->digest), codec::AsKey(id)), "");
    return true;
  }));
  return db.Write(change, true);
}

Result<std::unique_ptr<RocksDatabase>> OpenStoreDatabase(FdRef root, const std::string& root_path,
                                                         RocksDatabase::Access access) {
  SNAP_TRY(const bool exists, RocksDatabase::Exists(root));
  const bool write = access == RocksDatabase::Access::kWrite;
  if (!exists) {
    if (!write) return MakeError(ErrorCode::kUnavailable, "open database: it is being replaced");
    SNAP_TRY_VOID(RefuseLayersWithoutDatabase(root));
    SNAP_TRY_VOID(CreateStoreDatabase(root, root_path, {}));
  }
  SNAP_TRY(std::unique_ptr<RocksDatabase> db, OpenPatiently(root_path, access));
  SNAP_TRY_VOID(AgreeOnSchema(*db, write));
  if (write) SNAP_TRY_VOID(db->MergeSmallTables());
  return db;
}

}  // namespace snap
