#include "tools/snapshotterd/metrics_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>

#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_socket.h"
#include "tests/support/temp_dir.h"

namespace snap::daemon {
namespace {

std::string Metrics() { return "x_total 1\n"; }

std::string Answer(std::string_view head, bool healthy = true) {
  return HttpAnswer(head, Metrics, [&] { return healthy; });
}

TEST(HttpAnswer, GivesMetricsAndHealth) {
  EXPECT_EQ(
      Answer("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
      "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 10\r\n"
      "Connection: close\r\n\r\nx_total 1\n");
  EXPECT_THAT(Answer("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), testing::HasSubstr("x_total 1\n"));
  EXPECT_THAT(Answer("GET /healthz HTTP/1.0\r\n\r\n"), testing::StartsWith("HTTP/1.0 200 OK"));
  EXPECT_THAT(Answer("GET /healthz HTTP/1.0\r\n\r\n", false), testing::StartsWith("HTTP/1.0 503 "));
}

TEST(HttpAnswer, ToHeadHasNoBody) {
  EXPECT_THAT(Answer("HEAD /metrics HTTP/1.0\r\n\r\n"),
              testing::AllOf(testing::HasSubstr("Content-Length: 10\r\n"), testing::EndsWith("\r\n\r\n")));
}

TEST(HttpAnswer, RefusesTheRest) {
  EXPECT_THAT(Answer("GET / HTTP/1.0\r\n\r\n"), testing::StartsWith("HTTP/1.0 404 "));
  EXPECT_THAT(Answer("GET /metricsx HTTP/1.0\r\n\r\n"), testing::StartsWith("HTTP/1.0 404 "));
  EXPECT_THAT(Answer("POST /metrics HTTP/1.0\r\n\r\n"), testing::StartsWith("HTTP/1.0 405 "));
  for (const char* head : {"", "GET", "GET /metrics", "GET /metrics FTP/1.0\r\n\r\n", "\r\n\r\n"}) {
    EXPECT_THAT(Answer(head), testing::StartsWith("HTTP/1.0 400 ")) << head;
  }
}

std::string Fetch(FdRef socket, std::string_view request) {
  EXPECT_TRUE(sys::Send(socket, request).ok());
  std::string answer;
  while (true) {
    const std::array<FdRef, 1> fds = {socket};
    if (!sys::PollReadable(fds, std::nullopt).ok()) return answer;
    std::array<std::byte, 256> buffer{};
    const auto size = sys::Read(socket, buffer);
    if (!size.ok() || *size == 0) return answer;
    answer.append(reinterpret_cast<const char*>(buffer.data()), *size);
  }
}

TEST(MetricsServer, AnswersOnAUnixSocket) {
  const test::TempDir dir;
  const auto server = MetricsServer::Start(dir.path() + "/m.sock", Metrics, [] { return true; });
  ASSERT_TRUE(server.ok()) << server.error().message();
  for (int i = 0; i < 3; ++i) {
    const auto client = sys::ConnectUnix(dir.path() + "/m.sock");
    ASSERT_TRUE(client.ok());
    EXPECT_THAT(Fetch(*client, "GET /metrics HTTP/1.0\r\n\r\n"), testing::EndsWith("\r\n\r\nx_total 1\n"));
  }
}

TEST(MetricsServer, SendsNoAnswerToWhoNeverAsks) {
  const test::TempDir dir;
  const auto server = MetricsServer::Start(dir.path() + "/m.sock", Metrics, [] { return true; });
  ASSERT_TRUE(server.ok());
  const auto client = sys::ConnectUnix(dir.path() + "/m.sock");
  ASSERT_TRUE(client.ok());
  EXPECT_EQ(Fetch(*client, std::string(20'000, 'x')), "");  // more than a request has
}

TEST(MetricsServer, ListensOnLoopbackAndSaysWhere) {
  const auto server = MetricsServer::Start("127.0.0.1:0", Metrics, [] { return true; });
  ASSERT_TRUE(server.ok()) << server.error().message();
  EXPECT_THAT((*server)->address(), testing::MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*"));
}

TEST(MetricsServer, RefusesAddressesThatAreNone) {
  for (const char* address :
       {"", "9100", "localhost:9100", ":9100", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x"}) {
    EXPECT_FALSE(MetricsServer::Start(address, Metrics, [] { return true; }).ok()) << address;
  }
}

}  // namespace
}  // namespace snap::daemon
