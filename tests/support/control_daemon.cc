// control_daemon ROOT: holds a store's database open and serves its control socket, and does nothing else.
// Prints "ready". SIGUSR1: publishes an event. SIGTERM: stops.
#include <fcntl.h>
#include <signal.h>

#include <cstdio>

#include "fs/base/log.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/layer_store.h"
#include "snapshotter/database_service.h"

namespace snap {
namespace {

Result<void> Serve(const std::string& root) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGUSR1);
  SNAP_TRY_SYS(const UniqueFd signals, sys::SignalFd(mask), "watch signals");
  SNAP_TRY(LayerStore layers, LayerStore::Open(root, true));
  const auto events = std::make_shared<EventBus>();
  DatabaseService::Options options;
  options.control.events = events;
  options.control.status = [&] { return Json{{"version", "test"}, {"address", root + "/test.sock"}}; };
  options.control.metrics = [] { return std::string("# TYPE snap_test gauge\nsnap_test 1\n"); };
  SNAP_TRY(const std::unique_ptr<DatabaseService> service,
           DatabaseService::Start(layers.root(), layers.root_path(), std::move(options)));
  std::puts("ready");
  std::fflush(stdout);
  for (unsigned count = 1;; ++count) {
    std::byte info[128];  // signalfd_siginfo: the number comes first
    SNAP_TRY_SYS_VOID(sys::Read(signals, info), "read signals");
    if (std::to_integer<int>(info[0]) == SIGTERM) return {};
    events->Publish("test.signal", {{"count", std::to_string(count)}});
  }
}

}  // namespace
}  // namespace snap

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const snap::Result<void> served = snap::Serve(argv[1]);
  if (served.ok()) return 0;
  snap::log::Write(snap::log::Level::kError, served.error().message());
  return 1;
}
