// Waiting for messages of a stream, each with a deadline of its own. Internal to content_client.cc.
// Invariant: when a waiter is gone, nothing of gRPC's still points into the call's buffers.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>

#include <chrono>
#include <string_view>

#include "fs/base/result.h"

namespace snap {

/// One operation at a time is started with `queue` and tag(), then waited for. Threads: one at a time.
class MessageWaiter {
 public:
  /// `context` is the call's and must outlive this.
  MessageWaiter(grpc::ClientContext& context, std::chrono::milliseconds timeout)
      : context_(context), timeout_(timeout) {}
  MessageWaiter(const MessageWaiter&) = delete;
  MessageWaiter& operator=(const MessageWaiter&) = delete;
  /// Cancels the call, unless it has ended.
  ~MessageWaiter();

  grpc::CompletionQueue* queue() { return &queue_; }
  void* tag() { return this; }
  /// False: the stream has ended, its status says how. Errors: kUnavailable after the timeout; the call is
  /// cancelled then.
  Result<bool> Wait(std::string_view what);

 private:
  grpc::ClientContext& context_;
  std::chrono::milliseconds timeout_;
  grpc::CompletionQueue queue_;
};

}  // namespace snap
