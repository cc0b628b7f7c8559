// Strings from outside are checked here once: no NUL, no name that could be read as another line or variable.
#include "runtime/plan.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mount.h>

#include <string_view>

#include "fs/base/quote.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "runtime/child.h"
#include "runtime/etc_files.h"
#include "runtime/exec_path.h"

namespace snap::runtime {
namespace {

Result<void> CheckNoNul(std::string_view text, std::string_view what) {
  if (text.find('\0') == std::string_view::npos) return {};
  return MakeError(ErrorCode::kInvalidArgument, "{} {} holds a NUL byte", what, Quote(text));
}

const std::string* FindVariable(const std::vector<std::string>& env, std::string_view name) {
  const std::string* found = nullptr;
  for (const std::string& variable : env) {
    if (variable.size() > name.size() && variable.starts_with(name) && variable[name.size()] == '=') found = &variable;
  }
  return found;
}

Result<std::vector<std::string>> DockerEnvironment(const ContainerSpec& spec, const Plan& plan) {
  std::vector<std::string> env = spec.env;
  for (const std::string& variable : env) {
    if (variable.find('=') == std::string::npos || variable.starts_with('=')) {
      return MakeError(ErrorCode::kInvalidArgument, "environment variable {} is not NAME=value", Quote(variable));
    }
  }
  const auto add_missing = [&](std::string_view name, std::string_view value) {
    if (FindVariable(env, name) == nullptr) env.push_back(fmt::format("{}={}", name, value));
  };
  add_missing("PATH", kDefaultPath);
  add_missing("HOSTNAME", plan.hostname);
  add_missing("HOME", plan.user.home);
  if (spec.terminal) add_missing("TERM", "xterm");
  return env;
}

void PlanFault(Plan& plan) {
  plan.attach_staging = fault::Take("runtime.prepare.attach_staging").has_value();
  for (size_t step = 0; step < ChildSteps().size(); ++step) {
    const std::string name = fmt::format("runtime.child.{}", ChildSteps()[step].name);
    const std::optional<fault::Order> order = fault::Take(name.c_str());
    if (!order || plan.fault_step >= 0) continue;
    plan.fault_step = static_cast<int>(step);
    plan.fault = *order;
  }
}

}  // namespace

Result<void> PlanCommand(std::vector<std::string> args, std::vector<std::string> env, Plan& plan) {
  if (args.empty() || args[0].empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "no command to run: neither the image nor the caller names one");
  }
  plan.args = std::move(args);
  for (const std::string& arg : plan.args) SNAP_TRY_VOID(CheckNoNul(arg, "argument"));
  plan.env = std::move(env);
  for (const std::string& variable : plan.env) SNAP_TRY_VOID(CheckNoNul(variable, "environment variable"));
  const std::string* const path = FindVariable(plan.env, "PATH");
  plan.searched = plan.args[0].find('/') == std::string::npos;
  plan.candidates =
      ExecCandidates(plan.args[0], path != nullptr ? std::string_view(*path).substr(sizeof "PATH") : kDefaultPath);

  for (std::string& arg : plan.args) plan.argv.push_back(arg.data());
  plan.argv.push_back(nullptr);
  for (std::string& variable : plan.env) plan.envp.push_back(variable.data());
  plan.envp.push_back(nullptr);
  for (const std::string& candidate : plan.candidates) plan.exec_paths.push_back(candidate.c_str());
  return {};
}

// The child hands 0, 1, 2 on and closes the rest; a descriptor of ours in one of these places would be handed on too,
// and a directory would be a way out of the rootfs.
Result<void> CheckStandardStreams(FdRef rootfs) {
  constexpr const char* kNames[] = {"standard input", "standard output", "standard error"};
  for (int fd = 0; fd < 3; ++fd) {
    const SysResult<struct stat> status = sys::FStat(FdRef(fd));
    if (!status.ok() || fd == rootfs.get()) {
      return MakeError(ErrorCode::kInvalidArgument, "{} is closed: open it, for example on /dev/null", kNames[fd]);
    }
    if (S_ISDIR(status->st_mode)) {
      return MakeError(ErrorCode::kInvalidArgument, "{} is a directory of the host", kNames[fd]);
    }
  }
  return {};
}

Result<void> PlanChannels(Plan& plan) {
  SNAP_FAULT_POINT("runtime.prepare.report");
  SNAP_TRY_SYS(plan.launcher, sys::PidfdOpen(sys::Pid()), "open a pidfd of the launcher");
  SNAP_TRY_SYS(sys::Pipe report, sys::MakePipe(), "make a pipe");
  plan.report_in = std::move(report.read_end);
  plan.report_out = std::move(report.write_end);
  SNAP_TRY_SYS(sys::Pipe go, sys::MakePipe(), "make a pipe");
  plan.go_in = std::move(go.read_end);
  plan.go_out = std::move(go.write_end);
  plan.made.resize(plan.rootfs.mounts.size());
  if (fault::g_armed) [[unlikely]] PlanFault(plan);
  return {};
}

Result<void> Prepare(const ContainerSpec& spec, UniqueFd rootfs, Plan& plan) {
  SNAP_TRY_VOID(CheckStandardStreams(rootfs));
  plan.hostname = spec.hostname.empty() ? spec.id.substr(0, 12) : spec.hostname;
  SNAP_TRY_VOID(CheckHostname(plan.hostname));
  plan.working_dir = spec.working_dir.empty() ? "/" : spec.working_dir;
  SNAP_TRY_VOID(CheckNoNul(plan.working_dir, "working directory"));
  if (!plan.working_dir.starts_with('/')) {
    return MakeError(ErrorCode::kInvalidArgument, "working directory {} is not an absolute path",
                     Quote(plan.working_dir));
  }
  SNAP_TRY(plan.user, ResolveUser(rootfs, spec.user));
  SNAP_TRY(std::vector<std::string> env, DockerEnvironment(spec, plan));
  SNAP_TRY_VOID(PlanCommand(spec.args, std::move(env), plan));

  // A capability that the launcher itself lacks cannot be given; having fewer is the safe direction.
  SNAP_TRY_SYS(const sys::CapabilitySets own, sys::GetCapabilities(), "read the launcher's capabilities");
  plan.bounding = DefaultCapabilities() & own.permitted;
  const uint64_t permitted = plan.user.uid == 0 ? plan.bounding : 0;
  plan.capabilities = {permitted, permitted, 0};
  plan.host_propagation = MS_REC | MS_PRIVATE;

  plan.clone_flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  if (spec.network == Network::kNone) plan.clone_flags |= CLONE_NEWNET;
  plan.loopback = spec.network == Network::kNone;
  plan.read_only_rootfs = spec.read_only_rootfs;
  plan.no_new_privileges = !spec.new_privileges;
  plan.masked_paths = MaskedPaths();
  plan.read_only_paths = ReadOnlyPaths();

  SNAP_TRY(plan.rootfs, PlanRootfs(spec, plan.hostname, std::move(rootfs)));
  if (spec.terminal) {
    SNAP_FAULT_POINT("runtime.prepare.terminal");
    SNAP_TRY(plan.terminal, OpenPty(plan.rootfs.devpts, plan.user.uid, spec.terminal_size));
  }
  return PlanChannels(plan);
}

}  // namespace snap::runtime
