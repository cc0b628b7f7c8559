// exec: one more program in a container. It gets the container's namespaces, cgroups, filter and limits, and no more capabilities than
// it is given.
#include <array>
#include <cerrno>
#include <charconv>

#include "fs/base/quote.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_seqpacket.h"
#include "runtime/capabilities.h"
#include "runtime/launch.h"
#include "runtime/oci_container.h"
#include "runtime/oci_plan.h"

namespace snap::runtime {
namespace {

/// A plain decimal, nothing in front or behind (CVE-2026-30892 was about less).
Result<uint32_t> ParseId(std::string_view text) {
  uint32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error == std::errc() && end == text.data() + text.size() && !text.empty() && id <= INT32_MAX) return id;
  return MakeError(ErrorCode::kInvalidArgument, "{} is no id", Quote(text));
}

/// The container's own process with what the request says instead.
Result<ProcessSpec> ProcessOf(const Spec& spec, const ExecRequest& request) {
  if (!request.process_json.empty()) return ParseProcess(request.process_json);
  ProcessSpec process = spec.process.value_or(ProcessSpec{});
  process.terminal = request.terminal;
  process.args = request.args;
  if (process.args.empty()) return MakeError(ErrorCode::kInvalidArgument, "there is no program to run");
  for (const std::string& variable : request.env) {
    const std::string name = variable.substr(0, variable.find('='));
    std::erase_if(process.env, [&](const std::string& other) { return other.substr(0, other.find('=')) == name; });
    process.env.push_back(variable);
  }
  if (!request.cwd.empty()) process.cwd = request.cwd;
  if (!process.cwd.starts_with('/')) return MakeError(ErrorCode::kInvalidArgument, "working directory {} is not an absolute path", Quote(process.cwd));
  if (!request.user.empty()) {
    const size_t colon = request.user.find(':');
    SNAP_TRY(process.user.uid, ParseId(std::string_view(request.user).substr(0, colon)));
    if (colon != std::string::npos) {
      SNAP_TRY(process.user.gid, ParseId(std::string_view(request.user).substr(colon + 1)));
    }
  }
  process.user.additional_gids.insert(process.user.additional_gids.end(), request.additional_gids.begin(), request.additional_gids.end());
  process.no_new_privileges = process.no_new_privileges || request.no_new_privileges;
  if (request.apparmor_profile) process.apparmor_profile = *request.apparmor_profile;
  if (request.selinux_label) process.selinux_label = *request.selinux_label;
  if (!process.capabilities) process.capabilities.emplace();
  process.capabilities->inheritable = 0;
  process.capabilities->ambient = 0;
  for (const std::string& name : request.capabilities) {
    const std::optional<unsigned> number = CapabilityNumber(name);
    if (!number) return MakeError(ErrorCode::kInvalidArgument, "--cap {}: no such capability", Quote(name));
    const uint64_t bit = uint64_t{1} << *number;
    process.capabilities->bounding |= bit;
    process.capabilities->effective |= bit;
    process.capabilities->permitted |= bit;
  }
  return process;
}

Result<int, LaunchError> Foreground(Launched launched, UniqueFd master) {
  Container container(launched.pid, std::move(launched.pidfd), std::move(master));
  Result<int> status = RunForeground(container);
  if (status.ok()) return *status;
  (void)container.Signal(SIGKILL);
  (void)container.Wait();
  return OwnFailure(std::move(status).error());
}

}  // namespace

Result<int, LaunchError> ExecInContainer(const RuntimeOptions& options, const ExecRequest& request) {
  Plan plan;
  sys::PacketSockets sockets;
  State state;
  bool terminal = false;
  const auto prepare = [&]() -> Result<void> {
    SNAP_TRY(Existing container, OpenExisting(options, request.id));
    switch (StatusOf(container)) {
      case Status::kStopped:
      case Status::kCreating: return MakeError(ErrorCode::kInvalidArgument, "cannot exec in a stopped container");
      case Status::kPaused: return MakeError(ErrorCode::kInvalidArgument, "cannot exec in a paused container");
      default: break;
    }
    SNAP_TRY(const std::string config, container.dir.LoadConfig());
    SNAP_TRY(const Spec spec, ParseSpec(config));
    SNAP_TRY(const ProcessSpec process, ProcessOf(spec, request));
    OciOptions oci;
    oci.bundle = container.state.bundle;
    oci.console_socket = request.console_socket;
    oci.preserved_fds = request.preserved_fds;
    oci.rootless = options.rootless;
    terminal = process.terminal;
    SNAP_TRY_VOID(PlanExec(spec, process, container.state.pid, oci, plan));
    // Asked again, now that the pidfd holds it: the number was not another's in between.
    if (!IsAlive(container.state)) return MakeError(ErrorCode::kInvalidArgument, "cannot exec in a stopped container");
    if (terminal && request.console_socket.empty()) {
      if (request.detach) {
        return MakeError(ErrorCode::kInvalidArgument, "a process that is detached and has a terminal needs --console-socket");
      }
      SNAP_TRY_SYS(sockets, sys::MakePacketSockets(), "make a socket");
      plan.console_socket = std::move(sockets.other);
    }
    if (request.cgroup.empty()) {
      SNAP_TRY(plan.cgroup_procs, container.cgroup.OpenProcs());
    } else {
      SNAP_TRY(const Cgroup below, container.cgroup.Below(request.cgroup));
      SNAP_TRY(plan.cgroup_procs, below.OpenProcs());
    }
    state = container.state;
    return PlanChannels(plan);
  };
  if (Result<void> prepared = prepare(); !prepared.ok()) return OwnFailure(std::move(prepared).error());

  const SysResult<sigset_t> mask = request.detach ? SysResult<sigset_t>(sigset_t{}) : sys::BlockAllSignals();
  if (!mask.ok()) return OwnFailure(Error(mask.error(), "block signals"));
  const OnReport answer = [&](int32_t step, pid_t pid) -> Result<void> {
    if (step != ChildReport::kWantsState) return MakeError(ErrorCode::kInternal, "the process sent a malformed report");
    const Json json = {{"ociVersion", state.oci_version},
                       {"fds", {"seccompFd"}},
                       {"pid", pid},
                       {"state", Json::parse(HookState(state, "running"))}};
    const std::string text = DumpJson(json);
    SNAP_TRY_SYS_VOID(sys::PWriteAll(plan.seccomp_state, std::as_bytes(std::span(text)), 0), "write the state for the seccomp listener");
    return {};
  };
  Result<Launched, LaunchError> launched = Launch(plan, ExecSteps(), answer);
  if (!launched.ok()) return InEngineWords(std::move(launched).error(), plan.args[0]);
  UniqueFd master;
  if (sockets.one) {
    std::array<std::byte, 64> name;
    SysResult<sys::ReceivedPacket> packet = sys::ReceivePacket(sockets.one, name);
    if (packet.ok() && packet->descriptors.size() == 1) master = std::move(packet->descriptors[0]);
  }
  if (!request.pid_file.empty()) {
    if (Result<void> written = WritePidFile(request.pid_file, launched->pid); !written.ok()) {
      (void)sys::PidfdSendSignal(launched->pidfd, SIGKILL);
      return OwnFailure(std::move(written).error());
    }
  }
  if (request.detach) return 0;
  return Foreground(*std::move(launched), std::move(master));
}

}  // namespace snap::runtime
