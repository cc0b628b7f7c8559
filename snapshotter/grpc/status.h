// Our errors as gRPC's, the way containerd reads them (its errdefs over gRPC codes), and back.
#pragma once

#include <grpcpp/support/status.h>

#include <string_view>

#include "fs/base/error.h"

namespace snap {

/// kBusy is FAILED_PRECONDITION: what the state of a snapshot does not allow.
grpc::Status ToStatus(const Error& error);
/// What a service that we call answered; `what` says the action. Not for OK.
Error FromStatus(const grpc::Status& status, std::string_view what);
/// "OK", "NOT_FOUND", ...: for logs and metrics.
std::string_view StatusCodeName(grpc::StatusCode code);

}  // namespace snap
