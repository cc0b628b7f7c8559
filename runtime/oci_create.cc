// create, start, run. Invariant: the state's directory is there first and goes last; whatever fails in between is undone, and what
// a killed launcher leaves is found by `delete --force`.
#include <fcntl.h>
#include <signal.h>

#include <array>
#include <cerrno>

#include "fs/base/log.h"
#include "fs/base/quote.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_seqpacket.h"
#include "fs/base/sys_socket.h"
#include "runtime/hooks.h"
#include "runtime/id_maps.h"
#include "runtime/launch.h"
#include "runtime/oci_container.h"
#include "runtime/oci_plan.h"

namespace snap::runtime {
namespace {

constexpr size_t kMaxConfig = size_t{16} << 20U;
constexpr std::chrono::seconds kStartPatience(10);

/// A container that is being made.
class Creation {
 public:
  Creation(const RuntimeOptions& options, const CreateRequest& request) : options_(options), request_(request) {}

  /// `console`: where the terminal's master goes instead of the request's socket.
  Result<Launched, LaunchError> Run(UniqueFd console) {
    if (Result<void> prepared = Prepare(); !prepared.ok()) return Undo(std::move(prepared).error());
    if (console) plan_.console_socket = std::move(console);
    Result<Launched, LaunchError> launched =
        Launch(plan_, ChildSteps(), [this](int32_t step, pid_t pid) { return Answer(step, pid); });
    if (!launched.ok()) {
      LaunchError failure = InEngineWords(std::move(launched).error(), plan_.args[0]);
      (void)Undo(failure.error);
      return failure;
    }
    if (Result<void> recorded = Record(launched->pid); !recorded.ok()) {
      (void)sys::PidfdSendSignal(launched->pidfd, SIGKILL);
      (void)sys::WaitPidfd(launched->pidfd);
      return Undo(std::move(recorded).error());
    }
    dir_.reset();  // and its lock
    return launched;
  }

  bool wants_terminal() const { return spec_.process && spec_.process->terminal; }

  Result<void> ReadConfig() {
    const std::string path = request_.config.starts_with('/') ? request_.config : request_.bundle + "/" + request_.config;
    SNAP_TRY_SYS(config_, sys::ReadFileAt(FdRef::Cwd(), path.c_str(), kMaxConfig), "read {}", Quote(path));
    SNAP_TRY(spec_, ParseSpec(config_));
    return {};
  }

 private:
  Result<void> Prepare() {
    SNAP_TRY(StateDir dir, StateDir::Create(options_.root, request_.id));
    dir_.emplace(std::move(dir));
    state_.id = request_.id;
    state_.bundle = request_.bundle;
    state_.created = Now();
    state_.oci_version = spec_.oci_version;
    state_.owner_uid = sys::EffectiveUid();
    state_.annotations = spec_.annotations;
    SNAP_TRY_VOID(dir_->SaveConfig(config_));

    CgroupLayout layout;
    if (!options_.no_cgroups) {
      SNAP_TRY(layout, ReadCgroupLayout());
    }
    SNAP_TRY(Cgroup cgroup, Cgroup::Create(layout, spec_.linux_.cgroups_path, request_.id, options_.rootless));
    cgroup_.emplace(std::move(cgroup));
    state_.cgroups = cgroup_->directories();
    SNAP_TRY_VOID(dir_->Save(state_));  // from here on `delete --force` knows them
    if (!options_.no_cgroups) SNAP_TRY_VOID(cgroup_->Apply(spec_.linux_.resources, true));

    OciOptions options;
    options.bundle = request_.bundle;
    options.console_socket = request_.console_socket;
    options.preserved_fds = request_.preserved_fds;
    options.no_pivot = request_.no_pivot;
    options.no_new_keyring = request_.no_new_keyring;
    options.rootless = options_.rootless;
    options.cgroups = state_.cgroups;
    SNAP_TRY_VOID(PlanContainer(spec_, options, plan_));
    state_.rootfs = plan_.rootfs_path;
    SNAP_TRY(plan_.cgroup_procs, cgroup_->OpenProcs());
    SNAP_TRY_SYS(plan_.start_listener, sys::ListenPackets(dir_->fd(), StateDir::kSocket, 0600, 4), "make the socket for the start");
    return PlanChannels(plan_);
  }

  Result<void> Answer(int32_t step, pid_t pid) {
    state_.pid = pid;
    if (step == ChildReport::kWantsMaps) {
      return WriteIdMaps(pid, spec_.linux_.uid_mappings, spec_.linux_.gid_mappings);
    }
    const std::string state = HookState(state_, "creating");
    if (step == ChildReport::kWantsState) return WriteSeccompState();
    if (step != ChildReport::kMounted) return MakeError(ErrorCode::kInternal, "the container's first process sent a malformed report");
    SNAP_TRY_VOID(RunHooks(spec_.hooks.prestart, "prestart", state));
    SNAP_TRY_VOID(RunHooks(spec_.hooks.create_runtime, "createRuntime", state));
    if (!plan_.hook_state) return {};
    SNAP_TRY_SYS_VOID(sys::PWriteAll(plan_.hook_state, std::as_bytes(std::span(state)), 0), "write the state for hooks");
    return {};
  }

  Result<void> WriteSeccompState() {
    const Json json = {{"ociVersion", state_.oci_version},
                       {"fds", {"seccompFd"}},
                       {"pid", state_.pid},
                       {"metadata", spec_.linux_.seccomp ? spec_.linux_.seccomp->listener_metadata : ""},
                       {"state", Json::parse(HookState(state_, "creating"))}};
    const std::string text = DumpJson(json);
    SNAP_TRY_SYS_VOID(sys::PWriteAll(plan_.seccomp_state, std::as_bytes(std::span(text)), 0), "write the state for the seccomp listener");
    return {};
  }

  Result<void> Record(pid_t pid) {
    state_.pid = pid;
    SNAP_TRY_SYS(state_.start_time, sys::ProcessStartTime(pid), "read the start time of the container's first process");
    SNAP_FAULT_POINT("runtime.create.before_record");
    SNAP_TRY_VOID(dir_->Save(state_));
    if (request_.pid_file.empty()) return {};
    return WritePidFile(request_.pid_file, pid);
  }

  /// Takes away what is there; the error is the one that counts.
  LaunchError Undo(Error error) {
    if (cgroup_) {
      (void)cgroup_->Signal(SIGKILL);
      const Result<void> removed = cgroup_->Remove();
      if (!removed.ok()) log::Warning("{}, it stays", removed.error().message());
    }
    if (dir_) {
      const Result<void> removed = std::move(*dir_).Remove();
      if (!removed.ok()) log::Warning("{}, it stays", removed.error().message());
    }
    return OwnFailure(std::move(error));
  }

  const RuntimeOptions& options_;
  const CreateRequest& request_;
  std::string config_;
  Spec spec_;
  Plan plan_;
  State state_;
  std::optional<StateDir> dir_;
  std::optional<Cgroup> cgroup_;
};

Result<void> RunPoststart(const Existing& container) {
  SNAP_TRY(const std::string config, container.dir.LoadConfig());
  SNAP_TRY(const Spec spec, ParseSpec(config));
  return RunHooks(spec.hooks.poststart, "poststart", HookState(container.state, "running"));
}

/// Tells it to go on and waits for its exec.
Result<void, LaunchError> Release(const Existing& container) {
  SysResult<UniqueFd> socket = sys::ConnectPackets(container.dir.fd(), StateDir::kSocket, kStartPatience);
  if (!socket.ok()) return OwnFailure(Error(socket.error(), "reach the container's first process"));
  // Whoever looks from now on sees one that runs: a launcher that dies here leaves no second start.
  const SysResult<void> unlinked = sys::UnlinkAt(container.dir.fd(), StateDir::kSocket);
  if (!unlinked.ok()) return OwnFailure(Error(unlinked.error(), "remove the socket for the start"));
  constexpr std::byte kGo[1]{};
  const SysResult<void> told = sys::SendPacket(*socket, kGo, {});
  if (!told.ok()) return OwnFailure(Error(told.error(), "let the container's first process go on"));
  bool ready = false;
  for (;;) {
    ChildReport report;
    const SysResult<size_t> got = sys::Read(*socket, std::as_writable_bytes(std::span(&report, 1)));
    if (!got.ok() || *got == 0) {
      if (ready) return {};
      return OwnFailure(MakeError(ErrorCode::kIo, "the container's first process died before it could start the program"));
    }
    if (*got != sizeof report) return OwnFailure(MakeError(ErrorCode::kInternal, "the container's first process sent a malformed report"));
    if (report.step == ChildReport::kReady) {
      ready = true;
      continue;
    }
    const Result<std::string> config = container.dir.LoadConfig();
    const Result<Spec> spec = config.ok() ? ParseSpec(*config) : Result<Spec>(config.error());
    Plan named;  // only its names are looked at
    if (spec.ok() && spec->process) named.args = spec->process->args;
    else named.args = {"?"};
    LaunchError failure = ExplainReport(named, ChildSteps(), report);
    return InEngineWords(std::move(failure), named.args[0]);
  }
}

}  // namespace

Result<void, LaunchError> CreateContainer(const RuntimeOptions& options, const CreateRequest& request) {
  Creation creation(options, request);
  if (Result<void> read = creation.ReadConfig(); !read.ok()) return OwnFailure(std::move(read).error());
  if (creation.wants_terminal() && request.console_socket.empty()) {
    return OwnFailure(MakeError(ErrorCode::kInvalidArgument, "a container that is detached and has a terminal needs --console-socket"));
  }
  Result<Launched, LaunchError> launched = creation.Run(UniqueFd());
  if (!launched.ok()) return std::move(launched).error();
  return {};
}

Result<void, LaunchError> StartContainer(const RuntimeOptions& options, const std::string& id) {
  Result<Existing> container = OpenExisting(options, id);
  if (!container.ok()) return OwnFailure(std::move(container).error());
  switch (StatusOf(*container)) {
    case Status::kCreated: break;
    case Status::kStopped: return OwnFailure(MakeError(ErrorCode::kInvalidArgument, "cannot start a container that has stopped"));
    default: return OwnFailure(MakeError(ErrorCode::kInvalidArgument, "cannot start an already running container"));
  }
  if (auto released = Release(*container); !released.ok()) return released;
  if (Result<void> ran = RunPoststart(*container); !ran.ok()) {
    // As the specification wants since 1.3: a container whose hooks failed does not go on.
    if (Result<void> destroyed = Destroy(*std::move(container)); !destroyed.ok()) {
      log::Warning("{}, it stays", destroyed.error().message());
    }
    return OwnFailure(std::move(ran).error());
  }
  return {};
}

Result<int, LaunchError> RunContainer(const RuntimeOptions& options, const CreateRequest& request, bool detach, bool keep) {
  Creation creation(options, request);
  if (Result<void> read = creation.ReadConfig(); !read.ok()) return OwnFailure(std::move(read).error());
  const bool own_terminal = creation.wants_terminal() && request.console_socket.empty();
  if (own_terminal && detach) {
    return OwnFailure(MakeError(ErrorCode::kInvalidArgument, "a container that is detached and has a terminal needs --console-socket"));
  }
  sys::PacketSockets sockets;
  if (own_terminal) {
    SysResult<sys::PacketSockets> made = sys::MakePacketSockets();
    if (!made.ok()) return OwnFailure(Error(made.error(), "make a socket"));
    sockets = *std::move(made);
  }
  // What comes before the program runs is passed on to it then.
  const SysResult<sigset_t> mask = detach ? SysResult<sigset_t>(sigset_t{}) : sys::BlockAllSignals();
  if (!mask.ok()) return OwnFailure(Error(mask.error(), "block signals"));
  Result<Launched, LaunchError> launched = creation.Run(std::move(sockets.other));
  if (!launched.ok()) return std::move(launched).error();
  UniqueFd master;
  if (own_terminal) {
    std::array<std::byte, 64> name;
    SysResult<sys::ReceivedPacket> packet = sys::ReceivePacket(sockets.one, name);
    if (packet.ok() && packet->descriptors.size() == 1) master = std::move(packet->descriptors[0]);
  }
  const auto remove = [&] {
    if (keep) return;
    const Result<void> removed = DeleteContainer(options, request.id, true);
    if (!removed.ok()) log::Warning("{}, it stays", removed.error().message());
  };
  if (auto started = StartContainer(options, request.id); !started.ok()) {
    remove();
    return std::move(started).error();
  }
  if (detach) return 0;
  Container container(launched->pid, std::move(launched->pidfd), std::move(master));
  Result<int> status = RunForeground(container);
  if (!status.ok()) {
    (void)container.Signal(SIGKILL);
    (void)container.Wait();
  }
  remove();
  if (!status.ok()) return OwnFailure(std::move(status).error());
  return *status;
}

}  // namespace snap::runtime
