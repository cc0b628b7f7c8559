#include "snapshotter/database_service.h"

#include <mutex>
#include <shared_mutex>
#include <utility>

#include "fs/base/log.h"
#include "fs/base/sys_file.h"
#include "snapshotter/store_database.h"
#include "snapshotter/store_lock.h"

namespace snap {
namespace {

/// Can be closed while others still have it.
class ClosableDatabase final : public Database {
 public:
  explicit ClosableDatabase(std::unique_ptr<RocksDatabase> db) : db_(std::move(db)) {}

  Result<std::optional<std::string>> Get(std::string_view key) override {
    const std::shared_lock lock(mutex_);
    if (db_ == nullptr) return Closed();
    return db_->Get(key);
  }
  Result<void> Scan(std::string_view prefix, std::string_view from, const Visitor& visit) override {
    const std::shared_ptr<RocksDatabase> db = Share();  // not under the mutex: visitors call back
    if (db == nullptr) return Closed();
    return db->Scan(prefix, from, visit);
  }
  Result<void> Write(const DatabaseChanges& changes, bool sync) override {
    const std::shared_lock lock(mutex_);
    if (db_ == nullptr) return Closed();
    return db_->Write(changes, sync);
  }
  /// Waits for the calls that are in it; a scan keeps it open until its end.
  void Close() {
    const std::unique_lock lock(mutex_);
    db_.reset();
  }

 private:
  static Error Closed() { return Error(ErrorCode::kUnavailable, "use database: the daemon is stopping"); }
  std::shared_ptr<RocksDatabase> Share() {
    const std::shared_lock lock(mutex_);
    return db_;
  }

  std::shared_mutex mutex_;  // guards the pointer
  std::shared_ptr<RocksDatabase> db_;
};

}  // namespace

struct DatabaseService::State {
  UniqueFd root;
  std::chrono::milliseconds stop_patience;
  std::shared_ptr<ClosableDatabase> database;
  std::unique_ptr<ControlServer> control;  // goes before the database
  bool stopped = false;
};

DatabaseService::DatabaseService(std::unique_ptr<State> state) : state_(std::move(state)) {}
DatabaseService::~DatabaseService() { Stop(); }

std::shared_ptr<Database> DatabaseService::database() const { return state_->database; }
const ControlServer& DatabaseService::control() const { return *state_->control; }

Result<std::unique_ptr<DatabaseService>> DatabaseService::Start(FdRef store_root,
                                                                const std::string& root_path,
                                                                Options options) {
  SNAP_TRY(const StoreLock lock,
           StoreLock::Acquire(store_root, StoreLock::Kind::kExclusive, options.on_wait, options.patience));
  auto state = std::make_unique<State>();
  state->stop_patience = options.stop_patience;
  SNAP_TRY_SYS(state->root, sys::Dup(store_root), "serve the store");
  // Before the files are touched: with another daemon they are its own.
  SNAP_TRY_VOID(ControlServer::RefuseSecond(store_root));
  SNAP_TRY(std::unique_ptr<RocksDatabase> files,
           OpenStoreDatabase(store_root, root_path, RocksDatabase::Access::kWrite));
  state->database = std::make_shared<ClosableDatabase>(std::move(files));
  options.control.database = state->database;
  SNAP_TRY(state->control, ControlServer::Start(store_root, std::move(options.control)));
  return std::unique_ptr<DatabaseService>(new DatabaseService(std::move(state)));
}

void DatabaseService::Stop() {
  if (std::exchange(state_->stopped, true)) return;
  const Result<StoreLock> lock =
      StoreLock::Acquire(state_->root, StoreLock::Kind::kExclusive, {}, state_->stop_patience);
  if (!lock.ok()) log::Warning("{}; stopping without waiting for it", lock.error().message());
  state_->control->Stop();
  state_->database->Close();
}

}  // namespace snap
