// All that knows RocksDB. Invariant: a status becomes an Error here and nowhere else; what cannot be believed
// any more is kCorrupt and names the way out.
#include "snapshotter/database_rocksdb.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <cstdlib>

#include "fs/base/fault.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"

namespace snap {
namespace {

constexpr const char* kName = "db";
constexpr const char* kNewName = "db.new";

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

rocksdb::ReadOptions FastReads() {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  return options;
}

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }
rocksdb::Slice AsSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

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

Result<std::unique_ptr<rocksdb::DB>> OpenFiles(const std::string& path, bool create,
                                               RocksDatabase::Access access) {
  rocksdb::Options options = DatabaseOptions();
  options.create_if_missing = create;
  options.error_if_exists = create;
  rocksdb::DB* raw = nullptr;
  const rocksdb::Status status = access == RocksDatabase::Access::kRead
                                     ? rocksdb::DB::OpenForReadOnly(options, path, &raw)
                                     : rocksdb::DB::Open(options, path, &raw);
  if (!status.ok()) {
    // "does not exist (create_if_missing is false)" is how a lost CURRENT looks like.
    if (status.IsInvalidArgument()) {
      return MakeError(ErrorCode::kCorrupt, "open database: {}; run `snap system check --rebuild`",
                       status.ToString());
    }
    // RocksDB's own LOCK has no status of its own.
    if (status.IsIOError() && status.ToString().find("lock file") != std::string::npos) {
      return MakeError(ErrorCode::kBusy, "open database: {}", status.ToString());
    }
    return FromStatus(status, "open database");
  }
  return std::unique_ptr<rocksdb::DB>(raw);
}

Result<void> WriteBatch(rocksdb::DB& db, const DatabaseChanges& changes, bool sync) {
  rocksdb::WriteBatch batch;
  for (const DatabaseChanges::Change& change : changes.changes) {
    const rocksdb::Status added =
        change.value ? batch.Put(change.key, *change.value) : batch.Delete(change.key);
    if (!added.ok()) return FromStatus(added, "write database");
  }
  SNAP_FAULT_POINT("metadata.before_write");
  rocksdb::WriteOptions options;
  options.sync = sync;
  const rocksdb::Status status = db.Write(options, &batch);
  if (!status.ok()) return FromStatus(status, "write database");
  SNAP_FAULT_POINT("metadata.after_write");
  return {};
}

}  // namespace

struct RocksDatabase::State {
  std::unique_ptr<rocksdb::DB> db;  // own synchronisation
};

RocksDatabase::RocksDatabase(std::unique_ptr<State> state) : state_(std::move(state)) {}
RocksDatabase::~RocksDatabase() = default;

Result<std::unique_ptr<RocksDatabase>> RocksDatabase::Open(const std::string& root_path, Access access) {
  auto state = std::make_unique<State>();
  SNAP_TRY(state->db, OpenFiles(root_path + "/" + kName, false, access));
  return std::unique_ptr<RocksDatabase>(new RocksDatabase(std::move(state)));
}

Result<void> RocksDatabase::Create(FdRef root, const std::string& root_path, const DatabaseChanges& first) {
  SNAP_TRY_SYS_VOID(sys::RemoveTree(root, kNewName), "delete unfinished database");
  SNAP_TRY_SYS_VOID(sys::MkdirAt(root, kNewName, 0700), "make database directory");
  {
    SNAP_TRY(const std::unique_ptr<rocksdb::DB> db,
             OpenFiles(root_path + "/" + kNewName, true, Access::kWrite));
    SNAP_TRY_VOID(WriteBatch(*db, first, true));
  }
  SNAP_FAULT_POINT("metadata.create.before_rename");
  SNAP_TRY_SYS_VOID(sys::RenameAt(root, kNewName, root, kName, RENAME_NOREPLACE), "name the database");
  SNAP_TRY_SYS_VOID(sys::Fsync(root), "flush the store's directory");
  return {};
}

Result<bool> RocksDatabase::Exists(FdRef root) {
  const SysResult<struct stat> found = sys::StatAt(root, kName);
  if (!found.ok() && !(found.error() == ENOENT)) return Error(found.error(), "look for the database");
  return found.ok();
}

Result<void> RocksDatabase::Discard(FdRef root) {
  SNAP_TRY(const bool exists, Exists(root));
  if (!exists) return {};
  const std::string trashed = "trash/" + sys::RandomHex128();
  SNAP_TRY_SYS_VOID(sys::RenameAt(root, kName, root, trashed.c_str(), RENAME_NOREPLACE),
                    "discard the old database");
  return {};
}

Result<std::optional<std::string>> RocksDatabase::Get(std::string_view key) {
  std::string value;
  const rocksdb::Status status = state_->db->Get(FastReads(), AsSlice(key), &value);
  if (status.ok()) return std::optional(std::move(value));
  // A lost file is a path that is not found; a plain "not found" is the answer no.
  if (status.IsNotFound() && !status.IsPathNotFound()) return std::optional<std::string>();
  return FromStatus(status, "read database");
}

Result<void> RocksDatabase::Scan(std::string_view prefix, std::string_view from, const Visitor& visit) {
  const std::unique_ptr<rocksdb::Iterator> it(state_->db->NewIterator(FastReads()));
  for (it->Seek(AsSlice(std::max(prefix, from))); it->Valid() && it->key().starts_with(AsSlice(prefix));
       it->Next()) {
    SNAP_TRY(const bool more, visit(View(it->key()), View(it->value())));
    if (!more) break;
  }
  if (!it->status().ok()) return FromStatus(it->status(), "read database");
  return {};
}

Result<void> RocksDatabase::Write(const DatabaseChanges& changes, bool sync) {
  return WriteBatch(*state_->db, changes, sync);
}

Result<void> RocksDatabase::MergeSmallTables() {
  constexpr uint64_t kMaxSmallTables = 8;
  uint64_t tables = 0;
  std::string text;
  if (state_->db->GetProperty("rocksdb.num-files-at-level0", &text))
    tables = std::strtoull(text.c_str(), nullptr, 10);
  if (tables < kMaxSmallTables) return {};
  const rocksdb::Status status = state_->db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr);
  if (!status.ok()) return FromStatus(status, "compact database");
  return {};
}

}  // namespace snap
