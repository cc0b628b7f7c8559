#include "snapshotter/grpc/content_stream.h"

namespace snap {

MessageWaiter::~MessageWaiter() {
  context_.TryCancel();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

Result<bool> MessageWaiter::Wait(std::string_view what) {
  void* tag = nullptr;
  bool ok = false;
  const auto deadline = std::chrono::system_clock::now() + timeout_;
  switch (queue_.AsyncNext(&tag, &ok, deadline)) {
    case grpc::CompletionQueue::GOT_EVENT:
      return ok;
    case grpc::CompletionQueue::TIMEOUT:
      context_.TryCancel();
      return MakeError(ErrorCode::kUnavailable, "{}: containerd has not answered for {} ms", what,
                       timeout_.count());
    case grpc::CompletionQueue::SHUTDOWN:
      break;
  }
  return MakeError(ErrorCode::kInternal, "{}: waited for nothing", what);
}

}  // namespace snap
