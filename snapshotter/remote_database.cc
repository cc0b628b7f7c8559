#include "snapshotter/remote_database.h"

#include "fs/base/fault.h"

namespace snap {

Result<std::unique_ptr<RemoteDatabase>> RemoteDatabase::Connect(FdRef store_root, FdRef lock) {
  SNAP_TRY(std::unique_ptr<ControlClient> client, ControlClient::Connect(store_root));
  if (client == nullptr) return std::unique_ptr<RemoteDatabase>();
  return std::unique_ptr<RemoteDatabase>(new RemoteDatabase(std::move(client), lock));
}

Result<std::optional<std::string>> RemoteDatabase::Get(std::string_view key) {
  const std::lock_guard guard(mutex_);
  SNAP_TRY(const std::string answer, client_->Ask(control::Get{std::string(key)}));
  return control::DecodeGetAnswer(answer);
}

Result<void> RemoteDatabase::Scan(std::string_view prefix, std::string_view from, const Visitor& visit) {
  control::Scan request{std::string(prefix), std::string(from)};
  for (;;) {
    std::string answer;
    {
      const std::lock_guard guard(mutex_);
      SNAP_TRY(answer, client_->Ask(request));
    }
    SNAP_TRY(const control::ScanPage page, control::DecodeScanPage(answer));
    for (const auto& [key, value] : page.entries) {
      SNAP_TRY(const bool more, visit(key, value));
      if (!more) return {};
    }
    if (!page.more) return {};
    request.from = page.entries.back().first;
    request.from += '\0';  // the next key there can be
  }
}

Result<void> RemoteDatabase::Write(const DatabaseChanges& changes, bool sync) {
  SNAP_FAULT_POINT("metadata.before_write");
  {
    const std::lock_guard guard(mutex_);
    // Without a limit of time: giving up would release the lock under a batch that is still to be written.
    SNAP_TRY(const std::string answer,
             client_->Ask(control::Write{changes, sync}, std::span(&lock_, 1), true));
    SNAP_TRY_VOID(control::DecodeText(answer));
  }
  SNAP_FAULT_POINT("metadata.after_write");
  return {};
}

}  // namespace snap
