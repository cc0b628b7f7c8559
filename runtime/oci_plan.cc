// One function for each part of the specification. Invariant: a member that is set is planned or refused.
#include "runtime/oci_plan.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_namespace.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_socket.h"
#include "runtime/exec_path.h"
#include "runtime/mount_flags.h"
#include "runtime/mount_plan.h"
#include "runtime/seccomp.h"

namespace snap::runtime {
namespace {

constexpr std::array<const char*, 8> kKindNames = {"pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"};
constexpr std::array<uint64_t, 8> kKindFlags = {CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWNS,     CLONE_NEWIPC,
                                                CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWCGROUP, CLONE_NEWTIME};

Error Refuse(ErrorCode code, std::string_view member, std::string_view why) { return MakeError(code, "{}: {}", member, why); }

/// Opens a namespace by path and makes sure that it is one of the kind.
Result<UniqueFd> OpenNamespace(const NamespaceSpec& ns) {
  const std::string member = fmt::format("linux.namespaces {} {}", kKindNames[static_cast<size_t>(ns.kind)], Quote(ns.path));
  SNAP_TRY_SYS(UniqueFd fd, sys::OpenAt(FdRef::Cwd(), ns.path.c_str(), O_RDONLY), "{}", member);
  const SysResult<uint64_t> type = sys::NamespaceType(fd);
  if (!type.ok()) return Refuse(ErrorCode::kInvalidArgument, member, "it is no namespace");
  if (*type != CloneFlag(ns.kind)) return Refuse(ErrorCode::kInvalidArgument, member, "it is a namespace of another kind");
  return fd;
}

Result<void> PlanNamespaces(const Spec& spec, const OciOptions& options, Plan& plan) {
  const LinuxSpec& os = spec.linux_;
  if (os.Find(NamespaceKind::kMount) == nullptr) {
    return Refuse(ErrorCode::kInvalidArgument, "linux.namespaces", "a container needs a mount namespace of its own");
  }
  // The user namespace first: it may own the others.
  std::vector<const NamespaceSpec*> ordered;
  for (const NamespaceSpec& ns : os.namespaces) {
    if (ns.kind == NamespaceKind::kUser) ordered.insert(ordered.begin(), &ns);
    else ordered.push_back(&ns);
  }
  for (const NamespaceSpec* ns : ordered) {
    const uint64_t flag = CloneFlag(ns->kind);
    if (ns->path.empty()) {
      // The cgroup namespace is of the cgroup that the child enters first; time is entered by the exec.
      if (ns->kind == NamespaceKind::kCgroup || ns->kind == NamespaceKind::kTime) plan.unshare_flags |= flag;
      else plan.clone_flags |= flag;
      continue;
    }
    SNAP_TRY(UniqueFd fd, OpenNamespace(*ns));
    plan.joins.push_back({std::move(fd), flag});
  }
  const NamespaceSpec* const user = os.Find(NamespaceKind::kUser);
  if (user != nullptr && !user->path.empty()) {
    // What is made must belong to the user namespace that is joined.
    plan.unshare_joined = plan.clone_flags;
    plan.clone_flags = 0;
  }
  const NamespaceSpec* const pid = os.Find(NamespaceKind::kPid);
  plan.clones_again = (pid != nullptr && !pid->path.empty()) || (plan.unshare_joined & CLONE_NEWPID) != 0;
  const bool mapped = !os.uid_mappings.empty() || !os.gid_mappings.empty();
  if (user == nullptr && mapped) {
    return Refuse(ErrorCode::kInvalidArgument, "linux.uidMappings", "there is no user namespace to map ids in");
  }
  if (user != nullptr && user->path.empty()) {
    if (os.uid_mappings.empty() || os.gid_mappings.empty()) {
      return Refuse(ErrorCode::kInvalidArgument, "linux.uidMappings", "a new user namespace needs mappings of users and groups");
    }
    plan.waits_for_maps = true;
  }
  plan.becomes_root = user != nullptr;
  plan.devices_are_bound = user != nullptr || options.rootless;
  if (!os.time_offsets.empty()) {
    if ((plan.unshare_flags & CLONE_NEWTIME) == 0) {
      return Refuse(ErrorCode::kInvalidArgument, "linux.timeOffsets", "there is no new time namespace");
    }
    for (const auto& [clock, offset] : os.time_offsets) {
      plan.time_offsets += fmt::format("{} {} {}\n", clock, offset.first, offset.second);
    }
  }
  const bool own_uts = os.Find(NamespaceKind::kUts) != nullptr;
  if (!own_uts && (!spec.hostname.empty() || !spec.domainname.empty())) {
    return Refuse(ErrorCode::kInvalidArgument, "hostname", "there is no uts namespace that is the container's");
  }
  plan.hostname = spec.hostname;
  plan.domainname = spec.domainname;
  plan.loopback = ((plan.clone_flags | plan.unshare_joined) & CLONE_NEWNET) != 0;
  return {};
}

Result<void> PlanSysctls(const Spec& spec, Plan& plan) {
  for (const auto& [name, value] : spec.linux_.sysctl) {
    std::string path = "sys/" + name;
    // "net.ipv4.ip_forward"; a name with '/' is a path already, in which a '.' is a '.'.
    if (name.find('/') == std::string::npos) std::replace(path.begin(), path.end(), '.', '/');
    plan.sysctls.emplace_back(std::move(path), value);
  }
  if (!plan.sysctls.empty() && plan.proc_mount < 0) {
    return Refuse(ErrorCode::kInvalidArgument, "linux.sysctl", "there is no mount of proc to set them through");
  }
  return {};
}

PlannedDevice DefaultDevice(const char* name, unsigned major, unsigned minor) {
  return {fmt::format("dev/{}", name), S_IFCHR | 0666, makedev(major, minor), 0, 0, fmt::format("/dev/{}", name), {}};
}

Result<void> PlanDevices(const Spec& spec, Plan& plan) {
  // A /dev of the host's is as it is.
  for (const PlannedMount& mount : plan.rootfs.mounts) {
    if (mount.target == "dev" && !mount.host_source.empty()) return {};
  }
  plan.devices.push_back(DefaultDevice("null", 1, 3));
  plan.devices.push_back(DefaultDevice("zero", 1, 5));
  plan.devices.push_back(DefaultDevice("full", 1, 7));
  plan.devices.push_back(DefaultDevice("random", 1, 8));
  plan.devices.push_back(DefaultDevice("urandom", 1, 9));
  plan.devices.push_back(DefaultDevice("tty", 5, 0));
  for (const DeviceSpec& device : spec.linux_.devices) {
    const auto refuse = [&](std::string_view why) {
      return Refuse(ErrorCode::kInvalidArgument, "linux.devices " + Quote(device.path), why);
    };
    const Result<RelPath> path = RelPath::Parse(device.path);
    if (!device.path.starts_with('/') || !path.ok() || path->IsRoot()) return refuse("not an absolute path of a file");
    if (path->str() == "dev/ptmx") continue;  // always the container's own
    PlannedDevice planned;
    planned.path = path->str();
    planned.host_path = device.path;
    const mode_t type = device.kind == DeviceKind::kChar ? S_IFCHR : device.kind == DeviceKind::kBlock ? S_IFBLK : S_IFIFO;
    planned.mode = type | device.mode.value_or(0666);
    planned.device = device.kind == DeviceKind::kFifo
                         ? 0
                         : makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor));
    planned.uid = device.uid.value_or(0);
    planned.gid = device.gid.value_or(0);
    const auto same = std::find_if(plan.devices.begin(), plan.devices.end(),
                                   [&](const PlannedDevice& other) { return other.path == planned.path; });
    if (same != plan.devices.end()) *same = std::move(planned);
    else plan.devices.push_back(std::move(planned));
  }
  if (plan.devices_are_bound) {
    for (const PlannedDevice& device : plan.devices) {
      SNAP_TRY_SYS(const struct statx there, sys::StatX(FdRef::Cwd(), device.host_path.c_str(), 0, STATX_TYPE),
                   "linux.devices {}: open the host's", Quote("/" + device.path));
      if ((there.stx_mode & S_IFMT) == (device.mode & S_IFMT) &&
          makedev(there.stx_rdev_major, there.stx_rdev_minor) == device.device) {
        continue;
      }
      return Refuse(ErrorCode::kInvalidArgument, "linux.devices " + Quote("/" + device.path),
                    "the host's file of this name, which would be bound, is another device");
    }
  }
  plan.device_links = true;
  return {};
}

Result<std::vector<char*>> Pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

Result<void> PlanHooks(const std::vector<HookSpec>& hooks, std::vector<PlannedHook>& out) {
  out.reserve(hooks.size());
  for (const HookSpec& hook : hooks) {
    PlannedHook& planned = out.emplace_back();
    planned.path = hook.path;
    planned.args = hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args;
    planned.env = hook.env;
    SNAP_TRY(planned.argv, Pointers(planned.args));
    SNAP_TRY(planned.envp, Pointers(planned.env));
    constexpr uint32_t kMaxSeconds = 24U * 60U * 60U;
    if (hook.timeout_seconds) planned.timeout_ms = static_cast<int>(std::min(*hook.timeout_seconds, kMaxSeconds)) * 1000;
  }
  return {};
}

Result<std::vector<uint64_t>> ParseCpuList(std::string_view text, std::string_view member) {
  constexpr unsigned kMaxCpu = 8192;
  std::vector<uint64_t> mask;
  const auto bad = [&] { return Refuse(ErrorCode::kInvalidArgument, member, fmt::format("{} is no list of processors", Quote(text))); };
  while (!text.empty()) {
    std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    unsigned first = 0, last = 0;
    const size_t dash = item.find('-');
    const std::string_view from = item.substr(0, dash), to = dash == std::string_view::npos ? from : item.substr(dash + 1);
    const auto parse = [](std::string_view digits, unsigned& out) {
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
      return error == std::errc() && end == digits.data() + digits.size() && !digits.empty();
    };
    if (!parse(from, first) || !parse(to, last) || first > last || last >= kMaxCpu) return bad();
    mask.resize(std::max<size_t>(mask.size(), last / 64 + 1));
    for (unsigned cpu = first; cpu <= last; ++cpu) mask[cpu / 64] |= uint64_t{1} << (cpu % 64);
  }
  return mask;
}

/// The label's file, and what is written there.
Result<void> PlanLabel(const ProcessSpec& process, Plan& plan) {
  if (!process.apparmor_profile.empty() && process.apparmor_profile != "unconfined") {
    const SysResult<std::string> enabled = sys::ReadFileAt(FdRef::Cwd(), "/sys/module/apparmor/parameters/enabled", 16);
    if (!enabled.ok() || !enabled->starts_with('Y')) {
      return Refuse(ErrorCode::kUnsupported, "process.apparmorProfile", "this kernel has AppArmor not enabled");
    }
    plan.exec_label = "exec " + process.apparmor_profile;
    const bool own_file = sys::StatAt(FdRef::Cwd(), "/proc/self/attr/apparmor/exec").ok();
    plan.exec_label_file = own_file ? "attr/apparmor/exec" : "attr/exec";
  }
  if (!process.selinux_label.empty()) {
    if (!sys::StatAt(FdRef::Cwd(), "/sys/fs/selinux/enforce").ok()) {
      return Refuse(ErrorCode::kUnsupported, "process.selinuxLabel", "this kernel has SELinux not enabled");
    }
    plan.exec_label = process.selinux_label;
    plan.exec_label_file = "attr/exec";
  }
  return {};
}

Result<void> PlanCredentials(const ProcessSpec& process, Plan& plan) {
  plan.umask = process.user.umask.value_or(022);
  plan.user.uid = process.user.uid;
  plan.user.gid = process.user.gid;
  plan.user.groups.assign(process.user.additional_gids.begin(), process.user.additional_gids.end());
  const CapabilitySpec caps = process.capabilities.value_or(CapabilitySpec{});
  plan.bounding = caps.bounding;
  plan.capabilities = {caps.effective & caps.permitted, caps.permitted, caps.inheritable};
  // The kernel raises only what is permitted and inheritable.
  plan.ambient = caps.ambient & caps.permitted & caps.inheritable;
  plan.no_new_privileges = process.no_new_privileges;
  for (const RlimitSpec& limit : process.rlimits) plan.limits.push_back({limit.resource, limit.soft, limit.hard});
  if (process.oom_score_adj) plan.oom_score_adj = std::to_string(*process.oom_score_adj);
  plan.io_priority = process.io_priority;
  if (process.scheduler) {
    const SchedulerSpec& s = *process.scheduler;
    plan.scheduler = sys::SchedulerAttributes{s.policy, s.flags, s.nice, static_cast<uint32_t>(s.priority), s.runtime, s.deadline, s.period};
  }
  return PlanLabel(process, plan);
}

/// `rootfs` is looked at for the user's home, as a file of hostile bytes.
Result<void> PlanProgram(const ProcessSpec& process, FdRef rootfs, Plan& plan) {
  std::vector<std::string> env = process.env;
  const auto has = [&](std::string_view name) {
    return std::any_of(env.begin(), env.end(), [&](const std::string& v) { return v.starts_with(name) && v[name.size()] == '='; });
  };
  if (!has("HOME")) {
    const Result<UserIds> user = ResolveUser(rootfs, std::to_string(plan.user.uid));
    env.push_back("HOME=" + (user.ok() ? user->home : std::string("/")));  // an image without such files has no homes
  }
  if (plan.preserved_fds > 0 && has("LISTEN_FDS")) env.emplace_back("LISTEN_PID=1");
  SNAP_TRY_VOID(PlanCommand(process.args, std::move(env), plan));
  plan.working_dir = process.cwd;
  return {};
}

Result<void> PlanSeccomp(const Spec& spec, Plan& plan) {
  if (!spec.linux_.seccomp) return {};
  SNAP_TRY(SeccompProgram program, CompileSeccomp(*spec.linux_.seccomp));
  plan.seccomp = std::move(program.filter);
  plan.seccomp_flags = program.flags;
  plan.seccomp_notify = program.notifies;
  if (program.notifies) {
    SNAP_TRY_SYS(plan.seccomp_socket, sys::ConnectUnix(spec.linux_.seccomp->listener_path), "linux.seccomp.listenerPath: connect {}",
                 Quote(spec.linux_.seccomp->listener_path));
    SNAP_TRY_SYS(plan.seccomp_state, sys::MemfdCreate("state", 0), "make a memory file");
  }
  return {};
}

Result<void> CheckCapabilities(Plan& plan) {
  // What the launcher lacks cannot be given; having fewer is the safe direction.
  if (plan.becomes_root) return {};  // in a namespace of its own it has all
  SNAP_TRY_SYS(const sys::CapabilitySets own, sys::GetCapabilities(), "read the launcher's capabilities");
  plan.bounding &= own.permitted;
  plan.capabilities.permitted &= own.permitted;
  plan.capabilities.effective &= own.permitted;
  plan.capabilities.inheritable &= own.permitted;
  plan.ambient &= own.permitted;
  return {};
}

}  // namespace

uint64_t CloneFlag(NamespaceKind kind) { return kKindFlags[static_cast<size_t>(kind)]; }

std::string MapText(const std::vector<IdMapping>& mappings) {
  std::string text;
  for (const IdMapping& map : mappings) text += fmt::format("{} {} {}\n", map.container_id, map.host_id, map.size);
  return text;
}

Result<UniqueFd> ConnectConsole(const ProcessSpec& process, const std::string& path) {
  if (!process.terminal) {
    if (path.empty()) return UniqueFd();
    return MakeError(ErrorCode::kInvalidArgument, "--console-socket is given, but process.terminal is not set");
  }
  if (path.empty()) return UniqueFd();
  SNAP_TRY_SYS(UniqueFd socket, sys::ConnectUnix(path), "connect console socket {}", Quote(path));
  return socket;
}

Result<void> PlanContainer(const Spec& spec, const OciOptions& options, Plan& plan) {
  if (!spec.process) return Refuse(ErrorCode::kInvalidArgument, "process", "it is missing");
  if (options.no_pivot) return MakeError(ErrorCode::kUnsupported, "--no-pivot is not supported: the root is always pivoted");
  const ProcessSpec& process = *spec.process;
  plan.dies_with_launcher = false;
  plan.may_allocate = true;
  plan.checks_program = true;
  plan.gives_streams = true;
  plan.may_keep_groups = options.rootless;
  plan.preserved_fds = options.preserved_fds;
  SNAP_TRY_VOID(CheckStandardStreams(FdRef(-1)));
  SNAP_TRY_VOID(PlanNamespaces(spec, options, plan));

  plan.rootfs_path = spec.root_path.starts_with('/') ? spec.root_path : options.bundle + "/" + spec.root_path;
  SNAP_TRY_SYS(const struct stat root, sys::StatAt(FdRef::Cwd(), plan.rootfs_path.c_str()), "root.path {}", Quote(plan.rootfs_path));
  if (!S_ISDIR(root.st_mode)) {
    return Refuse(ErrorCode::kInvalidArgument, "root.path " + Quote(plan.rootfs_path), "it is no directory");
  }
  const Propagation propagation = spec.linux_.rootfs_propagation;
  // What is unbindable on the host's side could not be bound either.
  const bool unbindable = propagation == Propagation::kUnbindable || propagation == Propagation::kRUnbindable;
  plan.host_propagation =
      propagation == Propagation::kUnset || unbindable ? MS_SLAVE | MS_REC : PropagationFlags(propagation) | MS_REC;
  plan.root_propagation = static_cast<unsigned long>(PropagationFlags(propagation));
  SNAP_TRY_VOID(PlanMounts(spec, options, plan));
  SNAP_TRY_VOID(PlanSysctls(spec, plan));
  SNAP_TRY_VOID(PlanDevices(spec, plan));
  for (const std::string& path : spec.linux_.masked_paths) plan.masked_paths.push_back(path.c_str());
  for (const std::string& path : spec.linux_.read_only_paths) plan.read_only_paths.push_back(path.c_str());
  plan.read_only_rootfs = spec.root_read_only;

  SNAP_TRY_VOID(PlanCredentials(process, plan));
  SNAP_TRY_VOID(CheckCapabilities(plan));
  SNAP_TRY_SYS(const UniqueFd rootfs, sys::OpenAt(FdRef::Cwd(), plan.rootfs_path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW),
               "root.path {}", Quote(plan.rootfs_path));
  SNAP_TRY_VOID(PlanProgram(process, rootfs, plan));
  SNAP_TRY_VOID(PlanSeccomp(spec, plan));
  plan.personality = spec.linux_.personality;
  plan.parent_hooks = !spec.hooks.prestart.empty() || !spec.hooks.create_runtime.empty();
  SNAP_TRY_VOID(PlanHooks(spec.hooks.create_container, plan.create_container));
  SNAP_TRY_VOID(PlanHooks(spec.hooks.start_container, plan.start_container));
  plan.attach_at_path = plan.parent_hooks || !plan.create_container.empty();
  if (plan.attach_at_path || !plan.start_container.empty()) {
    SNAP_TRY_SYS(plan.hook_state, sys::MemfdCreate("state", 0), "make a memory file for the hooks' state");
  }
  if (process.terminal) {
    SNAP_TRY(plan.console_socket, ConnectConsole(process, options.console_socket));
    plan.terminal_size.ws_row = process.console_size.height;
    plan.terminal_size.ws_col = process.console_size.width;
    if (plan.devpts_mount < 0) return Refuse(ErrorCode::kInvalidArgument, "process.terminal", "there is no mount of devpts at /dev/pts");
  } else {
    SNAP_TRY(const UniqueFd none, ConnectConsole(process, options.console_socket));
  }
  return {};
}

Result<void> PlanExec(const Spec& spec, const ProcessSpec& process, pid_t pid, const OciOptions& options, Plan& plan) {
  plan.dies_with_launcher = false;
  plan.may_allocate = true;
  plan.gives_streams = true;
  plan.may_keep_groups = options.rootless;
  plan.preserved_fds = options.preserved_fds;
  plan.make_working_dir = false;
  SNAP_TRY_VOID(CheckStandardStreams(FdRef(-1)));
  uint64_t types = 0;
  for (const NamespaceSpec& ns : spec.linux_.namespaces) types |= CloneFlag(ns.kind);
  plan.becomes_root = (types & CLONE_NEWUSER) != 0;
  SNAP_TRY_SYS(UniqueFd pidfd, sys::PidfdOpen(pid), "open the container's first process");
  plan.joins.push_back({std::move(pidfd), types});
  plan.clones_again = true;
  SNAP_TRY_VOID(PlanCredentials(process, plan));
  SNAP_TRY_VOID(CheckCapabilities(plan));
  const std::string path = fmt::format("/proc/{}/root", pid);
  SNAP_TRY_SYS(const UniqueFd rootfs, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_PATH | O_DIRECTORY), "open the container's root");
  SNAP_TRY_VOID(PlanProgram(process, rootfs, plan));
  SNAP_TRY_VOID(PlanSeccomp(spec, plan));
  plan.personality = spec.linux_.personality;
  if (!process.exec_cpu_affinity_initial.empty()) {
    SNAP_TRY(plan.initial_affinity, ParseCpuList(process.exec_cpu_affinity_initial, "process.execCPUAffinity.initial"));
  }
  if (!process.exec_cpu_affinity_final.empty()) {
    SNAP_TRY(plan.affinity, ParseCpuList(process.exec_cpu_affinity_final, "process.execCPUAffinity.final"));
  }
  if (process.terminal) {
    SNAP_TRY(plan.console_socket, ConnectConsole(process, options.console_socket));
    plan.terminal_size.ws_row = process.console_size.height;
    plan.terminal_size.ws_col = process.console_size.width;
  } else {
    SNAP_TRY(const UniqueFd none, ConnectConsole(process, options.console_socket));
  }
  return {};
}

}  // namespace snap::runtime
