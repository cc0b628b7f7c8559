// What containerd's configuration says about snapshotters and differs, whichever version wrote it.
// Invariant: a setting that is not there has the value that containerd gives it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/json.h"
#include "fs/base/result.h"

namespace snap::cli {

struct ContainerdConfig {
  struct ProxyPlugin {
    std::string name, type, address;
    std::vector<std::string> capabilities;
    std::map<std::string, std::string> exports;
    bool Can(std::string_view capability) const;
  };
  struct Unpack {
    std::string platform, snapshotter, differ;
  };
  uint64_t version = 1;
  std::string grpc_address = "/run/containerd/containerd.sock";
  std::vector<ProxyPlugin> proxies;
  std::vector<std::string> disabled_plugins;
  std::vector<std::string> differs = {"walking"};  ///< in the order in which they are asked
  std::vector<Unpack> unpacks;                     ///< of the transfer service; empty: its built-in list
  uint64_t max_concurrent_unpacks = 1;

  // Kubernetes
  std::string cri_snapshotter = "overlayfs";
  bool disable_snapshot_annotations = true;
  bool discard_unpacked_layers = false;
  bool image_pull_with_sync_fs = false;
  bool use_local_image_pull = false;
  std::map<std::string, std::string>
      runtime_snapshotters;  ///< by runtime handler, of those that have their own

  /// The configuration key of a CRI setting, as a user has to write it.
  std::string CriKey(std::string_view setting) const;
};

/// Reads the configuration as containerd dumps it or as it is written (versions 2 to 4). Errors:
/// kInvalidArgument for a setting of the wrong type, with its key; kUnsupported for version 1 and for
/// versions after 4.
Result<ContainerdConfig> ReadContainerdConfig(const Json& config);

}  // namespace snap::cli
