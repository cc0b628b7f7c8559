// ControlServer: the daemon's end of a store's control socket.
// Invariant: a broken or hostile connection ends alone; what it sent incompletely has not happened.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "fs/base/json.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "snapshotter/database.h"
#include "snapshotter/event_bus.h"

namespace snap {

/// One thread accepts, one serves each connection. Only root and the daemon's own user are served
/// (SO_PEERCRED); the socket's mode is 0600. The order of transactions is the store's lock's: a batch is only
/// written while its client holds it, which the lock's own descriptor shows (control_protocol.h).
class ControlServer {
 public:
  struct Options {
    std::shared_ptr<Database> database;
    std::shared_ptr<EventBus> events;            ///< nullptr: there are none
    std::function<Json()> status;                ///< an object, added to what Status tells; may be empty
    std::function<std::string()> metrics;        ///< Prometheus text; may be empty
    std::function<Result<void>()> reload;        ///< may be empty: kUnsupported
    size_t max_connections = 256;                ///< further ones wait to be accepted
    std::chrono::milliseconds patience{10'000};  ///< for a hello, and for taking an answer
  };
  /// kBusy when a daemon answers on <root>/control.
  static Result<void> RefuseSecond(FdRef store_root);
  /// Listens on <root>/control; a name on which nobody listens is replaced. The caller holds the store's lock
  /// exclusively. The functions are called from several threads. Errors: kBusy (another daemon answers
  /// there), kIo.
  static Result<std::unique_ptr<ControlServer>> Start(FdRef store_root, Options options);
  /// Stop.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  /// Removes the name, ends all connections after the request that they are in, and waits for that:
  /// `patience` at most, unless the database hangs. Again: nothing.
  void Stop();
  size_t connections() const;

 private:
  struct State;
  explicit ControlServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace snap
