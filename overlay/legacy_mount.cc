// A private namespace has other mounts than the one the layers were opened in, and overlayfs refuses layers
// of foreign mounts. So each layer is cloned as a mount first (outside: a foreign mount cannot be cloned
// either) and attached inside as "0", "1", ...: names so short that 500 of them fit into a page, with nothing
// to escape.
#include "overlay/legacy_mount.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_namespace.h"
#include "overlay/scratch.h"

namespace snap::overlay {
namespace {

constexpr const char* kBottom = "bottom";
constexpr const char* kObjects = "objects";
constexpr const char* kUpperParent = "up";
constexpr const char* kTarget = "merged";

Result<UniqueFd> CloneMount(FdRef directory) {
  SNAP_TRY_SYS(UniqueFd clone, sys::OpenTree(directory, "", AT_EMPTY_PATH | OPEN_TREE_CLONE),
               "mount overlay: clone {} as a mount", Quote(sys::DescribeFd(directory)));
  return clone;
}

Result<void> AttachAs(FdRef scratch, FdRef clone, const char* name) {
  SNAP_TRY_SYS_VOID(sys::MkdirAt(scratch, name, 0755), "mount overlay: make mount point '{}'", name);
  SNAP_TRY_SYS_VOID(sys::MoveMountAt(clone, scratch, name), "mount overlay: attach layer '{}'", name);
  return {};
}

/// The part of two absolute paths below their common directory.
struct Tails {
  std::string upper, work;
  size_t upper_depth = 0;  ///< components of `upper`
};
std::optional<Tails> SplitAtCommonParent(std::string_view upper, std::string_view work) {
  size_t start = 0;
  for (size_t i = 0; i < std::min(upper.size(), work.size()) && upper[i] == work[i]; ++i) {
    if (upper[i] == '/') start = i + 1;
  }
  if (start == 0 || start >= upper.size() || start >= work.size()) return std::nullopt;
  Tails tails{std::string(upper.substr(start)), std::string(work.substr(start)), 1};
  for (const char c : tails.upper) tails.upper_depth += c == '/' ? 1 : 0;
  return tails;
}

/// Upper and work reached through one clone of a mount that holds both: overlayfs wants them on one mount.
struct UpperClone {
  UniqueFd mount, upper, work;
};
struct Clones {
  std::vector<UniqueFd> lowers_top_first;  ///< invalid for a detached mount: that is attached itself
  UniqueFd objects;
  std::optional<UpperClone> upper;
};

Result<UniqueFd> OpenSame(FdRef clone, const std::string& path, FdRef original) {
  SNAP_TRY_SYS(UniqueFd reached, sys::OpenBeneath(clone, path.c_str(), O_PATH | O_DIRECTORY),
               "mount overlay: find {} again", Quote(path));
  SNAP_TRY_SYS(const struct stat found, sys::FStat(reached), "mount overlay: stat {}", Quote(path));
  SNAP_TRY_SYS(const struct stat wanted, sys::FStat(original), "mount overlay: stat {}", Quote(path));
  if (found.st_dev != wanted.st_dev || found.st_ino != wanted.st_ino) {
    return MakeError(ErrorCode::kInvalidArgument, "mount overlay: find {} again: it is another directory now",
                     Quote(path));
  }
  return reached;
}

Result<UpperClone> CloneUpper(const MountStack::Upper& upper) {
  // The paths are hints: what is found by them is compared with the descriptors.
  const auto tails = SplitAtCommonParent(sys::DescribeFd(upper.upper), sys::DescribeFd(upper.work));
  if (!tails) {
    return MakeError(ErrorCode::kInvalidArgument, "mount overlay: upper {} and work {} have no common parent",
                     Quote(sys::DescribeFd(upper.upper)), Quote(sys::DescribeFd(upper.work)));
  }
  std::string up = "..";
  for (size_t i = 1; i < tails->upper_depth; ++i) up += "/..";
  SNAP_TRY_SYS(const UniqueFd parent, sys::OpenAt(upper.upper, up.c_str(), O_PATH | O_DIRECTORY),
               "mount overlay: open the parent of upper");
  UpperClone clone;
  SNAP_TRY(clone.mount, CloneMount(parent));
  SNAP_TRY(clone.upper, OpenSame(clone.mount, tails->upper, upper.upper));
  SNAP_TRY(clone.work, OpenSame(clone.mount, tails->work, upper.work));
  return clone;
}

unsigned long MountFlags(uint64_t attributes) {
  unsigned long flags = 0;
  if ((attributes & MOUNT_ATTR_RDONLY) != 0) flags |= MS_RDONLY;
  if ((attributes & MOUNT_ATTR_NOSUID) != 0) flags |= MS_NOSUID;
  if ((attributes & MOUNT_ATTR_NODEV) != 0) flags |= MS_NODEV;
  if ((attributes & MOUNT_ATTR_NOEXEC) != 0) flags |= MS_NOEXEC;
  return flags;
}

Result<Clones> CloneLayers(const MountPlan& plan) {
  Clones clones;
  for (const MountPlan::Lower& lower : plan.lowers_top_first) {
    UniqueFd clone;
    // Before 6.15 detached mounts cannot be cloned. This one is ours, and nobody attaches it anywhere else.
    if (!lower.detached) {
      SNAP_TRY(clone, CloneMount(lower.directory));
    }
    clones.lowers_top_first.push_back(std::move(clone));
  }
  if (plan.objects) {
    SNAP_TRY(clones.objects, CloneMount(*plan.objects));
  }
  if (plan.upper) {
    SNAP_TRY(clones.upper, CloneUpper(*plan.upper));
  }
  return clones;
}

/// Fills the scratch directory, which is the working directory, and mounts. Runs in the private namespace.
Result<UniqueFd> MountInside(FdRef scratch, const MountPlan& plan, const Clones& clones) {
  const std::optional<UpperClone>& upper = clones.upper;
  LayerPaths paths;
  for (size_t i = 0; i < clones.lowers_top_first.size(); ++i) {
    const UniqueFd& clone = clones.lowers_top_first[i];
    paths.lowers_top_first.push_back(std::to_string(i));
    SNAP_TRY_VOID(AttachAs(scratch, clone ? clone.ref() : plan.lowers_top_first[i].directory,
                           paths.lowers_top_first.back().c_str()));
  }
  if (plan.objects) {
    paths.data = kObjects;
    SNAP_TRY_VOID(AttachAs(scratch, clones.objects, kObjects));
  }
  if (plan.needs_empty_bottom) {
    SNAP_TRY_SYS_VOID(sys::MkdirAt(scratch, kBottom, 0755), "mount overlay: make the empty bottom layer");
    paths.lowers_top_first.emplace_back(kBottom);
  }
  if (upper) {
    SNAP_TRY_VOID(AttachAs(scratch, upper->mount, kUpperParent));
    paths.upper = sys::ProcFdPath(upper->upper);
    paths.work = sys::ProcFdPath(upper->work);
  }
  SNAP_TRY_SYS_VOID(sys::MkdirAt(scratch, kTarget, 0755), "mount overlay: make the mount point");

  Behaviour behaviour = plan.behaviour;
  for (;;) {
    SNAP_TRY(const std::string data, FormatMountData(paths, behaviour));
    const auto mounted = sys::Mount("overlay", kTarget, "overlay", MountFlags(plan.attributes), data.c_str());
    if (mounted.ok()) break;
    if (mounted.error() != EINVAL || !std::exchange(behaviour.volatile_upper, false)) {
      return Error(mounted.error(), fmt::format("mount overlay: stack {} layers with mount(2)",
                                                plan.lowers_top_first.size() + (upper ? 1 : 0)));
    }
  }
  auto tree = sys::OpenTree(scratch, kTarget, OPEN_TREE_CLONE);
  (void)sys::Unmount(kTarget, sys::kUnmountDetach);  // the namespace's end would do it too
  if (!tree.ok()) return Error(tree.error(), "mount overlay: detach the mount");
  return std::move(tree).value();
}

}  // namespace

Result<UniqueFd> MountLegacy(const MountPlan& plan) {
  SNAP_TRY(const UniqueFd scratch, NewScratch());
  SNAP_TRY(const Clones clones, CloneLayers(plan));
  Result<UniqueFd> mounted = Error(ErrorCode::kInternal, "mount overlay: the mount was not tried");
  const auto ran =
      sys::RunInPrivateMountNamespace(scratch, [&] { mounted = MountInside(scratch, plan, clones); });
  if (!ran.ok()) return Error(ran.error(), "mount overlay: enter a private mount namespace");
  return mounted;
}

}  // namespace snap::overlay
