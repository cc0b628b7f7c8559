// The places images are read from, one function each, and what they share: blobs found by digest.
// Invariant: a transport only finds bytes; ResolveImage verifies every document against its descriptor before
// it is parsed, whichever transport it came through.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "fs/base/digest.h"
#include "fs/base/result.h"
#include "fs/byte_source.h"
#include "fs/oci_image.h"

namespace snap::oci {

/// oci:DIR[:REF]. Errors: kNotFound, kUnsupported (layout version), kCorrupt.
Result<std::unique_ptr<ImageSource>> OpenOciLayout(const SourceName& name);
/// oci-archive:FILE[:REF] and docker-archive:FILE[:REF]. A compressed archive, a pipe or '-' is first spooled
/// to an unnamed file in $TMPDIR or /var/tmp; other archives are read where they are.
/// Cost: one read per member header.
Result<std::unique_ptr<ImageSource>> OpenOciArchive(const SourceName& name);
Result<std::unique_ptr<ImageSource>> OpenDockerArchive(const SourceName& name);
/// tar:FILE: one layer without a config. Standard input and pipes are streamed: their layer opens once.
Result<std::unique_ptr<ImageSource>> OpenPlainTar(const SourceName& name);
/// dir:DIR: the same for a directory tree, as a deterministic tar stream that keeps holes.
Result<std::unique_ptr<ImageSource>> OpenPlainDirectory(const SourceName& name);

/// The blobs of an image layout. Threads: safe.
class BlobProvider {
 public:
  virtual ~BlobProvider() = default;
  struct Blob {
    std::unique_ptr<ByteSource> bytes;  ///< the provider must outlive it
    uint64_t size_bytes = 0;            ///< exactly what `bytes` gives, or an error
  };
  /// Errors: kNotFound; kCorrupt when something that is not a regular file has the blob's name.
  virtual Result<Blob> OpenBlob(const Digest& digest) const = 0;
};

/// Checks the content of the file "oci-layout". Errors: kCorrupt, kUnsupported.
Result<void> CheckLayoutVersion(std::string_view json, std::string_view what);

/// From index.json through nested indexes to one image. `where` names the source in errors
/// ("oci:/srv/images"). An empty `ref` means the only image there is.
/// Errors: as ImageSource::Resolve.
Result<Image> ResolveImage(const BlobProvider& blobs, std::string_view index_json, std::string_view ref,
                           const Platform& platform, std::string_view where);

/// An ImageSource of a layout's blobs and its index.json.
std::unique_ptr<ImageSource> MakeLayoutSource(std::unique_ptr<BlobProvider> blobs, std::string index_json,
                                              std::string ref, std::string where);

}  // namespace snap::oci
