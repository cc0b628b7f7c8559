// One layer from its blob to a stage: read, hash, inflate, hash, parse and write, on two threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "fs/io_engine.h"
#include "fs/layer_store.h"
#include "fs/layer_writer.h"
#include "fs/object_store.h"
#include "fs/oci_image.h"
#include "fs/packed_writer.h"
#include "fs/tar_reader.h"

namespace snap {

struct LayerImportOptions {
  LayerFormat format = LayerFormat::kTree;
  IoEngineKind engine = IoEngineKind::kAuto;
  TarLimits tar_limits;
  InflateLimits inflate_limits;
  /// Compressed bytes read so far; called on the reading thread, often.
  std::function<void(uint64_t bytes)> on_bytes;
};

/// What is known of a packed layer when everything is written.
struct SealedLayer {
  LayerUsage usage;
  ImageChecksums checksums;
  std::vector<ObjectId> objects;  ///< each once, sorted
};

/// A packed layer whose metadata is not written yet: it may be settled first.
struct PackedStage {
  /// New files in `stage`. With `records_tar` the caller shows the index the tar that it gives the writer.
  static Result<std::unique_ptr<PackedStage>> Make(const LayerStage& stage, ObjectStage& objects,
                                                   std::unique_ptr<IoEngine> engine, bool records_tar);
  /// After the writer's Finish: metadata and index. Call once.
  Result<SealedLayer> Seal() const;

  UniqueFd image, index_file;
  std::unique_ptr<ObjectWriter> objects;
  std::unique_ptr<TarIndexWriter> index;  // has seen the whole tar; not finished, since settling may add objects
  std::unique_ptr<PackedWriter> writer;   // uses all of the above
};

/// A layer that is extracted and verified but not committed.
struct ExtractedLayer {
  LayerStage stage;
  LayerFormat format = LayerFormat::kTree;
  std::unique_ptr<PackedStage> packed;  ///< until it is sealed
  LayerSummary summary;
  DiffId diff_id;
  std::optional<BlobId> blob_id;
  uint64_t blob_bytes = 0;
  uint64_t tar_bytes = 0;
  uint64_t entries = 0;  ///< names in the archive
};

/// What follows from the stream alone and from the top layer of what lies below it (nullptr: nothing does): format,
/// implied_root and settled. With `settled` the layer is to be settled before it is sealed.
void DescribeLayer(const ExtractedLayer& layer, const LayerManifest* below, LayerManifest& manifest);

/// Extracts `stored`, the bytes of `layer`, into a new stage. Both digests cover every byte there is: the BlobId all stored bytes,
/// trailing ones too, the DiffId all that they inflate to, whatever follows the archive's end included.
/// Errors: kCorrupt (digest, size, format), kLimitExceeded, kCancelled soon after `cancelled` is set, ...
/// Nothing is left on error. Threads: one more inside; calls are independent of each other.
/// `objects` takes large files when the format is packed.
Result<ExtractedLayer> ExtractLayer(ByteSource& stored, const oci::LayerBlob& layer, LayerStore& store,
                                    ObjectStage& objects, const LayerImportOptions& options,
                                    const std::atomic<bool>& cancelled);

}  // namespace snap
