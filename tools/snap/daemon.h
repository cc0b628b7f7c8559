// The daemon that may serve the store of a command.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "fs/base/result.h"
#include "snapshotter/control_client.h"

namespace snap::cli {

/// nullptr when none serves the store, or there is no store. Errors: those of ControlClient::Connect.
Result<std::unique_ptr<ControlClient>> ConnectToDaemon(const std::string& root);

struct DaemonInfo {
  int64_t pid = 0;
  std::string version, started, address;  ///< "" for what it does not tell
};
/// nullopt when none serves the store.
Result<std::optional<DaemonInfo>> FindDaemon(const std::string& root);

}  // namespace snap::cli
