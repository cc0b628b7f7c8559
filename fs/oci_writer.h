// Images written where other tools read them: an OCI image layout, one in a tar file, or what `docker load`
// takes. Sources: OCI image-spec 1.1 (image-layout.md, manifest.md, annotations.md); Docker image spec v1.2,
// "Combined Image JSON + Filesystem Changeset". Invariant: every layer is verified against its DiffId while
// it is written, and what has the target's name is whole: an image that does not verify leaves nothing there.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/byte_source.h"

namespace snap::oci {

enum class SaveFormat : uint8_t { kOciLayout, kOciArchive, kDockerArchive };

struct SavedLayer {
  DiffId diff_id;
  uint64_t tar_bytes = 0;  ///< of the exact tar
  /// The exact tar. Called at most once for each DiffId, perhaps on another thread.
  std::function<Result<std::unique_ptr<ByteSource>>()> open;
};

struct SavedImage {
  std::string config_json;         ///< exact bytes: their digest is the image's id
  std::vector<std::string> names;  ///< "debian:12"; may be none
  std::vector<SavedLayer> layers;  ///< bottom first, as the config has them
};

struct SaveOptions {
  SaveFormat format = SaveFormat::kOciArchive;
  Compression compression =
      Compression::kGzip;        ///< of layers; a docker archive has plain tars whatever this says
  bool replace = false;          ///< an archive that exists already
  unsigned parallel_layers = 0;  ///< compressed at a time; 0: as many as processors
  struct Progress {
    size_t layer = 0, layer_count = 0;    ///< different ones, in the order in which they are written
    std::string label;                    ///< short digest
    uint64_t bytes = 0, total_bytes = 0;  ///< of the tar
    bool done = false;
  };
  /// Called from several threads, one call at a time, at most about ten times a second per layer.
  std::function<void(const Progress&)> on_progress{};
};

struct SaveReport {
  size_t images = 0, layers = 0;         ///< different ones
  uint64_t layer_bytes = 0;              ///< as written
  std::vector<Digest> manifest_digests;  ///< of OCI formats, one for each image
};

/// Writes to `path`. An archive appears whole, mode 0600, and is kExists when there is something already,
/// unless options.replace; what is no regular file (a pipe, a device) is written to as it is. A layout that
/// exists gets the images added, in place of those with the same names; a new one appears whole, mode 0700.
/// Anything else is kExists. Errors: kCorrupt (a layer does not match its DiffId or size, an image its
/// layers), kExists, kInvalidArgument, kNoSpace, kIo, and what the layers' sources return; on error the
/// target is as it was. Durability: full. Cost: one pass over the layers; compressed ones are spooled beside
/// the target, unnamed.
Result<SaveReport> SaveImages(const std::vector<SavedImage>& images, const std::string& path,
                              const SaveOptions& options);
/// The same to a stream, archives only; `name` is for errors. A stream that ends with an error has no
/// manifest.
Result<SaveReport> SaveImages(const std::vector<SavedImage>& images, FdRef stream, const std::string& name,
                              const SaveOptions& options);

}  // namespace snap::oci
