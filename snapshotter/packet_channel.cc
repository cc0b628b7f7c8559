#include "snapshotter/packet_channel.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "fs/base/sys_file.h"
#include "fs/base/sys_seqpacket.h"
#include "snapshotter/metadata_codec.h"

namespace snap {
namespace {

enum class Place : char { kInline = 0, kMemoryFile = 1 };
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

Error Malformed(std::string_view why) { return MakeError(ErrorCode::kCorrupt, "receive message: {}", why); }

Result<UniqueFd> InMemoryFile(std::string_view message) {
  SNAP_TRY_SYS(UniqueFd file, sys::MemfdCreate("snap-message", MFD_CLOEXEC | MFD_ALLOW_SEALING),
               "make memory file");
  SNAP_TRY_SYS_VOID(sys::WriteAll(file, message), "write memory file");
  SNAP_TRY_SYS_VOID(sys::AddSeals(file, kSeals), "seal memory file");
  return file;
}

/// The sender is not trusted: what is not sealed could shrink or change while it is read.
Result<std::string> FromMemoryFile(FdRef file, uint64_t size) {
  if (size > PacketChannel::kMaxMessageBytes) return Malformed("it is too large");
  const SysResult<int> seals = sys::GetSeals(file);
  if (!seals.ok() || (*seals & kSeals) != kSeals) return Malformed("its memory file is not sealed");
  SNAP_TRY_SYS(const struct stat found, sys::FStat(file), "look at a memory file");
  if (found.st_size < 0 || static_cast<uint64_t>(found.st_size) != size)
    return Malformed("its memory file has another size");
  std::string bytes(size, '\0');
  for (size_t done = 0; done < bytes.size();) {
    const auto rest = std::as_writable_bytes(std::span(bytes)).subspan(done);
    SNAP_TRY_SYS(const size_t got, sys::PRead(file, rest, done), "read memory file");
    if (got == 0) return Malformed("its memory file is cut off");
    done += got;
  }
  return bytes;
}

}  // namespace

Result<void> PacketChannel::Send(std::string_view message, std::span<const FdRef> extra) {
  if (message.size() > kMaxMessageBytes) {
    return MakeError(ErrorCode::kLimitExceeded, "send message: {} bytes, at most {}", message.size(),
                     kMaxMessageBytes);
  }
  std::string packet(1, static_cast<char>(Place::kInline));
  std::vector<FdRef> descriptors;
  UniqueFd file;
  if (message.size() < kMaxInlineBytes) {
    packet.append(message);
  } else {
    SNAP_TRY(file, InMemoryFile(message));
    packet[0] = static_cast<char>(Place::kMemoryFile);
    packet += codec::NumberKey(message.size());
    descriptors.push_back(file);
  }
  descriptors.insert(descriptors.end(), extra.begin(), extra.end());
  const SysResult<void> sent = sys::SendPacket(socket_, AsBytes(packet), descriptors);
  if (sent.ok()) return {};
  const bool slow = sent.error() == EAGAIN;
  return MakeError(ErrorCode::kUnavailable, "send message: {}",
                   slow ? "it is not taken" : sent.error().Message());
}

Result<std::optional<PacketChannel::Message>> PacketChannel::Receive() {
  buffer_.resize(kMaxInlineBytes + 1);
  SysResult<sys::ReceivedPacket> received =
      sys::ReceivePacket(socket_, std::as_writable_bytes(std::span(buffer_)));
  if (!received.ok()) {
    if (received.error() == ECONNRESET) return std::optional<Message>();
    const bool slow = received.error() == EAGAIN;
    return MakeError(ErrorCode::kUnavailable, "receive message: {}",
                     slow ? "no answer" : received.error().Message());
  }
  if (received->truncated) return Malformed("it is too large or carries too many descriptors");
  if (received->size == 0) return std::optional<Message>();
  const std::string_view packet = std::string_view(buffer_).substr(0, received->size);
  Message message;
  message.extra = std::move(received->descriptors);
  switch (static_cast<Place>(packet[0])) {
    case Place::kInline:
      message.bytes = packet.substr(1);
      return std::optional(std::move(message));
    case Place::kMemoryFile: {
      SNAP_TRY(const uint64_t size, codec::NumberFromKey(packet.substr(1), "the size of a message"));
      if (message.extra.empty()) return Malformed("it has no memory file");
      SNAP_TRY(message.bytes, FromMemoryFile(message.extra.front(), size));
      message.extra.erase(message.extra.begin());
      return std::optional(std::move(message));
    }
  }
  return Malformed("of no known kind");
}

}  // namespace snap
