// A Server over FakeSnapshots on a unix socket of its own, and a client of it.
#pragma once

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "snapshotter/grpc/server.h"
#include "snapshotter/proto/diff.grpc.pb.h"
#include "snapshotter/proto/snapshots.grpc.pb.h"
#include "tests/support/fake_snapshots.h"
#include "tests/support/temp_dir.h"

namespace snap::test {

class ServedSnapshots {
 public:
  explicit ServedSnapshots(ServerOptions options = {}) {
    auto socket = ListeningSocket::Make(path());
    EXPECT_TRUE(socket.ok()) << socket.error().message();
    std::vector<ListeningSocket> sockets;
    sockets.push_back(*std::move(socket));
    auto started = Server::Start(snapshots, metrics, std::move(sockets), std::move(options));
    EXPECT_TRUE(started.ok());
    server = *std::move(started);
  }

  std::string path() const { return dir.path() + "/run/daemon.sock"; }
  std::shared_ptr<grpc::Channel> Connect() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    return grpc::CreateCustomChannel("unix:" + path(), grpc::InsecureChannelCredentials(), arguments);
  }
  auto Snapshots() const { return containerd::services::snapshots::v1::Snapshots::NewStub(Connect()); }
  auto Diff() const { return containerd::services::diff::v1::Diff::NewStub(Connect()); }

  TempDir dir;
  FakeSnapshots snapshots;
  Metrics metrics;
  std::unique_ptr<Server> server;
};

/// Calls a unary method without headers.
template <typename Stub, typename Request, typename Response>
grpc::Status Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response& response) {
  grpc::ClientContext context;
  return (stub.*method)(&context, request, &response);
}

}  // namespace snap::test
