// Everything that a launch needs, decided before the clone: the parent may fail, allocate and look things up; the child only walks
// what is here. Invariant: constant from the clone on, but for `made`, which is the child's to fill; the child's copy is its fork's
// memory.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/fault.h"
#include "fs/base/result.h"
#include "fs/base/sys_child.h"
#include "fs/base/unique_fd.h"
#include "runtime/container.h"
#include "runtime/rootfs.h"
#include "runtime/terminal.h"
#include "runtime/user.h"

namespace snap::runtime {

/// A device node. Where nodes cannot be made the host's own is bound.
struct PlannedDevice {
  std::string path;  ///< in the container, without leading '/'
  mode_t mode = 0;   ///< with the type
  dev_t device = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string host_path;
  UniqueFd host;     ///< the child's clone of it, where it is bound
};

/// A program that the child runs and waits for; its standard input is the container's state.
struct PlannedHook {
  std::string path;
  std::vector<std::string> args, env;
  std::vector<char*> argv, envp;  // into the above
  int timeout_ms = -1;            ///< -1: none
};

struct PlannedLimit {
  int resource = 0;
  uint64_t soft = 0, hard = 0;
};

struct Plan {
  Plan() = default;
  Plan(const Plan&) = delete;  // argv and envp point into the strings
  Plan& operator=(const Plan&) = delete;

  // --- the process and its namespaces
  uint64_t clone_flags = 0;  // CLONE_NEW*
  bool dies_with_launcher = true;
  struct Join {
    UniqueFd ns;       // of a namespace, or a pidfd
    uint64_t types = 0;  // CLONE_NEW*
  };
  std::vector<Join> joins;
  uint64_t unshare_joined = 0;         // what is made inside a user namespace that was joined
  bool clones_again = false;           // only a child is in a pid namespace that was joined, or made after the clone
  std::vector<UniqueFd> cgroup_procs;  // cgroup.procs of the container's cgroups, open for writing
  bool waits_for_maps = false;         // a new user namespace: the parent maps ids, then the child becomes its root
  bool becomes_root = false;           // in a user namespace, new or joined
  bool may_keep_groups = false;        // a user without rights: where setgroups is denied the launcher's groups stay
  uint64_t unshare_flags = 0;          // CLONE_NEWCGROUP (of the new cgroup), CLONE_NEWTIME
  std::string time_offsets;            // for /proc/self/timens_offsets
  std::string hostname, domainname;
  bool loopback = false;
  UniqueFd launcher;    // pidfd of this process: the child sees its death
  UniqueFd report_in;   // the parent's end
  UniqueFd report_out;  // the child's end
  UniqueFd go_in;       // the child's end: a byte lets it go on
  UniqueFd go_out;      // the parent's end
  UniqueFd start_listener;  // the child waits here until it may run its program; invalid: it need not

  // --- its tree
  unsigned long host_propagation = 0;  // MS_*: what is cut off the host's mounts
  RootfsPlan rootfs;
  std::string rootfs_path;             // on the host; "": rootfs.rootfs is given
  bool attach_at_path = false;         // hooks look for the rootfs there, before the pivot
  unsigned long root_propagation = 0;  // of "/" in the end; 0: as it is
  bool attach_staging = false;         // a test wants the way of kernels below 6.15
  std::vector<UniqueFd> made;          // the mounts that the child makes, by index of rootfs.mounts
  std::vector<std::pair<std::string, std::string>> links;  // symlinks beside the mounts: path, target
  int proc_mount = -1;                 // index of the mount of procfs; -1: there is none
  std::vector<PlannedDevice> devices;
  bool device_links = false;           // /dev/fd, /dev/ptmx, ...
  bool devices_are_bound = false;      // nodes cannot be made here
  std::vector<std::pair<std::string, std::string>> sysctls;  // "sys/net/ipv4/ip_forward", value
  std::vector<const char*> masked_paths, read_only_paths;
  bool read_only_rootfs = false;
  std::string working_dir;
  bool make_working_dir = true;
  bool may_allocate = false;           // the parent has one thread: the child may use the heap

  // --- its terminal and descriptors
  Pty terminal;               // made by the parent; empty without one
  int devpts_mount = -1;      // or by the child, in this mount; its master is sent to:
  UniqueFd console_socket;
  winsize terminal_size{};
  unsigned preserved_fds = 0;
  bool gives_streams = false;          // 0, 1, 2 become the user's, so that it can open /dev/stdout

  // --- hooks
  bool parent_hooks = false;  // the parent runs some when the tree is there
  std::vector<PlannedHook> create_container, start_container;
  UniqueFd hook_state;        // a memory file with the state, written by the parent before they run

  // --- what it may do
  mode_t umask = 022;
  UserIds user;
  uint64_t bounding = 0;  // capability masks
  sys::CapabilitySets capabilities;
  uint64_t ambient = 0;
  bool no_new_privileges = true;
  std::vector<PlannedLimit> limits;
  std::string oom_score_adj, exec_label, exec_label_file;  // the label is written to /proc/self/attr/<file>
  std::optional<uint16_t> io_priority;
  std::optional<sys::SchedulerAttributes> scheduler;
  std::vector<uint64_t> initial_affinity, affinity;  // before the cgroup is entered, and for the program
  std::optional<uint32_t> personality;
  std::vector<sock_filter> seccomp;  // empty: none
  unsigned seccomp_flags = 0;
  bool seccomp_notify = false;       // the listener is sent through seccomp_socket
  UniqueFd seccomp_socket, seccomp_state;  // the state, written by the parent, is sent with it

  // --- its program
  std::vector<std::string> args, env, candidates;
  bool searched = false;                // args[0] has no '/': the candidates are PATH's
  bool checks_program = false;          // before it is created: is there such a program?
  std::vector<char*> argv, envp;        // into the above, null-terminated
  std::vector<const char*> exec_paths;  // into candidates

  // An injected fault for the child: at which step (index of its steps), and what. -1: none.
  int fault_step = -1;
  fault::Order fault;
};

/// Fills `plan`. Errors: kInvalidArgument and kNotFound for what the spec asks; otherwise of the system calls.
/// Side effects on the host: see PlanRootfs.
Result<void> Prepare(const ContainerSpec& spec, UniqueFd rootfs, Plan& plan);

/// Parts that all launches share: argv and the search in PATH, the pipes and the launcher's pidfd.
Result<void> PlanCommand(std::vector<std::string> args, std::vector<std::string> env, Plan& plan);
Result<void> PlanChannels(Plan& plan);
/// The streams 0, 1, 2 are open, none a directory, none `rootfs` (which may be invalid).
Result<void> CheckStandardStreams(FdRef rootfs);

}  // namespace snap::runtime
