// The cgroups of a container: one directory in each hierarchy of the host. Source: kernel Documentation/admin-guide/cgroup-v1 and
// cgroup-v2.rst, runtime-spec config-linux.md "Control groups".
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/json.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "runtime/cgroup_layout.h"
#include "runtime/spec.h"

namespace snap::runtime {

/// One write into a cgroup file. Errors of optional ones (a file that this kernel lacks) are passed over.
struct CgroupWrite {
  std::string controller;  ///< v1: whose hierarchy; "": the unified one
  std::string file, value;
  bool optional = false;
};
/// What limits become on each kind of host. Pure. Devices are not among them on v2: see cgroup_devices.h.
Result<std::vector<CgroupWrite>> PlanCgroupV1(const ResourcesSpec& resources);
Result<std::vector<CgroupWrite>> PlanCgroupV2(const ResourcesSpec& resources);

/// Threads: one at a time.
class Cgroup {
 public:
  /// Makes the directories. `path`: absolute from the hierarchies' roots, or relative to this process' own cgroups; "" is `id` there.
  /// Hierarchies that may not be written are left out when `lenient` (without root). Errors: kInvalidArgument for a path with "..";
  /// kBusy when processes are in it. Nothing that was made is left then.
  static Result<Cgroup> Create(const CgroupLayout& layout, std::string_view path, std::string_view id, bool lenient);
  /// Of a saved state.
  static Cgroup Open(const CgroupLayout& layout, std::map<std::string, std::string> directories) {
    return {layout.IsUnified(), std::move(directories)};
  }

  /// controller ("": unified): directory.
  const std::map<std::string, std::string>& directories() const { return directories_; }
  /// `defaults`: the devices that every container has are allowed after all rules.
  /// Errors: kUnsupported for a limit whose controller is not there; of the writes, with file and value.
  Result<void> Apply(const ResourcesSpec& resources, bool defaults);
  /// cgroup.procs of each directory, for a child to write "0" to.
  Result<std::vector<UniqueFd>> OpenProcs() const;
  Result<void> Freeze();
  Result<void> Thaw();
  Result<bool> IsFrozen() const;
  /// All processes in it and below, by the numbers of this process' namespace.
  Result<std::vector<pid_t>> Processes() const;
  /// Sends a signal to all of them; SIGKILL is repeated until there are none (bounded).
  Result<void> Signal(int signal);
  /// The same cgroups further down, which must exist. Errors: kInvalidArgument for a path with "..".
  Result<Cgroup> Below(std::string_view path) const;
  /// Removes the directories with those that were made below. Missing ones are fine. Errors: kBusy when processes stay.
  Result<void> Remove();
  /// "data" of `events --stats`, in runc's words.
  Json Stats() const;

 private:
  Cgroup(bool is_unified, std::map<std::string, std::string> directories)
      : is_unified_(is_unified), directories_(std::move(directories)) {}
  const std::string* Find(std::string_view controller) const;
  Result<void> Write(const CgroupWrite& write) const;
  Result<void> SetFrozen(bool frozen);

  bool is_unified_;
  std::map<std::string, std::string> directories_;
};

}  // namespace snap::runtime
