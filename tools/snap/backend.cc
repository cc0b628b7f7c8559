// Invariant: overlayfs is always tried first, and what is wrong with the stack itself is never covered up: only what the kernel lacks
// or does not allow leads to FUSE.
#include "tools/snap/backend.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <utility>

#include "fs/base/sys_file.h"
#include "fuse/fuse_backend.h"
#include "overlay/overlay_backend.h"

namespace snap::cli {
namespace {

/// snap-fuse beside this program, whose own name may be all that is left of it (it runs from a clone of its mount); else PATH's.
std::string FuseProgram() {
  constexpr const char* kName = "snap-fuse";
  const SysResult<std::string> words = sys::ReadFileAt(FdRef::Cwd(), "/proc/self/cmdline", size_t{4} << 20U);
  if (!words.ok()) return kName;
  const std::string_view own = std::string_view(*words).substr(0, words->find('\0'));
  const size_t slash = own.rfind('/');
  if (slash == std::string_view::npos) return kName;
  std::string beside = std::string(own.substr(0, slash + 1)) + kName;
  return sys::StatAt(FdRef::Cwd(), beside.c_str()).ok() ? beside : kName;
}

/// The kernel has no overlayfs, does not let us use it, or does not do it on these file systems.
bool IsRefusal(const Error& error) {
  if (error.code() == ErrorCode::kUnsupported) return true;
  const auto cause = error.cause();
  constexpr int kRefusals[] = {EPERM, EINVAL, ENODEV, ENOSYS, EOPNOTSUPP};
  return std::any_of(std::begin(kRefusals), std::end(kRefusals), [&](int number) { return cause == number; });
}

class FallbackBackend final : public UnionBackend {
 public:
  FallbackBackend(std::shared_ptr<UnionBackend> kernel, std::shared_ptr<UnionBackend> fuse, std::function<void(std::string_view)> note)
      : kernel_(std::move(kernel)), fuse_(std::move(fuse)), note_(std::move(note)) {}

  std::string_view name() const override { return kernel_->name(); }

  Result<Mount> MountStacked(const MountStack& stack, const MountOptions& options) override {
    Result<Mount> mount = kernel_->MountStacked(stack, options);
    if (mount.ok() || !IsRefusal(mount.error())) return mount;
    Result<Mount> other = fuse_->MountStacked(stack, options);
    if (!other.ok()) {
      return std::move(mount).error().Wrap(fmt::format("{}; by overlayfs", other.error().message()));
    }
    if (!noted_.exchange(true)) note_(fmt::format("using FUSE, which is slower: {}", mount.error().message()));
    return other;
  }
  Result<Mount> MountPackedLayer(const MountStack::Lower& layer, const MountOptions& options) override {
    return kernel_->MountPackedLayer(layer, options);
  }
  Result<void> CanMountPacked() override { return kernel_->CanMountPacked(); }
  Result<void> ReleaseUnusedImages() override { return kernel_->ReleaseUnusedImages(); }
  std::vector<Feature> Features() override {
    std::vector<Feature> features = kernel_->Features();
    for (Feature& feature : fuse_->Features()) features.push_back(std::move(feature));
    return features;
  }

 private:
  const std::shared_ptr<UnionBackend> kernel_, fuse_;
  const std::function<void(std::string_view)> note_;
  std::atomic<bool> noted_{false};
};

}  // namespace

std::shared_ptr<UnionBackend> MakeBackend(const Settings& settings, std::function<void(std::string_view)> note) {
  std::shared_ptr<UnionBackend> fuse = MakeFuseBackend({.server = FuseProgram()});
  if (settings.backend == BackendChoice::kFuse) return fuse;
  OverlayOptions overlay;
  overlay.feature_cache_directory = settings.run_dir;
  overlay.image_mounts_directory = settings.run_dir + "/images";
  std::shared_ptr<UnionBackend> kernel = MakeOverlayBackend(std::move(overlay));
  if (settings.backend == BackendChoice::kOverlay) return kernel;
  return std::make_shared<FallbackBackend>(std::move(kernel), std::move(fuse), std::move(note));
}

}  // namespace snap::cli
