// containerd's content service in memory, as its reference server behaves, on a unix socket.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/synchronized.h"
#include "snapshotter/proto/content.grpc.pb.h"
#include "snapshotter/proto/leases.grpc.pb.h"

namespace snap::test {

/// Takes leases and remembers them.
class FakeLeases final : public containerd::services::leases::v1::Leases::Service {
 public:
  grpc::Status Create(grpc::ServerContext*, const containerd::services::leases::v1::CreateRequest* request,
                      containerd::services::leases::v1::CreateResponse* response) override {
    const std::lock_guard guard(mutex_);
    taken_.emplace_back(request->id(), request->labels().count("containerd.io/gc.expire") == 1);
    response->mutable_lease()->set_id(request->id());
    return grpc::Status::OK;
  }
  /// Ids, and whether each ends by itself.
  std::vector<std::pair<std::string, bool>> taken() {
    const std::lock_guard guard(mutex_);
    return taken_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<std::string, bool>> taken_;  // guarded by mutex_
};

class FakeContent final : public containerd::services::content::v1::Content::Service {
 public:
  struct Blob {
    std::string bytes;
    std::map<std::string, std::string> labels;
  };
  struct State {
    std::map<std::string, Blob> blobs;          // by digest
    std::map<std::string, std::string> writes;  // by ref: not committed
    std::vector<std::string> headers;           // "namespace/lease" of each call
    int reads = 0;
  };

  explicit FakeContent(const std::string& path) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    builder.RegisterService(&leases);
    builder.SetMaxReceiveMessageSize(16 << 20);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr);
  }
  ~FakeContent() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string Add(const std::string& bytes) {
    const std::string digest = Digest::Of(bytes).ToString();
    state.Lock()->blobs[digest].bytes = bytes;
    return digest;
  }

  Synchronized<State> state;
  FakeLeases leases;
  bool hangs = false;           ///< Read answers once and then nothing until the caller is gone
  size_t message_bytes = 1000;  ///< of Read

 private:
  using Context = grpc::ServerContext;
  template <typename T>
  using Writer = grpc::ServerWriter<T>;
  using InfoRequest = containerd::services::content::v1::InfoRequest;
  using InfoResponse = containerd::services::content::v1::InfoResponse;
  using UpdateRequest = containerd::services::content::v1::UpdateRequest;
  using UpdateResponse = containerd::services::content::v1::UpdateResponse;
  using ReadRequest = containerd::services::content::v1::ReadContentRequest;
  using ReadResponse = containerd::services::content::v1::ReadContentResponse;
  using WriteRequest = containerd::services::content::v1::WriteContentRequest;
  using WriteResponse = containerd::services::content::v1::WriteContentResponse;
  using AbortRequest = containerd::services::content::v1::AbortRequest;

  void Note(const Context& context) {
    const auto value = [&](const char* name) -> std::string {
      const auto it = context.client_metadata().find(name);
      return it == context.client_metadata().end() ? "" : std::string(it->second.data(), it->second.size());
    };
    state.Lock()->headers.push_back(value("containerd-namespace") + "/" + value("containerd-lease"));
  }
  static grpc::Status NotFound() { return {grpc::StatusCode::NOT_FOUND, "content: not found"}; }

  grpc::Status Info(Context* context, const InfoRequest* request, InfoResponse* response) override {
    Note(*context);
    auto locked = state.Lock();
    const auto it = locked->blobs.find(request->digest());
    if (it == locked->blobs.end()) return NotFound();
    response->mutable_info()->set_size(static_cast<int64_t>(it->second.bytes.size()));
    for (const auto& [key, value] : it->second.labels)
      (*response->mutable_info()->mutable_labels())[key] = value;
    return grpc::Status::OK;
  }
  grpc::Status Update(Context* context, const UpdateRequest* request, UpdateResponse*) override {
    Note(*context);
    auto locked = state.Lock();
    const auto it = locked->blobs.find(request->info().digest());
    if (it == locked->blobs.end()) return NotFound();
    for (const std::string& path : request->update_mask().paths()) {
      const std::string key = path.substr(std::string_view("labels.").size());
      it->second.labels[key] = request->info().labels().at(key);
    }
    return grpc::Status::OK;
  }
  grpc::Status Read(Context* context, const ReadRequest* request, Writer<ReadResponse>* writer) override {
    Note(*context);
    std::string bytes;
    {
      auto locked = state.Lock();
      ++locked->reads;
      const auto it = locked->blobs.find(request->digest());
      if (it == locked->blobs.end()) return NotFound();
      bytes = it->second.bytes;
    }
    if (request->size() > 0 && static_cast<size_t>(request->size()) < bytes.size()) {
      bytes.resize(static_cast<size_t>(request->size()));
    }
    for (size_t at = 0; at < bytes.size(); at += message_bytes) {
      ReadResponse response;
      response.set_offset(static_cast<int64_t>(at));
      response.set_data(bytes.substr(at, message_bytes));
      if (!writer->Write(response)) break;
      constexpr size_t kMagic = 4;
      if (hangs && bytes.size() > kMagic) {
        while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return grpc::Status::CANCELLED;
      }
    }
    return grpc::Status::OK;
  }
  grpc::Status Write(Context* context,
                     grpc::ServerReaderWriter<WriteResponse, WriteRequest>* stream) override {
    Note(*context);
    WriteRequest request;
    std::string ref;
    while (stream->Read(&request)) {
      if (ref.empty()) ref = request.ref();
      if (ref.empty()) return {grpc::StatusCode::INVALID_ARGUMENT, "no ref"};
      WriteResponse response;
      response.set_action(request.action());
      {
        auto locked = state.Lock();
        std::string& written = locked->writes[ref];
        if (!request.expected().empty() && locked->blobs.contains(request.expected())) {
          locked->writes.erase(ref);
          return {grpc::StatusCode::ALREADY_EXISTS, "blob exists"};
        }
        if (request.action() != containerd::services::content::v1::STAT) {
          if (request.offset() == 0) written.clear();
          if (request.offset() != static_cast<int64_t>(written.size()))
            return {grpc::StatusCode::OUT_OF_RANGE, "offset"};
          written += request.data();
        }
        response.set_offset(static_cast<int64_t>(written.size()));
        if (request.action() == containerd::services::content::v1::COMMIT) {
          const std::string digest = Digest::Of(written).ToString();
          if (digest != request.expected() || request.total() != static_cast<int64_t>(written.size())) {
            return {grpc::StatusCode::FAILED_PRECONDITION, "unexpected commit digest or size"};
          }
          Blob blob{written, {request.labels().begin(), request.labels().end()}};
          locked->blobs[digest] = std::move(blob);
          locked->writes.erase(ref);
          response.set_digest(digest);
        }
      }
      if (!stream->Write(response)) break;
      if (request.action() == containerd::services::content::v1::COMMIT) break;
    }
    return grpc::Status::OK;
  }
  grpc::Status Abort(Context* context, const AbortRequest* request, google::protobuf::Empty*) override {
    Note(*context);
    return state.Lock()->writes.erase(request->ref()) > 0 ? grpc::Status::OK : NotFound();
  }

  std::unique_ptr<grpc::Server> server_;
};

}  // namespace snap::test
