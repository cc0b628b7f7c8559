// Indexes, manifests and docker's manifest.json, as text from a registry. One input goes through every
// reader, and no document may be both an index and a manifest.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fs/base/check.h"
#include "fs/oci_documents.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snap::oci;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto index = ParseIndex(text, {}, "index");
  const auto manifest = ParseManifest(text, {}, "manifest");
  SNAP_CHECK(!(index.ok() && manifest.ok()));
  if (index.ok()) {
    for (const Descriptor& item : index->manifests) {
      (void)ReferenceScore(item.ref_name, item.image_name);
      if (item.platform) {
        SNAP_CHECK(NormalizePlatform(*item.platform) == *item.platform);
        SNAP_CHECK(PlatformScore(*item.platform, *item.platform).has_value());
      }
    }
  }
  if (manifest.ok()) {
    for (const Descriptor& layer : manifest->layers)
      SNAP_CHECK(LayerCompression(layer.media_type).has_value());
  }
  (void)ParseDockerManifest(text, "docker");
  (void)Platform::Parse(text.substr(0, 100));
  return 0;
}
