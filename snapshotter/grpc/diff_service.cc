#include "snapshotter/grpc/diff_service.h"

#include <array>
#include <limits>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/oci_image.h"
#include "snapshotter/grpc/content_client.h"
#include "snapshotter/grpc/layer_upload.h"
#include "snapshotter/grpc/local_content.h"
#include "snapshotter/grpc/mounts.h"
#include "snapshotter/grpc/status.h"

namespace snap {
namespace {

constexpr std::string_view kService = "diff";
constexpr std::string_view kLayerMediaType = "application/vnd.oci.image.layer.v1.tar";
constexpr std::string_view kUncompressedLabel = "containerd.io/uncompressed";
constexpr size_t kMagicBytes = 4;

Error Foreign(std::string_view what) {
  return MakeError(ErrorCode::kUnsupported, "{}: the mounts are not a snapshot of this store", what);
}

/// Ends a layer's reading when its caller is gone.
class CancellableSource final : public ByteSource {
 public:
  CancellableSource(std::unique_ptr<ByteSource> inner, const grpc::ServerContext& context)
      : inner_(std::move(inner)), context_(context) {}
  Result<size_t> Read(std::span<std::byte> buffer) override {
    if (context_.IsCancelled()) return Error(ErrorCode::kCancelled, "read a layer: the caller is gone");
    return inner_->Read(buffer);
  }

 private:
  std::unique_ptr<ByteSource> inner_;
  const grpc::ServerContext& context_;
};

/// What a blob's bytes say, which is what containerd goes by: media types of real images are wrong about it.
Result<Compression> CompressionOf(ByteSource& source) {
  std::array<std::byte, kMagicBytes> magic{};
  size_t filled = 0;
  while (filled < magic.size()) {
    SNAP_TRY(const size_t size, source.Read(std::span(magic).subspan(filled)));
    if (size == 0) break;
    filled += size;
  }
  return DetectCompression(std::span(magic).first(filled));
}

Result<Compression> WantedCompression(std::string_view media_type) {
  if (media_type == kLayerMediaType) return Compression::kNone;
  if (media_type == "application/vnd.oci.image.layer.v1.tar+gzip") return Compression::kGzip;
  if (media_type == "application/vnd.oci.image.layer.v1.tar+zstd") return Compression::kZstd;
  return MakeError(ErrorCode::kUnsupported, "make a diff of media type {}", Quote(media_type));
}

}  // namespace

DiffService::DiffService(Snapshots& snapshots, Calls& calls, DiffOptions options)
    : snapshots_(snapshots),
      calls_(calls),
      options_(std::move(options)),
      content_(std::make_unique<ContentClient>(options_.containerd_address, options_.message_timeout)) {}
DiffService::~DiffService() = default;

grpc::Status DiffService::Apply(Context* context, const ApplyRequest* request, ApplyResponse* response) {
  return calls_.Serve(*context, kService, "Apply", [&] {
    const Result<void> applied = ApplyLayer(*context, *request, *response);
    return applied.ok() ? grpc::Status::OK : ToStatus(applied.error());
  });
}

grpc::Status DiffService::Diff(Context* context, const DiffRequest* request, DiffResponse* response) {
  return calls_.Serve(*context, kService, "Diff", [&] {
    const Result<void> made = MakeDiff(*context, *request, *response);
    return made.ok() ? grpc::Status::OK : ToStatus(made.error());
  });
}

Result<void> DiffService::ApplyLayer(const Context& context, const ApplyRequest& request,
                                     ApplyResponse& response) {
  const containerd::types::Descriptor& descriptor = request.diff();
  const std::optional<std::string> key = snapshots_.NameOfMounts(FromMounts(request.mounts()));
  if (!key) return Foreign("apply a layer");
  if (!oci::LayerCompression(descriptor.media_type())) {
    return MakeError(ErrorCode::kUnsupported, "apply a layer of media type {}",
                     Quote(descriptor.media_type()));
  }
  SNAP_TRY(const Digest digest, Digest::Parse(descriptor.digest()));
  if (descriptor.size() <= 0) {
    return MakeError(ErrorCode::kInvalidArgument, "apply {}: its size is {}", digest.ToString(),
                     descriptor.size());
  }
  Snapshots::Blob blob;
  blob.gone = [&context] { return context.IsCancelled(); };
  blob.digest = digest;
  blob.bytes = static_cast<uint64_t>(descriptor.size());
  std::optional<UniqueFd> local = OpenLocalBlob(options_.content_roots, digest, blob.bytes);
  if (local) {
    const auto magic =
        MakeRangeSource(*local, 0, std::min<uint64_t>(blob.bytes, kMagicBytes), digest.ToString());
    SNAP_TRY(blob.compression, CompressionOf(*magic));
  } else {
    SNAP_TRY(const auto magic, content_->Read(context, digest, std::min<uint64_t>(blob.bytes, kMagicBytes)));
    SNAP_TRY(blob.compression, CompressionOf(*magic));
  }
  blob.open = [&]() -> Result<std::unique_ptr<ByteSource>> {
    std::unique_ptr<ByteSource> source;
    if (local) {
      source = MakeFdSource(*std::move(local), digest.ToString());
    } else {
      SNAP_TRY(source, content_->Read(context, digest, blob.bytes));
    }
    return std::unique_ptr<ByteSource>(std::make_unique<CancellableSource>(std::move(source), context));
  };
  // `sync_fs` asks for what every Apply does here: durable on return.
  SNAP_TRY(const Snapshots::Applied applied, snapshots_.Apply(*key, blob));
  containerd::types::Descriptor& out = *response.mutable_applied();
  out.set_media_type(std::string(kLayerMediaType));
  out.set_digest(applied.diff_id.ToString());
  out.set_size(
      static_cast<int64_t>(std::min<uint64_t>(applied.tar_bytes, std::numeric_limits<int64_t>::max())));
  return {};
}

Result<std::string> DiffService::Difference(const DiffRequest& request) {
  const std::optional<std::string> right = snapshots_.NameOfMounts(FromMounts(request.right()));
  if (!right) return Foreign("make a diff");
  std::string left_base;  // no mounts: an empty tree
  if (request.left_size() > 0) {
    const std::optional<std::string> left = snapshots_.NameOfMounts(FromMounts(request.left()));
    if (!left) return Foreign("make a diff");
    SNAP_TRY(const SnapshotInfo info, snapshots_.Stat(*left));
    left_base = info.kind == SnapshotKind::kView ? info.parent : info.name;
  }
  // A view adds nothing: it stands for its parent. So do both sides of what clients send: a view of the
  // parent on the left; on the right the active snapshot, or a view of the committed one.
  SNAP_TRY(SnapshotInfo info, snapshots_.Stat(*right));
  if (info.kind == SnapshotKind::kView && !info.parent.empty()) {
    SNAP_TRY(info, snapshots_.Stat(info.parent));
  }
  if (info.kind == SnapshotKind::kView || info.parent != left_base) {
    return MakeError(ErrorCode::kUnsupported, "make a diff: {} is not the parent of {}", Quote(left_base),
                     Quote(info.name));
  }
  return info.name;
}

Result<void> DiffService::MakeDiff(const Context& context, const DiffRequest& request,
                                   DiffResponse& response) {
  if (!options_.make_tar) return Error(ErrorCode::kUnsupported, "make a diff: not in this program");
  if (request.has_source_date_epoch()) {
    return Error(ErrorCode::kUnsupported, "make a diff with times that are not those of the files");
  }
  const std::string media_type =
      request.media_type().empty() ? std::string(kLayerMediaType) + "+gzip" : request.media_type();
  SNAP_TRY(const Compression compression, WantedCompression(media_type));
  SNAP_TRY(const std::string key, Difference(request));

  const std::string ref = request.ref().empty() ? "snap-diff-" + sys::RandomHex128() : request.ref();
  SNAP_TRY(const std::unique_ptr<ContentWriter> writer, content_->Write(context, ref));
  std::map<std::string, std::string> labels(request.labels().begin(), request.labels().end());
  Result<UploadedLayer> layer = UploadLayer(
      [&](ByteSink& sink) { return options_.make_tar(snapshots_, key, sink); }, compression, *writer);
  Result<void> committed;
  if (layer.ok()) {
    if (context.IsCancelled()) {
      committed = Error(ErrorCode::kCancelled, "make a diff: the caller is gone");
    } else {
      labels.try_emplace(std::string(kUncompressedLabel), layer->diff_id.ToString());
      committed = writer->Commit(layer->blob, labels);
    }
  } else {
    committed = std::move(layer).error();
  }
  if (!committed.ok() && committed.error().code() != ErrorCode::kExists) {
    (void)content_->Abort(context, ref);  // what cannot be aborted expires in containerd
    return committed;
  }
  if (!committed.ok()) {
    // Somebody wrote the same blob before, and may not have known what it is.
    SNAP_TRY(const ContentInfo info, content_->Info(context, layer->blob));
    if (!info.labels.contains(std::string(kUncompressedLabel))) {
      SNAP_TRY_VOID(content_->SetLabel(context, layer->blob, std::string(kUncompressedLabel),
                                       layer->diff_id.ToString()));
    }
  }
  containerd::types::Descriptor& out = *response.mutable_diff();
  out.set_media_type(media_type);
  out.set_digest(layer->blob.ToString());
  out.set_size(static_cast<int64_t>(layer->blob_bytes));
  return {};
}

}  // namespace snap
