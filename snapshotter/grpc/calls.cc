#include "snapshotter/grpc/calls.h"

#include "snapshotter/grpc/status.h"

namespace snap {

std::string HeaderOf(const grpc::ServerContext& context, const char* name) {
  const auto& headers = context.client_metadata();
  const auto it = headers.find(name);
  if (it == headers.end()) return "";
  return {it->second.data(), it->second.size()};
}

Calls::Calls(Metrics& metrics, Listener listener) : metrics_(metrics), listener_(std::move(listener)) {}

void Calls::Finished(const grpc::ServerContext& context, std::string_view service, std::string_view method,
                     const grpc::Status& status, std::chrono::nanoseconds duration) {
  const std::string_view code = StatusCodeName(status.error_code());
  metrics_
      .GetCounter("snapshotterd_calls_total", "Calls of containerd's services that ended.",
                  {{"service", service}, {"method", method}, {"code", code}})
      .Add();
  metrics_
      .GetHistogram("snapshotterd_call_duration_seconds", "How long calls took.",
                    {{"service", service}, {"method", method}})
      .Observe(std::chrono::duration<double>(duration).count());
  if (!listener_) return;
  listener_(
      {service, method, code, status.error_message(), HeaderOf(context, "containerd-namespace"), duration});
}

}  // namespace snap
