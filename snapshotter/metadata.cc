// The records over a Database. Each public call reads what it needs and writes one batch; the store's lock keeps other
// processes away meanwhile and the mutex other threads.
#include "snapshotter/metadata.h"

#include "snapshotter/database_rocksdb.h"
#include "snapshotter/metadata_state.h"
#include "snapshotter/remote_database.h"
#include "snapshotter/store_database.h"

namespace snap {

std::string Key(Table table, std::string_view first, std::string_view second) {
  std::string key(1, static_cast<char>(table));
  key.append(first);
  key.append(second);
  return key;
}

Metadata::Metadata(std::unique_ptr<State> state) : state_(std::move(state)) {}
Metadata::Metadata(Metadata&&) noexcept = default;
Metadata& Metadata::operator=(Metadata&&) noexcept = default;
Metadata::~Metadata() = default;

Result<Metadata> Metadata::Open(FdRef store_root, const std::string& root_path, const OpenOptions& options) {
  // Only a writer may create the database.
  SNAP_TRY(const bool existed, RocksDatabase::Exists(store_root));
  const Access access = existed ? options.access : Access::kWrite;
  const bool write = access == Access::kWrite;
  SNAP_TRY(StoreLock lock, StoreLock::Acquire(store_root, write ? StoreLock::Kind::kExclusive : StoreLock::Kind::kShared,
                                              options.on_wait, options.patience));
  std::shared_ptr<Database> db = options.database;
  if (db == nullptr) {
    SNAP_TRY(db, RemoteDatabase::Connect(store_root, lock.file()));
    // A daemon of a later release may have made it current.
    if (db != nullptr) SNAP_TRY_VOID(AgreeOnSchema(*db, false));
  }
  if (db == nullptr) {
    SNAP_TRY(db, OpenStoreDatabase(store_root, root_path,
                                   write ? RocksDatabase::Access::kWrite : RocksDatabase::Access::kRead));
  }
  return Metadata(std::make_unique<State>(std::move(lock), access, std::move(db)));
}

Result<void> Metadata::Rebuild(FdRef store_root, const std::string& root_path, const OpenOptions& options,
                               const std::vector<LayerAddition>& layers) {
  SNAP_TRY(const StoreLock lock,
           StoreLock::Acquire(store_root, StoreLock::Kind::kExclusive, options.on_wait, options.patience));
  SNAP_TRY(const std::unique_ptr<ControlClient> daemon, ControlClient::Connect(store_root));
  if (daemon != nullptr || options.database != nullptr) {
    return MakeError(ErrorCode::kBusy, "rebuild database: the daemon has it open; stop snapshotterd first");
  }
  SNAP_TRY_VOID(RocksDatabase::Discard(store_root));
  return CreateStoreDatabase(store_root, root_path, layers);
}

}  // namespace snap
