// Every method is: check what came, call, translate. Invariant: no answer holds a lock of the store while it
// is sent.
#include "snapshotter/grpc/snapshots_service.h"

#include <algorithm>
#include <limits>

#include "fs/base/quote.h"
#include "snapshotter/grpc/filter.h"
#include "snapshotter/grpc/mounts.h"
#include "snapshotter/grpc/status.h"

namespace snap {
namespace {

namespace wire = containerd::services::snapshots::v1;

constexpr std::string_view kService = "snapshots";
constexpr size_t kMaxLabelBytes = 4096;
/// Half of what clients accept in one message.
constexpr size_t kMaxBatchBytes = size_t{8} << 20U;

Result<void> RequireName(std::string_view name, std::string_view what) {
  if (!name.empty()) return {};
  return MakeError(ErrorCode::kInvalidArgument, "{} is empty", what);
}

template <typename Map>
Result<Labels> FromLabels(const Map& labels) {
  Labels out;
  for (const auto& [key, value] : labels) {
    if (key.size() + value.size() > kMaxLabelBytes) {
      constexpr size_t kShown = 64;
      return MakeError(
          ErrorCode::kInvalidArgument, "label {} has {} bytes with its value, at most {} are accepted",
          Quote(std::string_view(key).substr(0, kShown)), key.size() + value.size(), kMaxLabelBytes);
    }
    if (!value.empty()) out.emplace(key, value);
  }
  return out;
}

void SetTime(int64_t nanoseconds, google::protobuf::Timestamp& out) {
  constexpr int64_t kPerSecond = 1'000'000'000;
  int64_t seconds = nanoseconds / kPerSecond;
  int64_t rest = nanoseconds % kPerSecond;
  if (rest < 0) {
    rest += kPerSecond;
    --seconds;
  }
  out.set_seconds(seconds);
  out.set_nanos(static_cast<int32_t>(rest));
}

void SetInfo(const SnapshotInfo& info, wire::Info& out) {
  out.set_name(info.name);
  out.set_parent(info.parent);
  out.set_kind(static_cast<wire::Kind>(info.kind));
  SetTime(info.created_ns, *out.mutable_created_at());
  SetTime(info.updated_ns, *out.mutable_updated_at());
  for (const auto& [key, value] : info.labels) (*out.mutable_labels())[key] = value;
}

Result<std::vector<std::string>> MaskPaths(const google::protobuf::FieldMask& mask) {
  constexpr std::string_view kOneLabel = "labels.";
  std::vector<std::string> paths(mask.paths().begin(), mask.paths().end());
  for (const std::string& path : paths) {
    if (path == "labels" || (path.starts_with(kOneLabel) && path.size() > kOneLabel.size())) continue;
    return MakeError(ErrorCode::kInvalidArgument, "update {}: only labels can be updated", Quote(path));
  }
  return paths;
}

int64_t ToSigned(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

grpc::Status Answer(const Result<void>& result) {
  return result.ok() ? grpc::Status::OK : ToStatus(result.error());
}

}  // namespace

grpc::Status SnapshotsService::Prepare(Context* context, const PrepareRequest* request,
                                       PrepareResponse* response) {
  return calls_.Serve(*context, kService, "Prepare", [&] {
    return Answer([&]() -> Result<void> {
      SNAP_TRY_VOID(RequireName(request->key(), "key"));
      SNAP_TRY(const Labels labels, FromLabels(request->labels()));
      SNAP_TRY(const auto mounts, snapshots_.Prepare(request->key(), request->parent(), labels));
      AddMounts(mounts, *response);
      return {};
    }());
  });
}

grpc::Status SnapshotsService::View(Context* context, const ViewRequest* request, ViewResponse* response) {
  return calls_.Serve(*context, kService, "View", [&] {
    return Answer([&]() -> Result<void> {
      SNAP_TRY_VOID(RequireName(request->key(), "key"));
      SNAP_TRY(const Labels labels, FromLabels(request->labels()));
      SNAP_TRY(const auto mounts, snapshots_.View(request->key(), request->parent(), labels));
      AddMounts(mounts, *response);
      return {};
    }());
  });
}

grpc::Status SnapshotsService::Mounts(Context* context, const MountsRequest* request,
                                      MountsResponse* response) {
  return calls_.Serve(*context, kService, "Mounts", [&] {
    return Answer([&]() -> Result<void> {
      SNAP_TRY_VOID(RequireName(request->key(), "key"));
      SNAP_TRY(const auto mounts, snapshots_.Mounts(request->key()));
      AddMounts(mounts, *response);
      return {};
    }());
  });
}

grpc::Status SnapshotsService::Commit(Context* context, const CommitRequest* request, Empty*) {
  return calls_.Serve(*context, kService, "Commit", [&] {
    return Answer([&]() -> Result<void> {
      SNAP_TRY_VOID(RequireName(request->name(), "name"));
      SNAP_TRY_VOID(RequireName(request->key(), "key"));
      SNAP_TRY(const Labels labels, FromLabels(request->labels()));
      return snapshots_.Commit(request->name(), request->key(), labels, request->parent());
    }());
  });
}

grpc::Status SnapshotsService::Remove(Context* context, const RemoveRequest* request, Empty*) {
  return calls_.Serve(*context, kService, "Remove", [&] {
    return Answer([&]() -> Result<void> {
      SNAP_TRY_VOID(RequireName(request->key(), "key"));
      return snapshots_.Remove(request->key());
    }());
  });
}

grpc::Status SnapshotsService::Stat(Context* context, const StatRequest* request, StatResponse* response) {
  return calls_.Serve(*context, kService, "Stat", [&] {
    return Answer([&]() -> Result<void> {
      SNAP_TRY_VOID(RequireName(request->key(), "key"));
      SNAP_TRY(const SnapshotInfo info, snapshots_.Stat(request->key()));
      SetInfo(info, *response->mutable_info());
      return {};
    }());
  });
}

grpc::Status SnapshotsService::Update(Context* context, const UpdateRequest* request,
                                      UpdateResponse* response) {
  return calls_.Serve(*context, kService, "Update", [&] {
    return Answer([&]() -> Result<void> {
      SNAP_TRY_VOID(RequireName(request->info().name(), "name"));
      SNAP_TRY(const std::vector<std::string> paths, MaskPaths(request->update_mask()));
      SnapshotInfo wanted;
      wanted.name = request->info().name();
      SNAP_TRY(wanted.labels, FromLabels(request->info().labels()));
      SNAP_TRY(const SnapshotInfo info, snapshots_.Update(wanted, paths));
      SetInfo(info, *response->mutable_info());
      return {};
    }());
  });
}

grpc::Status SnapshotsService::List(Context* context, const ListRequest* request,
                                    grpc::ServerWriter<ListResponse>* writer) {
  return calls_.Serve(*context, kService, "List",
                      [&] { return Answer(SendMatching(*request, *context, *writer)); });
}

Result<void> SnapshotsService::SendMatching(const ListRequest& request, Context& context,
                                            grpc::ServerWriter<ListResponse>& writer) {
  const std::vector<std::string> texts(request.filters().begin(), request.filters().end());
  SNAP_TRY(const SnapshotFilter filter, SnapshotFilter::Parse(texts));
  ListResponse batch;
  size_t batch_bytes = 0;
  const auto send = [&]() -> Result<void> {
    // The peer's flow control makes this wait: whoever reads slowly holds up nobody but itself.
    if (!writer.Write(batch)) return Error(ErrorCode::kCancelled, "send the list: the caller is gone");
    batch.Clear();
    batch_bytes = 0;
    return {};
  };
  const auto visit = [&](const SnapshotInfo& info) -> Result<bool> {
    if (context.IsCancelled()) return Error(ErrorCode::kCancelled, "list: the caller is gone");
    if (!filter.Matches(info)) return true;
    wire::Info& out = *batch.add_info();
    SetInfo(info, out);
    batch_bytes += out.ByteSizeLong();
    if (batch.info_size() >= kListBatch || batch_bytes >= kMaxBatchBytes) {
      SNAP_TRY_VOID(send());
    }
    return true;
  };
  SNAP_TRY_VOID(snapshots_.Walk(visit));
  if (batch.info_size() == 0) return {};
  return send();
}

grpc::Status SnapshotsService::Usage(Context* context, const UsageRequest* request, UsageResponse* response) {
  return calls_.Serve(*context, kService, "Usage", [&] {
    return Answer([&]() -> Result<void> {
      SNAP_TRY_VOID(RequireName(request->key(), "key"));
      SNAP_TRY(const SnapshotUsage usage, snapshots_.Usage(request->key()));
      response->set_size(ToSigned(usage.bytes));
      response->set_inodes(ToSigned(usage.inodes));
      return {};
    }());
  });
}

grpc::Status SnapshotsService::Cleanup(Context* context, const CleanupRequest*, Empty*) {
  return calls_.Serve(*context, kService, "Cleanup", [&] { return Answer(snapshots_.Cleanup()); });
}

}  // namespace snap
