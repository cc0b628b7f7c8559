// containerd's diff service for snapshots of ours: layers are unpacked by our own pipeline, and diffs come
// from what a snapshot is known to add instead of a walk over two trees. Invariant: UNIMPLEMENTED means "ask
// somebody else" to containerd, so it is said of foreign mounts and media types, never of failures. Source:
// containerd api/services/diff/v1, plugins/services/diff/local.go, plugins/diff/walking.
#pragma once

#include "snapshotter/grpc/calls.h"
#include "snapshotter/grpc/options.h"
#include "snapshotter/proto/diff.grpc.pb.h"
#include "snapshotter/snapshots.h"

namespace snap {

class ContentClient;

/// Threads: safe. `snapshots` and `calls` must outlive it.
class DiffService final : public containerd::services::diff::v1::Diff::Service {
 public:
  DiffService(Snapshots& snapshots, Calls& calls, DiffOptions options);
  ~DiffService() override;

 private:
  using Context = grpc::ServerContext;
  using ApplyRequest = containerd::services::diff::v1::ApplyRequest;
  using ApplyResponse = containerd::services::diff::v1::ApplyResponse;
  using DiffRequest = containerd::services::diff::v1::DiffRequest;
  using DiffResponse = containerd::services::diff::v1::DiffResponse;

  grpc::Status Apply(Context* context, const ApplyRequest* request, ApplyResponse* response) override;
  grpc::Status Diff(Context* context, const DiffRequest* request, DiffResponse* response) override;

  Result<void> ApplyLayer(const Context& context, const ApplyRequest& request, ApplyResponse& response);
  Result<void> MakeDiff(const Context& context, const DiffRequest& request, DiffResponse& response);
  /// The snapshot whose addition turns `left` into `right`. Errors: kUnsupported when it is not one of ours.
  Result<std::string> Difference(const DiffRequest& request);

  Snapshots& snapshots_;
  Calls& calls_;
  const DiffOptions options_;
  std::unique_ptr<ContentClient> content_;
};

}  // namespace snap
