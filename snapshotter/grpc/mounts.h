// Mounts between our words and the wire's.
#pragma once

#include <vector>

#include "snapshotter/proto/types.pb.h"
#include "snapshotter/snapshots.h"

namespace snap {

template <typename Response>
void AddMounts(const std::vector<EngineMount>& mounts, Response& response) {
  for (const EngineMount& mount : mounts) {
    containerd::types::Mount& out = *response.add_mounts();
    out.set_type(mount.type);
    out.set_source(mount.source);
    out.set_target(mount.target);
    for (const std::string& option : mount.options) out.add_options(option);
  }
}

template <typename Mounts>
std::vector<EngineMount> FromMounts(const Mounts& mounts) {
  std::vector<EngineMount> out;
  out.reserve(static_cast<size_t>(mounts.size()));
  for (const containerd::types::Mount& mount : mounts) {
    out.push_back({mount.type(), mount.source(), mount.target(),
                   std::vector<std::string>(mount.options().begin(), mount.options().end())});
  }
  return out;
}

}  // namespace snap
