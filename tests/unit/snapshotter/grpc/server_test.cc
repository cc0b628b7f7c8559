#include "snapshotter/grpc/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <future>
#include <thread>

#include "fs/base/synchronized.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_socket.h"
#include "tests/support/grpc_fixture.h"

namespace snap {
namespace {

namespace wire = containerd::services::snapshots::v1;
using grpc::StatusCode;
using Stub = wire::Snapshots::Stub;
using test::ServedSnapshots;

grpc::Status Cleanup(const ServedSnapshots& served) {
  const auto stub = served.Snapshots();
  google::protobuf::Empty empty;
  return test::Call(*stub, &Stub::Cleanup, wire::CleanupRequest(), empty);
}

mode_t ModeOf(const std::string& path) {
  const auto found = sys::StatAt(FdRef::Cwd(), path.c_str());
  return found.ok() ? found->st_mode : 0;
}

TEST(Server, SocketIsForItsOwnerAndItsDirectoryIsMade) {
  sys::ClearUmask();
  const ServedSnapshots served;
  EXPECT_EQ(ModeOf(served.path()), static_cast<mode_t>(S_IFSOCK | 0600));
  EXPECT_EQ(ModeOf(served.dir.path() + "/run"), static_cast<mode_t>(S_IFDIR | 0711));
  EXPECT_TRUE(Cleanup(served).ok());
}

TEST(Server, ServesNobodyWhoMayNotConnect) {
  Synchronized<std::vector<RefusedPeer>> refused;
  ServerOptions options;
  options.may_connect = [](uint32_t) { return false; };
  options.on_refused = [&](const RefusedPeer& peer) { refused.Lock()->push_back(peer); };
  ServedSnapshots served(std::move(options));
  bool called = false;
  served.snapshots.on_call = [&](std::string_view) -> Result<void> {
    called = true;
    return {};
  };
  EXPECT_EQ(Cleanup(served).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_FALSE(called);
  auto peers = refused.Lock();
  ASSERT_FALSE(peers->empty());
  EXPECT_EQ(peers->front().pid, sys::Pid());
  EXPECT_EQ(peers->front().uid, sys::EffectiveUid());
}

TEST(Server, ListensOnSocketsOfOthersToo) {
  ServedSnapshots served;
  // What a service manager does: it binds, and somebody else serves.
  const std::string path = served.dir.path() + "/activated.sock";
  auto fd = sys::ListenUnix(path, 0600);
  ASSERT_TRUE(fd.ok());
  auto socket = ListeningSocket::Adopt(*std::move(fd), "activated");
  ASSERT_TRUE(socket.ok());
  std::vector<ListeningSocket> sockets;
  sockets.push_back(*std::move(socket));
  Metrics metrics;
  auto second = Server::Start(served.snapshots, metrics, std::move(sockets), {});
  ASSERT_TRUE(second.ok());
  const auto stub =
      wire::Snapshots::NewStub(grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials()));
  google::protobuf::Empty empty;
  EXPECT_TRUE(test::Call(*stub, &Stub::Cleanup, wire::CleanupRequest(), empty).ok());
  second->reset();
  EXPECT_TRUE(S_ISSOCK(ModeOf(path)));  // not ours to remove
}

TEST(ListeningSocket, OfALiveServerIsNotTaken) {
  ServedSnapshots served;
  const auto second = ListeningSocket::Make(served.path());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), ErrorCode::kExists);
  EXPECT_TRUE(Cleanup(served).ok());
}

TEST(ListeningSocket, OfADeadServerIsTakenOver) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/s";
  { ASSERT_TRUE(sys::ListenUnix(path, 0600).ok()); }  // closed, the name stays
  ASSERT_TRUE(S_ISSOCK(ModeOf(path)));
  const auto socket = ListeningSocket::Make(path);
  ASSERT_TRUE(socket.ok()) << socket.error().message();
  EXPECT_TRUE(sys::ConnectUnix(path).ok());
}

TEST(ListeningSocket, LeavesOtherFilesAndOtherSocketsAlone) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/s";
  { ASSERT_TRUE(sys::OpenAt(dir.fd(), "s", O_CREAT | O_WRONLY, 0600).ok()); }
  EXPECT_EQ(ListeningSocket::Make(path).error().code(), ErrorCode::kExists);
  EXPECT_TRUE(S_ISREG(ModeOf(path)));
  ASSERT_TRUE(sys::UnlinkAt(dir.fd(), "s").ok());
  {
    const auto first = ListeningSocket::Make(path);
    ASSERT_TRUE(first.ok());
    // Somebody removed the name and took it.
    ASSERT_TRUE(sys::UnlinkAt(dir.fd(), "s").ok());
    ASSERT_TRUE(sys::OpenAt(dir.fd(), "s", O_CREAT | O_WRONLY, 0600).ok());
  }
  EXPECT_TRUE(S_ISREG(ModeOf(path)));
}

TEST(ListeningSocket, NamesAreAbsoluteAndShort) {
  for (const std::string& path : {std::string("relative.sock"), std::string("/tmp/"),
                                  std::string("@abstract"), "/tmp/" + std::string(120, 'x')}) {
    EXPECT_EQ(ListeningSocket::Make(path).error().code(), ErrorCode::kInvalidArgument) << path;
  }
}

TEST(ListeningSocket, IsOnlyAdoptedWhenItListens) {
  const test::TempDir dir;
  auto file = sys::OpenAt(dir.fd(), "f", O_CREAT | O_RDWR, 0600);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(ListeningSocket::Adopt(*std::move(file), "f").error().code(), ErrorCode::kInvalidArgument);
}

TEST(ServerStop, LetsRunningCallsEnd) {
  ServedSnapshots served;
  std::promise<void> started;
  std::promise<void> release;
  served.snapshots.on_call = [&](std::string_view) -> Result<void> {
    started.set_value();
    release.get_future().wait();
    return {};
  };
  auto call = std::async(std::launch::async, [&] { return Cleanup(served); });
  started.get_future().wait();
  auto stop = std::async(std::launch::async, [&] { served.server->Stop(std::chrono::hours(1)); });
  release.set_value();
  EXPECT_TRUE(call.get().ok());
  stop.get();
  EXPECT_EQ(Cleanup(served).error_code(), StatusCode::UNAVAILABLE);
}

TEST(ServerStop, TwiceIsOnce) {
  ServedSnapshots served;
  served.server->Stop(std::chrono::seconds(1));
  served.server->Stop(std::chrono::seconds(1));
}

TEST(ServerMetrics, CountCallsByMethodAndCode) {
  Synchronized<std::vector<std::string>> calls;
  ServerOptions options;
  options.on_call = [&](const FinishedCall& call) {
    calls.Lock()->push_back(fmt::format("{}.{} {} {} {}", call.service, call.method, call.code, call.message,
                                        call.containerd_namespace));
  };
  ServedSnapshots served(std::move(options));
  const auto stub = served.Snapshots();
  for (int i = 0; i < 2; ++i) {
    grpc::ClientContext context;
    context.AddMetadata("containerd-namespace", "k8s.io");
    wire::StatSnapshotRequest request;
    request.set_key("nosuch");
    wire::StatSnapshotResponse response;
    EXPECT_EQ(stub->Stat(&context, request, &response).error_code(), StatusCode::NOT_FOUND);
  }
  served.server->Stop(std::chrono::seconds(10));
  const std::string text = served.metrics.Render();
  EXPECT_THAT(text,
              testing::HasSubstr(
                  "snapshotterd_calls_total{service=\"snapshots\",method=\"Stat\",code=\"NOT_FOUND\"} 2\n"));
  EXPECT_THAT(text,
              testing::HasSubstr(
                  "snapshotterd_call_duration_seconds_count{service=\"snapshots\",method=\"Stat\"} 2\n"));
  EXPECT_THAT(text, testing::HasSubstr("snapshotterd_calls_running 0\n"));
  EXPECT_EQ(calls.Lock()->back(), "snapshots.Stat NOT_FOUND find snapshot 'nosuch' k8s.io");
}

}  // namespace
}  // namespace snap
