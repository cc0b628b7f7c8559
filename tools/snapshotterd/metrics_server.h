// GET /metrics and /healthz, by the least HTTP that Prometheus and probes need: HTTP/1.0, one request a
// connection. Invariant: one client at a time, each for at most two seconds: nobody can hold more than that.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fs/base/result.h"

namespace snap::daemon {

/// The answer to a request's head, whole. Pure.
std::string HttpAnswer(std::string_view head, const std::function<std::string()>& metrics,
                       const std::function<bool()>& healthy);

class MetricsServer {
 public:
  /// `address`: "/path" of a unix socket, or "127.0.0.1:PORT" or "[::1]:PORT" (0: any). Both functions are
  /// called on a thread of this and must outlive it. Errors: kInvalidArgument, kExists, those of the system.
  static Result<std::unique_ptr<MetricsServer>> Start(const std::string& address,
                                                      std::function<std::string()> metrics,
                                                      std::function<bool()> healthy);
  ~MetricsServer();
  const std::string& address() const;  ///< with the port that it got

 private:
  struct State;
  explicit MetricsServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace snap::daemon
