// What broken and hostile peers can do to the control socket, which is nothing; and what honest ones get.
#include "snapshotter/control_server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "fs/base/sys_file.h"
#include "fs/base/sys_seqpacket.h"
#include "snapshotter/control_client.h"
#include "snapshotter/metadata_codec.h"
#include "tests/support/temp_store.h"

namespace snap {
namespace {

using test::IsOk;
using test::TempDir;
using ::testing::HasSubstr;

/// A map behind the interface.
class MemoryDatabase final : public Database {
 public:
  Result<std::optional<std::string>> Get(std::string_view key) override {
    const std::lock_guard guard(mutex_);
    if (const auto it = rows_.find(std::string(key)); it != rows_.end()) return std::optional(it->second);
    return std::optional<std::string>();
  }
  Result<void> Scan(std::string_view, std::string_view, const Visitor&) override {
    return Error(ErrorCode::kIo, "scan: out of order");
  }
  Result<void> Write(const DatabaseChanges& changes, bool) override {
    const std::lock_guard guard(mutex_);
    for (const auto& change : changes.changes) rows_[change.key] = change.value.value_or("");
    return {};
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> rows_;
};

size_t OpenDescriptors() { return test::CountEntries("/proc/self/fd"); }

class ControlServerTest : public ::testing::Test {
 protected:
  ControlServerTest() : root_(*sys::OpenAt(FdRef::Cwd(), dir_.path().c_str(), O_RDONLY | O_DIRECTORY)) {
    options_.database = std::make_shared<MemoryDatabase>();
    options_.events = std::make_shared<EventBus>();
    options_.patience = std::chrono::seconds(30);
  }
  void Start() {
    auto server = ControlServer::Start(root_, options_);
    ASSERT_TRUE(IsOk(server));
    server_ = std::move(*server);
  }
  UniqueFd Raw() { return sys::ConnectPackets(root_, "control", std::chrono::seconds(30)).value(); }
  /// A connection that has said hello.
  UniqueFd Greeted() {
    UniqueFd socket = Raw();
    SendRaw(socket, std::string(1, '\0') + control::Encode(control::Hello()));
    EXPECT_THAT(ReceiveRaw(socket),
                ::testing::Optional(std::string(1, '\0') + control::EncodeHelloAnswer(1)));
    return socket;
  }
  static void SendRaw(FdRef socket, std::string_view bytes, std::vector<FdRef> fds = {}) {
    (void)sys::SendPacket(socket, std::as_bytes(std::span(bytes)), fds);  // it may have hung up already
  }
  static std::optional<std::string> ReceiveRaw(FdRef socket) {
    std::string buffer(100'000, '\0');
    const auto got = sys::ReceivePacket(socket, std::as_writable_bytes(std::span(buffer)));
    if (!got.ok() || got->size == 0) return std::nullopt;
    return buffer.substr(0, got->size);
  }
  /// Threads end after their connections do.
  void WaitForConnections(size_t count) {
    while (server_->connections() != count) std::this_thread::yield();
  }
  std::unique_ptr<ControlClient> Client() { return ControlClient::Connect(root_).value(); }

  TempDir dir_;
  UniqueFd root_;
  ControlServer::Options options_;
  std::unique_ptr<ControlServer> server_;
};

std::string Large(size_t size) { return '\x01' + codec::NumberKey(size); }
UniqueFd Memory(std::string_view bytes, int seals) {
  UniqueFd file = sys::MemfdCreate("test", MFD_CLOEXEC | MFD_ALLOW_SEALING).value();
  EXPECT_TRUE(sys::WriteAll(file, bytes).ok());
  if (seals != 0) {
    EXPECT_TRUE(sys::AddSeals(file, seals).ok());
  }
  return file;
}
constexpr int kAllSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

TEST_F(ControlServerTest, ABadMessageEndsItsConnectionAloneAndLeavesNoDescriptor) {
  Start();
  const std::string get = control::Encode(control::Get{"k"});
  const UniqueFd sealed = Memory(get, kAllSeals);
  const UniqueFd open = Memory(get, 0);
  const UniqueFd growing = Memory(get, F_SEAL_SHRINK | F_SEAL_GROW);
  const UniqueFd directory = sys::OpenAt(root_, ".", O_RDONLY | O_DIRECTORY).value();
  const struct {
    const char* name;
    std::string bytes;
    std::vector<FdRef> fds;
  } kCases[] = {
      {"unknown place", "\x02" + get, {}},
      {"nothing", std::string(1, '\0'), {}},
      {"cut request", std::string(1, '\0') + get.substr(0, 2), {}},
      {"longer than a packet", std::string(1, '\0') + std::string(70'000, '\x02'), {}},
      {"memory file without descriptor", Large(get.size()), {}},
      {"memory file without size", "\x01", {sealed}},
      {"size is a lie", Large(get.size() + 1), {sealed}},
      {"more than the limit", Large(PacketChannel::kMaxMessageBytes + 1), {sealed}},
      {"not sealed", Large(get.size()), {open}},
      {"not sealed against writing", Large(get.size()), {growing}},
      {"a directory", Large(get.size()), {directory}},
      {"an absurd list", std::string("\0\x04\x01\xff\xff\xff\xff\x0f", 8), {sealed, sealed, sealed, sealed}},
  };
  const UniqueFd honest = Greeted();
  WaitForConnections(1);
  const size_t before = OpenDescriptors();
  for (const auto& test : kCases) {
    {
      const UniqueFd socket = Greeted();
      SendRaw(socket, test.bytes, test.fds);
      EXPECT_EQ(ReceiveRaw(socket), std::nullopt) << test.name;
      WaitForConnections(1);
    }
    EXPECT_EQ(OpenDescriptors(), before) << test.name;
  }
  SendRaw(honest, std::string(1, '\0') + get);
  EXPECT_TRUE(ReceiveRaw(honest).has_value());
  // The same in a sealed memory file is what honest clients do.
  SendRaw(honest, Large(get.size()), {sealed});
  EXPECT_TRUE(ReceiveRaw(honest).has_value());
}

TEST_F(ControlServerTest, TooManyDescriptorsAreClosed) {
  Start();
  const UniqueFd socket = Greeted();
  const size_t before = OpenDescriptors();
  const std::string bytes = std::string(1, '\0') + control::Encode(control::Get{"k"});
  // By hand: our own sender refuses.
  std::vector<int> fds(100, socket.get());
  std::vector<std::byte> control(CMSG_SPACE(fds.size() * sizeof(int)));
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  ASSERT_GT(::sendmsg(socket.get(), &message, MSG_NOSIGNAL), 0);
  EXPECT_EQ(ReceiveRaw(socket), std::nullopt);
  WaitForConnections(0);
  EXPECT_EQ(OpenDescriptors(), before - 1);  // its end of the connection
}

TEST_F(ControlServerTest, NothingIsAnsweredBeforeAHello) {
  Start();
  const UniqueFd socket = Raw();
  SendRaw(socket, std::string(1, '\0') + control::Encode(control::Get{"k"}));
  EXPECT_EQ(ReceiveRaw(socket), std::nullopt);
}

TEST_F(ControlServerTest, OtherVersionsAreToldSo) {
  Start();
  PacketChannel channel(Raw());
  ASSERT_TRUE(IsOk(channel.Send(control::Encode(control::Hello{2, 9}))));
  const auto answer = channel.Receive();
  ASSERT_TRUE(IsOk(answer));
  const Error error = control::DecodeHelloAnswer((**answer).bytes).error();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(error.message(), HasSubstr("version 1"));
}

TEST_F(ControlServerTest, UnknownRequestsAndFailuresKeepTheConnection) {
  Start();
  const auto client = Client();
  PacketChannel channel(Greeted());
  ASSERT_TRUE(IsOk(channel.Send("\x7f later")));
  EXPECT_EQ(control::DecodeText((*channel.Receive())->bytes).error().code(), ErrorCode::kUnsupported);
  ASSERT_TRUE(IsOk(channel.Send(control::Encode(control::Scan{}))));
  const Error failure = control::DecodeScanPage((*channel.Receive())->bytes).error();
  EXPECT_EQ(failure.code(), ErrorCode::kIo);
  EXPECT_EQ(failure.message(), "scan: out of order");
  ASSERT_TRUE(IsOk(channel.Send(control::Encode(control::Get{"k"}))));
  EXPECT_TRUE(IsOk(control::DecodeGetAnswer((*channel.Receive())->bytes)));
}

TEST_F(ControlServerTest, ASilentPeerIsNotWaitedForInAHello) {
  options_.patience = std::chrono::milliseconds(1);
  Start();
  const UniqueFd silent = Raw();
  EXPECT_EQ(ReceiveRaw(silent), std::nullopt);
}

TEST_F(ControlServerTest, APeerThatTakesNoAnswersIsGivenUp) {
  options_.patience = std::chrono::milliseconds(20);
  auto database = std::make_shared<MemoryDatabase>();
  DatabaseChanges changes;
  changes.Put("k", std::string(50'000, 'v'));
  ASSERT_TRUE(IsOk(database->Write(changes, false)));
  options_.database = database;
  Start();
  const UniqueFd socket = Greeted();
  ASSERT_TRUE(sys::SetPacketPatience(socket, std::chrono::milliseconds(200)).ok());
  const std::string get = std::string(1, '\0') + control::Encode(control::Get{"k"});
  bool ended = false;
  while (!ended) ended = !sys::SendPacket(socket, std::as_bytes(std::span(get)), {}).ok();
  WaitForConnections(0);
}

TEST_F(ControlServerTest, MoreConnectionsThanAllowedWaitForTheirTurn) {
  options_.max_connections = 2;
  Start();
  UniqueFd one = Greeted();
  const UniqueFd two = Greeted();
  const UniqueFd three = Raw();
  SendRaw(three, std::string(1, '\0') + control::Encode(control::Hello()));
  EXPECT_EQ(server_->connections(), 2U);
  one.Reset();
  EXPECT_TRUE(ReceiveRaw(three).has_value());
}

TEST_F(ControlServerTest, StatusMetricsAndReloadAreTheDaemons) {
  int reloads = 0;
  options_.status = [] { return Json{{"version", "1.2"}, {"snapshots", 3}}; };
  options_.metrics = [] { return std::string("snap_up 1\n"); };
  Start();
  const auto client = Client();
  const Json status = ParseJson(client->Status().value(), "status").value();
  EXPECT_EQ(status["version"], "1.2");
  EXPECT_EQ(status["snapshots"], 3);
  EXPECT_EQ(status["pid"], ::getpid());
  EXPECT_EQ(status["connections"], 1);
  EXPECT_EQ(client->Metrics().value(), "snap_up 1\n");
  EXPECT_EQ(client->Reload().error().code(), ErrorCode::kUnsupported);
  server_.reset();
  options_.reload = [&]() -> Result<void> {
    if (++reloads == 2) return Error(ErrorCode::kInvalidArgument, "read configuration: unknown key");
    return {};
  };
  Start();
  const auto second = Client();
  EXPECT_TRUE(IsOk(second->Reload()));
  EXPECT_EQ(second->Reload().error().message(), "read configuration: unknown key");
}

TEST_F(ControlServerTest, TheNameIsOursAloneAndGoesAtTheEnd) {
  Start();
  const struct stat found = sys::StatAt(root_, "control", AT_SYMLINK_NOFOLLOW).value();
  EXPECT_TRUE(S_ISSOCK(found.st_mode));
  EXPECT_EQ(found.st_mode & 07777U, 0600U);
  EXPECT_EQ(ControlServer::Start(root_, options_).error().code(), ErrorCode::kBusy);
  const auto client = Client();
  server_->Stop();
  EXPECT_EQ(client->Status().error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(ControlClient::Connect(root_).value(), nullptr);
  EXPECT_FALSE(sys::StatAt(root_, "control").ok());
}

TEST_F(ControlServerTest, ListenersGetWhatIsPublishedAfterTheyWereToldSo) {
  Start();
  const auto client = Client();
  std::vector<Event> events;
  const auto publish = [&] {
    for (int i = 0; i < 3; ++i) options_.events->Publish("layer.apply", {{"n", std::to_string(i)}});
  };
  ASSERT_TRUE(IsOk(client->Follow(publish, [&](const Event& event) -> Result<bool> {
    events.push_back(event);
    return events.size() < 3;
  })));
  ASSERT_EQ(events.size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(events[i].type, "layer.apply");
    EXPECT_EQ(events[i].attributes.at("n"), std::to_string(i));
    EXPECT_GT(events[i].time_ns, 0);
  }
}

TEST_F(ControlServerTest, StoppingEndsListenersThatDoNotRead) {
  Start();
  const UniqueFd socket = Greeted();
  SendRaw(socket, std::string(1, '\0') + control::Encode(control::Events()));
  ASSERT_TRUE(ReceiveRaw(socket).has_value());
  const std::map<std::string, std::string> large = {{"a", std::string(60'000, 'x')}};
  for (int i = 0; i < 100; ++i) options_.events->Publish("t", large);
  server_->Stop();
  EXPECT_EQ(options_.events->listeners(), 0U);
}

TEST(EventBus, ASlowListenerLosesTheNewestAndIsToldHowMany) {
  EventBus bus;
  bus.Publish("nobody", {});
  const auto slow = bus.Subscribe(3).value();
  const auto quick = bus.Subscribe(100).value();
  EXPECT_EQ(bus.listeners(), 2U);
  for (int i = 0; i < 10; ++i) bus.Publish("e", {{"n", std::to_string(i)}});
  EXPECT_EQ(quick->Take().size(), 10U);
  EXPECT_TRUE(quick->Take().empty());
  const std::vector<Event> events = slow->Take();
  ASSERT_EQ(events.size(), 4U);
  EXPECT_EQ(events[2].attributes.at("n"), "2");
  EXPECT_EQ(events[3].type, kEventsLost);
  EXPECT_EQ(events[3].attributes.at("count"), "7");
  bus.Publish("e", {});
  EXPECT_EQ(slow->Take().size(), 1U);
}

TEST(EventBus, ListenersAndBusMayGoInAnyOrder) {
  auto bus = std::make_unique<EventBus>();
  auto first = bus->Subscribe().value();
  const auto second = bus->Subscribe().value();
  first.reset();
  bus->Publish("e", {});
  bus.reset();
  EXPECT_EQ(second->Take().size(), 1U);
}

}  // namespace
}  // namespace snap
