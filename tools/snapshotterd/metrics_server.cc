#include "tools/snapshotterd/metrics_server.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <optional>
#include <thread>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_socket.h"
#include "fs/base/sys_terminal.h"
#include "snapshotter/grpc/listening_socket.h"

namespace snap::daemon {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kClientTime{2000};
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr size_t kMaxHeadBytes = size_t{8} << 10U;

std::string Answer(std::string_view status, std::string_view type, std::string_view body, bool with_body) {
  return fmt::format("HTTP/1.0 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                     status, type, body.size(), with_body ? body : std::string_view());
}

struct TcpAddress {
  std::string host;
  uint16_t port = 0;
};
Result<TcpAddress> ParseTcp(const std::string& address) {
  const size_t colon = address.rfind(':');
  TcpAddress out;
  if (colon != std::string::npos) {
    out.host = address.substr(0, colon);
    if (out.host.starts_with('[') && out.host.ends_with(']'))
      out.host = out.host.substr(1, out.host.size() - 2);
    const char* end = address.data() + address.size();
    const auto number = std::from_chars(address.data() + colon + 1, end, out.port);
    if (!out.host.empty() && number.ec == std::errc() && number.ptr == end) return out;
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   "serve metrics at {}: not /PATH, ADDRESS:PORT or [ADDRESS]:PORT", Quote(address));
}

/// True when the descriptor became ready in time.
bool WaitFor(FdRef fd, int16_t events, Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  if (left.count() <= 0) return false;
  std::array<pollfd, 1> fds = {{{fd.get(), events, 0}}};
  const auto ready = sys::Poll(fds, left);
  return ready.ok() && *ready > 0;
}

}  // namespace

std::string HttpAnswer(std::string_view head, const std::function<std::string()>& metrics,
                       const std::function<bool()>& healthy) {
  constexpr std::string_view kText = "text/plain; charset=utf-8";
  const std::string_view line = head.substr(0, head.find_first_of("\r\n"));
  const size_t first = line.find(' ');
  const size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos || !line.substr(second + 1).starts_with("HTTP/")) {
    return Answer("400 Bad Request", kText, "not a request\n", true);
  }
  const std::string_view method = line.substr(0, first);
  std::string_view path = line.substr(first + 1, second - first - 1);
  path = path.substr(0, path.find('?'));
  const bool with_body = method != "HEAD";
  if (with_body && method != "GET")
    return Answer("405 Method Not Allowed", kText, "only GET and HEAD\n", true);
  if (path == "/metrics")
    return Answer("200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics(), with_body);
  if (path == "/healthz") {
    return healthy() ? Answer("200 OK", kText, "ok\n", with_body)
                     : Answer("503 Service Unavailable", kText, "not serving\n", with_body);
  }
  return Answer("404 Not Found", kText, "there are /metrics and /healthz\n", with_body);
}

struct MetricsServer::State {
  void Loop();
  void ServeClient(FdRef client) const;

  std::string address;
  std::function<std::string()> metrics;
  std::function<bool()> healthy;
  std::optional<ListeningSocket> unix_socket;
  UniqueFd tcp_socket;
  sys::Pipe wake;  // its write end is closed to end the loop
  std::thread thread;
};

void MetricsServer::State::ServeClient(FdRef client) const {
  const Clock::time_point deadline = Clock::now() + kClientTime;
  std::string head;
  while (head.find("\r\n\r\n") == std::string::npos && head.find("\n\n") == std::string::npos) {
    std::array<std::byte, 1024> buffer{};
    if (head.size() > kMaxHeadBytes || !WaitFor(client, POLLIN, deadline)) return;
    const auto size = sys::Read(client, buffer);
    if (!size.ok() || *size == 0) return;
    head.append(reinterpret_cast<const char*>(buffer.data()), *size);
  }
  const std::string answer = HttpAnswer(head, metrics, healthy);
  std::string_view left = answer;
  while (!left.empty()) {
    if (!WaitFor(client, POLLOUT, deadline)) return;
    const auto sent = sys::Send(client, left);
    if (!sent.ok()) return;
    left.remove_prefix(*sent);
  }
}

void MetricsServer::State::Loop() {
  const FdRef listener = unix_socket ? unix_socket->fd() : tcp_socket.ref();
  std::array<pollfd, 2> fds = {{{wake.read_end.get(), POLLIN, 0}, {listener.get(), POLLIN, 0}}};
  while (true) {
    const bool ready = sys::Poll(fds).ok();
    if (ready && fds[0].revents != 0) return;
    const SysResult<UniqueFd> client = ready ? sys::Accept(listener) : SysResult<UniqueFd>(Errno(ENOMEM));
    if (client.ok()) {
      ServeClient(*client);
    } else if (!(client.error() == EAGAIN)) {
      // Out of descriptors or memory: the program's other parts say so; here it is only waited out.
      const FdRef wake_fd = wake.read_end;
      (void)sys::PollReadable({&wake_fd, 1}, kAcceptPause);
    }
  }
}

MetricsServer::MetricsServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
MetricsServer::~MetricsServer() {
  state_->wake.write_end.Reset();
  state_->thread.join();
}
const std::string& MetricsServer::address() const { return state_->address; }

Result<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& address,
                                                            std::function<std::string()> metrics,
                                                            std::function<bool()> healthy) {
  auto state = std::make_unique<State>();
  state->address = address;
  state->metrics = std::move(metrics);
  state->healthy = std::move(healthy);
  if (address.starts_with('/')) {
    SNAP_TRY(ListeningSocket socket, ListeningSocket::Make(address));
    state->unix_socket.emplace(std::move(socket));
  } else {
    SNAP_TRY(const TcpAddress tcp, ParseTcp(address));
    SNAP_TRY_SYS(state->tcp_socket, sys::ListenTcp(tcp.host, tcp.port), "serve metrics at {}",
                 Quote(address));
    SNAP_TRY_SYS(const uint16_t port, sys::LocalPort(state->tcp_socket), "look at the metrics' socket");
    state->address = address.substr(0, address.rfind(':') + 1) + std::to_string(port);
  }
  SNAP_TRY_SYS(state->wake, sys::MakePipe(), "make a pipe");
  State* const raw = state.get();
  state->thread = std::thread([raw] { raw->Loop(); });
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(state)));
}

}  // namespace snap::daemon
