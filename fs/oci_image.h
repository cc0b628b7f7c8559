// OCI images as values: references to blobs, the parsed configuration, and where images are read from.
// Sources: OCI image-spec 1.1 (manifest.md, config.md, image-index.md, image-layout.md); Docker image spec v1.2 and
// `docker save` archives.
// Invariant: every document is hostile: sizes, depths and counts are bounded, digests are parsed, and content is
// verified against its digest before it is believed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/json.h"
#include "fs/base/result.h"
#include "fs/byte_source.h"

namespace snap::oci {

struct Platform {
  std::string os;            ///< "linux"
  std::string architecture;  ///< GOARCH: "amd64", "arm64", ...
  std::string variant;       ///< "v8", ...; may be empty
  /// Of this machine.
  static Platform Host();
  /// "linux/arm64/v8" or "arm64". Errors: kInvalidArgument.
  static Result<Platform> Parse(std::string_view text);
  std::string ToString() const;
  friend bool operator==(const Platform&, const Platform&) = default;
};

struct HistoryEntry {
  std::string created, created_by, author, comment;  ///< as written; may be empty
  bool empty_layer = false;
};

/// The image configuration ("application/vnd.oci.image.config.v1+json" and Docker's).
struct ImageConfig {
  Platform platform;
  std::string created;  ///< RFC 3339 as written
  std::string author;
  std::vector<std::string> entrypoint, cmd, env;
  std::string user, working_dir, stop_signal;
  std::vector<std::pair<std::string, std::string>> labels;
  std::vector<std::string> volumes, exposed_ports;
  std::vector<DiffId> diff_ids;  ///< bottom layer first
  std::vector<HistoryEntry> history;
};
/// Errors: kCorrupt, kLimitExceeded, kUnsupported (rootfs type other than "layers").
Result<ImageConfig> ParseImageConfig(std::string_view json, std::string_view what);

/// One layer's bytes. Layers without a blob id (docker-archive, plain tars) are verified by DiffId alone; layers
/// without a DiffId (plain tars and directories) define it.
struct LayerBlob {
  std::optional<BlobId> blob_id;
  std::optional<DiffId> diff_id;
  uint64_t size_bytes = 0;  ///< compressed; an upper bound while reading; 0 when not known before
  std::string media_type;
  size_t index = 0;         ///< position in the image, 0 = bottom
};

struct Image {
  std::string config_json;        ///< exact bytes; empty when the source has none (plain tar, directory)
  std::optional<Digest> config_digest;
  ImageConfig config;             ///< parsed; for sources without one: the host's platform, nothing else
  std::string manifest_json;      ///< exact bytes; empty for docker-archive, tar and dir
  std::optional<Digest> manifest_digest;
  std::vector<LayerBlob> layers;  ///< bottom first; as many as config.diff_ids when there is a config
  std::string ref_name;           ///< what the source calls it ("debian:12"), may be empty
};

/// SOURCE as users write it: "oci:DIR[:REF]", "oci-archive:FILE[:REF]", "docker-archive:FILE[:REF]", "tar:FILE",
/// "dir:DIR". A path may contain ':' when it exists as written. tar:- reads standard input.
struct SourceName {
  enum class Transport { kOciLayout, kOciArchive, kDockerArchive, kTar, kDirectory };
  Transport transport = Transport::kOciLayout;
  std::string path;
  std::string ref;  ///< empty: the only image there is, otherwise an error that lists the choices
  static Result<SourceName> Parse(std::string_view text);
};

/// Threads: Resolve once, first; then OpenLayer from several threads at once is safe.
class ImageSource {
 public:
  virtual ~ImageSource() = default;
  static Result<std::unique_ptr<ImageSource>> Open(const SourceName& name);

  /// Finds the manifest for `ref` and `platform` through any nesting of indexes and reads its config.
  /// Errors: kNotFound (lists the references or platforms there are), kInvalidArgument (several images, no ref),
  /// kCorrupt (digest or size mismatch, malformed documents), kLimitExceeded, kUnsupported (media types).
  virtual Result<Image> Resolve(const Platform& platform) = 0;
  /// The stored bytes of a layer, not decompressed, not verified. The source must outlive what is returned.
  virtual Result<std::unique_ptr<ByteSource>> OpenLayer(const LayerBlob& layer) = 0;
};

/// Compression that a layer media type promises; nullopt for types that are not layers.
/// ("...tar", "...tar+gzip", "...tar+zstd", Docker's "...tar.gzip", non-distributable ones too.)
std::optional<Compression> LayerCompression(std::string_view media_type);

/// A minimal config for an image that came without one. Deterministic for equal input.
std::string MakeConfigJson(const Platform& platform, const std::vector<DiffId>& diff_ids, std::string_view created,
                           std::string_view created_by);

}  // namespace snap::oci
