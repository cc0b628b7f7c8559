// The sockets come first: while the store opens, clients wait in their queue instead of failing, and a second
// daemon ends before it touches anything.
#include "tools/snapshotterd/daemon.h"

#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <ctime>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "overlay/overlay_backend.h"
#include "snapshotter/database_service.h"
#include "snapshotter/grpc/server.h"
#include "snapshotter/metrics.h"
#include "snapshotter/snapshots.h"
#include "snapshotter/store.h"
#include "tools/snap/version.h"
#include "tools/snapshotterd/metrics_server.h"
#include "tools/snapshotterd/service_manager.h"

namespace snap::daemon {
namespace {

/// For calls that run when the daemon is stopped. Below systemd's 90 s and containerd's patience.
constexpr std::chrono::seconds kGrace{10};
/// For a command that holds the store's lock: then a call answers UNAVAILABLE.
constexpr std::chrono::seconds kLockPatience{10};

/// SIGTERM, SIGINT and SIGHUP, read instead of handled.
Result<UniqueFd> TakeSignals() {
  sigset_t mask;
  sigemptyset(&mask);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&mask, number);
  SNAP_TRY_SYS(UniqueFd fd, sys::SignalFd(mask), "take signals");
  return fd;
}

Result<uint32_t> NextSignal(FdRef fd) {
  // The kernel gives whole signalfd_siginfo records of 128 bytes; the number comes first.
  std::array<std::byte, 128> record{};
  std::array<FdRef, 1> fds = {fd};
  SNAP_TRY_SYS(const auto ready, sys::PollReadable(fds, std::nullopt), "wait for signals");
  (void)ready;
  SNAP_TRY_SYS(const size_t size, sys::Read(fd, record), "read a signal");
  if (size != record.size()) return Error(ErrorCode::kInternal, "read a signal: short record");
  uint32_t number = 0;
  std::memcpy(&number, record.data(), sizeof(number));
  return number;
}

void WarnOfWaiting(std::optional<int64_t> holder) {
  log::Warning("waiting for the store, which {} is using",
               holder ? fmt::format("process {}", *holder) : std::string("another process"));
}

Result<Store> OpenStore(const cli::Settings& settings, std::shared_ptr<Database> database) {
  StoreOptions options;
  options.root = settings.root;
  options.database = std::move(database);
  options.lock_patience = kLockPatience;
  options.on_wait = WarnOfWaiting;
  OverlayOptions overlay;
  overlay.feature_cache_directory = settings.run_dir;
  overlay.image_mounts_directory = settings.run_dir + "/images";
  return Store::Open(std::move(options), MakeOverlayBackend(std::move(overlay)));
}

/// What a snapshot adds, read to the end.
Result<void> MakeTar(Snapshots& snapshots, const std::string& key, ByteSink& sink) {
  constexpr size_t kPiece = size_t{256} << 10U;
  SNAP_TRY(const std::unique_ptr<ByteSource> tar, snapshots.OpenAddition(key));
  std::vector<std::byte> buffer(kPiece);
  for (;;) {
    SNAP_TRY(const size_t got, tar->Read(buffer));
    if (got == 0) return {};
    SNAP_TRY_VOID(sink.Write(std::span<const std::byte>(buffer).first(got)));
  }
}

Snapshots::Options SnapshotsOptions(const DaemonSettings& settings, const std::shared_ptr<EventBus>& events) {
  Snapshots::Options options;
  options.mounts_directory = settings.store.run_dir + "/l";
  options.durability = settings.store.durability;
  options.format = settings.store.layer_format;
  options.io_engine = settings.store.io_engine;
  options.parallel_applies = settings.parallel_applies;
  options.on_event = [events](std::string_view type, const Labels& attributes) {
    events->Publish(std::string(type), attributes);
  };
  return options;
}

void LogCall(const FinishedCall& call) {
  const bool ours = call.code == "INTERNAL" || call.code == "DATA_LOSS" || call.code == "UNAVAILABLE" ||
                    call.code == "RESOURCE_EXHAUSTED";
  const log::Level level = ours ? log::Level::kWarning : log::Level::kDebug;
  if (log::GetLevel() > level) return;
  const std::array<log::Field, 6> fields = {{
      {"service", std::string(call.service)},
      {"method", std::string(call.method)},
      {"code", std::string(call.code)},
      {"duration_us",
       std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(call.duration).count())},
      {"namespace", call.containerd_namespace},
      {"error", call.message},
  }};
  log::WriteFields(level, call.code == "OK" ? "call ended" : "call failed", fields);
}

ServerOptions MakeServerOptions(const DaemonSettings& settings) {
  ServerOptions options;
  options.diff.containerd_address = settings.containerd_address;
  options.diff.content_roots = settings.content_roots;
  options.diff.make_tar = MakeTar;
  options.on_call = LogCall;
  options.on_refused = [](const RefusedPeer& peer) {
    log::Warning("process {} of user {} wanted to connect, only root may", peer.pid, peer.uid);
  };
  options.on_accept_failure = [](const Error& error) { log::Warning("{}, trying again", error.message()); };
  return options;
}

void Reload(DaemonSettings& running, const DaemonFlags& flags, const cli::Environment& environment) {
  const Result<DaemonSettings> wanted = LoadDaemonSettings(flags, environment);
  if (!wanted.ok()) {
    log::Write(log::Level::kError, wanted.error().message() + ", going on with the settings as they were");
    return;
  }
  running.log_level = wanted->log_level;
  running.log_format = wanted->log_format;
  log::SetLevel(running.log_level);
  log::SetFormat(running.log_format);
  for (const std::string& key : NeedRestart(running, *wanted)) {
    log::Warning("{} has changed, which takes a restart", key);
  }
  log::Info("settings read again");
}

void AddProcessMetrics(Metrics& metrics) {
  metrics.SetGauge("snapshotterd_build_info", "Which build this is; always 1.", [] { return 1.0; },
                   {{"version", cli::kVersion}});
  const auto start = static_cast<double>(std::time(nullptr));
  metrics.SetGauge("snapshotterd_start_time_seconds", "When the daemon started, since 1970.",
                   [start] { return start; });
}

/// Opens the database, for this process and, through the control socket, for commands.
Result<std::unique_ptr<DatabaseService>> ServeDatabase(const DaemonSettings& settings,
                                                       const std::string& address, Metrics& metrics,
                                                       const std::shared_ptr<EventBus>& events) {
  SNAP_TRY(const LayerStore layers, LayerStore::Open(settings.store.root, true));
  DatabaseService::Options options;
  options.on_wait = WarnOfWaiting;
  options.control.events = events;
  options.control.status = [address] { return Json{{"version", cli::kVersion}, {"address", address}}; };
  options.control.metrics = [&metrics] { return metrics.Render(); };
  options.control.reload = []() -> Result<void> {
    SNAP_TRY_SYS(const UniqueFd self, sys::PidfdOpen(sys::Pid()), "find this process");
    SNAP_TRY_SYS_VOID(sys::PidfdSendSignal(self, SIGHUP), "signal this process");
    return {};
  };
  return DatabaseService::Start(layers.root(), layers.root_path(), std::move(options));
}

Result<std::vector<ListeningSocket>> Listen(const DaemonSettings& settings) {
  SNAP_TRY(std::vector<ListeningSocket> sockets, TakeActivatedSockets());
  if (!sockets.empty()) return sockets;
  SNAP_TRY(ListeningSocket own, ListeningSocket::Make(settings.address));
  sockets.push_back(std::move(own));
  return sockets;
}

}  // namespace

Result<void> RunDaemon(const DaemonFlags& flags, const cli::Environment& environment) {
  SNAP_TRY(DaemonSettings settings, LoadDaemonSettings(flags, environment));
  log::SetLevel(settings.log_level);
  log::SetFormat(settings.log_format);
  SNAP_TRY(const UniqueFd signals, TakeSignals());
  SNAP_TRY(std::vector<ListeningSocket> sockets, Listen(settings));
  const std::string where = sockets.front().name();
  Metrics metrics;
  AddProcessMetrics(metrics);
  const auto events = std::make_shared<EventBus>();
  SNAP_TRY(const std::unique_ptr<DatabaseService> database, ServeDatabase(settings, where, metrics, events));
  SNAP_TRY(Store store, OpenStore(settings.store, database->database()));
  SNAP_TRY(const std::unique_ptr<Snapshots> snapshots,
           Snapshots::Open(store, SnapshotsOptions(settings, events)));
  SNAP_TRY(const std::unique_ptr<Server> server,
           Server::Start(*snapshots, metrics, std::move(sockets), MakeServerOptions(settings)));
  std::atomic<bool> serving{true};
  std::unique_ptr<MetricsServer> metrics_server;
  if (!settings.metrics_address.empty()) {
    SNAP_TRY(metrics_server,
             MetricsServer::Start(
                 settings.metrics_address, [&] { return metrics.Render(); }, [&] { return serving.load(); }));
    log::Info("metrics at {}", metrics_server->address());
  }
  log::Info("serving {} at {}", Quote(settings.store.root), Quote(where));
  NotifyReady("serving " + settings.store.root);
  while (true) {
    SNAP_TRY(const uint32_t number, NextSignal(signals));
    if (number != SIGHUP) break;
    NotifyReloading();
    Reload(settings, flags, environment);
    NotifyReady("serving " + settings.store.root);
  }
  serving = false;
  log::Info("stopping");
  NotifyStopping("waiting for running calls");
  server->Stop(kGrace);
  log::Info("stopped");
  return {};
}

}  // namespace snap::daemon
