// source -> count, cancel -> sha256(blob) -> inflate ==ring==> sha256(diff) -> tar -> writer. The ring is the thread boundary:
// everything before it belongs to the reading thread until that has ended.
#include "snapshotter/layer_import.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <set>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/layer_apply.h"
#include "fs/read_ahead.h"
#include "fs/tree_writer.h"

namespace snap {
namespace {

/// The raw bytes: counted, bounded by the descriptor's size, and cut short when the import is given up.
class BlobSource final : public ByteSource {
 public:
  BlobSource(ByteSource& inner, const oci::LayerBlob& layer, const LayerImportOptions& options,
             const std::atomic<bool>& cancelled)
      : inner_(inner), layer_(layer), options_(options), cancelled_(cancelled) {}

  Result<size_t> Read(std::span<std::byte> buffer) override {
    if (cancelled_.load(std::memory_order_relaxed)) {
      return MakeError(ErrorCode::kCancelled, "read layer: the import was given up");
    }
    SNAP_TRY(const size_t got, inner_.Read(buffer));
    bytes_ += got;
    if (layer_.blob_id && bytes_ > layer_.size_bytes) {
      return MakeError(ErrorCode::kCorrupt, "read blob {}: more than the {} bytes that its descriptor says",
                       layer_.blob_id->ToString(), layer_.size_bytes);
    }
    if (options_.on_bytes) options_.on_bytes(bytes_);
    SNAP_FAULT_POINT("store.import.read");
    return got;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  ByteSource& inner_;
  const oci::LayerBlob& layer_;
  const LayerImportOptions& options_;
  const std::atomic<bool>& cancelled_;
  uint64_t bytes_ = 0;
};

/// Hashes what passes and shows it to the index. On the writing thread: inflating is the slower side of the ring.
class DiffSource final : public ChunkSource {
 public:
  DiffSource(ChunkSource& inner, TarIndexWriter* index) : inner_(inner), index_(index) {}
  Result<std::span<const std::byte>> NextChunk() override {
    // The chunk before is gone with the next call: the index keeps what it needs of it first.
    if (index_ != nullptr) SNAP_TRY_VOID(index_->Bytes({}));
    SNAP_TRY(const std::span<const std::byte> chunk, inner_.NextChunk());
    hasher_.Update(chunk);
    bytes_ += chunk.size();
    if (index_ != nullptr) SNAP_TRY_VOID(index_->Bytes(chunk));
    return chunk;
  }
  /// Reads what the archive's reader left, then gives the digest.
  Result<DiffId> Finish() {
    for (;;) {
      SNAP_TRY(const std::span<const std::byte> chunk, NextChunk());
      if (chunk.empty()) return DiffId{std::move(hasher_).Finish()};
    }
  }
  uint64_t bytes() const { return bytes_; }

 private:
  ChunkSource& inner_;
  TarIndexWriter* const index_;
  Sha256 hasher_;
  uint64_t bytes_ = 0;
};

Error Mismatch(std::string_view what, const Digest& wanted, const Digest& found) {
  return MakeError(ErrorCode::kCorrupt, "verify {}: it is {} instead of {}", what, found.ToString(),
                   wanted.ToString());
}

Result<UniqueFd> CreateFile(const LayerStage& stage, const char* name) {
  SNAP_TRY_SYS(UniqueFd file, sys::OpenAt(stage.directory(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600), "create {}",
               Quote(name));
  return file;
}

}  // namespace

Result<std::unique_ptr<PackedStage>> PackedStage::Make(const LayerStage& stage, ObjectStage& objects,
                                                       std::unique_ptr<IoEngine> engine, bool records_tar) {
  auto packed = std::make_unique<PackedStage>();
  SNAP_TRY(packed->image, CreateFile(stage, LayerStage::kImageName));
  SNAP_TRY(packed->index_file, CreateFile(stage, LayerStage::kTarIndexName));
  packed->index = std::make_unique<TarIndexWriter>(packed->index_file);
  packed->objects = std::make_unique<ObjectWriter>(objects, std::move(engine));
  packed->writer =
      std::make_unique<PackedWriter>(packed->image, *packed->objects, records_tar ? packed->index.get() : nullptr);
  return packed;
}

Result<SealedLayer> PackedStage::Seal() const {
  constexpr uint64_t kStatBlock = 512;  // the unit of st_blocks
  SNAP_TRY(const PackedWriter::Sealed sealed, writer->Seal());
  SNAP_TRY_VOID(index->Finish(writer->objects()));
  SNAP_TRY_SYS(const struct stat index_stat, sys::FStat(index_file), "look at the tar index");
  const std::set<ObjectId> once(writer->objects().begin(), writer->objects().end());
  SealedLayer layer{sealed.usage, sealed.checksums, {once.begin(), once.end()}};
  layer.usage.disk_bytes += static_cast<uint64_t>(index_stat.st_blocks) * kStatBlock;
  return layer;
}

void DescribeLayer(const ExtractedLayer& layer, const LayerManifest* below, LayerManifest& manifest) {
  const LayerSummary& summary = layer.summary;
  manifest.implied_root = !summary.root_named && (below == nullptr || below->implied_root);
  manifest.settled = !summary.implied_directories.empty() || !summary.lower_links.empty() ||
                     (!summary.root_named && !manifest.implied_root);
  manifest.format = layer.format;
}

Result<ExtractedLayer> ExtractLayer(ByteSource& stored, const oci::LayerBlob& layer, LayerStore& store,
                                    ObjectStage& objects, const LayerImportOptions& options,
                                    const std::atomic<bool>& cancelled) {
  BlobSource blob(stored, layer, options, cancelled);
  DigestingSource digesting(blob);
  // The media type is not asked: the first bytes say what it is, and the DiffId whether that was right.
  SNAP_TRY(const std::unique_ptr<ByteSource> tar, MakeDetectingInflater(digesting, options.inflate_limits, "layer"));

  SNAP_TRY(LayerStage stage, store.Stage(options.format));
  SNAP_TRY(std::unique_ptr<IoEngine> engine, MakeIoEngine(options.engine));
  ExtractedLayer out{.stage = std::move(stage), .format = options.format, .packed = {}, .summary = {}, .diff_id = {},
                     .blob_id = layer.blob_id};
  TarIndexWriter* index = nullptr;
  std::unique_ptr<TreeWriter> tree_writer;
  LayerWriter* writer = nullptr;
  if (options.format == LayerFormat::kTree) {
    tree_writer = std::make_unique<TreeWriter>(out.stage.tree(), std::move(engine));
    writer = tree_writer.get();
  } else {
    SNAP_TRY(out.packed, PackedStage::Make(out.stage, objects, std::move(engine), true));
    index = out.packed->index.get();
    writer = out.packed->writer.get();
  }
  {
    ReadAhead ring(*tar);
    DiffSource diff(ring, index);
    TarReader reader(diff, options.tar_limits);
    const ApplyOptions apply{.max_entries = options.tar_limits.max_entries};
    SNAP_TRY(const ApplyReport report, ApplyTar(reader, *writer, apply));
    SNAP_TRY(out.diff_id, diff.Finish());
    if (layer.diff_id && out.diff_id != *layer.diff_id) {
      return Mismatch("uncompressed layer", layer.diff_id->digest, out.diff_id.digest);
    }
    SNAP_TRY(out.summary, writer->Finish());
    out.entries = report.entries;
    out.tar_bytes = diff.bytes();
  }
  // The ring is gone and with it its thread: the stored side is ours again.
  SNAP_TRY(const Digest blob_digest, digesting.Finish());
  out.blob_bytes = blob.bytes();
  if (layer.blob_id) {
    if (out.blob_bytes != layer.size_bytes) {
      return MakeError(ErrorCode::kCorrupt, "verify blob {}: it has {} bytes instead of {}",
                       layer.blob_id->ToString(), out.blob_bytes, layer.size_bytes);
    }
    if (blob_digest != layer.blob_id->digest) return Mismatch("blob", layer.blob_id->digest, blob_digest);
  }
  return out;
}

}  // namespace snap
