// Connections are accepted here and not by gRPC, which would not look at who they are from.
#include "snapshotter/grpc/server.h"

#include <grpc/grpc.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <poll.h>

#include <mutex>
#include <thread>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_socket.h"
#include "fs/base/sys_terminal.h"
#include "snapshotter/grpc/calls.h"
#include "snapshotter/grpc/diff_service.h"
#include "snapshotter/grpc/snapshots_service.h"

namespace snap {
namespace {

/// After a failure to accept (out of descriptors, mostly): long enough not to spin, short enough not to be
/// noticed.
constexpr std::chrono::milliseconds kAcceptPause{100};

/// gRPC's last shutdown may wait ten seconds for a poller of its own (seen with 1.51): it stays up until the
/// process ends.
void KeepGrpcRunning() {
  static std::once_flag once;
  std::call_once(once, grpc_init);
}

}  // namespace

struct Server::State {
  State(Snapshots& snapshots, Metrics& metrics, std::vector<ListeningSocket> sockets, ServerOptions wanted)
      : options(std::move(wanted)),
        listeners(std::move(sockets)),
        calls(metrics, options.on_call),
        snapshots_service(snapshots, calls),
        diff_service(snapshots, calls, options.diff) {
    if (!options.may_connect) {
      options.may_connect = [](uint32_t uid) { return uid == 0 || uid == sys::EffectiveUid(); };
    }
    metrics.SetGauge("snapshotterd_calls_running", "Calls of containerd's services that are running.",
                     [running = calls.running()] { return static_cast<double>(running->load()); });
  }

  Result<void> Serve(UniqueFd connection);
  void AcceptLoop();
  /// True when the program wants to stop.
  bool AcceptFrom(FdRef listener);

  ServerOptions options;
  std::vector<ListeningSocket> listeners;
  Calls calls;
  SnapshotsService snapshots_service;
  DiffService diff_service;
  sys::Pipe wake;  // its write end is closed to end the loop
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  std::unique_ptr<grpc::Server> server;
  std::thread thread;
  std::mutex stop_mutex;
  bool stopped = false;  // guarded by stop_mutex
};

Result<void> Server::State::Serve(UniqueFd connection) {
  SNAP_TRY_SYS(const sys::PeerCredentials peer, sys::GetPeerCredentials(connection), "look at a peer");
  if (!options.may_connect(peer.uid)) {
    if (options.on_refused) options.on_refused({peer.pid, peer.uid});
    return MakeError(ErrorCode::kPermission, "serve process {} of user {}: only root may", peer.pid,
                     peer.uid);
  }
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
  parameters.fd = connection.Release();  // gRPC's from here on, whatever happens
  acceptor->HandleNewConnection(&parameters);
  return {};
}

void Server::State::AcceptLoop() {
  std::vector<pollfd> fds = {{wake.read_end.get(), POLLIN, 0}};
  for (const ListeningSocket& listener : listeners) fds.push_back({listener.fd().get(), POLLIN, 0});
  while (true) {
    const auto ready = sys::Poll(fds);
    if (!ready.ok()) {  // out of memory: nothing else can fail here
      if (options.on_accept_failure) options.on_accept_failure(Error(ready.error(), "wait for connections"));
      const FdRef wake_fd = wake.read_end;
      if (const auto woken = sys::PollReadable({&wake_fd, 1}, kAcceptPause); woken.ok() && woken->has_value())
        return;
      continue;
    }
    if (fds[0].revents != 0) return;
    for (size_t i = 1; i < fds.size(); ++i) {
      if (fds[i].revents != 0 && AcceptFrom(FdRef(fds[i].fd))) return;
    }
  }
}

bool Server::State::AcceptFrom(FdRef listener) {
  SysResult<UniqueFd> connection = sys::Accept(listener);
  if (connection.ok()) {
    (void)Serve(*std::move(connection));  // a refusal was told, and the connection is closed
    return false;
  }
  const Errno error = connection.error();
  if (error == EAGAIN || error == ECONNABORTED) return false;
  if (options.on_accept_failure) options.on_accept_failure(Error(error, "accept a connection"));
  const FdRef wake_fd = wake.read_end;
  const auto woken = sys::PollReadable({&wake_fd, 1}, kAcceptPause);
  return woken.ok() && woken->has_value();
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() { Stop(std::chrono::milliseconds(0)); }

Result<std::unique_ptr<Server>> Server::Start(Snapshots& snapshots, Metrics& metrics,
                                              std::vector<ListeningSocket> listeners, ServerOptions options) {
  KeepGrpcRunning();
  auto state = std::make_unique<State>(snapshots, metrics, std::move(listeners), std::move(options));
  SNAP_TRY_SYS(state->wake, sys::MakePipe(), "make a pipe");
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.RegisterService(&state->snapshots_service);
  builder.RegisterService(&state->diff_service);
  using Type = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  state->acceptor =
      builder.experimental().AddExternalConnectionAcceptor(Type::FROM_FD, grpc::InsecureServerCredentials());
  state->server = builder.BuildAndStart();
  if (!state->server) return Error(ErrorCode::kUnavailable, "start serving: gRPC refuses");
  State* const raw = state.get();
  state->thread = std::thread([raw] { raw->AcceptLoop(); });
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

void Server::Stop(std::chrono::milliseconds grace) {
  const std::lock_guard lock(state_->stop_mutex);
  if (state_->stopped) return;
  state_->stopped = true;
  state_->wake.write_end.Reset();
  state_->thread.join();
  state_->listeners.clear();
  state_->server->Shutdown(std::chrono::system_clock::now() + grace);
  state_->server->Wait();
}

Result<void> Server::Serve(UniqueFd connection) { return state_->Serve(std::move(connection)); }

}  // namespace snap
