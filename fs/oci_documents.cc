// One pass from JSON to values. Whatever a document may be taken for is decided from its fields and its media
// type together (CVE-2021-41190): an index with layers or a manifest with manifests is refused, not
// interpreted.
#include "fs/oci_documents.h"

#include <algorithm>

#include "fs/base/json.h"
#include "fs/base/quote.h"

namespace snap::oci {
namespace {

constexpr std::string_view kDockerSchema1 = "application/vnd.docker.distribution.manifest.v1+json";
constexpr std::string_view kDockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Media types end up in messages and decide branches; nothing real is longer.
constexpr size_t kMaxMediaTypeBytes = 255;

Result<Platform> ParsePlatform(const Json& json, std::string_view what) {
  Platform platform;
  SNAP_TRY(platform.os, JsonStringOr(json, "os", "", what));
  SNAP_TRY(platform.architecture, JsonStringOr(json, "architecture", "", what));
  SNAP_TRY(platform.variant, JsonStringOr(json, "variant", "", what));
  return NormalizePlatform(std::move(platform));
}

Result<Descriptor> ParseDescriptor(const Json& json, std::string_view what) {
  if (!json.is_object()) return MakeError(ErrorCode::kCorrupt, "{}: descriptor is not an object", what);
  Descriptor out;
  SNAP_TRY(out.media_type, JsonString(json, "mediaType", what));
  if (out.media_type.size() > kMaxMediaTypeBytes) {
    return MakeError(ErrorCode::kLimitExceeded, "{}: media type of {} bytes", what, out.media_type.size());
  }
  SNAP_TRY(const std::string digest, JsonString(json, "digest", what));
  Result<Digest> parsed = Digest::Parse(digest);
  if (!parsed.ok()) {
    // A digest that is malformed in a document is the document's fault, not the caller's argument.
    if (parsed.error().code() == ErrorCode::kUnsupported) return std::move(parsed).error().Wrap(what);
    return Error(ErrorCode::kCorrupt, fmt::format("{}: {}", what, parsed.error().message()));
  }
  out.digest = *parsed;
  SNAP_TRY(out.size_bytes, JsonUnsigned(json, "size", what));
  SNAP_TRY(const Json* platform, JsonObjectOrNull(json, "platform", what));
  if (platform != nullptr) {
    SNAP_TRY(Platform value, ParsePlatform(*platform, what));
    if (value.os == "unknown" && value.architecture == "unknown") out.attestation = true;
    if (!value.os.empty() || !value.architecture.empty()) out.platform = std::move(value);
  }
  SNAP_TRY(const Json* annotations, JsonObjectOrNull(json, "annotations", what));
  if (annotations != nullptr) {
    SNAP_TRY(out.ref_name, JsonStringOr(*annotations, "org.opencontainers.image.ref.name", "", what));
    SNAP_TRY(out.image_name, JsonStringOr(*annotations, "io.containerd.image.name", "", what));
    SNAP_TRY(const std::string reference_type,
             JsonStringOr(*annotations, "vnd.docker.reference.type", "", what));
    if (reference_type == "attestation-manifest") out.attestation = true;
  }
  return out;
}

/// The parts that indexes and manifests have in common.
Result<Json> ParseDocument(std::string_view text, std::string_view media_type, std::string_view what) {
  if (media_type == kDockerSchema1 || media_type == kDockerSchema1Signed) {
    return MakeError(ErrorCode::kUnsupported, "{}: Docker schema 1 images are not supported", what);
  }
  SNAP_TRY(Json json, ParseJson(text, what, {.max_bytes = kMaxManifestBytes}));
  if (!json.is_object()) return MakeError(ErrorCode::kCorrupt, "{}: is not a JSON object", what);
  if (json.contains("fsLayers") || json.contains("signatures")) {
    return MakeError(ErrorCode::kUnsupported, "{}: Docker schema 1 images are not supported", what);
  }
  SNAP_TRY(const uint64_t version, JsonUnsigned(json, "schemaVersion", what));
  if (version != 2) {
    return MakeError(ErrorCode::kUnsupported, "{}: schema version {} is not supported, only 2 is", what,
                     version);
  }
  SNAP_TRY(const std::string own_type, JsonStringOr(json, "mediaType", "", what));
  if (!own_type.empty() && !media_type.empty() && own_type != media_type) {
    return MakeError(ErrorCode::kCorrupt, "{}: says it is {} but its descriptor says {}", what,
                     Quote(own_type.substr(0, kMaxMediaTypeBytes)), Quote(media_type));
  }
  return json;
}

Error Ambiguous(std::string_view what) {
  return MakeError(ErrorCode::kCorrupt, "{}: could be read both as an index and as a manifest", what);
}

}  // namespace

bool IsIndexType(std::string_view media_type) {
  return media_type == kMediaTypeIndex || media_type == kMediaTypeDockerIndex;
}
bool IsManifestType(std::string_view media_type) {
  return media_type == kMediaTypeManifest || media_type == kMediaTypeDockerManifest;
}
bool IsConfigType(std::string_view media_type) {
  return media_type == kMediaTypeConfig || media_type == kMediaTypeDockerConfig;
}
bool IsForeignLayerType(std::string_view media_type) {
  return media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar") ||
         media_type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar");
}

std::string LayerMediaType(Compression compression) {
  std::string type(kMediaTypeLayer);
  if (compression == Compression::kGzip) type += "+gzip";
  if (compression == Compression::kZstd) type += "+zstd";
  return type;
}

std::optional<Compression> LayerCompression(std::string_view media_type) {
  for (const std::string_view base :
       {kMediaTypeLayer, std::string_view("application/vnd.oci.image.layer.nondistributable.v1.tar"),
        std::string_view("application/vnd.docker.image.rootfs.diff.tar"),
        std::string_view("application/vnd.docker.image.rootfs.foreign.diff.tar")}) {
    if (!media_type.starts_with(base)) continue;
    const std::string_view suffix = media_type.substr(base.size());
    if (suffix.empty()) return Compression::kNone;
    // OCI joins with '+', Docker with '.'; tools that convert between the two get it wrong in both
    // directions.
    if (suffix == "+gzip" || suffix == ".gzip") return Compression::kGzip;
    if (suffix == "+zstd" || suffix == ".zstd") return Compression::kZstd;
  }
  return std::nullopt;
}

Result<Index> ParseIndex(std::string_view text, std::string_view media_type, std::string_view what) {
  SNAP_TRY(const Json json, ParseDocument(text, media_type, what));
  if (json.contains("layers") || json.contains("config")) {
    if (json.contains("manifests")) return Ambiguous(what);
    return MakeError(ErrorCode::kCorrupt, "{}: is a manifest where an index belongs", what);
  }
  SNAP_TRY(const std::string own_type, JsonStringOr(json, "mediaType", "", what));
  if (!own_type.empty() && !IsIndexType(own_type)) {
    return MakeError(ErrorCode::kCorrupt, "{}: media type {} where an index belongs", what,
                     Quote(own_type.substr(0, kMaxMediaTypeBytes)));
  }
  SNAP_TRY(const Json* manifests, JsonArray(json, "manifests", what));
  if (manifests->size() > kMaxManifests) {
    return MakeError(ErrorCode::kLimitExceeded, "{}: lists {} manifests, at most {} are accepted", what,
                     manifests->size(), kMaxManifests);
  }
  Index index;
  index.manifests.reserve(manifests->size());
  for (const Json& item : *manifests) {
    SNAP_TRY(Descriptor descriptor, ParseDescriptor(item, what));
    index.manifests.push_back(std::move(descriptor));
  }
  return index;
}

Result<Manifest> ParseManifest(std::string_view text, std::string_view media_type, std::string_view what) {
  SNAP_TRY(const Json json, ParseDocument(text, media_type, what));
  if (json.contains("manifests")) {
    if (json.contains("layers") || json.contains("config")) return Ambiguous(what);
    return MakeError(ErrorCode::kCorrupt, "{}: is an index where a manifest belongs", what);
  }
  SNAP_TRY(const std::string own_type, JsonStringOr(json, "mediaType", "", what));
  if (!own_type.empty() && !IsManifestType(own_type)) {
    return MakeError(ErrorCode::kCorrupt, "{}: media type {} where a manifest belongs", what,
                     Quote(own_type.substr(0, kMaxMediaTypeBytes)));
  }
  Manifest manifest;
  SNAP_TRY(const Json* config, JsonObject(json, "config", what));
  SNAP_TRY(manifest.config, ParseDescriptor(*config, what));
  SNAP_TRY(const std::string artifact_type, JsonStringOr(json, "artifactType", "", what));
  if (!IsConfigType(manifest.config.media_type)) {
    return MakeError(ErrorCode::kUnsupported, "{}: is not a container image but {}", what,
                     Quote((artifact_type.empty() ? manifest.config.media_type : artifact_type)
                               .substr(0, kMaxMediaTypeBytes)));
  }
  if (manifest.config.size_bytes > kMaxConfigBytes) {
    return MakeError(ErrorCode::kLimitExceeded, "{}: config of {} bytes, at most {} are accepted", what,
                     manifest.config.size_bytes, kMaxConfigBytes);
  }
  SNAP_TRY(const Json* layers, JsonArray(json, "layers", what));
  if (layers->size() > kMaxLayers) {
    return MakeError(ErrorCode::kLimitExceeded, "{}: {} layers, at most {} are accepted", what,
                     layers->size(), kMaxLayers);
  }
  manifest.layers.reserve(layers->size());
  for (const Json& item : *layers) {
    SNAP_TRY(Descriptor layer, ParseDescriptor(item, what));
    if (!LayerCompression(layer.media_type)) {
      return MakeError(ErrorCode::kUnsupported, "{}: layer {} has the unsupported media type {}", what,
                       manifest.layers.size() + 1, Quote(layer.media_type));
    }
    manifest.layers.push_back(std::move(layer));
  }
  return manifest;
}

Result<std::vector<DockerEntry>> ParseDockerManifest(std::string_view text, std::string_view what) {
  SNAP_TRY(const Json json, ParseJson(text, what, {.max_bytes = kMaxManifestBytes}));
  if (!json.is_array()) return MakeError(ErrorCode::kCorrupt, "{}: is not a JSON array", what);
  if (json.size() > kMaxManifests) {
    return MakeError(ErrorCode::kLimitExceeded, "{}: lists {} images, at most {} are accepted", what,
                     json.size(), kMaxManifests);
  }
  std::vector<DockerEntry> entries;
  for (const Json& item : json) {
    if (!item.is_object()) return MakeError(ErrorCode::kCorrupt, "{}: entry is not an object", what);
    DockerEntry entry;
    SNAP_TRY(entry.config, JsonString(item, "Config", what));
    SNAP_TRY(entry.repo_tags, JsonStrings(item, "RepoTags", what));
    SNAP_TRY(entry.layers, JsonStrings(item, "Layers", what));
    if (entry.layers.size() > kMaxLayers) {
      return MakeError(ErrorCode::kLimitExceeded, "{}: {} layers, at most {} are accepted", what,
                       entry.layers.size(), kMaxLayers);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

unsigned ReferenceScore(std::string_view wanted, std::string_view name) {
  if (wanted.empty() || name.empty()) return 0;
  if (wanted == name) return 2;
  const std::string_view last = name.substr(name.rfind('/') + 1);  // npos + 1 is 0: the whole name
  if (wanted == last) return 1;
  const size_t colon = last.find(':');
  if (colon == std::string_view::npos) return 0;
  if (wanted == last.substr(colon + 1)) return 1;
  const bool latest = last.substr(colon + 1) == "latest";
  const std::string_view untagged = name.substr(0, name.size() - (last.size() - colon));
  return latest && (wanted == untagged || wanted == last.substr(0, colon)) ? 1 : 0;
}

// The host is what stands before the first '/', if it can be one: it has a '.' or ':' or is "localhost".
std::string FullImageName(std::string_view name) {
  const size_t slash = name.find('/');
  if (slash == std::string_view::npos) return "docker.io/library/" + std::string(name);
  const std::string_view first = name.substr(0, slash);
  const bool is_host = first.find_first_of(".:") != std::string_view::npos || first == "localhost";
  return is_host ? std::string(name) : "docker.io/" + std::string(name);
}

std::string ListChoices(std::vector<std::string> choices) {
  constexpr size_t kShown = 20;
  std::sort(choices.begin(), choices.end());
  choices.erase(std::unique(choices.begin(), choices.end()), choices.end());
  if (choices.empty()) return "none";
  std::string out;
  const size_t shown = std::min(choices.size(), kShown);
  for (size_t i = 0; i < shown; ++i) {
    if (i != 0) out += i + 1 == choices.size() ? " and " : ", ";
    out += Quote(std::string_view(choices[i]).substr(0, 200));
  }
  if (shown < choices.size()) out += fmt::format(" and {} more", choices.size() - shown);
  return out;
}

}  // namespace snap::oci
