// Manifests and indexes: the documents between a reference and its blobs, as pure functions from text to values.
// Sources: OCI image-spec 1.1 (descriptor.md, manifest.md, image-index.md); Docker "Image Manifest V 2, Schema 2".
// Invariant: a document is either an index or a manifest, never something that two readers could take for both;
// every digest is parsed and every count bounded before a value leaves this file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/result.h"
#include "fs/oci_image.h"

namespace snap::oci {

inline constexpr std::string_view kMediaTypeIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kMediaTypeManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kMediaTypeConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view kMediaTypeLayer = "application/vnd.oci.image.layer.v1.tar";
inline constexpr std::string_view kMediaTypeDockerIndex =
    "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view kMediaTypeDockerManifest =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kMediaTypeDockerConfig = "application/vnd.docker.container.image.v1+json";

inline constexpr size_t kMaxManifestBytes = size_t{4} << 20U;  ///< of an index or a manifest
inline constexpr size_t kMaxConfigBytes = size_t{8} << 20U;
inline constexpr size_t kMaxLayers = 1024;      ///< of one image
inline constexpr size_t kMaxManifests = 10000;  ///< descriptors looked at while one image is looked for
inline constexpr size_t kMaxIndexDepth = 8;     ///< indexes within indexes, index.json included

bool IsIndexType(std::string_view media_type);
bool IsManifestType(std::string_view media_type);
bool IsConfigType(std::string_view media_type);
/// Layers that a registry must not hand on ("foreign", "nondistributable"): often only their URL is in the
/// image.
bool IsForeignLayerType(std::string_view media_type);
/// The layer media type for a tar compressed so.
std::string LayerMediaType(Compression compression);

/// What a document says about a blob. Descriptors that are no images (attestations, signatures, unknown
/// types) are kept, since what they are is for the caller to judge.
struct Descriptor {
  std::string media_type;
  Digest digest;
  uint64_t size_bytes = 0;
  std::optional<Platform> platform;  ///< normalised; absent when it names neither system nor architecture
  std::string ref_name;              ///< annotation org.opencontainers.image.ref.name: "12", "debian:12"
  std::string image_name;            ///< annotation io.containerd.image.name: "docker.io/library/debian:12"
  bool attestation = false;          ///< build provenance that BuildKit lists beside the images it belongs to
};

struct Index {
  std::vector<Descriptor> manifests;
};

struct Manifest {
  Descriptor config;
  std::vector<Descriptor> layers;  ///< bottom first
};

/// `media_type` is what the descriptor promised; empty when nothing did (index.json). `what` is for errors.
/// Errors: kCorrupt (malformed, contradicts itself or its descriptor), kLimitExceeded, kUnsupported (schema 1,
/// digests other than SHA-256).
Result<Index> ParseIndex(std::string_view json, std::string_view media_type, std::string_view what);
/// The same for a manifest. kUnsupported also when it describes something else than an image (charts,
/// signatures).
Result<Manifest> ParseManifest(std::string_view json, std::string_view media_type, std::string_view what);

/// One entry of the manifest.json of `docker save`.
struct DockerEntry {
  std::string config;                  ///< path in the archive, as written
  std::vector<std::string> repo_tags;  ///< "debian:12"; may be empty
  std::vector<std::string> layers;     ///< paths in the archive, as written, bottom first
};
/// Errors: kCorrupt, kLimitExceeded.
Result<std::vector<DockerEntry>> ParseDockerManifest(std::string_view json, std::string_view what);

/// Spells a platform one way, as containerd does: aliases of architectures ("x86_64", "aarch64") and the
/// variants that mean the default ("arm64/v8" is "arm64", "arm" is "arm/v7").
Platform NormalizePlatform(Platform platform);
/// How well a machine `wanted` runs an image for `offered` (both normalised): nullopt not at all, higher is
/// better. A variant runs on itself and on later ones: arm/v6 on arm/v7, amd64/v2 on amd64/v3.
std::optional<unsigned> PlatformScore(const Platform& wanted, const Platform& offered);

/// How well the reference a user typed names an image called `name`: 0 not at all, 1 by tag or last
/// component, 2 exactly.
unsigned ReferenceScore(std::string_view wanted, std::string_view name);

/// "docker.io/library/debian:12" for "debian:12"; names with a host are full already.
std::string FullImageName(std::string_view name);

/// "'a', 'b' and 7 more"; "none" when empty. Duplicates are dropped and the rest sorted.
std::string ListChoices(std::vector<std::string> choices);

}  // namespace snap::oci
