#include "fs/oci_writer_documents.h"

#include <algorithm>

#include "fs/oci_documents.h"

namespace snap::oci {
namespace {

constexpr char kRefName[] = "org.opencontainers.image.ref.name";
constexpr char kContainerdName[] = "io.containerd.image.name";

Json MakeDescriptor(std::string_view media_type, const SavedBlob& blob) {
  return {{"mediaType", media_type}, {"digest", blob.digest.ToString()}, {"size", blob.size_bytes}};
}

std::string RefNameOf(const Json& descriptor) {
  if (!descriptor.is_object()) return {};
  const auto annotations = descriptor.find("annotations");
  if (annotations == descriptor.end() || !annotations->is_object()) return {};
  const auto name = annotations->find(kRefName);
  return name != annotations->end() && name->is_string() ? name->get<std::string>() : std::string();
}

std::string DigestOf(const Json& descriptor) {
  if (!descriptor.is_object()) return {};
  const auto digest = descriptor.find("digest");
  return digest != descriptor.end() && digest->is_string() ? digest->get<std::string>() : std::string();
}

}  // namespace

std::string MakeManifestJson(const SavedBlob& config, const std::vector<SavedBlob>& layers_bottom_first,
                             Compression compression) {
  Json layers = Json::array();
  for (const SavedBlob& layer : layers_bottom_first)
    layers.push_back(MakeDescriptor(LayerMediaType(compression), layer));
  return DumpJson({{"schemaVersion", 2},
                   {"mediaType", kMediaTypeManifest},
                   {"config", MakeDescriptor(kMediaTypeConfig, config)},
                   {"layers", std::move(layers)}});
}

std::vector<Json> MakeIndexDescriptors(const SavedBlob& manifest, const Platform& platform,
                                       const std::vector<std::string>& names) {
  Json descriptor = MakeDescriptor(kMediaTypeManifest, manifest);
  if (!platform.os.empty() && !platform.architecture.empty()) {
    descriptor["platform"] = {{"os", platform.os}, {"architecture", platform.architecture}};
    if (!platform.variant.empty()) descriptor["platform"]["variant"] = platform.variant;
  }
  if (names.empty()) return {std::move(descriptor)};
  std::vector<Json> out;
  for (const std::string& name : names) {
    descriptor["annotations"] = {{kRefName, name}, {kContainerdName, FullImageName(name)}};
    out.push_back(descriptor);
  }
  return out;
}

Result<std::string> MakeIndexJson(const std::vector<Json>& descriptors,
                                  const std::optional<std::string>& existing, std::string_view what) {
  Json index = {{"schemaVersion", 2}, {"mediaType", kMediaTypeIndex}, {"manifests", Json::array()}};
  if (existing) {
    SNAP_TRY_VOID(ParseIndex(*existing, {}, what));  // what we add to, others must be able to read
    SNAP_TRY(index, ParseJson(*existing, what, {.max_bytes = kMaxManifestBytes}));
  }
  Json& manifests = index["manifests"];
  if (!manifests.is_array()) manifests = Json::array();
  for (const Json& added : descriptors) {
    const std::string name = RefNameOf(added);
    const std::string digest = DigestOf(added);
    Json kept = Json::array();
    for (Json& old : manifests) {
      const std::string old_name = RefNameOf(old);
      const bool replaced = name.empty() ? old_name.empty() && DigestOf(old) == digest : old_name == name;
      if (!replaced) kept.push_back(std::move(old));
    }
    kept.push_back(added);
    manifests = std::move(kept);
  }
  return DumpJson(index);
}

std::string MakeDockerManifestJson(const std::vector<DockerImage>& images) {
  Json out = Json::array();
  for (const DockerImage& image : images) {
    Json entry = {{"Config", image.config_path}, {"Layers", image.layer_paths}};
    // "null" is what Docker writes for an image without names.
    entry["RepoTags"] = image.names.empty() ? Json() : Json(image.names);
    out.push_back(std::move(entry));
  }
  return DumpJson(out);
}

}  // namespace snap::oci
