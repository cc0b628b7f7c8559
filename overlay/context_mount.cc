// The context collects the options; nothing is mounted before FsConfigCreate, and a dropped context leaves
// nothing.
#include "overlay/context_mount.h"

#include <cerrno>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"

namespace snap::overlay {
namespace {

/// What the errno means here. overlayfs explains itself in the machine's log, rarely in the context.
std::string_view Hint(Errno error) {
  switch (error.code()) {
    case ELOOP:
      return ", a directory is used twice or lies inside another layer";
    case EBUSY:
      return ", upper or work is in use by another mount";
    case ESTALE:
      return ", upper was used with other lower layers before";
    case EINVAL:
      return ", the kernel's log may say why";
    default:
      return "";
  }
}

Error ContextError(Errno error, FdRef context, std::string_view action) {
  const std::string messages = sys::FsContextMessages(context);
  if (messages.empty()) return {error, fmt::format("mount overlay: {}{}", action, Hint(error))};
  return {error, fmt::format("mount overlay: {} (kernel: {})", action, Quote(messages))};
}

SysResult<void> SetDescriptor(FdRef context, const char* key, FdRef layer) {
  const auto set = sys::FsConfigFd(context, key, layer);
  if (set.ok() || set.error() != EBADF) return set;
  // FALLBACK: remove when kernel >= 6.15 is the baseline. Before, the call refuses O_PATH descriptors.
  SNAP_TRY(const UniqueFd readable, sys::Reopen(layer, O_RDONLY | O_DIRECTORY));
  return sys::FsConfigFd(context, key, readable);
}

Result<void> AddLayer(FdRef context, LayerNaming naming, const char* key, FdRef layer) {
  const auto added = naming == LayerNaming::kDescriptor
                         ? SetDescriptor(context, key, layer)
                         : sys::FsConfigString(context, key, sys::ProcFdPath(layer).c_str());
  if (added.ok()) return {};
  return ContextError(added.error(), context,
                      fmt::format("set {} to {}", key, Quote(sys::DescribeFd(layer))));
}

Result<void> SetBehaviour(FdRef context, const Behaviour& behaviour) {
  for (const MountOption& option : BehaviourOptions(behaviour)) {
    const auto set = option.value.empty()
                         ? sys::FsConfigFlag(context, option.key.c_str())
                         : sys::FsConfigString(context, option.key.c_str(), option.value.c_str());
    if (set.ok()) continue;
    // Without "volatile" the mount is only slower.
    if (option.key == "volatile" && set.error() == EINVAL) continue;
    return ContextError(set.error(), context, fmt::format("set option '{}'", option.key));
  }
  return {};
}

}  // namespace

Result<UniqueFd> MountByContext(const MountPlan& plan, LayerNaming naming, FdRef bottom) {
  SNAP_TRY_SYS(const UniqueFd context, sys::FsOpen("overlay"), "mount overlay: open a context");
  SNAP_TRY_SYS_VOID(sys::FsConfigString(context, "source", "overlay"), "mount overlay: set the source");
  for (const MountPlan::Lower& lower : plan.lowers_top_first) {
    SNAP_TRY_VOID(AddLayer(context, naming, "lowerdir+", lower.directory));
  }
  // Takes no lower layers after it.
  if (plan.objects) SNAP_TRY_VOID(AddLayer(context, naming, "datadir+", *plan.objects));
  if (plan.needs_empty_bottom) SNAP_TRY_VOID(AddLayer(context, naming, "lowerdir+", bottom));
  if (plan.upper) {
    SNAP_TRY_VOID(AddLayer(context, naming, "upperdir", plan.upper->upper));
    SNAP_TRY_VOID(AddLayer(context, naming, "workdir", plan.upper->work));
  }
  SNAP_TRY_VOID(SetBehaviour(context, plan.behaviour));
  if (const auto created = sys::FsConfigCreate(context); !created.ok()) {
    return ContextError(created.error(), context,
                        fmt::format("stack {} layers", plan.lowers_top_first.size() + (plan.upper ? 1 : 0)));
  }
  auto mount = sys::FsMount(context, plan.attributes);
  if (!mount.ok()) return ContextError(mount.error(), context, "make the mount");
  return std::move(mount).value();
}

}  // namespace snap::overlay
