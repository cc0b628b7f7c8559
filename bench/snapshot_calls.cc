// snapshot_calls SOCKET [CYCLES [SNAPSHOTS [CLIENTS]]]: calls of containerd's snapshots service as a client
// sees them, whoever serves them: Prepare + Mounts + Remove above one committed parent, and List of many
// snapshots. Prints one line of JSON.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "snapshotter/proto/snapshots.grpc.pb.h"

namespace {

namespace api = containerd::services::snapshots::v1;
using Clock = std::chrono::steady_clock;

double Milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

void Require(const grpc::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "snapshot_calls: %s: %s\n", what, status.error_message().c_str());
  std::exit(1);
}

class Client {
 public:
  explicit Client(const std::string& socket)
      : stub_(api::Snapshots::NewStub(
            grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials()))) {}

  void Prepare(const std::string& key, const std::string& parent) {
    grpc::ClientContext context;
    api::PrepareSnapshotRequest request;
    api::PrepareSnapshotResponse response;
    request.set_key(key);
    request.set_parent(parent);
    Require(stub_->Prepare(Named(context), request, &response), "Prepare");
  }
  void Mounts(const std::string& key) {
    grpc::ClientContext context;
    api::MountsRequest request;
    api::MountsResponse response;
    request.set_key(key);
    Require(stub_->Mounts(Named(context), request, &response), "Mounts");
  }
  void Commit(const std::string& name, const std::string& key) {
    grpc::ClientContext context;
    api::CommitSnapshotRequest request;
    google::protobuf::Empty response;
    request.set_name(name);
    request.set_key(key);
    Require(stub_->Commit(Named(context), request, &response), "Commit");
  }
  void Remove(const std::string& key) {
    grpc::ClientContext context;
    api::RemoveSnapshotRequest request;
    google::protobuf::Empty response;
    request.set_key(key);
    Require(stub_->Remove(Named(context), request, &response), "Remove");
  }
  size_t List() {
    grpc::ClientContext context;
    api::ListSnapshotsRequest request;
    const auto reader = stub_->List(Named(context), request);
    size_t count = 0;
    for (api::ListSnapshotsResponse response; reader->Read(&response);)
      count += static_cast<size_t>(response.info_size());
    Require(reader->Finish(), "List");
    return count;
  }

 private:
  static grpc::ClientContext* Named(grpc::ClientContext& context) {
    context.AddMetadata("containerd-namespace", "bench");
    return &context;
  }
  std::unique_ptr<api::Snapshots::Stub> stub_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    return std::fprintf(stderr, "usage: snapshot_calls SOCKET [CYCLES [SNAPSHOTS [CLIENTS]]]\n"), 2;
  const std::string socket = argv[1];
  const int cycles = argc > 2 ? std::atoi(argv[2]) : 500;
  const int snapshots = argc > 3 ? std::atoi(argv[3]) : 0;
  const int clients = argc > 4 ? std::atoi(argv[4]) : 1;
  const std::string run = std::to_string(Clock::now().time_since_epoch().count());
  Client client(socket);
  client.Prepare(run + "-key", "");
  client.Commit(run + "-parent", run + "-key");

  std::vector<std::vector<double>> times(static_cast<size_t>(clients));
  const Clock::time_point begin = Clock::now();
  std::vector<std::thread> threads;
  for (int c = 0; c < clients; ++c) {
    threads.emplace_back([&, c] {
      Client own(socket);
      for (int i = 0; i < cycles; ++i) {
        const std::string key = run + "-" + std::to_string(c) + "-" + std::to_string(i);
        const Clock::time_point start = Clock::now();
        own.Prepare(key, run + "-parent");
        own.Mounts(key);
        own.Remove(key);
        times[static_cast<size_t>(c)].push_back(Milliseconds(Clock::now() - start));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = Milliseconds(Clock::now() - begin) / 1e3;
  std::vector<double> all;
  for (const std::vector<double>& some : times) all.insert(all.end(), some.begin(), some.end());
  std::sort(all.begin(), all.end());
  const auto at = [&](double part) {
    return all[std::min(all.size() - 1, static_cast<size_t>(part * static_cast<double>(all.size())))];
  };

  for (int i = 0; i < snapshots; ++i) client.Prepare(run + "-many-" + std::to_string(i), run + "-parent");
  double list = 0;
  size_t listed = 0;
  if (snapshots > 0) {
    const Clock::time_point start = Clock::now();
    listed = client.List();
    list = Milliseconds(Clock::now() - start);
  }
  std::printf(
      "{\"cycles_per_second\": %.0f, \"median_ms\": %.3f, \"p99_ms\": %.3f, \"listed\": %zu, \"list_ms\": "
      "%.2f}\n",
      static_cast<double>(all.size()) / seconds, at(0.5), at(0.99), listed, list);
  return 0;
}
