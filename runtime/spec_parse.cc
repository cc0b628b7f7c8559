// config.json from top to bottom: what is about the container as a whole. Processes and resources have files of their own.
#include "runtime/spec_parse.h"

#include <algorithm>
#include <array>

namespace snap::runtime {
namespace {

constexpr JsonLimits kLimits{.max_bytes = size_t{16} << 20U, .max_depth = 64, .max_values = 1'000'000};

Result<void> ReadMappings(const SpecReader& in, const char* key, std::vector<IdMapping>& out) {
  SNAP_TRY_VOID(in.EachObject(key, [&](const SpecReader& map) -> Result<void> {
    IdMapping& mapping = out.emplace_back();
    SNAP_TRY_VOID(map.Read("containerID", mapping.container_id));
    SNAP_TRY_VOID(map.Read("hostID", mapping.host_id));
    SNAP_TRY_VOID(map.Read("size", mapping.size));
    constexpr uint64_t kEnd = uint64_t{1} << 32U;
    if (mapping.size == 0 || uint64_t{mapping.container_id} + mapping.size > kEnd || uint64_t{mapping.host_id} + mapping.size > kEnd) {
      return map.Refuse("size", "the mapping is empty or leads beyond the last id");
    }
    return {};
  }));
  constexpr size_t kMaxMappings = 340;  // of the kernel
  if (out.size() > kMaxMappings) return in.Refuse(key, "more mappings than the kernel takes");
  return {};
}

Result<void> ReadNamespaces(const SpecReader& linux_, LinuxSpec& out) {
  constexpr std::array<const char*, 8> kNames = {"pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"};
  return linux_.EachObject("namespaces", [&](const SpecReader& in) -> Result<void> {
    std::string type;
    NamespaceSpec ns;
    SNAP_TRY_VOID(in.Read("type", type));
    SNAP_TRY_VOID(in.Read("path", ns.path));
    const auto found = std::find(kNames.begin(), kNames.end(), type);
    if (found == kNames.end()) return in.Refuse("type", Quote(type) + " is no kind of namespace");
    ns.kind = static_cast<NamespaceKind>(found - kNames.begin());
    if (out.Find(ns.kind) != nullptr) return in.Refuse("type", Quote(type) + " is there twice");
    if (!ns.path.empty() && !ns.path.starts_with('/')) return in.Refuse("path", "not an absolute path");
    out.namespaces.push_back(std::move(ns));
    return {};
  });
}

Result<void> ReadMounts(const SpecReader& in, Spec& spec) {
  return in.EachObject("mounts", [&](const SpecReader& item) -> Result<void> {
    MountSpec& mount = spec.mounts.emplace_back();
    SNAP_TRY_VOID(item.Read("destination", mount.destination));
    SNAP_TRY_VOID(item.Read("type", mount.type));
    SNAP_TRY_VOID(item.Read("source", mount.source));
    SNAP_TRY_VOID(item.Read("options", mount.options));
    SNAP_TRY_VOID(ReadMappings(item, "uidMappings", mount.uid_mappings));
    SNAP_TRY_VOID(ReadMappings(item, "gidMappings", mount.gid_mappings));
    if (mount.destination.empty()) return item.Refuse("destination", "it is missing");
    return {};
  });
}

Result<void> ReadHooks(const SpecReader& in, Spec& spec) {
  return in.Object("hooks", [&](const SpecReader& hooks) -> Result<void> {
    const std::pair<const char*, std::vector<HookSpec>*> kinds[] = {
        {"prestart", &spec.hooks.prestart},
        {"createRuntime", &spec.hooks.create_runtime},
        {"createContainer", &spec.hooks.create_container},
        {"startContainer", &spec.hooks.start_container},
        {"poststart", &spec.hooks.poststart},
        {"poststop", &spec.hooks.poststop}};
    for (const auto& [key, out] : kinds) {
      std::vector<HookSpec>* const list = out;
      SNAP_TRY_VOID(hooks.EachObject(key, [&](const SpecReader& item) -> Result<void> {
        HookSpec& hook = list->emplace_back();
        SNAP_TRY_VOID(item.Read("path", hook.path));
        SNAP_TRY_VOID(item.Read("args", hook.args));
        SNAP_TRY_VOID(item.Read("env", hook.env));
        SNAP_TRY_VOID(item.Read("timeout", hook.timeout_seconds));
        if (!hook.path.starts_with('/')) return item.Refuse("path", "not an absolute path");
        if (hook.timeout_seconds && *hook.timeout_seconds == 0) return item.Refuse("timeout", "it must be more than zero");
        return {};
      }));
    }
    return {};
  });
}

/// Only what belongs to a namespace of the container: anything else would change the host (CVE-2022-0811, CVE-2022-0532).
Result<void> ReadSysctls(const SpecReader& in, Spec& spec) {
  return in.EachMember("sysctl", [&](const std::string& name, const Json& value, const std::string& path) -> Result<void> {
    SNAP_TRY_VOID(SpecReader::Text(value, path, spec.linux_.sysctl[name]));
    std::string dotted = name;
    const bool slashes = name.find('/') != std::string::npos;
    if (slashes) std::replace(dotted.begin(), dotted.end(), '/', '.');
    const auto refuse = [&](std::string_view why) {
      return MakeError(ErrorCode::kInvalidArgument, "linux.sysctl {}: {}", Quote(name), why);
    };
    const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '/' || c == '_' || c == '-' ||
             c == '@' || c == ':';
    });
    const std::string framed = "." + dotted + ".";
    if (!plain || framed.find("..") != std::string::npos) return refuse("not the name of a setting");
    constexpr std::array<std::string_view, 8> kIpc = {"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni",         "kernel.sem",
                                                      "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"};
    const auto needs = [&](NamespaceKind kind, std::string_view what) -> Result<void> {
      if (spec.linux_.Find(kind) != nullptr) return {};
      return refuse(fmt::format("it needs a {} namespace of the container", what));
    };
    if (std::find(kIpc.begin(), kIpc.end(), dotted) != kIpc.end() || dotted.starts_with("fs.mqueue.")) {
      return needs(NamespaceKind::kIpc, "ipc");
    }
    if (dotted.starts_with("net.")) return needs(NamespaceKind::kNetwork, "network");
    if (dotted == "kernel.domainname") return needs(NamespaceKind::kUts, "uts");
    if (dotted == "kernel.hostname") return refuse("use the member hostname");
    if (dotted.starts_with("user.")) return needs(NamespaceKind::kUser, "user");
    return refuse("it belongs to no namespace, so that it would change the host");
  });
}

Result<void> ReadSeccomp(const SpecReader& linux_, Spec& spec) {
  constexpr std::array<std::pair<std::string_view, SeccompAction>, 9> kActions = {{{"SCMP_ACT_KILL", SeccompAction::kKillThread},
                                                                                   {"SCMP_ACT_KILL_THREAD", SeccompAction::kKillThread},
                                                                                   {"SCMP_ACT_KILL_PROCESS", SeccompAction::kKillProcess},
                                                                                   {"SCMP_ACT_TRAP", SeccompAction::kTrap},
                                                                                   {"SCMP_ACT_ERRNO", SeccompAction::kErrno},
                                                                                   {"SCMP_ACT_TRACE", SeccompAction::kTrace},
                                                                                   {"SCMP_ACT_ALLOW", SeccompAction::kAllow},
                                                                                   {"SCMP_ACT_LOG", SeccompAction::kLog},
                                                                                   {"SCMP_ACT_NOTIFY", SeccompAction::kNotify}}};
  constexpr std::array<std::string_view, 7> kOperators = {"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",       "SCMP_CMP_EQ",
                                                          "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"};
  const auto read_action = [&](const SpecReader& in, const char* key, SeccompAction& out) -> Result<void> {
    std::string name;
    SNAP_TRY_VOID(in.Read(key, name));
    for (const auto& [known, action] : kActions) {
      if (name != known) continue;
      out = action;
      return {};
    }
    return in.Refuse(key, Quote(name) + " is no action");
  };
  return linux_.Object("seccomp", [&](const SpecReader& in) -> Result<void> {
    SeccompSpec& seccomp = spec.linux_.seccomp.emplace();
    SNAP_TRY_VOID(read_action(in, "defaultAction", seccomp.default_action));
    SNAP_TRY_VOID(in.Read("defaultErrnoRet", seccomp.default_errno_ret));
    SNAP_TRY_VOID(in.Read("architectures", seccomp.architectures));
    SNAP_TRY_VOID(in.Read("flags", seccomp.flags));
    SNAP_TRY_VOID(in.Read("listenerPath", seccomp.listener_path));
    SNAP_TRY_VOID(in.Read("listenerMetadata", seccomp.listener_metadata));
    return in.EachObject("syscalls", [&](const SpecReader& item) -> Result<void> {
      SeccompRule& rule = seccomp.rules.emplace_back();
      SNAP_TRY_VOID(item.Read("names", rule.names));
      if (rule.names.empty()) return item.Refuse("names", "there is none");
      SNAP_TRY_VOID(read_action(item, "action", rule.action));
      SNAP_TRY_VOID(item.Read("errnoRet", rule.errno_ret));
      return item.EachObject("args", [&](const SpecReader& arg_in) -> Result<void> {
        SeccompArg& arg = rule.args.emplace_back();
        std::string op;
        SNAP_TRY_VOID(arg_in.Read("index", arg.index));
        SNAP_TRY_VOID(arg_in.Read("value", arg.value));
        SNAP_TRY_VOID(arg_in.Read("valueTwo", arg.value_two));
        SNAP_TRY_VOID(arg_in.Read("op", op));
        const auto found = std::find(kOperators.begin(), kOperators.end(), op);
        if (found == kOperators.end()) return arg_in.Refuse("op", Quote(op) + " is no operator");
        arg.op = static_cast<SeccompOperator>(found - kOperators.begin());
        if (arg.index > 5) return arg_in.Refuse("index", "system calls have arguments 0 to 5");
        return {};
      });
    });
  });
}

Result<void> ReadDevices(const SpecReader& in, Spec& spec) {
  return in.EachObject("devices", [&](const SpecReader& item) -> Result<void> {
    DeviceSpec& device = spec.linux_.devices.emplace_back();
    std::string type;
    SNAP_TRY_VOID(item.Read("type", type));
    SNAP_TRY_VOID(item.Read("path", device.path));
    SNAP_TRY_VOID(item.Read("major", device.major));
    SNAP_TRY_VOID(item.Read("minor", device.minor));
    SNAP_TRY_VOID(item.Read("fileMode", device.mode));
    SNAP_TRY_VOID(item.Read("uid", device.uid));
    SNAP_TRY_VOID(item.Read("gid", device.gid));
    if (type == "c" || type == "u") device.kind = DeviceKind::kChar;
    else if (type == "b") device.kind = DeviceKind::kBlock;
    else if (type == "p") device.kind = DeviceKind::kFifo;
    else return item.Refuse("type", Quote(type) + " is no kind of device");
    // Engines give the whole st_mode here.
    if (device.mode) *device.mode &= 07777U;
    if (device.kind != DeviceKind::kFifo && (device.major < 0 || device.minor < 0 || device.major > 4095 || device.minor > 1048575)) {
      return item.Refuse("major", "not a device number");
    }
    if (!device.path.starts_with('/')) return item.Refuse("path", "not an absolute path");
    return {};
  });
}

Result<void> ReadPropagation(const SpecReader& in, Propagation& out) {
  constexpr std::array<std::string_view, 9> kNames = {"",         "private", "rprivate", "shared",     "rshared",
                                                      "slave", "rslave",  "unbindable", "runbindable"};
  std::string name;
  SNAP_TRY_VOID(in.Read("rootfsPropagation", name));
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return in.Refuse("rootfsPropagation", Quote(name) + " is no propagation");
  out = static_cast<Propagation>(found - kNames.begin());
  return {};
}

Result<void> ReadLinux(const SpecReader& in, Spec& spec) {
  LinuxSpec& out = spec.linux_;
  SNAP_TRY_VOID(ReadNamespaces(in, out));
  SNAP_TRY_VOID(ReadMappings(in, "uidMappings", out.uid_mappings));
  SNAP_TRY_VOID(ReadMappings(in, "gidMappings", out.gid_mappings));
  SNAP_TRY_VOID(in.EachMember("timeOffsets", [&](const std::string& clock, const Json& value, const std::string& path) -> Result<void> {
    if (clock != "monotonic" && clock != "boottime") return MakeError(ErrorCode::kInvalidArgument, "{}: no clock with an offset", path);
    if (!value.is_object()) return MakeError(ErrorCode::kInvalidArgument, "{}: not an object", path);
    const SpecReader offset(value, path);
    SNAP_TRY_VOID(offset.Read("secs", out.time_offsets[clock].first));
    return offset.Read("nanosecs", out.time_offsets[clock].second);
  }));
  SNAP_TRY_VOID(ReadDevices(in, spec));
  SNAP_TRY_VOID(in.Read("cgroupsPath", out.cgroups_path));
  SNAP_TRY_VOID(in.Object("resources", [&](const SpecReader& resources) { return ReadResources(resources, out.resources); }));
  SNAP_TRY_VOID(ReadSeccomp(in, spec));
  SNAP_TRY_VOID(ReadSysctls(in, spec));
  SNAP_TRY_VOID(ReadPropagation(in, out.rootfs_propagation));
  SNAP_TRY_VOID(in.Read("maskedPaths", out.masked_paths));
  SNAP_TRY_VOID(in.Read("readonlyPaths", out.read_only_paths));
  for (const auto* paths : {&out.masked_paths, &out.read_only_paths}) {
    for (const std::string& path : *paths) {
      if (!path.starts_with('/')) return in.Refuse("maskedPaths", Quote(path) + " is not an absolute path");
    }
  }
  SNAP_TRY_VOID(in.Read("mountLabel", out.mount_label));
  if (!out.mount_label.empty()) return in.Refuse("mountLabel", "this runtime does not support it", ErrorCode::kUnsupported);
  SNAP_TRY_VOID(in.Object("personality", [&](const SpecReader& personality) -> Result<void> {
    std::string domain;
    SNAP_TRY_VOID(personality.Read("domain", domain));
    if (domain == "LINUX") out.personality = 0;
    else if (domain == "LINUX32") out.personality = 8;
    else return personality.Refuse("domain", Quote(domain) + " is not LINUX or LINUX32");
    return personality.Unsupported("flags");
  }));
  for (const char* key : {"intelRdt", "memoryPolicy", "netDevices"}) SNAP_TRY_VOID(in.Unsupported(key));
  return {};
}

}  // namespace

Result<Spec> ParseSpec(std::string_view text) {
  SNAP_TRY(const Json json, ParseJson(text, "config.json", kLimits));
  if (!json.is_object()) return MakeError(ErrorCode::kInvalidArgument, "config.json: not an object");
  const SpecReader in(json, "");
  Spec spec;
  SNAP_TRY_VOID(in.Read("ociVersion", spec.oci_version));
  if (!spec.oci_version.starts_with("1.")) {
    return in.Refuse("ociVersion", fmt::format("{} is not a version 1", Quote(spec.oci_version)));
  }
  for (const char* key : {"solaris", "windows", "vm", "zos", "freebsd"}) SNAP_TRY_VOID(in.Unsupported(key));
  SNAP_TRY_VOID(in.Object("root", [&](const SpecReader& root) -> Result<void> {
    SNAP_TRY_VOID(root.Read("path", spec.root_path));
    return root.Read("readonly", spec.root_read_only);
  }));
  if (spec.root_path.empty()) return in.Refuse("root.path", "it is missing");
  SNAP_TRY_VOID(in.Read("hostname", spec.hostname));
  SNAP_TRY_VOID(in.Read("domainname", spec.domainname));
  for (const auto* name : {&spec.hostname, &spec.domainname}) {
    if (name->size() > 64) return in.Refuse(name == &spec.hostname ? "hostname" : "domainname", "longer than 64 bytes");
  }
  if (const Json* const process = in.Find("process")) {
    if (!process->is_object()) return in.Refuse("process", "not an object");
    SNAP_TRY(spec.process, ReadProcess(SpecReader(*process, "process")));
  }
  SNAP_TRY_VOID(ReadMounts(in, spec));
  SNAP_TRY_VOID(ReadHooks(in, spec));
  SNAP_TRY_VOID(in.EachMember("annotations", [&](const std::string& name, const Json& value, const std::string& path) {
    return SpecReader::Text(value, path, spec.annotations[name]);
  }));
  SNAP_TRY_VOID(in.Object("linux", [&](const SpecReader& linux_) { return ReadLinux(linux_, spec); }));
  return spec;
}

Result<ProcessSpec> ParseProcess(std::string_view text) {
  SNAP_TRY(const Json json, ParseJson(text, "process", kLimits));
  if (!json.is_object()) return MakeError(ErrorCode::kInvalidArgument, "process: not an object");
  return ReadProcess(SpecReader(json, "process"));
}

Result<ResourcesSpec> ParseResources(std::string_view text) {
  SNAP_TRY(const Json json, ParseJson(text, "resources", kLimits));
  if (!json.is_object()) return MakeError(ErrorCode::kInvalidArgument, "resources: not an object");
  ResourcesSpec resources;
  SNAP_TRY_VOID(ReadResources(SpecReader(json, "resources"), resources));
  return resources;
}

}  // namespace snap::runtime
