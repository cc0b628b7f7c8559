// RocksDB behind the records. Each public call reads what it needs and writes one WriteBatch; the store's
// lock keeps other processes away meanwhile and the mutex other threads.
#include "snapshotter/metadata.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <rocksdb/table.h>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "snapshotter/metadata_state.h"

namespace snap {
namespace {

constexpr std::string_view kSchemaVersion = "2";
constexpr const char* kSchemaKey = "S";

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

constexpr const char* kDatabaseName = "db";
constexpr const char* kNewDatabaseName = "db.new";

/// Makes db.new complete and then gives it its name, so that there is never half a database.
Result<void> CreateDatabase(FdRef root, const std::string& root_path,
                            const std::vector<LayerAddition>& layers) {
  SNAP_TRY_SYS_VOID(sys::RemoveTree(root, kNewDatabaseName), "delete unfinished database");
  SNAP_TRY_SYS_VOID(sys::MkdirAt(root, kNewDatabaseName, 0700), "make database directory");
  {
    SNAP_TRY(const std::unique_ptr<rocksdb::DB> db,
             OpenDatabase(root_path + "/" + kNewDatabaseName, true, Metadata::Access::kWrite));
    rocksdb::WriteBatch batch;
    batch.Put(kSchemaKey, rocksdb::Slice(kSchemaVersion.data(), kSchemaVersion.size()));
    for (const LayerAddition& layer : layers) AddLayerRows(batch, layer);
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

std::string Key(Table table, std::string_view first, std::string_view second) {
  std::string key(1, static_cast<char>(table));
  key.append(first);
  key.append(second);
  return key;
}

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
                               const std::vector<LayerAddition>& layers) {
  SNAP_TRY(const StoreLock lock, StoreLock::Acquire(store_root, StoreLock::Kind::kExclusive, on_wait));
  SNAP_TRY(const bool exists, DatabaseExists(store_root));
  if (exists) {
    const std::string trashed = "trash/" + sys::RandomHex128();
    SNAP_TRY_SYS_VOID(sys::RenameAt(store_root, kDatabaseName, store_root, trashed.c_str(), RENAME_NOREPLACE),
                      "discard the old database");
  }
  return CreateDatabase(store_root, root_path, layers);
}

}  // namespace snap
