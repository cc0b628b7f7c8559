// Streams are driven through a completion queue of their own: the blocking API has a deadline for a whole
// stream only, and a layer may take long as long as it moves.
#include "snapshotter/grpc/content_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "fs/base/sys_process.h"
#include "fs/base/time.h"
#include "snapshotter/grpc/calls.h"
#include "snapshotter/grpc/content_stream.h"
#include "snapshotter/grpc/server.h"
#include "snapshotter/grpc/status.h"
#include "snapshotter/proto/content.grpc.pb.h"
#include "snapshotter/proto/leases.grpc.pb.h"

namespace snap {
namespace {

namespace wire = containerd::services::content::v1;

constexpr const char* kLeaseHeader = "containerd-lease";

/// Headers that say for whom containerd works.
void CopyHeaders(const grpc::ServerContext& origin, grpc::ClientContext& context) {
  for (const char* name : {"containerd-namespace", kLeaseHeader}) {
    if (const std::string value = HeaderOf(origin, name); !value.empty()) context.AddMetadata(name, value);
  }
}

std::unique_ptr<grpc::ClientContext> MakeContext(const grpc::ServerContext& origin) {
  auto context = grpc::ClientContext::FromServerContext(origin);
  CopyHeaders(origin, *context);
  return context;
}

std::unique_ptr<grpc::ClientContext> MakeContext(const grpc::ServerContext& origin,
                                                 std::chrono::milliseconds timeout) {
  auto context = MakeContext(origin);
  context->set_deadline(std::chrono::system_clock::now() + timeout);
  return context;
}

class ContentReader final : public ByteSource {
 public:
  ContentReader(std::unique_ptr<grpc::ClientContext> context, wire::Content::Stub& stub,
                const wire::ReadContentRequest& request, std::chrono::milliseconds timeout)
      : what_("read " + request.digest() + " from containerd"),
        left_(static_cast<uint64_t>(request.size())),
        bounded_(request.size() > 0),
        context_(std::move(context)),
        waiter_(*context_, timeout) {
    stream_ = stub.PrepareAsyncRead(context_.get(), request, waiter_.queue());
  }

  Result<size_t> Read(std::span<std::byte> buffer) override {
    while (position_ == message_.data().size()) {
      SNAP_TRY(const bool more, NextMessage());
      if (!more) return size_t{0};
    }
    const size_t size = std::min(buffer.size(), message_.data().size() - position_);
    std::memcpy(buffer.data(), message_.data().data() + position_, size);
    position_ += size;
    return size;
  }

 private:
  Result<bool> NextMessage() {
    if (ended_) return false;
    if (!started_) {
      started_ = true;
      stream_->StartCall(waiter_.tag());
      SNAP_TRY(const bool began, waiter_.Wait(what_));
      if (!began) return Ended();
    }
    position_ = 0;
    message_.Clear();
    stream_->Read(&message_, waiter_.tag());
    SNAP_TRY(const bool got, waiter_.Wait(what_));
    if (!got) return Ended();
    if (bounded_ && message_.data().size() > left_) {
      return MakeError(ErrorCode::kCorrupt, "{}: more bytes than it should have", what_);
    }
    left_ -= bounded_ ? message_.data().size() : 0;
    return true;
  }

  Result<bool> Ended() {
    ended_ = true;
    message_.Clear();
    position_ = 0;
    grpc::Status status;
    stream_->Finish(&status, waiter_.tag());
    SNAP_TRY(const bool finished, waiter_.Wait(what_));
    if (finished && status.ok()) return false;
    return FromStatus(status, what_);
  }

  const std::string what_;
  uint64_t left_;
  const bool bounded_;
  bool started_ = false, ended_ = false;
  wire::ReadContentResponse message_;
  size_t position_ = 0;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncReader<wire::ReadContentResponse>> stream_;
  MessageWaiter waiter_;  // last: its end cancels the call before anything else goes
};

class StreamWriter final : public ContentWriter {
 public:
  StreamWriter(std::unique_ptr<grpc::ClientContext> context, wire::Content::Stub& stub, std::string ref,
               std::chrono::milliseconds timeout)
      : what_("write " + ref + " to containerd"),
        ref_(std::move(ref)),
        context_(std::move(context)),
        waiter_(*context_, timeout) {
    stream_ = stub.PrepareAsyncWrite(context_.get(), waiter_.queue());
  }

  Result<void> Start() {
    stream_->StartCall(waiter_.tag());
    SNAP_TRY(const bool began, waiter_.Wait(what_));
    if (!began) return Failure();
    wire::WriteContentRequest request;
    request.set_action(wire::STAT);
    request.set_ref(ref_);
    return Exchange(request);
  }

  Result<void> Append(std::span<const std::byte> bytes) override {
    SNAP_CHECK(bytes.size() <= kMaxAppendBytes);
    request_.set_action(wire::WRITE);
    request_.set_offset(static_cast<int64_t>(offset_));  // 0 also drops what an earlier writer left
    request_.mutable_data()->assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    SNAP_TRY_VOID(Exchange(request_));
    offset_ += bytes.size();
    if (response_.offset() == static_cast<int64_t>(offset_)) return {};
    return MakeError(ErrorCode::kCorrupt, "{}: it has {} bytes, not the {} that were sent", what_,
                     response_.offset(), offset_);
  }

  Result<void> Commit(const Digest& digest, const std::map<std::string, std::string>& labels) override {
    wire::WriteContentRequest request;
    request.set_action(wire::COMMIT);
    request.set_offset(static_cast<int64_t>(offset_));
    request.set_total(static_cast<int64_t>(offset_));
    request.set_expected(digest.ToString());
    for (const auto& [key, value] : labels) (*request.mutable_labels())[key] = value;
    SNAP_TRY_VOID(Exchange(request));
    if (response_.digest() == digest.ToString()) return {};
    return MakeError(ErrorCode::kCorrupt, "{}: containerd computed another digest", what_);
  }

 private:
  Result<void> Exchange(const wire::WriteContentRequest& request) {
    stream_->Write(request, waiter_.tag());
    SNAP_TRY(const bool sent, waiter_.Wait(what_));
    if (!sent) return Failure();
    stream_->Read(&response_, waiter_.tag());
    SNAP_TRY(const bool answered, waiter_.Wait(what_));
    if (!answered) return Failure();
    return {};
  }

  Error Failure() {
    grpc::Status status;
    stream_->Finish(&status, waiter_.tag());
    const Result<bool> finished = waiter_.Wait(what_);
    if (!finished.ok()) return finished.error();
    if (status.ok()) return MakeError(ErrorCode::kUnavailable, "{}: containerd ended the stream", what_);
    return FromStatus(status, what_);
  }

  const std::string what_, ref_;
  uint64_t offset_ = 0;
  wire::WriteContentRequest request_;
  wire::WriteContentResponse response_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<wire::WriteContentRequest, wire::WriteContentResponse>>
      stream_;
  MessageWaiter waiter_;  // last: its end cancels the call before anything else goes
};

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(Server::kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(Server::kMaxMessageBytes);
  // containerd restarts: the next call after that must not meet a long pause between attempts.
  constexpr int kFirstPauseMs = 100;
  constexpr int kLongestPauseMs = 1000;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstPauseMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kFirstPauseMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestPauseMs);
  return grpc::CreateCustomChannel("unix:" + address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

struct ContentClient::State {
  State(const std::shared_ptr<grpc::Channel>& channel, std::chrono::milliseconds message_timeout)
      : stub(channel), leases(channel), timeout(message_timeout) {}
  wire::Content::Stub stub;
  containerd::services::leases::v1::Leases::Stub leases;
  std::chrono::milliseconds timeout;
};

ContentClient::ContentClient(const std::string& address, std::chrono::milliseconds message_timeout)
    : state_(std::make_unique<State>(MakeChannel(address), message_timeout)) {}
ContentClient::~ContentClient() = default;

Result<ContentInfo> ContentClient::Info(const grpc::ServerContext& origin, const Digest& digest) {
  wire::InfoRequest request;
  request.set_digest(digest.ToString());
  wire::InfoResponse response;
  const auto context = MakeContext(origin, state_->timeout);
  const grpc::Status status = state_->stub.Info(context.get(), request, &response);
  if (!status.ok()) return FromStatus(status, "ask containerd about " + digest.ToString());
  ContentInfo info;
  info.size = static_cast<uint64_t>(std::max<int64_t>(response.info().size(), 0));
  info.labels.insert(response.info().labels().begin(), response.info().labels().end());
  return info;
}

Result<void> ContentClient::SetLabel(const grpc::ServerContext& origin, const Digest& digest,
                                     const std::string& key, const std::string& value) {
  wire::UpdateRequest request;
  request.mutable_info()->set_digest(digest.ToString());
  (*request.mutable_info()->mutable_labels())[key] = value;
  request.mutable_update_mask()->add_paths("labels." + key);
  wire::UpdateResponse response;
  const auto context = MakeContext(origin, state_->timeout);
  const grpc::Status status = state_->stub.Update(context.get(), request, &response);
  if (!status.ok()) return FromStatus(status, "label " + digest.ToString() + " in containerd");
  return {};
}

Result<std::unique_ptr<ByteSource>> ContentClient::Read(const grpc::ServerContext& origin,
                                                        const Digest& digest, uint64_t size) {
  wire::ReadContentRequest request;
  request.set_digest(digest.ToString());
  request.set_size(static_cast<int64_t>(size));
  return std::unique_ptr<ByteSource>(
      std::make_unique<ContentReader>(MakeContext(origin), state_->stub, request, state_->timeout));
}

/// It ends by itself: who asked for the blob says what keeps it before that.
Result<std::string> ContentClient::TakeLease(const grpc::ServerContext& origin) {
  constexpr int64_t kSeconds = 120;
  namespace leases = containerd::services::leases::v1;
  leases::CreateRequest request;
  request.set_id("snap-diff-" + sys::RandomHex128());
  (*request.mutable_labels())["containerd.io/gc.expire"] = FormatRfc3339(std::time(nullptr) + kSeconds);
  leases::CreateResponse response;
  const auto context = MakeContext(origin, state_->timeout);
  const grpc::Status status = state_->leases.Create(context.get(), request, &response);
  if (!status.ok()) return FromStatus(status, "take a lease of containerd");
  return request.id();
}

Result<std::unique_ptr<ContentWriter>> ContentClient::Write(const grpc::ServerContext& origin,
                                                            const std::string& ref) {
  auto context = MakeContext(origin);
  if (HeaderOf(origin, kLeaseHeader).empty()) {
    SNAP_TRY(const std::string lease, TakeLease(origin));
    context->AddMetadata(kLeaseHeader, lease);
  }
  auto writer = std::make_unique<StreamWriter>(std::move(context), state_->stub, ref, state_->timeout);
  SNAP_TRY_VOID(writer->Start());
  return std::unique_ptr<ContentWriter>(std::move(writer));
}

Result<void> ContentClient::Abort(const grpc::ServerContext& origin, const std::string& ref) {
  // Not FromServerContext: a cancelled origin would cancel this, too.
  grpc::ClientContext context;
  CopyHeaders(origin, context);
  context.set_deadline(std::chrono::system_clock::now() + state_->timeout);
  wire::AbortRequest request;
  request.set_ref(ref);
  google::protobuf::Empty response;
  const grpc::Status status = state_->stub.Abort(&context, request, &response);
  if (!status.ok()) return FromStatus(status, "abort " + ref + " in containerd");
  return {};
}

}  // namespace snap
