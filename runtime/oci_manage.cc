// What is done with containers that exist.
#include <signal.h>

#include <cerrno>

#include "fs/base/quote.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_process.h"
#include "runtime/oci_container.h"

namespace snap::runtime {
namespace {

Error NotRunning() { return MakeError(ErrorCode::kInvalidArgument, "container not running"); }

/// The container, when its processes live.
Result<Existing> OpenLiving(const RuntimeOptions& options, const std::string& id) {
  SNAP_TRY(Existing container, OpenExisting(options, id));
  if (!IsAlive(container.state)) return NotRunning();
  return container;
}

}  // namespace

Result<Described> DescribeContainer(const RuntimeOptions& options, const std::string& id) {
  SNAP_TRY(const Existing container, OpenExisting(options, id));
  return Described{container.state, StatusOf(container)};
}

Result<std::vector<Described>> ListContainers(const RuntimeOptions& options) {
  SNAP_TRY(const std::vector<std::string> ids, StateDir::List(options.root));
  std::vector<Described> out;
  for (const std::string& id : ids) {
    Result<Described> described = DescribeContainer(options, id);
    if (described.ok()) out.push_back(*std::move(described));  // others have gone, or are only about to be
  }
  return out;
}

Json StateJson(const Described& container) {
  const State& state = container.state;
  Json json = {{"ociVersion", state.oci_version},
               {"id", state.id},
               {"pid", container.status == Status::kStopped ? 0 : state.pid},
               {"status", StatusName(container.status)},
               {"bundle", state.bundle},
               {"rootfs", state.rootfs},
               {"created", state.created},
               {"owner", state.owner_uid == 0 ? "root" : std::to_string(state.owner_uid)}};
  if (!state.annotations.empty()) json["annotations"] = state.annotations;
  return json;
}

Result<void> KillContainer(const RuntimeOptions& options, const std::string& id, int signal, bool all) {
  SNAP_TRY(Existing container, OpenExisting(options, id));
  if (all && !container.state.cgroups.empty()) return container.cgroup.Signal(signal);
  const SysResult<UniqueFd> pidfd = sys::PidfdOpen(container.state.pid);
  if (!pidfd.ok() || !IsAlive(container.state)) return NotRunning();
  SNAP_TRY_SYS_VOID(sys::PidfdSendSignal(*pidfd, signal), "send signal {} to the container", signal);
  if (signal != SIGKILL) return {};
  // A frozen process dies when it is thawed; a container that shares its pid namespace does not end with its first process.
  const Result<bool> frozen = container.cgroup.IsFrozen();
  if (frozen.ok() && *frozen) SNAP_TRY_VOID(container.cgroup.Thaw());
  const Result<std::string> config = container.dir.LoadConfig();
  const Result<Spec> spec = config.ok() ? ParseSpec(*config) : Result<Spec>(config.error());
  const bool own_pids = !spec.ok() || spec->linux_.Find(NamespaceKind::kPid) != nullptr;
  if (own_pids) return {};
  return container.cgroup.Signal(SIGKILL);
}

Result<void> DeleteContainer(const RuntimeOptions& options, const std::string& id, bool force) {
  Result<StateDir> dir = StateDir::Open(options.root, id);
  if (!dir.ok()) {
    if (force && dir.error().code() == ErrorCode::kNotFound) return {};
    return std::move(dir).error();
  }
  Result<State> state = dir->Load();
  if (!state.ok()) {
    // Its launcher died before there was more than the directory.
    if (force || state.error().code() == ErrorCode::kNotFound) return (*std::move(dir)).Remove();
    return std::move(state).error();
  }
  SNAP_TRY(const CgroupLayout layout, ReadCgroupLayout());
  Cgroup cgroup = Cgroup::Open(layout, state->cgroups);
  Existing container{*std::move(dir), *std::move(state), std::move(cgroup)};
  const Status status = StatusOf(container);
  if (!force && (status == Status::kRunning || status == Status::kPaused)) {
    return MakeError(ErrorCode::kBusy, "cannot delete container {} that is not stopped: {}", id, StatusName(status));
  }
  return Destroy(std::move(container));
}

Result<void> PauseContainer(const RuntimeOptions& options, const std::string& id) {
  SNAP_TRY(Existing container, OpenLiving(options, id));
  const Status status = StatusOf(container);
  if (status != Status::kRunning && status != Status::kCreated) {
    return MakeError(ErrorCode::kInvalidArgument, "container not running or created: {}", StatusName(status));
  }
  return container.cgroup.Freeze();
}

Result<void> ResumeContainer(const RuntimeOptions& options, const std::string& id) {
  SNAP_TRY(Existing container, OpenLiving(options, id));
  if (StatusOf(container) != Status::kPaused) return MakeError(ErrorCode::kInvalidArgument, "container not paused");
  return container.cgroup.Thaw();
}

Result<std::vector<pid_t>> ProcessesOf(const RuntimeOptions& options, const std::string& id) {
  SNAP_TRY(const Existing container, OpenLiving(options, id));
  return container.cgroup.Processes();
}

Result<void> UpdateContainer(const RuntimeOptions& options, const std::string& id, const ResourcesSpec& resources) {
  SNAP_TRY(Existing container, OpenLiving(options, id));
  return container.cgroup.Apply(resources, false);
}

Result<Json> StatsOf(const RuntimeOptions& options, const std::string& id) {
  SNAP_TRY(const Existing container, OpenLiving(options, id));
  return Json{{"type", "stats"}, {"id", id}, {"data", container.cgroup.Stats()}};
}

}  // namespace snap::runtime
