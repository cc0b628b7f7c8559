// What the service manager is told and gives: systemd's notification socket and socket activation. Without
// systemd all of it does nothing.
#pragma once

#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "snapshotter/grpc/listening_socket.h"

namespace snap::daemon {

/// Sockets that were handed over at start; call once. Errors: kInvalidArgument for one that does not listen.
Result<std::vector<ListeningSocket>> TakeActivatedSockets();

void NotifyReady(std::string_view status);
void NotifyReloading();
void NotifyStopping(std::string_view status);

}  // namespace snap::daemon
