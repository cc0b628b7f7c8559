// System calls on sockets, typed. Invariants as in sys_file.h: close-on-exec from birth, EINTR retried where
// that is safe. Errors: the kernel's errno. Threads: safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

/// A listening, non-blocking stream socket that gets its name and exactly `mode` in one step.
/// Errors: EADDRINUSE when the name is taken, ENAMETOOLONG for more than 107 bytes.
SysResult<UniqueFd> ListenUnix(const std::string& path, mode_t mode);
/// The same on TCP; `host` is an IPv4 or IPv6 address in figures. Errors: EINVAL for anything else.
SysResult<UniqueFd> ListenTcp(const std::string& host, uint16_t port);
/// The port that a TCP socket got.
SysResult<uint16_t> LocalPort(FdRef socket);
/// A non-blocking stream connection. Errors: ECONNREFUSED when nobody listens, ENOENT when there is no such
/// name, EAGAIN when too many wait already.
SysResult<UniqueFd> ConnectUnix(const std::string& path);
/// The next connection, non-blocking. Errors: EAGAIN when there is none, ECONNABORTED, EMFILE.
SysResult<UniqueFd> Accept(FdRef listener);
/// True for a listening stream socket (SO_ACCEPTCONN).
bool IsListening(FdRef fd);

struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};
/// Who connected a unix socket, as the kernel saw it then (SO_PEERCRED).
SysResult<PeerCredentials> GetPeerCredentials(FdRef socket);
/// One send(2) without SIGPIPE; may be short.
SysResult<size_t> Send(FdRef socket, std::string_view data);

}  // namespace snap::sys
