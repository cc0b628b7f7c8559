// The daemon's life: sockets, store, services, signals, in that order and back.
#pragma once

#include "fs/base/result.h"
#include "tools/snapshotterd/daemon_settings.h"

namespace snap::daemon {

/// Serves until SIGTERM or SIGINT. SIGHUP reads the settings again. Call before there are other threads: it
/// blocks these signals for all. Errors: what kept it from serving.
Result<void> RunDaemon(const DaemonFlags& flags, const cli::Environment& environment);

}  // namespace snap::daemon
