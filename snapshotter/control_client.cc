#include "snapshotter/control_client.h"

#include <cerrno>
#include <chrono>
#include <thread>

#include "fs/base/sys_process.h"
#include "fs/base/sys_seqpacket.h"

namespace snap {
namespace {

using std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(30);

Error Gone() { return Error(ErrorCode::kUnavailable, "ask the daemon: it has gone"); }

}  // namespace

Result<std::unique_ptr<ControlClient>> ControlClient::Connect(FdRef store_root) {
  // A daemon that is being killed closes its files one after another: what it still accepts ends at once,
  // until nobody listens.
  const auto give_up = steady_clock::now() + kPatience;
  while (steady_clock::now() < give_up) {
    SysResult<UniqueFd> socket = sys::ConnectPackets(store_root, control::kSocketName, kPatience);
    if (!socket.ok()) {
      if (socket.error() == ENOENT || socket.error() == ECONNREFUSED) return std::unique_ptr<ControlClient>();
      if (socket.error() == EAGAIN) {
        return MakeError(ErrorCode::kUnavailable, "connect to the daemon: it does not accept connections");
      }
      return Error(socket.error(), "connect to the daemon");
    }
    SNAP_TRY_SYS(const sys::PacketPeer peer, sys::PacketPeerOf(*socket), "connect to the daemon");
    if (peer.uid != 0 && peer.uid != sys::EffectiveUid()) {
      return MakeError(ErrorCode::kPermission, "connect to the daemon: user {} listens in its place",
                       peer.uid);
    }
    std::unique_ptr<ControlClient> client(new ControlClient(PacketChannel(std::move(*socket))));
    if (client->channel_.Send(control::Encode(control::Hello())).ok()) {
      SNAP_TRY(const std::optional<PacketChannel::Message> answer, client->channel_.Receive());
      if (answer) {
        SNAP_TRY(const uint64_t version, control::DecodeHelloAnswer(answer->bytes));
        if (version == control::kVersion) return client;
        return MakeError(ErrorCode::kUnsupported,
                         "connect to the daemon: it speaks version {} of the protocol", version);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return MakeError(ErrorCode::kUnavailable, "connect to the daemon: it closes every connection");
}

Result<std::string> ControlClient::Ask(const control::Request& request, std::span<const FdRef> extra,
                                       bool patient) {
  if (patient) SNAP_TRY_SYS_VOID(sys::SetPacketPatience(channel_.socket(), std::nullopt), "ask the daemon");
  SNAP_TRY_VOID(channel_.Send(control::Encode(request), extra));
  SNAP_TRY(std::optional<PacketChannel::Message> answer, channel_.Receive());
  if (!answer) return Gone();
  if (patient) SNAP_TRY_SYS_VOID(sys::SetPacketPatience(channel_.socket(), kPatience), "ask the daemon");
  return std::move(answer->bytes);
}

Result<std::string> ControlClient::Status() {
  SNAP_TRY(const std::string answer, Ask(control::Status()));
  return control::DecodeText(answer);
}

Result<std::string> ControlClient::Metrics() {
  SNAP_TRY(const std::string answer, Ask(control::Metrics()));
  return control::DecodeText(answer);
}

Result<void> ControlClient::Reload() {
  SNAP_TRY(const std::string answer, Ask(control::Reload()));
  SNAP_TRY_VOID(control::DecodeText(answer));
  return {};
}

Result<void> ControlClient::Follow(const std::function<void()>& started,
                                   const std::function<Result<bool>(const Event&)>& visit) {
  SNAP_TRY(const std::string answer, Ask(control::Events()));
  SNAP_TRY_VOID(control::DecodeText(answer));
  SNAP_TRY_SYS_VOID(sys::SetPacketPatience(channel_.socket(), std::nullopt), "ask the daemon");
  if (started) started();
  for (;;) {
    SNAP_TRY(const std::optional<PacketChannel::Message> message, channel_.Receive());
    if (!message) return Gone();
    SNAP_TRY(const Event event, control::DecodeEvent(message->bytes));
    SNAP_TRY(const bool more, visit(event));
    if (!more) return {};
  }
}

}  // namespace snap
