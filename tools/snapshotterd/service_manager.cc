// Notifications are not waited for and cannot fail in a way that matters: a manager that is gone has no use
// for them.
#include "tools/snapshotterd/service_manager.h"

#include <systemd/sd-daemon.h>

#include <chrono>
#include <string>

namespace snap::daemon {
namespace {

void Notify(const std::string& text) { (void)sd_notify(0, text.c_str()); }

}  // namespace

Result<std::vector<ListeningSocket>> TakeActivatedSockets() {
  const int count = sd_listen_fds(1);
  if (count < 0) return Error(Errno(-count), "take sockets from the service manager");
  std::vector<UniqueFd> fds;
  for (int i = 0; i < count; ++i) fds.emplace_back(SD_LISTEN_FDS_START + i);
  std::vector<ListeningSocket> sockets;
  for (UniqueFd& fd : fds) {
    SNAP_TRY(ListeningSocket socket,
             ListeningSocket::Adopt(
                 std::move(fd), "socket " + std::to_string(sockets.size() + 1) + " of the service manager"));
    sockets.push_back(std::move(socket));
  }
  return sockets;
}

void NotifyReady(std::string_view status) { Notify(fmt::format("READY=1\nSTATUS={}", status)); }

void NotifyReloading() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();  // CLOCK_MONOTONIC
  Notify(fmt::format("RELOADING=1\nMONOTONIC_USEC={}",
                     std::chrono::duration_cast<std::chrono::microseconds>(now).count()));
}

void NotifyStopping(std::string_view status) { Notify(fmt::format("STOPPING=1\nSTATUS={}", status)); }

}  // namespace snap::daemon
