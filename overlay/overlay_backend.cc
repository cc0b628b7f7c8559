// Chooses how to mount. The newest way is simply tried: on a kernel that has it no probe is ever run. Only a
// refusal that could mean "unknown option" makes us ask the probes, which tell a missing feature from a wrong
// stack.
#include "overlay/overlay_backend.h"

#include <algorithm>
#include <linux/mount.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "fs/base/fault.h"
#include "fs/base/synchronized.h"
#include "fs/base/sys_mount.h"
#include "overlay/context_mount.h"
#include "overlay/features.h"
#include "overlay/image_mounts.h"
#include "overlay/legacy_mount.h"
#include "overlay/mount_plan.h"
#include "overlay/packed_lowers.h"
#include "overlay/scratch.h"

namespace snap {
namespace {

using Kind = overlay::Feature;  // UnionBackend::Feature is the printable one
using overlay::LayerNaming;
using overlay::MountPlan;

class OverlayBackend final : public UnionBackend {
 public:
  explicit OverlayBackend(OverlayOptions options)
      : method_(options.method),
        erofs_backing_(options.erofs_backing),
        images_(options.image_mounts_directory
                    ? std::make_shared<overlay::ImageMounts>(*std::move(options.image_mounts_directory))
                    : nullptr),
        features_(std::move(options.feature_cache_directory)) {}

  std::string_view name() const override { return "overlay"; }

  Result<Mount> MountStacked(const MountStack& stack, const MountOptions& options) override {
    SNAP_FAULT_POINT("overlay.mount_stacked");
    SNAP_TRY_VOID(overlay::CheckStack(stack, options));
    SNAP_TRY(overlay::PackedLowers packed,
             overlay::MountPackedLowers(stack, options.share_images ? images_ : nullptr, erofs_backing_));
    SNAP_TRY(MountPlan plan, overlay::PlanMount(stack, packed.roots, options));
    Result<UniqueFd> mount = MountPlanned(plan);
    if (!mount.ok() && plan.behaviour.follow_marks && packed.roots.empty() && MayBeRefusal(mount.error())) {
      // In a user namespace the kernel keeps both options to itself. Such an upper gets no marks.
      plan.behaviour.follow_marks = false;
      if (Result<UniqueFd> plain = MountPlanned(plan); plain.ok()) mount = std::move(plain);
    }
    if (!mount.ok()) return std::move(mount).error();
    return Mount(std::move(*mount), std::move(packed.holds));
  }

  Result<Mount> MountPackedLayer(const MountStack::Lower& layer, const MountOptions& options) override {
    SNAP_TRY(UniqueFd mount, overlay::MountErofs(layer.fd, layer.devices, erofs_backing_));
    // What the mount is made with is stricter than the options can be but for this.
    if (options.no_exec) {
      SNAP_TRY_SYS_VOID(sys::MountSetAttr(mount, MOUNT_ATTR_NOEXEC, 0, 0, false), "mount layer: forbid execution");
    }
    return Mount(std::move(mount));
  }

  Result<void> CanMountPacked() override {
    const overlay::FeatureSet set = features_.Get();
    const overlay::Probe& probe = set[Kind::kPackedLayers];
    if (probe.available) return {};
    return MakeError(ErrorCode::kUnsupported, "packed layers cannot be mounted: {}", probe.detail);
  }

  Result<void> ReleaseUnusedImages() override {
    if (!images_) return {};
    return images_->ReleaseUnused();
  }

  std::vector<Feature> Features() override {
    const overlay::FeatureSet set = features_.Get();
    std::vector<Feature> out;
    for (size_t i = 0; i < overlay::kFeatureCount; ++i) {
      const overlay::Probe& probe = set.probes[i];
      out.push_back({std::string(overlay::FeatureName(static_cast<Kind>(i))), probe.available, probe.detail});
    }
    return out;
  }

 private:
  static bool MayBeRefusal(const Error& error) { return error.cause() == EPERM || error.cause() == EINVAL; }

  Result<UniqueFd> MountPlanned(const MountPlan& plan) {
    return method_ == MountMethod::kAuto ? MountAuto(plan) : MountBy(method_, plan);
  }

  Result<UniqueFd> MountAuto(const MountPlan& plan) {
    for (MountMethod method = best_known_.load(std::memory_order_relaxed);; method = Next(method)) {
      Result<UniqueFd> mount = MountBy(method, plan);
      if (mount.ok() || mount.error().code() != ErrorCode::kUnsupported || method == MountMethod::kLegacy) {
        return mount;
      }
      // Layers in detached mounts may need an older way than the others do.
      if (!NeedsDetached(plan)) best_known_.store(Next(method), std::memory_order_relaxed);
    }
  }

  static bool NeedsDetached(const MountPlan& plan) {
    return plan.needs_empty_bottom ||
           std::any_of(plan.lowers_top_first.begin(), plan.lowers_top_first.end(),
                       [](const MountPlan::Lower& lower) { return lower.detached; });
  }

  static MountMethod Next(MountMethod method) {
    return method == MountMethod::kFds ? MountMethod::kStrings : MountMethod::kLegacy;
  }

  /// kUnsupported when, and only when, the kernel lacks what this way or this plan needs.
  Result<UniqueFd> MountBy(MountMethod method, const MountPlan& plan) {
    Result<UniqueFd> mount = TryMount(method, plan);
    if (mount.ok() || (mount.error().cause() != EINVAL && mount.error().cause() != ENOSYS)) return mount;
    if (const char* const missing = Missing(method, plan); missing != nullptr) {
      return MakeError(ErrorCode::kUnsupported, "mount overlay: this kernel has no {} ({})", missing,
                       mount.error().message());
    }
    return mount;
  }

  Result<UniqueFd> TryMount(MountMethod method, const MountPlan& plan) {
    if (method == MountMethod::kLegacy) return overlay::MountLegacy(plan);
    FdRef bottom(-1);
    if (plan.needs_empty_bottom) {
      SNAP_TRY(bottom, EmptyBottom());
    }
    return overlay::MountByContext(
        plan, method == MountMethod::kStrings ? LayerNaming::kProcPath : LayerNaming::kDescriptor, bottom);
  }

  /// The feature that explains a refusal; nullptr when the kernel has all of them.
  const char* Missing(MountMethod method, const MountPlan& plan) {
    const overlay::FeatureSet set = features_.Get();
    if (plan.behaviour.user_xattr && !set[Kind::kUserXattr].available) return "userxattr";
    if (plan.objects && !set[Kind::kDataOnly].available) return "data-only lower layers";
    if (method == MountMethod::kLegacy) return nullptr;
    if (method == MountMethod::kFds && !set[Kind::kLowerByFd].available) return "lowerdir+ by descriptor";
    if (method == MountMethod::kStrings && !set[Kind::kLowerByName].available) return "lowerdir+ by name";
    if (NeedsDetached(plan) && !set[Kind::kDetachedLayers].available) return "layers in detached mounts";
    return nullptr;
  }

  /// One for all mounts of this backend: lower layers can be shared, and nobody can write to this one.
  Result<FdRef> EmptyBottom() {
    auto bottom = empty_bottom_.Lock();
    if (!bottom->valid()) {
      SNAP_TRY(*bottom, overlay::NewScratch());
    }
    return bottom->ref();
  }

  const MountMethod method_;
  const overlay::ErofsBacking erofs_backing_;
  const std::shared_ptr<overlay::ImageMounts> images_;  // own synchronisation; nullptr when nothing is shared
  overlay::FeatureCache features_;                      // own lock
  std::atomic<MountMethod> best_known_{MountMethod::kFds};
  Synchronized<UniqueFd> empty_bottom_;
};

}  // namespace

std::shared_ptr<UnionBackend> MakeOverlayBackend(OverlayOptions options) {
  return std::make_shared<OverlayBackend>(std::move(options));
}

}  // namespace snap
