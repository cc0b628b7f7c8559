// What the daemon's command line, environment and configuration file together say; see tools/snap/settings.h
// for the order.
#pragma once

#include <string>
#include <vector>

#include "fs/base/log.h"
#include "fs/base/result.h"
#include "tools/snap/settings.h"

namespace snap::daemon {

struct DaemonFlags {
  std::string root, address, config, log_format;
};

struct DaemonSettings {
  cli::Settings store;  ///< what `snap` uses, too
  std::string address;  ///< of the socket; <run_dir>/snapshotterd.sock
  std::string containerd_address = "/run/containerd/containerd.sock";
  std::vector<std::string> content_roots;
  std::string metrics_address;    ///< "": none; "/path" or "127.0.0.1:9100"
  unsigned parallel_applies = 0;  ///< 0: as many as processors
  log::Level log_level = log::Level::kInfo;
  log::Format log_format = log::Format::kText;
};

/// Errors: kInvalidArgument, kNotFound (a file that was named is not there).
Result<DaemonSettings> LoadDaemonSettings(const DaemonFlags& flags, const cli::Environment& environment);

/// The settings that differ and cannot change while the daemon runs, by key.
std::vector<std::string> NeedRestart(const DaemonSettings& running, const DaemonSettings& wanted);

}  // namespace snap::daemon
