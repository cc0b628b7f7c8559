// System calls on local sockets that keep the borders of messages (SOCK_SEQPACKET) and pass descriptors with
// them. Invariant: a received descriptor is owned before anything about its message is judged. Errors: the
// kernel's errno. Threads: safe.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

/// Listens under a name in a directory, however long the directory's path is; never waits in accept. The name
/// has `mode` from birth. Errors: EADDRINUSE when the name is taken.
SysResult<UniqueFd> ListenPackets(FdRef dir, const char* name, mode_t mode, int backlog);
/// Errors: ENOENT (no such name), ECONNREFUSED (nobody listens), EAGAIN (not accepted in time).
SysResult<UniqueFd> ConnectPackets(FdRef dir, const char* name, std::chrono::milliseconds patience);
/// Errors: EAGAIN when nobody waits, ECONNABORTED, EMFILE.
SysResult<UniqueFd> AcceptPackets(FdRef listener);
struct PacketSockets {
  UniqueFd one, other;
};
SysResult<PacketSockets> MakePacketSockets();

struct PacketPeer {
  pid_t pid;
  uid_t uid;
};
/// Who connected, or who listened, as the kernel saw it then.
SysResult<PacketPeer> PacketPeerOf(FdRef socket);
/// How long sending and receiving wait before EAGAIN; nullopt: for ever.
SysResult<void> SetPacketPatience(FdRef socket, std::optional<std::chrono::milliseconds> patience);

inline constexpr size_t kMaxPacketDescriptors = 4;
struct ReceivedPacket {
  size_t size = 0;         ///< 0: the other side has closed (or sent nothing, which nobody of ours does)
  bool truncated = false;  ///< bytes or descriptors did not fit: the message is to be refused
  std::vector<UniqueFd> descriptors;  ///< close-on-exec
};
/// One message; blocks as the socket does.
SysResult<ReceivedPacket> ReceivePacket(FdRef socket, std::span<std::byte> buffer);
/// All or nothing, without SIGPIPE. Errors: EPIPE, ECONNRESET (gone), EAGAIN (not taken in time), EMSGSIZE.
SysResult<void> SendPacket(FdRef socket, std::span<const std::byte> data, std::span<const FdRef> descriptors);
/// Waits until the socket takes a message, or `other` is readable or hung up. True: the socket does, or is
/// broken, which sending tells.
SysResult<bool> WaitToSend(FdRef socket, FdRef other);

/// fcntl F_ADD_SEALS, F_GET_SEALS. Errors: EINVAL for what is no memory file.
SysResult<void> AddSeals(FdRef memory_file, int seals);
SysResult<int> GetSeals(FdRef memory_file);

}  // namespace snap::sys
