// A new layer on its way into containerd's content store: tar, compressed, hashed twice, in one pass.
#pragma once

#include <map>
#include <string>

#include "fs/base/digest.h"
#include "fs/base/result.h"
#include "fs/byte_source.h"
#include "fs/tar_writer.h"
#include "snapshotter/grpc/content_client.h"

namespace snap {

struct UploadedLayer {
  Digest blob;
  uint64_t blob_bytes = 0;
  DiffId diff_id;
};

/// Appends what `make` writes, compressed, to `writer`; the caller commits. `make` runs on a thread of its
/// own that has ended on return. Errors: those of `make` and of the writer.
Result<UploadedLayer> UploadLayer(const std::function<Result<void>(ByteSink& sink)>& make,
                                  Compression compression, ContentWriter& writer);

}  // namespace snap
