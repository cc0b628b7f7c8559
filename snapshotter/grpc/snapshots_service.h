// containerd's snapshots service over Snapshots: what is wrong on the wire is refused here, what snapshots
// are is theirs. Source: containerd api/services/snapshots/v1 and contrib/snapshotservice (the reference
// server).
#pragma once

#include "snapshotter/grpc/calls.h"
#include "snapshotter/proto/snapshots.grpc.pb.h"
#include "snapshotter/snapshots.h"

namespace snap {

/// Names that a call needs and that are empty, labels of more than 4096 bytes (key and value), and paths of
/// an update mask that are neither "labels" nor "labels.<key>" are INVALID_ARGUMENT. A label with an empty
/// value is none. The plugin's name and the namespace are not looked at: keys are unique over all namespaces
/// already, and containerd's garbage collection sends none. Threads: safe. Both must outlive it.
class SnapshotsService final : public containerd::services::snapshots::v1::Snapshots::Service {
 public:
  /// List sends so many at a time, as the reference does.
  static constexpr int kListBatch = 100;

  SnapshotsService(snap::Snapshots& snapshots, Calls& calls) : snapshots_(snapshots), calls_(calls) {}

 private:
  using Context = grpc::ServerContext;
  using Empty = google::protobuf::Empty;
  // The wire's messages, by their short names.
  using PrepareRequest = containerd::services::snapshots::v1::PrepareSnapshotRequest;
  using PrepareResponse = containerd::services::snapshots::v1::PrepareSnapshotResponse;
  using ViewRequest = containerd::services::snapshots::v1::ViewSnapshotRequest;
  using ViewResponse = containerd::services::snapshots::v1::ViewSnapshotResponse;
  using MountsRequest = containerd::services::snapshots::v1::MountsRequest;
  using MountsResponse = containerd::services::snapshots::v1::MountsResponse;
  using CommitRequest = containerd::services::snapshots::v1::CommitSnapshotRequest;
  using RemoveRequest = containerd::services::snapshots::v1::RemoveSnapshotRequest;
  using StatRequest = containerd::services::snapshots::v1::StatSnapshotRequest;
  using StatResponse = containerd::services::snapshots::v1::StatSnapshotResponse;
  using UpdateRequest = containerd::services::snapshots::v1::UpdateSnapshotRequest;
  using UpdateResponse = containerd::services::snapshots::v1::UpdateSnapshotResponse;
  using ListRequest = containerd::services::snapshots::v1::ListSnapshotsRequest;
  using ListResponse = containerd::services::snapshots::v1::ListSnapshotsResponse;
  using UsageRequest = containerd::services::snapshots::v1::UsageRequest;
  using UsageResponse = containerd::services::snapshots::v1::UsageResponse;
  using CleanupRequest = containerd::services::snapshots::v1::CleanupRequest;

  grpc::Status Prepare(Context* context, const PrepareRequest* request, PrepareResponse* response) override;
  grpc::Status View(Context* context, const ViewRequest* request, ViewResponse* response) override;
  grpc::Status Mounts(Context* context, const MountsRequest* request, MountsResponse* response) override;
  grpc::Status Commit(Context* context, const CommitRequest* request, Empty* response) override;
  grpc::Status Remove(Context* context, const RemoveRequest* request, Empty* response) override;
  grpc::Status Stat(Context* context, const StatRequest* request, StatResponse* response) override;
  grpc::Status Update(Context* context, const UpdateRequest* request, UpdateResponse* response) override;
  grpc::Status List(Context* context, const ListRequest* request,
                    grpc::ServerWriter<ListResponse>* writer) override;
  grpc::Status Usage(Context* context, const UsageRequest* request, UsageResponse* response) override;
  grpc::Status Cleanup(Context* context, const CleanupRequest* request, Empty* response) override;

  Result<void> SendMatching(const ListRequest& request, Context& context,
                            grpc::ServerWriter<ListResponse>& writer);

  snap::Snapshots& snapshots_;
  Calls& calls_;
};

}  // namespace snap
