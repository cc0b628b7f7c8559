// PacketChannel: messages of any size up to a limit over a socket that keeps their borders. A small message
// is one packet; a larger one lies in a sealed memory file whose descriptor comes with the packet, so that
// its sender cannot change it any more. Invariant: whatever the other side sends, nothing is allocated beyond
// the limit and no descriptor is left open.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap {

/// Threads: one sends and one receives at a time.
class PacketChannel {
 public:
  /// A packet's first byte says where the message is: behind it, or (0x01, size as 8 bytes big endian) in the
  /// first descriptor.
  static constexpr size_t kMaxInlineBytes = size_t{64} << 10U;
  /// The batch of an import with a million large files.
  static constexpr size_t kMaxMessageBytes = size_t{256} << 20U;

  explicit PacketChannel(UniqueFd socket) : socket_(std::move(socket)) {}
  FdRef socket() const { return socket_; }

  /// `extra` go along. Errors: kLimitExceeded (nothing was sent); kUnavailable: the other side has gone, or
  /// did not take it within the socket's patience.
  Result<void> Send(std::string_view message, std::span<const FdRef> extra = {});
  struct Message {
    std::string bytes;
    std::vector<UniqueFd> extra;
  };
  /// nullopt when the other side has closed. Errors: kUnavailable (patience, connection broken); kCorrupt for
  /// what is not a message of this kind, after which the channel is of no use.
  Result<std::optional<Message>> Receive();

 private:
  UniqueFd socket_;
  std::string buffer_;  // of the receiver
};

}  // namespace snap
