// The mode of a unix socket's name comes from the socket's own inode and the umask: fchmod before bind leaves
// no moment in which others could connect.
#include "fs/base/sys_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace snap::sys {
namespace {

SysResult<sockaddr_un> UnixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.find('\0') != std::string::npos) return Errno(EINVAL);
  if (path.size() >= sizeof(address.sun_path)) return Errno(ENAMETOOLONG);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

/// The one cast that the sockets API asks for.
template <typename Address>
const sockaddr* Generic(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

SysResult<UniqueFd> BindAndListen(UniqueFd fd, const sockaddr* address, socklen_t size) {
  if (::bind(fd.get(), address, size) != 0) return LastErrno();
  if (::listen(fd.get(), SOMAXCONN) != 0) return LastErrno();
  return fd;
}

}  // namespace

SysResult<UniqueFd> ListenUnix(const std::string& path, mode_t mode) {
  auto address = UnixAddress(path);
  if (!address.ok()) return address.error();
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return LastErrno();
  if (::fchmod(fd.get(), mode) != 0) return LastErrno();
  return BindAndListen(std::move(fd), Generic(*address), sizeof(sockaddr_un));
}

SysResult<UniqueFd> ListenTcp(const std::string& host, uint16_t port) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  const bool is_v4 = ::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1;
  if (!is_v4 && ::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) != 1) return Errno(EINVAL);
  UniqueFd fd(::socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return LastErrno();
  const int on = 1;
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) return LastErrno();
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  return is_v4 ? BindAndListen(std::move(fd), Generic(v4), sizeof(v4))
               : BindAndListen(std::move(fd), Generic(v6), sizeof(v6));
}

SysResult<uint16_t> LocalPort(FdRef socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return LastErrno();
  in_port_t port = 0;
  if (address.ss_family == AF_INET) {
    port = reinterpret_cast<const sockaddr_in*>(&address)->sin_port;
  } else if (address.ss_family == AF_INET6) {
    port = reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port;
  } else {
    return Errno(EAFNOSUPPORT);
  }
  return ntohs(port);
}

SysResult<UniqueFd> ConnectUnix(const std::string& path) {
  auto address = UnixAddress(path);
  if (!address.ok()) return address.error();
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return LastErrno();
  if (::connect(fd.get(), Generic(*address), sizeof(sockaddr_un)) != 0) return LastErrno();
  return fd;
}

SysResult<UniqueFd> Accept(FdRef listener) {
  while (true) {
    UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) return fd;
    if (errno != EINTR) return LastErrno();
  }
}

bool IsListening(FdRef fd) {
  int type = 0;
  int listening = 0;
  socklen_t size = sizeof(int);
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) return false;
  size = sizeof(int);
  return ::getsockopt(fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening != 0;
}

SysResult<PeerCredentials> GetPeerCredentials(FdRef socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return LastErrno();
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

SysResult<size_t> Send(FdRef socket, std::string_view data) {
  while (true) {
    const ssize_t sent = ::send(socket.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<size_t>(sent);
    if (errno != EINTR) return LastErrno();
  }
}

}  // namespace snap::sys
