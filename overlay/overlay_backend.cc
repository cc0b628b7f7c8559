// Chooses how to mount. The newest way is simply tried: on a kernel that has it no probe is ever run. Only a
// refusal that could mean "unknown option" makes us ask the probes, which tell a missing feature from a wrong
// stack.
#include "overlay/overlay_backend.h"

#include <atomic>
#include <cerrno>
#include <utility>

#include "fs/base/synchronized.h"
#include "overlay/context_mount.h"
#include "overlay/features.h"
#include "overlay/legacy_mount.h"
#include "overlay/mount_plan.h"
#include "overlay/scratch.h"

namespace snap {
namespace {

using Kind = overlay::Feature;  // UnionBackend::Feature is the printable one
using overlay::LayerNaming;
using overlay::MountPlan;

class OverlayBackend final : public UnionBackend {
 public:
  explicit OverlayBackend(OverlayOptions options)
      : method_(options.method), features_(std::move(options.feature_cache_directory)) {}

  std::string_view name() const override { return "overlay"; }

  Result<Mount> MountStacked(const MountStack& stack, const MountOptions& options) override {
    SNAP_TRY(const MountPlan plan, overlay::PlanMount(stack, options));
    SNAP_TRY(UniqueFd mount, method_ == MountMethod::kAuto ? MountAuto(plan) : MountBy(method_, plan));
    return Mount(std::move(mount));
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
  Result<UniqueFd> MountAuto(const MountPlan& plan) {
    for (MountMethod method = best_known_.load(std::memory_order_relaxed);; method = Next(method)) {
      Result<UniqueFd> mount = MountBy(method, plan);
      if (mount.ok() || mount.error().code() != ErrorCode::kUnsupported || method == MountMethod::kLegacy) {
        return mount;
      }
      // A single-layer stack may need an older way than the others do.
      if (!plan.needs_empty_bottom) best_known_.store(Next(method), std::memory_order_relaxed);
    }
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
    if (method == MountMethod::kLegacy) return nullptr;
    if (method == MountMethod::kFds && !set[Kind::kLowerByFd].available) return "lowerdir+ by descriptor";
    if (method == MountMethod::kStrings && !set[Kind::kLowerByName].available) return "lowerdir+ by name";
    if (plan.needs_empty_bottom && !set[Kind::kDetachedLayers].available) return "layers in detached mounts";
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
  overlay::FeatureCache features_;  // own lock
  std::atomic<MountMethod> best_known_{MountMethod::kFds};
  Synchronized<UniqueFd> empty_bottom_;
};

}  // namespace

std::shared_ptr<UnionBackend> MakeOverlayBackend(OverlayOptions options) {
  return std::make_shared<OverlayBackend>(std::move(options));
}

}  // namespace snap
