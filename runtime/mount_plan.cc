// Order is the specification's. Invariant: nothing is resolved in the rootfs here; sources are the host's and trusted as the caller's.
#include "runtime/mount_plan.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_namespace.h"
#include "runtime/cgroup_layout.h"
#include "runtime/mount_flags.h"

namespace snap::runtime {
namespace {

// What lxcfs and rootless engines bind: files that only tell.
constexpr std::array<std::string_view, 11> kCoverable = {"proc/cpuinfo", "proc/diskstats", "proc/meminfo", "proc/stat",
                                                         "proc/swaps",   "proc/uptime",    "proc/loadavg", "proc/slabinfo",
                                                         "proc/net/dev", "proc/sys/kernel/ns_last_pid", "proc/sys/crypto/fips_enabled"};

class Planner {
 public:
  Planner(const Spec& spec, const OciOptions& options, Plan& plan) : spec_(spec), options_(options), plan_(plan) {}

  Result<void> Add(const MountSpec& mount) {
    mount_ = &mount;
    SNAP_TRY(const MountFlags flags, ParseMountFlags(mount));
    std::string destination = mount.destination;
    while (destination.size() > 1 && destination.ends_with('/')) destination.pop_back();
    const Result<RelPath> target = RelPath::Parse(destination);
    if (!target.ok()) return Bad("the destination must be a path without '..'");
    if (target->IsRoot()) return Bad("the root cannot be covered");
    target_ = target->str();
    if (flags.bind) return AddBind(flags);
    if (mount.type.empty()) return Bad("it has neither a type nor the option bind");
    SNAP_TRY_VOID(CheckProc(mount.type == "proc"));
    if (mount.type == "cgroup" || mount.type == "cgroup2") return AddCgroup(flags);
    PlannedMount planned = Begin(flags);
    planned.fs_type = mount.type;
    planned.fs_source = mount.source;
    planned.data = flags.data;
    planned.copy_up = flags.copy_up;
    planned.attributes = flags.set & ~uint64_t{MOUNT_ATTR_RDONLY};
    if (target_ == "proc" && mount.type == "proc") plan_.proc_mount = static_cast<int>(plan_.rootfs.mounts.size());
    if (target_ == "dev/pts" && mount.type == "devpts") plan_.devpts_mount = static_cast<int>(plan_.rootfs.mounts.size());
    plan_.rootfs.mounts.push_back(std::move(planned));
    return {};
  }

 private:
  Error Bad(std::string_view why) const {
    return MakeError(ErrorCode::kInvalidArgument, "mount {}: {}", Quote(mount_->destination), why);
  }

  bool Below(std::string_view top) const { return target_ == top || target_.starts_with(std::string(top) + "/"); }

  PlannedMount Begin(const MountFlags& flags) const {
    PlannedMount planned;
    planned.what = fmt::format("mount {}", Quote(mount_->destination));
    planned.target = target_;
    planned.symlinks = Below("proc") || Below("sys") || Below("dev") ? Symlinks::kRefuse : Symlinks::kInside;
    planned.set = flags.set;
    planned.clear = flags.clear;
    planned.set_recursive = flags.set_recursive;
    planned.clear_recursive = flags.clear_recursive;
    planned.propagation = flags.propagation;
    planned.propagate_recursively = flags.propagate_recursively;
    return planned;
  }

  Result<void> CheckProc(bool is_procfs) const {
    if (!Below("proc") || (target_ == "proc" && is_procfs)) return {};
    if (std::find(kCoverable.begin(), kCoverable.end(), target_) != kCoverable.end()) return {};
    return Bad(target_ == "proc" ? "only a procfs can be there" : "nothing in /proc can be covered");
  }

  Result<void> AddBind(const MountFlags& flags) {
    PlannedMount planned = Begin(flags);
    if (mount_->source.empty()) return Bad("a bind mount needs a source");
    planned.host_source = mount_->source.starts_with('/') ? mount_->source : options_.bundle + "/" + mount_->source;
    SNAP_TRY_SYS(const UniqueFd source, sys::OpenAt(FdRef::Cwd(), planned.host_source.c_str(), O_PATH), "mount {}: open source {}",
                 Quote(mount_->destination), Quote(planned.host_source));
    SNAP_TRY_SYS(const struct stat status, sys::FStat(source), "mount {}: stat source", Quote(mount_->destination));
    SNAP_TRY_SYS(const struct statfs fs, sys::FStatFs(source), "mount {}: stat source", Quote(mount_->destination));
    SNAP_TRY_VOID(CheckProc(fs.f_type == PROC_SUPER_MAGIC));
    planned.kind = S_ISDIR(status.st_mode) ? TargetKind::kDirectory : TargetKind::kFile;
    planned.recursive = flags.recursive;
    planned.from_user = !Below("proc");
    if (flags.idmapped) {
      const std::vector<IdMapping>& uids = mount_->uid_mappings.empty() ? spec_.linux_.uid_mappings : mount_->uid_mappings;
      const std::vector<IdMapping>& gids = mount_->gid_mappings.empty() ? spec_.linux_.gid_mappings : mount_->gid_mappings;
      if (uids.empty() || gids.empty()) return Bad("option idmap: there are no mappings, neither its own nor the container's");
      if (flags.recursive && flags.idmapped_recursively) return Bad("option ridmap is not supported: idmap covers the mount itself");
      SNAP_TRY_SYS(planned.id_mapping, sys::NewUserNamespace(MapText(uids), MapText(gids)), "mount {}: make a mapping of ids",
                   Quote(mount_->destination));
    }
    if (plan_.becomes_root) SNAP_TRY_VOID(OpenHere(planned));
    plan_.rootfs.mounts.push_back(std::move(planned));
    return {};
  }

  /// In a user namespace the child may not pass the directories that lead to a source. Without the rights for this it is asked to.
  Result<void> OpenHere(PlannedMount& planned) const {
    const unsigned recursive = planned.recursive ? unsigned{AT_RECURSIVE} : 0U;
    SysResult<UniqueFd> clone = sys::OpenTree(FdRef::Cwd(), planned.host_source.c_str(), OPEN_TREE_CLONE | recursive);
    if (!clone.ok() && clone.error() == EPERM) return {};
    const auto what = [&] { return fmt::format("mount {}: prepare source", Quote(mount_->destination)); };
    if (!clone.ok()) return Error(clone.error(), what());
    // As in the child, whose copy of the host's mounts follows them and sends nothing back.
    SNAP_TRY_SYS_VOID(sys::MountSetAttr(*clone, 0, 0, plan_.host_propagation & ~static_cast<unsigned long>(MS_REC), true), "{}", what());
    if (planned.id_mapping) SNAP_TRY_SYS_VOID(sys::MountSetIdmap(*clone, planned.id_mapping), "{}", what());
    const SysResult<void> set = ApplyAttributes(planned, *clone);
    if (!set.ok()) return Error(set.error(), what());
    planned.prepared = *std::move(clone);
    planned.host_source.clear();
    return {};
  }

  /// A view of the container's own cgroups: through a namespace of its own, or bound from the host's hierarchies.
  void AddHierarchy(const MountFlags& flags, const std::string& name, const char* type, const std::vector<std::string>& controllers,
                    const std::string& host_path) {
    PlannedMount planned = Begin(flags);
    if (!name.empty()) planned.target += "/" + name;
    const bool own = (plan_.unshare_flags & CLONE_NEWCGROUP) != 0 || spec_.linux_.Find(NamespaceKind::kCgroup) != nullptr;
    if (own) {
      planned.fs_type = type;
      for (const std::string& controller : controllers) {
        // "name=systemd" is a hierarchy without a controller.
        const size_t equals = controller.find('=');
        if (equals == std::string::npos) planned.data.emplace_back(controller, std::nullopt);
        else planned.data.emplace_back(controller.substr(0, equals), controller.substr(equals + 1));
      }
      if (controllers.size() == 1 && controllers[0].starts_with("name=")) planned.data.emplace_back("none", std::nullopt);
      planned.attributes = flags.set & ~uint64_t{MOUNT_ATTR_RDONLY};
    } else {
      planned.host_source = host_path;
    }
    plan_.rootfs.mounts.push_back(std::move(planned));
  }

  Result<void> AddCgroup(const MountFlags& flags) {
    SNAP_TRY(const CgroupLayout layout, ReadCgroupLayout());
    // Without a cgroup of its own, for lack of rights, a container is in its launcher's.
    const auto path_of = [&](const std::string& controller, const std::string& mount_point, const std::string& own) {
      const auto found = options_.cgroups.find(controller);
      return found == options_.cgroups.end() ? mount_point + (own == "/" ? "" : own) : found->second;
    };
    if (layout.hierarchies.empty() || mount_->type == "cgroup2") {
      if (!layout.unified) return MakeError(ErrorCode::kUnsupported, "mount {}: this host has no cgroup2", Quote(mount_->destination));
      AddHierarchy(flags, "", "cgroup2", {}, path_of("", layout.unified->mount_point, layout.unified->own_path));
      return {};
    }
    PlannedMount top = Begin(flags);
    top.fs_type = "tmpfs";
    top.fs_source = "cgroup";
    top.data = {{"mode", "755"}};
    top.attributes = flags.set & ~uint64_t{MOUNT_ATTR_RDONLY};
    plan_.rootfs.mounts.push_back(std::move(top));
    for (const CgroupLayout::Hierarchy& hierarchy : layout.hierarchies) {
      AddHierarchy(flags, hierarchy.name, "cgroup", hierarchy.controllers, path_of(hierarchy.controllers.front(), hierarchy.mount_point, hierarchy.own_path));
      // Programs look for "cpu" where the host has "cpu,cpuacct".
      if (hierarchy.controllers.size() > 1) {
        for (const std::string& controller : hierarchy.controllers) {
          plan_.links.emplace_back(target_ + "/" + controller, hierarchy.name);
        }
      }
    }
    if (layout.unified) {
      AddHierarchy(flags, "unified", "cgroup2", {}, path_of("", layout.unified->mount_point, layout.unified->own_path));
    }
    return {};
  }

  const Spec& spec_;
  const OciOptions& options_;
  Plan& plan_;
  const MountSpec* mount_ = nullptr;
  std::string target_;
};

}  // namespace

Result<void> PlanMounts(const Spec& spec, const OciOptions& options, Plan& plan) {
  Planner planner(spec, options, plan);
  for (const MountSpec& mount : spec.mounts) SNAP_TRY_VOID(planner.Add(mount));
  return {};
}

}  // namespace snap::runtime
