// What listings say about an image: parsed configuration, size, name parts.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "fs/oci_image.h"
#include "snapshotter/store.h"

namespace snap::cli {

/// The stored configuration; it was checked when the image was imported. Errors: kCorrupt.
Result<oci::ImageConfig> ConfigOf(const ImageRecord& image);
/// When the image was built, as its configuration says; else when it was imported.
std::string CreatedOf(const ImageRecord& image);

/// "host:5000/team/app:1.4" -> {"host:5000/team/app", "1.4"}; "<none>" for missing parts.
std::pair<std::string, std::string> SplitName(std::string_view name);

/// Sizes of layers, each layer.json read once.
class LayerSizes {
 public:
  explicit LayerSizes(const LayerStore& layers) : layers_(layers) {}
  /// Bytes of all files of all layers. A layer that cannot be read counts as 0: `system check` is the place
  /// to tell.
  uint64_t Of(const ImageRecord& image);

 private:
  const LayerStore& layers_;
  std::unordered_map<LayerId, uint64_t> known_;
};

}  // namespace snap::cli
