// Images in memory: each test says what the blobs hold and what the documents claim about them.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fs/oci_image.h"

namespace snap::test {

/// Layers are uncompressed tars, bottom first. Resolve describes them truthfully; `change` may then lie.
class MemoryImage final : public oci::ImageSource {
 public:
  explicit MemoryImage(std::vector<std::string> tars, std::string comment = "") : tars_(std::move(tars)) {
    std::vector<DiffId> diff_ids;
    for (size_t i = 0; i < tars_.size(); ++i) {
      const Digest digest = Digest::Of(tars_[i]);
      image_.layers.push_back({.blob_id = BlobId{digest},
                               .diff_id = DiffId{digest},
                               .size_bytes = tars_[i].size(),
                               .media_type = "",
                               .index = i});
      diff_ids.push_back(DiffId{digest});
    }
    image_.config.platform = oci::Platform::Host();
    image_.config.diff_ids = diff_ids;
    image_.config_json = oci::MakeConfigJson(image_.config.platform, diff_ids, "", comment);
    image_.config_digest = Digest::Of(image_.config_json);
  }

  oci::Image& change() { return image_; }
  std::vector<std::string>& blobs() { return tars_; }
  size_t opened() const { return opened_; }

  Result<oci::Image> Resolve(const oci::Platform&) override { return image_; }
  Result<std::unique_ptr<ByteSource>> OpenLayer(const oci::LayerBlob& layer) override {
    ++opened_;
    return MakeMemorySource(std::as_bytes(std::span(tars_[layer.index])));
  }

 private:
  std::vector<std::string> tars_;
  oci::Image image_;
  std::atomic<size_t> opened_{0};
};

}  // namespace snap::test
