// Calls: what every RPC of ours goes through: counted, timed, told to the program, and never an exception on
// the wire.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "snapshotter/grpc/options.h"
#include "snapshotter/metrics.h"

namespace snap {

/// The value of a header, "" without it.
std::string HeaderOf(const grpc::ServerContext& context, const char* name);

/// Threads: safe.
class Calls {
 public:
  using Listener = std::function<void(const FinishedCall& call)>;
  /// `metrics` must outlive this. `listener` may be empty; it is called on the thread of the call.
  Calls(Metrics& metrics, Listener listener);

  template <typename Body>
  grpc::Status Serve(const grpc::ServerContext& context, std::string_view service, std::string_view method,
                     Body&& body) {
    const auto start = std::chrono::steady_clock::now();
    running_->fetch_add(1, std::memory_order_relaxed);
    grpc::Status status;
    try {
      status = std::forward<Body>(body)();
    } catch (const std::exception& exception) {
      status = grpc::Status(grpc::StatusCode::INTERNAL, exception.what());
    }
    running_->fetch_sub(1, std::memory_order_relaxed);
    Finished(context, service, method, status, std::chrono::steady_clock::now() - start);
    return status;
  }

  /// For who may ask longer than this lives.
  std::shared_ptr<const std::atomic<int64_t>> running() const { return running_; }

 private:
  void Finished(const grpc::ServerContext& context, std::string_view service, std::string_view method,
                const grpc::Status& status, std::chrono::nanoseconds duration);

  Metrics& metrics_;
  Listener listener_;
  const std::shared_ptr<std::atomic<int64_t>> running_ = std::make_shared<std::atomic<int64_t>>(0);
};

}  // namespace snap
