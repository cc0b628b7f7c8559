// Server: containerd's services on unix sockets.
// Invariant: nobody but root and our own user is ever listened to, and no call waits for another one's
// thread.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "fs/base/result.h"
#include "snapshotter/grpc/listening_socket.h"
#include "snapshotter/grpc/options.h"
#include "snapshotter/metrics.h"
#include "snapshotter/snapshots.h"

namespace snap {

/// Each running call has a thread of gRPC's, made when there is none idle: slow ones starve no others.
/// Threads: safe. Dropping it stops it without grace.
class Server {
 public:
  static constexpr int kMaxMessageBytes = 16 << 20;  ///< as containerd's

  /// Serves from now on. `snapshots` and `metrics` must outlive this.
  static Result<std::unique_ptr<Server>> Start(Snapshots& snapshots, Metrics& metrics,
                                               std::vector<ListeningSocket> listeners, ServerOptions options);
  ~Server();

  /// The sockets are closed and new calls refused (UNAVAILABLE); running ones have `grace` to end, then they
  /// are cancelled. Returns when none runs. A second call waits for the first.
  void Stop(std::chrono::milliseconds grace);

  /// The connection of a peer that was accepted elsewhere: checked like any. Errors: kPermission.
  Result<void> Serve(UniqueFd connection);

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace snap
