// RocksDB behind the records. Each public call reads what it needs and writes one WriteBatch; the store's
// lock keeps other processes away meanwhile and the mutex other threads.
#include "snapshotter/metadata.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "snapshotter/metadata_codec.h"
#include "snapshotter/store_lock.h"

namespace snap {
namespace {

constexpr std::string_view kSchemaVersion = "1";
constexpr const char* kSchemaKey = "S";
// First byte of each key; docs/metadata-schema.md.
enum class Table : char {
  kImage = 'I',          // id -> record
  kName = 'N',           // name -> image id
  kImageName = 'R',      // image id, name ->
  kLayer = 'L',          // id -> record
  kDiffId = 'D',         // diff id, layer id ->
  kReference = 'E',      // layer id, image id ->
  kContainer = 'C',      // id -> record
  kContainerName = 'P',  // name -> container id
};

std::string Key(Table table, std::string_view first = {}, std::string_view second = {}) {
  std::string key(1, static_cast<char>(table));
  key.append(first);
  key.append(second);
  return key;
}

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

Error FromStatus(const rocksdb::Status& status, std::string_view what) {
  const std::string text = status.ToString();
  if (status.IsNoSpace()) return MakeError(ErrorCode::kNoSpace, "{}: {}", what, text);
  // A file that the database names and that is not there is as bad as a wrong checksum.
  if (status.IsCorruption() || status.IsPathNotFound() || status.IsNotFound()) {
    return MakeError(ErrorCode::kCorrupt, "{}: {}; run `snap system check --rebuild`", what, text);
  }
  if (status.IsInvalidArgument() || status.IsNotSupported()) {
    return MakeError(ErrorCode::kUnsupported, "{}: {}", what, text);
  }
  return MakeError(ErrorCode::kIo, "{}: {}", what, text);
}

/// RocksDB writes a log file of its own otherwise: one create and hundreds of lines at each open.
class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

rocksdb::Options DatabaseOptions() {
  rocksdb::Options options;
  // Safety. What 7.8 must not be asked for: docs/metadata-schema.md, "RocksDB options".
  options.paranoid_checks = true;
  options.atomic_flush = false;
  options.wal_compression = rocksdb::kNoCompression;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // Opening and closing quickly: everything is small, and each command opens the database once or twice.
  options.info_log = std::make_shared<NoLog>();
  options.keep_log_file_num = 1;
  options.write_buffer_size = size_t{4} << 20U;
  options.arena_block_size = size_t{64} << 10U;
  options.max_open_files = 64;
  options.max_file_opening_threads = 1;
  options.max_background_jobs = 1;
  options.skip_stats_update_on_db_open = true;
  options.skip_checking_sst_file_sizes_on_db_open = true;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.avoid_flush_during_shutdown = true;
  options.compression = rocksdb::kNoCompression;
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

Result<std::unique_ptr<rocksdb::DB>> OpenDatabase(const std::string& path, bool create,
                                                  Metadata::Access access) {
  rocksdb::Options options = DatabaseOptions();
  options.create_if_missing = create;
  options.error_if_exists = create;
  rocksdb::DB* raw = nullptr;
  const rocksdb::Status status = access == Metadata::Access::kRead
                                     ? rocksdb::DB::OpenForReadOnly(options, path, &raw)
                                     : rocksdb::DB::Open(options, path, &raw);
  if (!status.ok()) {
    // "does not exist (create_if_missing is false)" is how a lost CURRENT looks like.
    if (status.IsInvalidArgument()) {
      return MakeError(ErrorCode::kCorrupt, "open database: {}; run `snap system check --rebuild`",
                       status.ToString());
    }
    return FromStatus(status, "open database");
  }
  return std::unique_ptr<rocksdb::DB>(raw);
}

Result<void> WriteBatch(rocksdb::DB& db, rocksdb::WriteBatch& batch, bool sync) {
  SNAP_FAULT_POINT("metadata.before_write");
  rocksdb::WriteOptions options;
  options.sync = sync;
  const rocksdb::Status status = db.Write(options, &batch);
  if (!status.ok()) return FromStatus(status, "write database");
  SNAP_FAULT_POINT("metadata.after_write");
  return {};
}

rocksdb::ReadOptions FastReads() {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  return options;
}

void AddLayerRows(rocksdb::WriteBatch& batch, const LayerManifest& manifest) {
  const std::string_view id = codec::AsKey(manifest.id.digest);
  batch.Put(Key(Table::kLayer, id), codec::EncodeLayer(manifest));
  if (!manifest.settled) batch.Put(Key(Table::kDiffId, codec::AsKey(manifest.diff_id.digest), id), "");
}

void DeleteLayerRows(rocksdb::WriteBatch& batch, const LayerManifest& manifest) {
  const std::string_view id = codec::AsKey(manifest.id.digest);
  batch.Delete(Key(Table::kLayer, id));
  batch.Delete(Key(Table::kDiffId, codec::AsKey(manifest.diff_id.digest), id));
}

constexpr const char* kDatabaseName = "db";
constexpr const char* kNewDatabaseName = "db.new";

/// Makes db.new complete and then gives it its name, so that there is never half a database.
Result<void> CreateDatabase(FdRef root, const std::string& root_path,
                            const std::vector<LayerManifest>& layers) {
  SNAP_TRY_SYS_VOID(sys::RemoveTree(root, kNewDatabaseName), "delete unfinished database");
  SNAP_TRY_SYS_VOID(sys::MkdirAt(root, kNewDatabaseName, 0700), "make database directory");
  {
    SNAP_TRY(const std::unique_ptr<rocksdb::DB> db,
             OpenDatabase(root_path + "/" + kNewDatabaseName, true, Metadata::Access::kWrite));
    rocksdb::WriteBatch batch;
    batch.Put(kSchemaKey, rocksdb::Slice(kSchemaVersion.data(), kSchemaVersion.size()));
    for (const LayerManifest& layer : layers) AddLayerRows(batch, layer);
    SNAP_TRY_VOID(WriteBatch(*db, batch, true));
  }
  SNAP_FAULT_POINT("metadata.create.before_rename");
  SNAP_TRY_SYS_VOID(sys::RenameAt(root, kNewDatabaseName, root, kDatabaseName, RENAME_NOREPLACE),
                    "name the database");
  SNAP_TRY_SYS_VOID(sys::Fsync(root), "flush the store's directory");
  return {};
}

Result<bool> DatabaseExists(FdRef root) {
  const SysResult<struct stat> found = sys::StatAt(root, kDatabaseName);
  if (!found.ok() && !(found.error() == ENOENT)) return Error(found.error(), "look for the database");
  return found.ok();
}

}  // namespace

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

Metadata::Metadata(std::unique_ptr<State> state) : state_(std::move(state)) {}
Metadata::Metadata(Metadata&&) noexcept = default;
Metadata& Metadata::operator=(Metadata&&) noexcept = default;
Metadata::~Metadata() = default;

Result<Metadata> Metadata::Open(FdRef store_root, const std::string& root_path, const OnWait& on_wait,
                                Access access) {
  // Only a writer may create the database.
  SNAP_TRY(const bool existed, DatabaseExists(store_root));
  if (!existed) access = Access::kWrite;
  SNAP_TRY(StoreLock lock,
           StoreLock::Acquire(
               store_root, access == Access::kRead ? StoreLock::Kind::kShared : StoreLock::Kind::kExclusive,
               on_wait));
  SNAP_TRY(const bool exists, DatabaseExists(store_root));
  if (!exists) {
    if (access == Access::kRead)
      return MakeError(ErrorCode::kUnavailable, "open database: it is being replaced");
    const SysResult<UniqueFd> layers = sys::OpenAt(store_root, "layers", O_RDONLY | O_DIRECTORY);
    if (layers.ok()) {
      SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(*layers), "list layers");
      if (!entries.empty()) {
        return MakeError(
            ErrorCode::kCorrupt,
            "open database: it is gone but {} layers are there; run `snap system check --rebuild`",
            entries.size());
      }
    }
    SNAP_TRY_VOID(CreateDatabase(store_root, root_path, {}));
  }

  auto state = std::make_unique<State>(std::move(lock), access);
  SNAP_TRY(state->db, OpenDatabase(root_path + "/" + kDatabaseName, false, access));
  SNAP_TRY(const std::optional<std::string> schema, state->Get(kSchemaKey));
  if (!schema) {
    return MakeError(ErrorCode::kCorrupt,
                     "open database: it has no schema version; run `snap system check --rebuild`");
  }
  if (*schema != kSchemaVersion) {
    return MakeError(ErrorCode::kUnsupported,
                     "open database: schema version {} is not known to this program (it knows {})",
                     Quote(*schema), kSchemaVersion);
  }
  if (access == Access::kWrite) {
    // Each opening turns the log into a small table file, and processes end before the background would merge
    // them.
    constexpr int kMaxSmallTables = 8;
    uint64_t tables = 0;
    std::string text;
    if (state->db->GetProperty("rocksdb.num-files-at-level0", &text))
      tables = std::strtoull(text.c_str(), nullptr, 10);
    if (tables >= kMaxSmallTables) {
      const rocksdb::Status status =
          state->db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr);
      if (!status.ok()) return FromStatus(status, "compact database");
    }
  }
  return Metadata(std::move(state));
}

Result<void> Metadata::Rebuild(FdRef store_root, const std::string& root_path, const OnWait& on_wait,
                               const std::vector<LayerManifest>& layers) {
  SNAP_TRY(const StoreLock lock, StoreLock::Acquire(store_root, StoreLock::Kind::kExclusive, on_wait));
  SNAP_TRY(const bool exists, DatabaseExists(store_root));
  if (exists) {
    const std::string trashed = "trash/" + sys::RandomHex128();
    SNAP_TRY_SYS_VOID(sys::RenameAt(store_root, kDatabaseName, store_root, trashed.c_str(), RENAME_NOREPLACE),
                      "discard the old database");
  }
  return CreateDatabase(store_root, root_path, layers);
}

// --- images

Result<void> Metadata::PutImage(const ImageRecord& image, const std::vector<LayerManifest>& new_layers) {
  const std::lock_guard guard(state_->mutex);
  rocksdb::WriteBatch batch;
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
    const auto is_it = [&](const LayerManifest& manifest) { return manifest.id == layer; };
    const auto added = std::find_if(new_layers.begin(), new_layers.end(), is_it);
    SNAP_TRY(const std::optional<LayerManifest> known, state_->Layer(layer));
    if (!known && added == new_layers.end()) {
      return MakeError(ErrorCode::kNotFound, "record image {}: layer {} is not in the store",
                       image.id.ToString(), layer.ToString());
    }
    // A row can be older than the directory: a bad layer was replaced, or an unflushed one flushed.
    if (added != new_layers.end()) AddLayerRows(batch, *added);
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
  rocksdb::WriteBatch batch;
  SNAP_TRY_VOID(state_->TakeName(batch, name, id));
  return state_->Write(batch);
}

Result<void> Metadata::RemoveName(std::string_view name) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kName, name)));
  if (!value) return MakeError(ErrorCode::kNotFound, "remove name {}: there is none", Quote(name));
  rocksdb::WriteBatch batch;
  batch.Delete(Key(Table::kName, name));
  batch.Delete(Key(Table::kImageName, *value, name));
  return state_->Write(batch);
}

Result<std::vector<LayerId>> Metadata::RemoveImage(const ImageId& id) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<ImageRecord> image, state_->Image(id));
  if (!image)
    return MakeError(ErrorCode::kNotFound, "remove image {}: there is no such image", id.ToString());
  rocksdb::WriteBatch batch;
  const std::string_view key = codec::AsKey(id.digest);
  batch.Delete(Key(Table::kImage, key));
  for (const std::string& name : image->names) {
    batch.Delete(Key(Table::kName, name));
    batch.Delete(Key(Table::kImageName, key, name));
  }
  std::vector<LayerId> orphans;
  for (const LayerId& layer : std::set<LayerId>(image->layers.begin(), image->layers.end())) {
    batch.Delete(Key(Table::kReference, codec::AsKey(layer.digest), key));
    SNAP_TRY(const uint32_t others, state_->References(layer, id));
    if (others != 0) continue;
    orphans.push_back(layer);
    SNAP_TRY(const std::optional<LayerManifest> manifest, state_->Layer(layer));
    if (manifest) DeleteLayerRows(batch, *manifest);
  }
  SNAP_TRY_VOID(state_->Write(batch));
  return orphans;
}

// --- layers

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

Result<void> Metadata::PutLayer(const LayerManifest& manifest) {
  const std::lock_guard guard(state_->mutex);
  rocksdb::WriteBatch batch;
  SNAP_TRY(const std::optional<LayerManifest> before, state_->Layer(manifest.id));
  if (before) DeleteLayerRows(batch, *before);
  AddLayerRows(batch, manifest);
  return state_->Write(batch);
}

Result<void> Metadata::RemoveLayer(const LayerId& id) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const uint32_t references, state_->References(id, std::nullopt));
  if (references != 0) {
    return MakeError(ErrorCode::kBusy, "remove layer {}: {} images use it", id.ToString(), references);
  }
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kLayer, codec::AsKey(id.digest))));
  if (!value) return {};
  rocksdb::WriteBatch batch;
  const Result<LayerManifest> manifest = codec::DecodeLayer(id, *value);
  if (manifest.ok()) DeleteLayerRows(batch, *manifest);
  batch.Delete(Key(Table::kLayer, codec::AsKey(id.digest)));
  return state_->Write(batch);
}

Result<std::vector<std::string>> Metadata::CheckReferences(bool repair) {
  const std::lock_guard guard(state_->mutex);
  std::vector<std::string> findings;
  rocksdb::WriteBatch batch;
  const auto report = [&](Table table, std::string_view key, std::string finding) {
    findings.push_back(std::move(finding));
    batch.Delete(Key(table, key));
  };
  const auto has = [&](Table table, std::string_view key) -> Result<bool> {
    SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(table, key)));
    return value.has_value();
  };
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
        if (expected.erase(std::string(key)) == 0)
          report(Table::kReference, key, "a layer is referenced by an image that does not use it");
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
  if (repair && !findings.empty()) SNAP_TRY_VOID(state_->Write(batch));
  return findings;
}

// --- containers

Result<void> Metadata::PutContainer(const ContainerRecord& container) {
  const std::lock_guard guard(state_->mutex);
  rocksdb::WriteBatch batch;
  SNAP_TRY(const std::optional<std::string> before, state_->Get(Key(Table::kContainer, container.id)));
  if (before) {
    SNAP_TRY(const ContainerRecord old, codec::DecodeContainer(container.id, *before));
    if (old.name != container.name) batch.Delete(Key(Table::kContainerName, old.name));
  }
  SNAP_TRY(const std::optional<std::string> owner, state_->Get(Key(Table::kContainerName, container.name)));
  if (owner && *owner != container.id) {
    return MakeError(ErrorCode::kExists, "name container {}: container {} has that name",
                     Quote(container.name), owner->substr(0, 12));
  }
  batch.Put(Key(Table::kContainer, container.id), codec::EncodeContainer(container));
  batch.Put(Key(Table::kContainerName, container.name), container.id);
  return state_->Write(batch, !container.remove_at_exit);
}

Result<std::vector<ContainerRecord>> Metadata::Containers() {
  const std::lock_guard guard(state_->mutex);
  std::vector<ContainerRecord> containers;
  SNAP_TRY_VOID(
      state_->Scan(Key(Table::kContainer), [&](std::string_view key, std::string_view value) -> Result<bool> {
        SNAP_TRY(ContainerRecord container, codec::DecodeContainer(key, value));
        containers.push_back(std::move(container));
        return true;
      }));
  return containers;
}

Result<std::optional<ContainerRecord>> Metadata::Container(std::string_view id) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kContainer, id)));
  if (!value) return std::optional<ContainerRecord>();
  SNAP_TRY(ContainerRecord container, codec::DecodeContainer(id, *value));
  return std::optional(std::move(container));
}

Result<std::optional<ContainerRecord>> Metadata::ContainerByName(std::string_view name) {
  std::optional<std::string> id;
  {
    const std::lock_guard guard(state_->mutex);
    SNAP_TRY(id, state_->Get(Key(Table::kContainerName, name)));
  }
  if (!id) return std::optional<ContainerRecord>();
  return Container(*id);
}

Result<void> Metadata::RemoveContainer(std::string_view id) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kContainer, id)));
  if (!value) return {};
  rocksdb::WriteBatch batch;
  batch.Delete(Key(Table::kContainer, id));
  SNAP_TRY(const ContainerRecord container, codec::DecodeContainer(id, *value));
  batch.Delete(Key(Table::kContainerName, container.name));
  return state_->Write(batch, !container.remove_at_exit);
}

}  // namespace snap
