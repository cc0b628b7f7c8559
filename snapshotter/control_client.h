// ControlClient: a connection to the daemon that serves a store.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "snapshotter/control_protocol.h"
#include "snapshotter/packet_channel.h"

namespace snap {

/// Threads: one at a time. Errors of all calls: kUnavailable when the daemon does not answer or has gone,
/// kCorrupt when it does not speak this protocol, and those that it answers with.
class ControlClient {
 public:
  /// nullptr when nobody serves the store, which is certain for as long as the caller holds the store's lock.
  /// Also errors: kPermission (we may not, or a stranger listens), kUnsupported (the daemon speaks other
  /// versions). Cost: about 50 us.
  static Result<std::unique_ptr<ControlClient>> Connect(FdRef store_root);

  /// The encoded answer. `patient`: waits for as long as the daemon lives, otherwise half a minute.
  Result<std::string> Ask(const control::Request& request, std::span<const FdRef> extra = {},
                          bool patient = false);
  /// JSON: version, pid, started, address, counts.
  Result<std::string> Status();
  /// In Prometheus' text format.
  Result<std::string> Metrics();
  Result<void> Reload();
  /// Visits what happens from now on until the visitor says false. `started` is called when nothing is missed
  /// any more.
  Result<void> Follow(const std::function<void()>& started,
                      const std::function<Result<bool>(const Event&)>& visit);

 private:
  explicit ControlClient(PacketChannel channel) : channel_(std::move(channel)) {}
  PacketChannel channel_;
};

}  // namespace snap
