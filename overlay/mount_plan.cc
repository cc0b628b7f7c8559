// Everything that can be said about a stack before the kernel is asked: overlayfs reports most refusals as a
// bare EINVAL with the reason in the machine's log, where the user does not look.
#include "overlay/mount_plan.h"

#include <linux/mount.h>
#include <sys/stat.h>

#include <algorithm>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap::overlay {
namespace {

std::string Name(FdRef layer) { return Quote(sys::DescribeFd(layer)); }

Result<dev_t> DeviceOfDirectory(FdRef layer, std::string_view what) {
  SNAP_TRY_SYS(const struct stat status, sys::FStat(layer), "mount overlay: stat {}", what);
  if (!S_ISDIR(status.st_mode)) {
    return Error(Errno(ENOTDIR), fmt::format("mount overlay: use {} as {}", Name(layer), what));
  }
  return status.st_dev;
}

/// overlayfs renames from work into upper, so both must be reached through one mount.
Result<void> CheckTogether(const MountStack::Upper& upper, dev_t upper_device, dev_t work_device) {
  bool together = upper_device == work_device;
  if (together) {
    const auto upper_status = sys::StatX(upper.upper, "", AT_EMPTY_PATH, STATX_MNT_ID);
    const auto work_status = sys::StatX(upper.work, "", AT_EMPTY_PATH, STATX_MNT_ID);
    // Where the kernel does not tell the mount, it will refuse by itself.
    together = !upper_status.ok() || !work_status.ok() || (upper_status->stx_mask & STATX_MNT_ID) == 0 ||
               upper_status->stx_mnt_id == work_status->stx_mnt_id;
  }
  if (together) return {};
  return MakeError(ErrorCode::kInvalidArgument,
                   "mount overlay: work {} is not on the file system of upper {}", Name(upper.work),
                   Name(upper.upper));
}

uint64_t Attributes(const MountOptions& options) {
  uint64_t attributes = 0;
  if (options.read_only) attributes |= MOUNT_ATTR_RDONLY;
  if (options.no_suid) attributes |= MOUNT_ATTR_NOSUID;
  if (options.no_dev) attributes |= MOUNT_ATTR_NODEV;
  if (options.no_exec) attributes |= MOUNT_ATTR_NOEXEC;
  return attributes;
}

bool HasPacked(const MountStack& stack) {
  return std::any_of(stack.lowers_top_first.begin(), stack.lowers_top_first.end(),
                     [](const MountStack::Lower& lower) { return lower.packed; });
}

}  // namespace

Result<void> CheckStack(const MountStack& stack, const MountOptions& options) {
  const size_t lowers = stack.lowers_top_first.size();
  const bool packed = HasPacked(stack);
  if (lowers == 0) return MakeError(ErrorCode::kInvalidArgument, "mount overlay: there is no lower layer");
  if (lowers > kMaxLowers) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "mount overlay: {} lower layers, the kernel takes at most {}", lowers, kMaxLowers);
  }
  if (packed && stack.objects && lowers == kMaxLowers) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "mount overlay: {} lower layers and the objects of packed ones, the kernel takes at most {} together",
        lowers, kMaxLowers);
  }
  if (packed && options.user_xattr) {
    return MakeError(
        ErrorCode::kUnsupported,
        "mount overlay: packed layers carry marks that a mount with 'userxattr' does not look at");
  }
  return {};
}

Result<MountPlan> PlanMount(const MountStack& stack, std::span<const PackedRoot> packed,
                            const MountOptions& options) {
  MountPlan plan;
  plan.behaviour.user_xattr = options.user_xattr;
  plan.attributes = Attributes(options);
  if (HasPacked(stack)) plan.objects = stack.objects;

  std::optional<dev_t> device;
  bool several = false;
  if (stack.upper) {
    SNAP_TRY(const dev_t upper_device, DeviceOfDirectory(stack.upper->upper, "upper"));
    SNAP_TRY(const dev_t work_device, DeviceOfDirectory(stack.upper->work, "work"));
    SNAP_TRY_VOID(CheckTogether(*stack.upper, upper_device, work_device));
    device = upper_device;
    if (options.read_only && stack.lowers_top_first.size() + (plan.objects ? 1 : 0) < kMaxLowers) {
      plan.lowers_top_first.push_back({stack.upper->upper});
    } else {
      plan.upper = stack.upper;
      plan.behaviour.volatile_upper = options.volatile_upper;
    }
  }
  size_t next_packed = 0;
  for (const MountStack::Lower& lower : stack.lowers_top_first) {
    MountPlan::Lower planned{lower.fd};
    if (lower.packed) {
      const PackedRoot& root = packed[next_packed++];
      planned = {root.root, root.detached};
    }
    SNAP_TRY(const dev_t lower_device, DeviceOfDirectory(planned.directory, "lower layer"));
    several = several || (device && *device != lower_device);
    device = lower_device;
    plan.lowers_top_first.push_back(planned);
  }
  if (plan.objects) SNAP_TRY_VOID(DeviceOfDirectory(*plan.objects, "objects"));
  // Our uppers and packed layers have redirects and metacopy files; the marks of trees from elsewhere are
  // none of ours.
  plan.behaviour.follow_marks = (stack.upper || plan.objects) && !options.user_xattr;
  plan.needs_empty_bottom = !plan.upper && !plan.objects && plan.lowers_top_first.size() == 1;
  plan.behaviour.several_file_systems = several || plan.needs_empty_bottom;
  return plan;
}

}  // namespace snap::overlay
