// What a container is to be, in the words of the OCI runtime specification 1.2 (config.md, config-linux.md): plain data,
// without opinions. Made by ParseSpec from a bundle's config.json, or by `snap run` from an image's configuration.
// Invariant: what is here can be done or is refused before anything starts; a setting is never dropped in silence.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"

namespace snap::runtime {

/// One line of an id mapping: `size` ids from `container_id` on are the host's from `host_id` on.
struct IdMapping {
  uint32_t container_id = 0, host_id = 0, size = 0;
  bool operator==(const IdMapping&) const = default;
};

enum class NamespaceKind { kPid, kNetwork, kMount, kIpc, kUts, kUser, kCgroup, kTime };

struct NamespaceSpec {
  NamespaceKind kind{};
  std::string path;  ///< join this one; "": make one
};

struct MountSpec {
  std::string destination;  ///< absolute, in the container
  std::string type;         ///< "bind", "proc", "tmpfs", ...; "" with a bind option
  std::string source;       ///< absolute, or relative to the bundle, for binds
  std::vector<std::string> options;
  std::vector<IdMapping> uid_mappings, gid_mappings;  ///< of an idmapped mount
};

enum class DeviceKind { kChar, kBlock, kFifo };

struct DeviceSpec {
  DeviceKind kind{};
  std::string path;
  int64_t major = 0, minor = 0;
  std::optional<uint32_t> mode, uid, gid;  ///< defaults 0666, 0, 0
};

struct UserSpec {
  uint32_t uid = 0, gid = 0;
  std::optional<uint32_t> umask;
  std::vector<uint32_t> additional_gids;
};

/// Masks of capability numbers.
struct CapabilitySpec {
  uint64_t bounding = 0, effective = 0, inheritable = 0, permitted = 0, ambient = 0;
};

/// "RLIMIT_NOFILE"; "" for a number without a name.
std::string_view LimitName(int resource);

struct RlimitSpec {
  int resource = 0;  ///< RLIMIT_*
  uint64_t soft = 0, hard = 0;
};

struct ConsoleSize {
  uint16_t height = 0, width = 0;
};

struct SchedulerSpec {
  uint32_t policy = 0;  ///< SCHED_*
  int32_t nice = 0, priority = 0;
  uint64_t flags = 0;   ///< SCHED_FLAG_*
  uint64_t runtime = 0, deadline = 0, period = 0;
};

struct ProcessSpec {
  bool terminal = false;
  ConsoleSize console_size;
  UserSpec user;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string cwd;
  std::optional<CapabilitySpec> capabilities;  ///< nullopt: none at all
  std::vector<RlimitSpec> rlimits;
  bool no_new_privileges = false;
  std::optional<int> oom_score_adj;
  std::string apparmor_profile, selinux_label;
  std::optional<SchedulerSpec> scheduler;
  std::optional<uint16_t> io_priority;         ///< class << 13 | level, as ioprio_set(2) takes it
  std::string exec_cpu_affinity_initial, exec_cpu_affinity_final;
};

struct HookSpec {
  std::string path;
  std::vector<std::string> args, env;
  std::optional<uint32_t> timeout_seconds;
};

struct HooksSpec {
  std::vector<HookSpec> prestart, create_runtime, create_container, start_container, poststart, poststop;
};

struct DeviceRule {
  bool allow = false;
  char kind = 'a';                          ///< a, b, c
  std::optional<int64_t> major, minor;      ///< nullopt: any
  bool read = false, write = false, mknod = false;
};

struct ThrottleDevice {
  int64_t major = 0, minor = 0;
  uint64_t rate = 0;
};

struct WeightDevice {
  int64_t major = 0, minor = 0;
  std::optional<uint16_t> weight;
};

struct HugepageLimit {
  std::string page_size;  ///< "2MB"
  uint64_t limit_bytes = 0;
};

struct RdmaLimit {
  std::optional<uint32_t> hca_handles, hca_objects;
};

/// Limits of a cgroup. Bytes and counts; -1 is unlimited where the type has a sign. In the terms of cgroup v1, as the
/// specification has them: see cgroup.h for what they become on v2.
struct ResourcesSpec {
  std::vector<DeviceRule> devices;  ///< in order; the last that matches decides
  struct Memory {
    std::optional<int64_t> limit, reservation, swap, kernel, kernel_tcp;
    std::optional<uint64_t> swappiness;
    std::optional<bool> disable_oom_killer, use_hierarchy, check_before_update;
  } memory;
  struct Cpu {
    std::optional<uint64_t> shares, period, realtime_period, burst;
    std::optional<int64_t> quota, realtime_runtime, idle;
    std::string cpus, mems;
  } cpu;
  std::optional<int64_t> pids_limit;
  struct BlockIo {
    std::optional<uint16_t> weight;
    std::vector<WeightDevice> weight_devices;
    std::vector<ThrottleDevice> read_bps, write_bps, read_iops, write_iops;
  } block_io;
  std::vector<HugepageLimit> hugepages;
  struct Network {
    std::optional<uint32_t> class_id;
    std::vector<std::pair<std::string, uint32_t>> priorities;
  } network;
  std::map<std::string, RdmaLimit> rdma;
  std::map<std::string, std::string> unified;  ///< files of cgroup v2 and what to write
};

enum class SeccompAction : uint32_t { kKillProcess, kKillThread, kTrap, kErrno, kTrace, kAllow, kLog, kNotify };
enum class SeccompOperator { kNotEqual, kLess, kLessOrEqual, kEqual, kGreaterOrEqual, kGreater, kMaskedEqual };

struct SeccompArg {
  uint32_t index = 0;
  uint64_t value = 0, value_two = 0;
  SeccompOperator op{};
};

struct SeccompRule {
  std::vector<std::string> names;
  SeccompAction action{};
  std::optional<uint32_t> errno_ret;
  std::vector<SeccompArg> args;
};

struct SeccompSpec {
  SeccompAction default_action{};
  std::optional<uint32_t> default_errno_ret;
  std::vector<std::string> architectures;  ///< "SCMP_ARCH_X86_64"; empty: the native one
  std::vector<std::string> flags;          ///< "SECCOMP_FILTER_FLAG_LOG"
  std::string listener_path, listener_metadata;
  std::vector<SeccompRule> rules;
};

enum class Propagation { kUnset, kPrivate, kRPrivate, kShared, kRShared, kSlave, kRSlave, kUnbindable, kRUnbindable };

struct LinuxSpec {
  std::vector<NamespaceSpec> namespaces;
  std::vector<IdMapping> uid_mappings, gid_mappings;
  std::map<std::string, std::pair<int64_t, uint32_t>> time_offsets;  ///< "monotonic", "boottime": seconds, nanoseconds
  std::vector<DeviceSpec> devices;
  std::string cgroups_path;
  ResourcesSpec resources;
  std::optional<SeccompSpec> seccomp;
  std::map<std::string, std::string> sysctl;
  Propagation rootfs_propagation = Propagation::kUnset;
  std::vector<std::string> masked_paths, read_only_paths;
  std::string mount_label;
  std::optional<uint32_t> personality;  ///< PER_LINUX or PER_LINUX32

  const NamespaceSpec* Find(NamespaceKind kind) const {
    for (const NamespaceSpec& ns : namespaces) {
      if (ns.kind == kind) return &ns;
    }
    return nullptr;
  }
};

struct Spec {
  std::string oci_version;
  std::string root_path;  ///< absolute, or relative to the bundle
  bool root_read_only = false;
  std::string hostname, domainname;
  std::optional<ProcessSpec> process;
  std::vector<MountSpec> mounts;
  HooksSpec hooks;
  LinuxSpec linux_;  // `linux` is a macro of GNU C++
  std::map<std::string, std::string> annotations;
};

/// Reads a config.json: hostile text. Checks everything that can be checked without the host: types, ranges, names of
/// capabilities (those that this program does not know are left out), rlimits, namespaces, actions and architectures, absolute paths, NUL bytes, duplicate namespaces, sysctls
/// of namespaces that the container does not own. Unknown members are ignored, as the specification wants; known ones that
/// this runtime does not do (intelRdt, memoryPolicy, netDevices, vm, windows, ...) are refused.
/// Errors: kInvalidArgument, kUnsupported, kCorrupt (no JSON), kLimitExceeded; each names the member: "linux.sysctl 'x': ...".
Result<Spec> ParseSpec(std::string_view text);
/// The "process" object by itself, as `exec --process FILE` takes it.
Result<ProcessSpec> ParseProcess(std::string_view text);
/// The "linux.resources" object by itself, as `update --resources FILE` takes it.
Result<ResourcesSpec> ParseResources(std::string_view text);

}  // namespace snap::runtime
