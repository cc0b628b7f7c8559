// DatabaseService: a store's database held open by this process, for itself and, through the control socket,
// for all others. Invariant: who holds the store's lock sees the database served or the files closed, never
// something between, unless this process was killed; then nobody listens on the socket, and the files are
// theirs again.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "snapshotter/control_server.h"
#include "snapshotter/database.h"

namespace snap {

/// Threads: safe, except Stop, which is called once.
class DatabaseService {
 public:
  struct Options {
    ControlServer::Options control;  ///< its database is filled in
    std::function<void(std::optional<int64_t> holder)> on_wait;
    std::optional<std::chrono::milliseconds> patience;  ///< for the store's lock, at the start
    std::chrono::milliseconds stop_patience{5'000};     ///< for the store's lock, at the end
  };
  /// The store's directory exists (LayerStore::Open). Errors: kBusy (another daemon), those of
  /// Metadata::Open.
  static Result<std::unique_ptr<DatabaseService>> Start(FdRef store_root, const std::string& root_path,
                                                        Options options);
  /// Stop.
  ~DatabaseService();
  DatabaseService(const DatabaseService&) = delete;
  DatabaseService& operator=(const DatabaseService&) = delete;

  /// For StoreOptions::database. After Stop its calls fail with kUnavailable.
  std::shared_ptr<Database> database() const;
  const ControlServer& control() const;

  /// Waits for the transactions of others, closes the database, removes the socket. Transactions that last
  /// longer than `stop_patience` fail with kUnavailable, as they do when this process is killed.
  void Stop();

 private:
  struct State;
  explicit DatabaseService(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace snap
