// The order of `mounts` is the order of attachment: kernel file systems, the three files of /etc, then the user's binds
// as given, so that a bind may cover /dev/shm or /etc/hosts. Options are those that Docker passes to runc.
#include "runtime/rootfs.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <initializer_list>
#include <utility>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "runtime/etc_files.h"

namespace snap::runtime {
namespace {

struct DeviceNode {
  const char* name;
  unsigned major, minor;
};
constexpr DeviceNode kDevices[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                                   {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
constexpr std::pair<const char*, const char*> kDeviceLinks[] = {{"pts/ptmx", "ptmx"},
                                                                {"/proc/self/fd", "fd"},
                                                                {"/proc/self/fd/0", "stdin"},
                                                                {"/proc/self/fd/1", "stdout"},
                                                                {"/proc/self/fd/2", "stderr"},
                                                                {"/proc/kcore", "core"}};
constexpr uint64_t kNoSuidDevExec = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

using Options = std::initializer_list<std::pair<const char*, const char*>>;

// A detached mount of a new file system; an option without value is a flag.
SysResult<UniqueFd> MakeFs(const char* type, Options options, uint64_t attributes) {
  SNAP_TRY(const UniqueFd context, sys::FsOpen(type));
  SNAP_TRY_VOID(sys::FsConfigString(context, "source", type));
  for (const auto& [key, value] : options) {
    if (value == nullptr) {
      SNAP_TRY_VOID(sys::FsConfigFlag(context, key));
    } else {
      SNAP_TRY_VOID(sys::FsConfigString(context, key, value));
    }
  }
  SNAP_TRY_VOID(sys::FsConfigCreate(context));
  return sys::FsMount(context, attributes);
}

SysResult<void> MakeFile(FdRef dir, const char* name, std::string_view text, mode_t mode) {
  SNAP_TRY(const UniqueFd file, sys::OpenAt(dir, name, O_WRONLY | O_CREAT | O_EXCL, mode));
  SNAP_TRY_VOID(sys::WriteAll(file, text));
  return sys::FChmod(file, mode);  // whatever the umask
}

// A detached bind mount of a host device, which is what it claims to be.
Result<UniqueFd> BindHostDevice(const DeviceNode& device) {
  const std::string path = std::string("/dev/") + device.name;
  SNAP_TRY_SYS(UniqueFd mount, sys::OpenTree(FdRef::Cwd(), path.c_str(), OPEN_TREE_CLONE), "open the host's {}",
               Quote(path));
  SNAP_TRY_SYS(const struct stat status, sys::FStat(mount), "stat the host's {}", Quote(path));
  if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(device.major, device.minor)) {
    return MakeError(ErrorCode::kCorrupt, "the host's {} is not the device {}:{}", Quote(path), device.major,
                     device.minor);
  }
  SNAP_TRY_SYS_VOID(sys::MountSetAttr(mount, 0, 0, MS_PRIVATE, false), "make the bind of {} private", Quote(path));
  return mount;
}

SysResult<void> MakeDeviceNode(FdRef dev, const DeviceNode& device) {
  if (fault::g_armed) [[unlikely]] {
    if (const auto error = fault::Reach("runtime.prepare.mknod")) return *error;
  }
  constexpr mode_t kMode = 0666;
  SNAP_TRY_VOID(sys::MknodAt(dev, device.name, S_IFCHR | kMode, makedev(device.major, device.minor)));
  return sys::FChmodAt(dev, device.name, kMode);
}

Result<void> PlanDev(const ContainerSpec& spec, RootfsPlan& plan) {
  SNAP_FAULT_POINT("runtime.prepare.dev");
  SNAP_TRY_SYS(UniqueFd dev,
               MakeFs("tmpfs", {{"mode", "755"}, {"size", "65536k"}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME),
               "make the tmpfs for '/dev'");
  for (const char* dir : {"pts", "shm", "mqueue"}) {
    SNAP_TRY_SYS_VOID(sys::MkdirAt(dev, dir, 0755), "make '/dev/{}'", dir);
    SNAP_TRY_SYS_VOID(sys::FChmodAt(dev, dir, 0755), "set the mode of '/dev/{}'", dir);
  }
  for (const auto& [target, name] : kDeviceLinks) {
    SNAP_TRY_SYS_VOID(sys::SymlinkAt(target, dev, name), "make '/dev/{}'", name);
  }
  std::vector<PlannedMount> device_binds;
  for (const DeviceNode& device : kDevices) {
    const SysResult<void> made = MakeDeviceNode(dev, device);
    if (made.ok()) continue;
    if (!(made.error() == EPERM)) return Error(made.error(), fmt::format("make '/dev/{}'", device.name));
    // No device nodes for us (a device cgroup or a user namespace): the host's own, bound one by one.
    SNAP_TRY_SYS_VOID(MakeFile(dev, device.name, "", 0666), "make '/dev/{}'", device.name);
    PlannedMount bind;
    bind.what = fmt::format("bind '/dev/{}'", device.name);
    bind.target = fmt::format("dev/{}", device.name);
    bind.kind = TargetKind::kFile;
    SNAP_TRY(bind.prepared, BindHostDevice(device));
    device_binds.push_back(std::move(bind));
  }
  if (spec.terminal) SNAP_TRY_SYS_VOID(MakeFile(dev, "console", "", 0600), "make '/dev/console'");

  PlannedMount mount;
  mount.what = "mount '/dev'";
  mount.target = "dev";
  mount.prepared = std::move(dev);
  plan.mounts.push_back(std::move(mount));
  for (PlannedMount& bind : device_binds) plan.mounts.push_back(std::move(bind));
  return {};
}

void PlanKernelFs(RootfsPlan& plan, const char* type, std::string target, uint64_t attributes) {
  PlannedMount mount;
  mount.what = fmt::format("mount '/{}'", target);
  mount.target = std::move(target);
  mount.fs_type = type;
  mount.attributes = attributes;
  plan.mounts.push_back(std::move(mount));
}

Result<void> PlanStaging(const EtcFiles& files, RootfsPlan& plan) {
  SNAP_FAULT_POINT("runtime.prepare.staging");
  SNAP_TRY_SYS(plan.staging, MakeFs("tmpfs", {{"mode", "755"}, {"size", "8m"}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV),
               "make the tmpfs for the container's own files");
  SNAP_TRY_SYS_VOID(sys::MkdirAt(plan.staging, kStagedEmptyDir, 0555), "make the directory that masks others");
  const std::string* const texts[] = {&files.hostname, &files.hosts, &files.resolv_conf};
  for (size_t i = 0; i < kStagedFiles.size(); ++i) {
    SNAP_TRY_SYS_VOID(MakeFile(plan.staging, kStagedFiles[i], *texts[i], 0644), "write '/etc/{}'", kStagedFiles[i]);
    PlannedMount mount;
    mount.what = fmt::format("bind '/etc/{}'", kStagedFiles[i]);
    mount.target = fmt::format("etc/{}", kStagedFiles[i]);
    mount.kind = TargetKind::kFile;
    mount.symlinks = Symlinks::kInside;
    mount.staged = static_cast<int>(i);
    plan.mounts.push_back(std::move(mount));
  }
  return {};
}

// The source as a detached mount; a missing one becomes a directory.
Result<UniqueFd> OpenSource(const BindMount& bind) {
  const unsigned flags = OPEN_TREE_CLONE | (bind.recursive ? unsigned{AT_RECURSIVE} : 0U);
  SysResult<UniqueFd> tree = sys::OpenTree(FdRef::Cwd(), bind.source.c_str(), flags);
  if (tree.ok()) return *std::move(tree);
  if (!(tree.error() == ENOENT)) return Error(tree.error(), "open bind source " + Quote(bind.source));
  SNAP_TRY_SYS(const UniqueFd root, sys::OpenAt(FdRef::Cwd(), "/", O_PATH | O_DIRECTORY), "open '/'");
  SNAP_TRY_SYS(const UniqueFd made,
               OpenOrMakeTarget(root, bind.source.c_str(), TargetKind::kDirectory, Symlinks::kInside),
               "make missing bind source {}", Quote(bind.source));
  SNAP_TRY_SYS(UniqueFd clone, sys::OpenTree(made, "", flags | AT_EMPTY_PATH), "open bind source {}",
               Quote(bind.source));
  return clone;
}

Result<void> PlanBind(const BindMount& bind, RootfsPlan& plan) {
  SNAP_FAULT_POINT("runtime.prepare.bind");
  const auto invalid = [&](std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument, "bind {} on {}: {}", Quote(bind.source), Quote(bind.target), why);
  };
  if (!bind.source.starts_with('/') || bind.source.find('\0') != std::string::npos) {
    return invalid("the source must be an absolute path");
  }
  const Result<RelPath> target = RelPath::Parse(bind.target);
  if (!bind.target.starts_with('/') || !target.ok()) return invalid("the target must be an absolute path without '..'");
  if (target->IsRoot()) return invalid("the target cannot be '/'");
  if (target->str() == "proc" || target->str().starts_with("proc/")) {
    return invalid("the container's /proc cannot be covered");
  }
  PlannedMount mount;
  mount.what = fmt::format("bind {} on {}", Quote(bind.source), Quote(bind.target));
  mount.target = target->str();
  mount.symlinks = Symlinks::kInside;
  mount.from_user = true;
  SNAP_TRY(mount.prepared, OpenSource(bind));
  SNAP_TRY_SYS(const struct stat status, sys::FStat(mount.prepared), "stat bind source {}", Quote(bind.source));
  mount.kind = S_ISDIR(status.st_mode) ? TargetKind::kDirectory : TargetKind::kFile;
  SNAP_TRY_SYS_VOID(
      sys::MountSetAttr(mount.prepared, bind.read_only ? MOUNT_ATTR_RDONLY : 0, 0, MS_PRIVATE, true),
      "set the attributes of bind source {}", Quote(bind.source));
  plan.mounts.push_back(std::move(mount));
  return {};
}

}  // namespace

bool IsReadOnlyLate(const PlannedMount& mount) { return !mount.fs_type.empty() && (mount.set & MOUNT_ATTR_RDONLY) != 0; }

SysResult<void> ApplyAttributes(const PlannedMount& mount, FdRef made) {
  const uint64_t set = IsReadOnlyLate(mount) ? mount.set & ~uint64_t{MOUNT_ATTR_RDONLY} : mount.set;
  if ((set | mount.clear) != 0) SNAP_TRY_VOID(sys::MountSetAttr(made, set, mount.clear, 0, false));
  if ((mount.set_recursive | mount.clear_recursive) != 0) {
    SNAP_TRY_VOID(sys::MountSetAttr(made, mount.set_recursive, mount.clear_recursive, 0, true));
  }
  if (mount.propagation) SNAP_TRY_VOID(sys::MountSetAttr(made, 0, 0, *mount.propagation, mount.propagate_recursively));
  return {};
}

const std::vector<const char*>& MaskedPaths() {
  static const std::vector<const char*> paths = {"/proc/asound",
                                                 "/proc/acpi",
                                                 "/proc/interrupts",
                                                 "/proc/kcore",
                                                 "/proc/keys",
                                                 "/proc/latency_stats",
                                                 "/proc/timer_list",
                                                 "/proc/timer_stats",
                                                 "/proc/sched_debug",
                                                 "/proc/scsi",
                                                 "/sys/firmware",
                                                 "/sys/devices/virtual/powercap"};
  return paths;
}

const std::vector<const char*>& ReadOnlyPaths() {
  static const std::vector<const char*> paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                                 "/proc/sysrq-trigger"};
  return paths;
}

Result<RootfsPlan> PlanRootfs(const ContainerSpec& spec, const std::string& hostname, UniqueFd rootfs) {
  RootfsPlan plan;
  plan.rootfs = std::move(rootfs);
  SNAP_FAULT_POINT("runtime.prepare.rootfs");
  // A clone of a shared mount is its peer: what we mount in it would appear in the original.
  SNAP_TRY_SYS_VOID(sys::MountSetAttr(plan.rootfs, 0, 0, MS_PRIVATE, true), "make the rootfs' propagation private");
  SNAP_TRY(plan.null_device, BindHostDevice(kDevices[0]));

  PlanKernelFs(plan, "proc", "proc", kNoSuidDevExec);
  SNAP_TRY_VOID(PlanDev(spec, plan));
  {
    SNAP_FAULT_POINT("runtime.prepare.devpts");
    PlannedMount mount;
    mount.what = "mount '/dev/pts'";
    mount.target = "dev/pts";
    SNAP_TRY_SYS(mount.prepared,
                 MakeFs("devpts", {{"newinstance", nullptr}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}},
                        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC),
                 "make the devpts for '/dev/pts'");
    SNAP_TRY_SYS(plan.devpts, sys::Dup(mount.prepared), "duplicate a descriptor");
    plan.mounts.push_back(std::move(mount));
  }
  if (spec.terminal) {
    PlannedMount mount;
    mount.what = "bind '/dev/console'";
    mount.target = "dev/console";
    mount.kind = TargetKind::kFile;
    mount.console = true;
    plan.mounts.push_back(std::move(mount));
  }
  PlanKernelFs(plan, "sysfs", "sys", kNoSuidDevExec | MOUNT_ATTR_RDONLY);
  // One view on every kind of host: the unified hierarchy, read-only, from the container's own cgroup down. A hybrid
  // host's v1 hierarchies are not shown; see README.md. A kernel without cgroup2 leaves sysfs' empty directory.
  if (sys::FsOpen("cgroup2").ok()) {
    PlanKernelFs(plan, "cgroup2", "sys/fs/cgroup", kNoSuidDevExec | MOUNT_ATTR_RDONLY);
  }
  PlanKernelFs(plan, "mqueue", "dev/mqueue", kNoSuidDevExec);
  {
    SNAP_FAULT_POINT("runtime.prepare.shm");
    PlannedMount mount;
    mount.what = "mount '/dev/shm'";
    mount.target = "dev/shm";
    SNAP_TRY_SYS(mount.prepared, MakeFs("tmpfs", {{"mode", "1777"}, {"size", "65536k"}}, kNoSuidDevExec),
                 "make the tmpfs for '/dev/shm'");
    plan.mounts.push_back(std::move(mount));
  }
  SNAP_TRY_VOID(PlanStaging(MakeEtcFiles(hostname, spec.network), plan));
  for (const BindMount& bind : spec.binds) SNAP_TRY_VOID(PlanBind(bind, plan));
  return plan;
}

}  // namespace snap::runtime
