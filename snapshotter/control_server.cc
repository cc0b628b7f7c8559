// A thread for each connection: they live as long as one transaction of a client, listeners excepted, and a
// thread costs less than what a transaction does. The write end of a pipe is the signal to stop: closing it
// wakes every thread.
#include "snapshotter/control_server.h"

#include <sys/file.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <thread>

#include "fs/base/log.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_seqpacket.h"
#include "fs/base/time.h"
#include "snapshotter/control_protocol.h"
#include "snapshotter/packet_channel.h"

namespace snap {
namespace {

constexpr int kBacklog = 128;
constexpr const char* kLockName = "lock";

}  // namespace

struct ControlServer::State {
  // Constant after Start.
  Options options;
  UniqueFd root, listener;
  UniqueFd stop;  // hung up: stop
  std::string started = NowRfc3339();
  std::thread acceptor;

  std::atomic<uint64_t> requests{0};

  std::mutex mutex;  // guards the rest
  std::condition_variable changed;
  UniqueFd stop_writer;
  bool stopping = false;
  struct Worker {
    std::thread thread;
    bool done = false;
  };
  std::list<Worker> workers;

  void Accept();
  void StartWorker(UniqueFd socket);
  void Serve(UniqueFd socket);
  /// True: it may go on.
  Result<bool> Hello(PacketChannel& channel);
  /// The answer to a request other than a hello or events.
  Result<std::string> Answer(control::Request request, const std::vector<UniqueFd>& descriptors);
  Result<std::string> Write(const control::Write& write, const std::vector<UniqueFd>& descriptors);
  Result<std::string> Scan(const control::Scan& scan);
  std::string Status();
  size_t Connections();
  void SendEvents(PacketChannel& channel, EventBus::Subscription& subscription);
  /// The next message; nullopt when the connection, or the server, is to end.
  Result<std::optional<PacketChannel::Message>> Next(PacketChannel& channel,
                                                     std::optional<std::chrono::milliseconds> patience);
};

Result<std::optional<PacketChannel::Message>> ControlServer::State::Next(
    PacketChannel& channel, std::optional<std::chrono::milliseconds> patience) {
  const FdRef fds[] = {stop, channel.socket()};
  SNAP_TRY_SYS(const std::optional<size_t> ready, sys::PollReadable(fds, patience), "wait for a message");
  if (!ready || *ready == 0) return std::optional<PacketChannel::Message>();
  return channel.Receive();
}

Result<bool> ControlServer::State::Hello(PacketChannel& channel) {
  SNAP_TRY_SYS(const sys::PacketPeer peer, sys::PacketPeerOf(channel.socket()), "look at a peer");
  if (peer.uid != 0 && peer.uid != sys::EffectiveUid()) {
    SNAP_TRY_VOID(channel.Send(control::EncodeError(MakeError(
        ErrorCode::kPermission, "use the daemon: only root and its own user may, not user {}", peer.uid))));
    return false;
  }
  SNAP_TRY(const std::optional<PacketChannel::Message> message, Next(channel, options.patience));
  if (!message) return false;
  SNAP_TRY(const control::Request request, control::DecodeRequest(message->bytes));
  const auto* const hello = std::get_if<control::Hello>(&request);
  if (hello == nullptr) return false;
  if (hello->most < control::kVersion || hello->least > control::kVersion) {
    SNAP_TRY_VOID(
        channel.Send(control::EncodeError(MakeError(ErrorCode::kUnsupported,
                                                    "use the daemon: it speaks version {} of the protocol, "
                                                    "not {} to {}; use programs of the same release",
                                                    control::kVersion, hello->least, hello->most))));
    return false;
  }
  SNAP_TRY_VOID(channel.Send(control::EncodeHelloAnswer(control::kVersion)));
  return true;
}

Result<std::string> ControlServer::State::Scan(const control::Scan& scan) {
  control::ScanPageWriter page;
  bool more = false;
  SNAP_TRY_VOID(options.database->Scan(scan.prefix, scan.from,
                                       [&](std::string_view key, std::string_view value) -> Result<bool> {
                                         more = !page.Add(key, value);
                                         return !more;
                                       }));
  return std::move(page).Finish(more);
}

Result<std::string> ControlServer::State::Write(const control::Write& write,
                                                const std::vector<UniqueFd>& descriptors) {
  // The lock belongs to the open file that the descriptor stands for: locking again succeeds at once for its
  // holder, and fails when somebody else has it. A client that nobody excludes gets it here, which is as
  // good.
  const SysResult<struct stat> expected = sys::StatAt(root, kLockName);
  const SysResult<struct stat> got =
      descriptors.size() == 1 ? sys::FStat(descriptors.front()) : SysResult<struct stat>(Errno(EBADF));
  if (!expected.ok() || !got.ok() || expected->st_dev != got->st_dev || expected->st_ino != got->st_ino ||
      !sys::Flock(descriptors.front(), LOCK_EX | LOCK_NB).ok()) {
    return MakeError(ErrorCode::kBusy, "write database: the client does not hold the store's lock");
  }
  SNAP_TRY_VOID(options.database->Write(write.changes, write.sync));
  return control::EncodeText({});
}

size_t ControlServer::State::Connections() {
  const std::lock_guard guard(mutex);
  return static_cast<size_t>(
      std::count_if(workers.begin(), workers.end(), [](const Worker& worker) { return !worker.done; }));
}

std::string ControlServer::State::Status() {
  Json status = options.status ? options.status() : Json::object();
  status["pid"] = sys::Pid();
  status["protocol"] = control::kVersion;
  status["started"] = started;
  status["requests"] = requests.load(std::memory_order_relaxed);
  status["listeners"] = options.events == nullptr ? 0 : options.events->listeners();
  status["connections"] = Connections();
  return DumpJson(status);
}

Result<std::string> ControlServer::State::Answer(control::Request request,
                                                 const std::vector<UniqueFd>& descriptors) {
  if (const auto* const get = std::get_if<control::Get>(&request)) {
    SNAP_TRY(const std::optional<std::string> value, options.database->Get(get->key));
    return control::EncodeGetAnswer(value);
  }
  if (const auto* const scan = std::get_if<control::Scan>(&request)) return Scan(*scan);
  if (const auto* const write = std::get_if<control::Write>(&request)) return Write(*write, descriptors);
  if (std::holds_alternative<control::Status>(request)) return control::EncodeText(Status());
  if (std::holds_alternative<control::Metrics>(request)) {
    return control::EncodeText(options.metrics ? options.metrics() : std::string());
  }
  if (std::holds_alternative<control::Reload>(request)) {
    if (!options.reload) return MakeError(ErrorCode::kUnsupported, "reload: this daemon cannot");
    SNAP_TRY_VOID(options.reload());
    return control::EncodeText({});
  }
  return MakeError(ErrorCode::kInvalidArgument, "answer request: not at this place");
}

void ControlServer::State::SendEvents(PacketChannel& channel, EventBus::Subscription& subscription) {
  // A listener that stops reading (a pager) keeps its connection: its queue fills up and counts.
  if (!sys::SetPacketPatience(channel.socket(), std::nullopt).ok()) return;
  const FdRef fds[] = {stop, channel.socket(), subscription.readable()};
  for (;;) {
    // A listener has nothing to say: what can be read is its end.
    const SysResult<std::optional<size_t>> ready = sys::PollReadable(fds, std::nullopt);
    if (!ready.ok() || !*ready || **ready != 2) return;
    for (const Event& event : subscription.Take()) {
      const SysResult<bool> free = sys::WaitToSend(channel.socket(), stop);
      if (!free.ok() || !*free) return;
      if (!channel.Send(control::EncodeEvent(event)).ok()) return;
    }
  }
}

void ControlServer::State::Serve(UniqueFd socket) {
  PacketChannel channel(std::move(socket));
  if (!sys::SetPacketPatience(channel.socket(), options.patience).ok()) return;
  const Result<bool> welcome = Hello(channel);
  if (!welcome.ok()) log::Debug("control connection closed: {}", welcome.error().message());
  if (!welcome.ok() || !*welcome) return;
  for (;;) {
    Result<std::optional<PacketChannel::Message>> message = Next(channel, std::nullopt);
    if (!message.ok()) log::Debug("control connection closed: {}", message.error().message());
    if (!message.ok() || !*message) return;
    requests.fetch_add(1, std::memory_order_relaxed);
    Result<control::Request> request = control::DecodeRequest((**message).bytes);
    if (!request.ok() && request.error().code() == ErrorCode::kCorrupt) {
      log::Debug("control connection closed: {}", request.error().message());
      return;
    }
    if (request.ok() && std::holds_alternative<control::Events>(*request) && options.events != nullptr) {
      // Listening begins before the answer says so.
      const Result<std::unique_ptr<EventBus::Subscription>> subscription = options.events->Subscribe();
      const bool listening = subscription.ok();
      if (!channel.Send(listening ? control::EncodeText({}) : control::EncodeError(subscription.error()))
               .ok())
        return;
      if (listening) SendEvents(channel, **subscription);
      return;
    }
    Result<std::string> answer = request.ok() ? Answer(std::move(*request), (**message).extra)
                                              : Result<std::string>(std::move(request).error());
    (**message)
        .extra.clear();  // the client's lock goes with its client alone again, before it hears the answer
    if (answer.ok() && answer->size() > PacketChannel::kMaxMessageBytes) {
      answer = MakeError(ErrorCode::kLimitExceeded, "answer request: the answer is too large");
    }
    if (!channel.Send(answer.ok() ? *answer : control::EncodeError(answer.error())).ok()) return;
  }
}

void ControlServer::State::StartWorker(UniqueFd socket) {
  const std::lock_guard guard(mutex);
  workers.emplace_back();
  const auto worker = std::prev(workers.end());
  try {
    worker->thread = std::thread([this, worker, connection = std::move(socket)]() mutable {
      try {
        Serve(std::move(connection));
      } catch (const std::exception& failure) {  // of memory that a request wants
        log::Warning("control connection failed, closing it: {}", failure.what());
      }
      const std::lock_guard done_guard(mutex);
      worker->done = true;
      changed.notify_all();
    });
  } catch (const std::system_error& failure) {
    log::Warning("cannot start a thread for a control connection, closing it: {}", failure.what());
    workers.erase(worker);
  }
}

void ControlServer::State::Accept() {
  constexpr auto kNap = std::chrono::milliseconds(100);
  const FdRef fds[] = {stop, listener};
  for (;;) {
    {
      std::list<Worker> ended;
      std::unique_lock lock(mutex);
      const auto collect = [&] {
        for (auto worker = workers.begin(); worker != workers.end();) {
          const auto next = std::next(worker);
          if (worker->done) ended.splice(ended.end(), workers, worker);
          worker = next;
        }
      };
      changed.wait(lock, [&] {
        collect();
        return stopping || workers.size() < options.max_connections;
      });
      const bool stop_now = stopping;
      lock.unlock();
      for (Worker& worker : ended) worker.thread.join();
      if (stop_now) return;
    }
    const SysResult<std::optional<size_t>> ready = sys::PollReadable(fds, std::nullopt);
    if (!ready.ok() || !*ready || **ready == 0) return;
    SysResult<UniqueFd> socket = sys::AcceptPackets(listener);
    if (socket.ok()) {
      StartWorker(std::move(*socket));
    } else if (!(socket.error() == EAGAIN || socket.error() == ECONNABORTED)) {
      log::Warning("cannot accept a control connection, trying again: {}", socket.error().Message());
      (void)sys::PollReadable(std::span(fds, 1), kNap);
    }
  }
}

ControlServer::ControlServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
ControlServer::~ControlServer() { Stop(); }

Result<void> ControlServer::RefuseSecond(FdRef store_root) {
  const SysResult<UniqueFd> other =
      sys::ConnectPackets(store_root, control::kSocketName, std::chrono::seconds(1));
  if (other.ok() || other.error() == EAGAIN) {
    return MakeError(ErrorCode::kBusy, "listen for control: another daemon serves this store");
  }
  return {};
}

Result<std::unique_ptr<ControlServer>> ControlServer::Start(FdRef store_root, Options options) {
  SNAP_CHECK(options.database != nullptr && options.max_connections > 0);
  SNAP_TRY_VOID(RefuseSecond(store_root));
  const SysResult<void> removed = sys::UnlinkAt(store_root, control::kSocketName);
  if (!removed.ok() && !(removed.error() == ENOENT))
    return Error(removed.error(), "replace an old control socket");
  auto state = std::make_unique<State>();
  state->options = std::move(options);
  SNAP_TRY_SYS(state->root, sys::Dup(store_root), "listen for control");
  SNAP_TRY_SYS(sys::Pipe stop, sys::MakePipe(), "listen for control");
  state->stop = std::move(stop.read_end);
  state->stop_writer = std::move(stop.write_end);
  SNAP_TRY_SYS(state->listener, sys::ListenPackets(store_root, control::kSocketName, 0600, kBacklog),
               "listen for control");
  State* const served = state.get();
  std::unique_ptr<ControlServer> server(new ControlServer(std::move(state)));
  try {
    served->acceptor = std::thread([served] { served->Accept(); });
  } catch (const std::system_error& failure) {
    return MakeError(ErrorCode::kIo, "listen for control: {}", failure.what());
  }
  return server;
}

void ControlServer::Stop() {
  State& state = *state_;
  {
    const std::lock_guard guard(state.mutex);
    if (state.stopping) return;
    state.stopping = true;
    state.stop_writer.Reset();
    state.changed.notify_all();
  }
  (void)sys::UnlinkAt(state.root, control::kSocketName);  // a name that stays is stale, which is understood
  if (state.acceptor.joinable()) state.acceptor.join();
  state.listener.Reset();  // those that wait to be accepted hear of it
  for (State::Worker& worker : state.workers) worker.thread.join();  // nobody adds or takes any more
  state.workers.clear();
}

size_t ControlServer::connections() const { return state_->Connections(); }

}  // namespace snap
