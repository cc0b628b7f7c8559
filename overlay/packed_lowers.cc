// Sharing is an extra: whatever stands in its way, an image is mounted for this stack alone instead.
#include "overlay/packed_lowers.h"

#include <optional>
#include <string>
#include <utility>

namespace snap::overlay {
namespace {

class SharedHolds final : public MountHolds {
 public:
  explicit SharedHolds(std::shared_ptr<ImageMounts> mounts) : mounts_(std::move(mounts)) {}
  ~SharedHolds() override {
    if (locks_.empty()) return;
    locks_.clear();
    (void)mounts_->Release(names_);  // the next one who mounts or sweeps does it
  }
  void Add(std::string name, UniqueFd lock) {
    names_.push_back(std::move(name));
    locks_.push_back(std::move(lock));
  }
  std::vector<UniqueFd> Release() override { return std::exchange(locks_, {}); }

 private:
  const std::shared_ptr<ImageMounts> mounts_;
  std::vector<std::string> names_;
  std::vector<UniqueFd> locks_;
};

}  // namespace

Result<PackedLowers> MountPackedLowers(const MountStack& stack, const std::shared_ptr<ImageMounts>& shared,
                                       ErofsBacking backing) {
  std::vector<ImageMounts::Image> images;
  for (const MountStack::Lower& lower : stack.lowers_top_first) {
    if (lower.packed) images.push_back({lower.name, lower.fd, lower.devices});
  }
  const auto mount = [backing](const ImageMounts::Image& image) {
    return MountErofs(image.image, image.devices, backing);
  };
  PackedLowers lowers;
  std::vector<std::optional<ImageMounts::Shared>> found(images.size());
  if (shared && !images.empty()) {
    SNAP_TRY(found, shared->Acquire(images, mount));
  }
  std::unique_ptr<SharedHolds> holds;
  for (size_t i = 0; i < images.size(); ++i) {
    if (found[i]) {
      if (!holds) holds = std::make_unique<SharedHolds>(shared);
      lowers.roots.push_back({std::move(found[i]->root), false});
      holds->Add(images[i].name, std::move(found[i]->hold));
    } else {
      lowers.roots.push_back({UniqueFd(), true});
    }
  }
  lowers.holds = std::move(holds);
  for (size_t i = 0; i < images.size(); ++i) {
    if (lowers.roots[i].root.valid()) continue;
    SNAP_TRY(lowers.roots[i].root, mount(images[i]));
  }
  return lowers;
}

}  // namespace snap::overlay
