#include "tools/snap/daemon.h"

#include <fcntl.h>

#include "fs/base/json.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap::cli {

Result<std::unique_ptr<ControlClient>> ConnectToDaemon(const std::string& root) {
  const SysResult<UniqueFd> directory = sys::OpenAt(FdRef::Cwd(), root.c_str(), O_PATH | O_DIRECTORY);
  if (!directory.ok()) {
    if (directory.error() == ENOENT) return std::unique_ptr<ControlClient>();
    return Error(directory.error(), "open store " + Quote(root));
  }
  return ControlClient::Connect(*directory);
}

Result<std::optional<DaemonInfo>> FindDaemon(const std::string& root) {
  SNAP_TRY(const std::unique_ptr<ControlClient> client, ConnectToDaemon(root));
  if (client == nullptr) return std::optional<DaemonInfo>();
  constexpr const char* kWhat = "the daemon's status";
  SNAP_TRY(const std::string text, client->Status());
  SNAP_TRY(const Json status, ParseJson(text, kWhat));
  if (!status.is_object()) return MakeError(ErrorCode::kCorrupt, "read the daemon's status: it is no object");
  DaemonInfo info;
  SNAP_TRY(const uint64_t pid, JsonUnsigned(status, "pid", kWhat));
  info.pid = static_cast<int64_t>(pid);
  SNAP_TRY(info.version, JsonStringOr(status, "version", "", kWhat));
  SNAP_TRY(info.started, JsonStringOr(status, "started", "", kWhat));
  SNAP_TRY(info.address, JsonStringOr(status, "address", "", kWhat));
  return std::optional(std::move(info));
}

}  // namespace snap::cli
