#include "tools/snap/image_info.h"

#include "tools/snap/human.h"

namespace snap::cli {

Result<oci::ImageConfig> ConfigOf(const ImageRecord& image) {
  return oci::ParseImageConfig(image.config_json, "configuration of image " + image.id.digest.Short());
}

std::string CreatedOf(const ImageRecord& image) {
  const Result<oci::ImageConfig> config = ConfigOf(image);
  // Many tools write the year 1 for "not known".
  if (!config.ok() || !ParseRfc3339(config->created)) return image.imported;
  return config->created;
}

std::pair<std::string, std::string> SplitName(std::string_view name) {
  if (name.empty()) return {"<none>", "<none>"};
  const size_t colon = name.rfind(':');
  if (colon == std::string_view::npos || name.find('/', colon) != std::string_view::npos) {
    return {std::string(name), "<none>"};
  }
  return {std::string(name.substr(0, colon)), std::string(name.substr(colon + 1))};
}

uint64_t LayerSizes::Of(const ImageRecord& image) {
  uint64_t total = 0;
  for (const LayerId& id : image.layers) {
    const auto [it, is_new] = known_.try_emplace(id, 0);
    if (is_new) {
      if (const auto manifest = layers_.Find(id); manifest.ok()) it->second = manifest->usage.data_bytes;
    }
    total += it->second;
  }
  return total;
}

}  // namespace snap::cli
