#include "fs/base/sys_seqpacket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace snap::sys {
namespace {

/// A path of 107 bytes at most, whatever the directory's is.
SysResult<sockaddr_un> AddressIn(FdRef dir, const char* name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const int length =
      std::snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir.get(), name);
  if (length < 0 || static_cast<size_t>(length) >= sizeof(address.sun_path)) return Errno(ENAMETOOLONG);
  return address;
}

timeval AsTimeval(std::chrono::milliseconds time) {
  return {.tv_sec = static_cast<time_t>(time.count() / 1000),
          .tv_usec = static_cast<suseconds_t>((time.count() % 1000) * 1000)};
}

}  // namespace

SysResult<UniqueFd> ListenPackets(FdRef dir, const char* name, mode_t mode, int backlog) {
  SNAP_TRY(const sockaddr_un address, AddressIn(dir, name));
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return LastErrno();
  // The name inherits the socket's own mode, less the umask: nobody can connect before a later chmod.
  if (::fchmod(socket.get(), mode) < 0) return LastErrno();
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0)
    return LastErrno();
  if (::listen(socket.get(), backlog) < 0) return LastErrno();
  return socket;
}

SysResult<UniqueFd> ConnectPackets(FdRef dir, const char* name, std::chrono::milliseconds patience) {
  SNAP_TRY(const sockaddr_un address, AddressIn(dir, name));
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return LastErrno();
  SNAP_TRY_VOID(SetPacketPatience(socket, patience));
  int connected;
  do {
    connected = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  } while (connected < 0 && errno == EINTR);
  if (connected < 0) return LastErrno();
  return socket;
}

SysResult<UniqueFd> AcceptPackets(FdRef listener) {
  UniqueFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) return LastErrno();
  return socket;
}

SysResult<PacketSockets> MakePacketSockets() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) return LastErrno();
  return PacketSockets{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

SysResult<PacketPeer> PacketPeerOf(FdRef socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return LastErrno();
  return PacketPeer{peer.pid, peer.uid};
}

SysResult<void> SetPacketPatience(FdRef socket, std::optional<std::chrono::milliseconds> patience) {
  const timeval time = AsTimeval(patience.value_or(std::chrono::milliseconds(0)));  // 0 is for ever
  for (const int option : {SO_SNDTIMEO, SO_RCVTIMEO}) {
    if (::setsockopt(socket.get(), SOL_SOCKET, option, &time, sizeof(time)) < 0) return LastErrno();
  }
  return {};
}

SysResult<ReceivedPacket> ReceivePacket(FdRef socket, std::span<std::byte> buffer) {
  // Twice the room: descriptors beyond the limit are refused, and the kernel drops what does not fit even
  // here.
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * 2 * kMaxPacketDescriptors)];
  iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t size;
  do {
    size = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return LastErrno();
  ReceivedPacket packet;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
      packet.descriptors.emplace_back(fd);
    }
  }
  packet.size = static_cast<size_t>(size);
  packet.truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
                     packet.descriptors.size() > kMaxPacketDescriptors;
  return packet;
}

SysResult<void> SendPacket(FdRef socket, std::span<const std::byte> data,
                           std::span<const FdRef> descriptors) {
  if (descriptors.size() > kMaxPacketDescriptors) return Errno(EINVAL);
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * kMaxPacketDescriptors)]{};
  iovec part{.iov_base = const_cast<std::byte*>(data.data()), .iov_len = data.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors.size());
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
    for (size_t i = 0; i < descriptors.size(); ++i) {
      const int fd = descriptors[i].get();
      std::memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(fd));
    }
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(socket.get(), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return LastErrno();
  return {};
}

SysResult<bool> WaitToSend(FdRef socket, FdRef other) {
  pollfd polls[] = {{socket.get(), POLLOUT, 0}, {other.get(), POLLIN, 0}};
  int ready;
  do {
    ready = ::poll(polls, 2, -1);
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return LastErrno();
  return polls[1].revents == 0;
}

SysResult<void> AddSeals(FdRef memory_file, int seals) {
  if (::fcntl(memory_file.get(), F_ADD_SEALS, seals) < 0) return LastErrno();
  return {};
}

SysResult<int> GetSeals(FdRef memory_file) {
  const int seals = ::fcntl(memory_file.get(), F_GET_SEALS);
  if (seals < 0) return LastErrno();
  return seals;
}

}  // namespace snap::sys
