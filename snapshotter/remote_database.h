// RemoteDatabase: the database of the daemon that serves the store, behind its control socket.
#pragma once

#include <memory>
#include <mutex>

#include "snapshotter/control_client.h"
#include "snapshotter/database.h"

namespace snap {

/// Used like any Database: by the holder of the store's lock, whose descriptor goes along with each batch
/// (control_protocol.h). When the daemon goes meanwhile, calls fail with kUnavailable from then on; a batch
/// was written whole or not at all.
class RemoteDatabase final : public Database {
 public:
  /// `lock` is the store's lock as held by the caller, and must outlive this. nullptr when nobody serves the
  /// store: then the files are the caller's. Errors: those of ControlClient::Connect.
  static Result<std::unique_ptr<RemoteDatabase>> Connect(FdRef store_root, FdRef lock);

  Result<std::optional<std::string>> Get(std::string_view key) override;
  /// A page of some 48 KiB for each round trip; the visitor may call back.
  Result<void> Scan(std::string_view prefix, std::string_view from, const Visitor& visit) override;
  /// Also errors: kLimitExceeded for a batch that is no message, kBusy when the lock is not held exclusively.
  Result<void> Write(const DatabaseChanges& changes, bool sync) override;

 private:
  RemoteDatabase(std::unique_ptr<ControlClient> client, FdRef lock)
      : client_(std::move(client)), lock_(lock) {}

  std::mutex mutex_;  // one request at a time
  const std::unique_ptr<ControlClient> client_;
  const FdRef lock_;
};

}  // namespace snap
