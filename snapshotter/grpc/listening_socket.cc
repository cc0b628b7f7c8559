// The check for a live owner, the removal of a dead one's name and the bind are one step for others: a lock
// on the directory.
#include "snapshotter/grpc/listening_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_socket.h"
#include "fs/base/sys_terminal.h"

namespace snap {
namespace {

constexpr mode_t kSocketMode = 0600;
constexpr mode_t kDirectoryMode = 0711;

Result<UniqueFd> OpenDirectory(const std::string& path) {
  SysResult<void> made = sys::MkdirAt(FdRef::Cwd(), path.c_str(), kDirectoryMode);
  if (!made.ok() && !(made.error() == EEXIST))
    return Error(made.error(), fmt::format("make {}", Quote(path)));
  SNAP_TRY_SYS(UniqueFd dir, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_DIRECTORY), "open {}",
               Quote(path));
  return dir;
}

/// Removes the name of a socket at which nobody listens.
Result<void> RemoveStale(FdRef dir, const std::string& name, const std::string& path) {
  SNAP_TRY_SYS(const struct stat found, sys::StatAt(dir, name.c_str()), "look at {}", Quote(path));
  if (!S_ISSOCK(found.st_mode)) {
    return MakeError(ErrorCode::kExists, "listen at {}: there is something that is no socket", Quote(path));
  }
  const SysResult<UniqueFd> connection = sys::ConnectUnix(path);
  if (connection.ok() || !(connection.error() == ECONNREFUSED)) {
    return MakeError(ErrorCode::kExists, "listen at {}: another process does", Quote(path));
  }
  SNAP_TRY_SYS_VOID(sys::UnlinkAt(dir, name.c_str()), "remove {}", Quote(path));
  return {};
}

}  // namespace

Result<ListeningSocket> ListeningSocket::Make(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (!path.starts_with('/') || slash + 1 == path.size()) {
    return MakeError(ErrorCode::kInvalidArgument, "listen at {}: not the absolute path of a file",
                     Quote(path));
  }
  const std::string name = path.substr(slash + 1);
  SNAP_TRY(const UniqueFd dir, OpenDirectory(slash == 0 ? "/" : path.substr(0, slash)));
  SNAP_TRY_SYS_VOID(sys::Flock(dir, LOCK_EX), "lock the directory of {}", Quote(path));
  SysResult<UniqueFd> fd = sys::ListenUnix(path, kSocketMode);
  if (!fd.ok() && fd.error() == EADDRINUSE) {
    SNAP_TRY_VOID(RemoveStale(dir, name, path));
    fd = sys::ListenUnix(path, kSocketMode);
  }
  if (!fd.ok() && fd.error() == ENAMETOOLONG) {
    return MakeError(ErrorCode::kInvalidArgument, "listen at {}: the path has more than 107 bytes",
                     Quote(path));
  }
  if (!fd.ok()) return Error(fd.error(), fmt::format("listen at {}", Quote(path)));
  SNAP_TRY_SYS(const struct stat made, sys::StatAt(dir, name.c_str()), "look at {}", Quote(path));
  ListeningSocket socket(*std::move(fd), path);
  socket.device_ = made.st_dev;
  socket.inode_ = made.st_ino;
  return socket;
}

Result<ListeningSocket> ListeningSocket::Adopt(UniqueFd fd, std::string name) {
  if (!sys::IsListening(fd)) {
    return MakeError(ErrorCode::kInvalidArgument, "use {}: it is not a listening stream socket", Quote(name));
  }
  SNAP_TRY_SYS_VOID(sys::SetNonBlocking(fd), "set {} to non-blocking", Quote(name));
  return ListeningSocket(std::move(fd), std::move(name));
}

ListeningSocket::~ListeningSocket() {
  if (!fd_ || inode_ == 0) return;
  const auto found = sys::StatAt(FdRef::Cwd(), name_.c_str());
  if (!found.ok() || found->st_dev != device_ || found->st_ino != inode_) return;
  (void)sys::UnlinkAt(FdRef::Cwd(), name_.c_str());  // a name that stays is taken over by the next
}

}  // namespace snap
