// The commands of an OCI runtime, one function each, with runc's meaning: what containerd's shim, dockerd, conmon and CRI-O call.
// Source: github.com/opencontainers/runtime-spec runtime.md, runc(8). Threads: one at a time, in a process with one thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/json.h"
#include "fs/base/result.h"
#include "runtime/container.h"
#include "runtime/spec.h"
#include "runtime/state.h"

namespace snap::runtime {

struct RuntimeOptions {
  std::string root;      ///< where states are
  bool no_cgroups = false;
  bool rootless = false; ///< what may not be done for lack of rights is left out where it is not asked for
};

struct CreateRequest {
  std::string id, bundle;          ///< bundle: absolute
  std::string config = "config.json";  ///< in the bundle, or absolute
  std::string console_socket, pid_file;
  unsigned preserved_fds = 0;
  bool no_pivot = false, no_new_keyring = false;
};
/// The container is created, and nothing of it runs, when this returns. On failure nothing is left.
Result<void, LaunchError> CreateContainer(const RuntimeOptions& options, const CreateRequest& request);
/// Lets it run its program. Errors: that of the exec; kInvalidArgument when it is not created.
Result<void, LaunchError> StartContainer(const RuntimeOptions& options, const std::string& id);
/// Both; then waits for its end in the foreground unless `detach`, and removes it. The exit status: its own, or 128 + signal.
Result<int, LaunchError> RunContainer(const RuntimeOptions& options, const CreateRequest& request, bool detach, bool keep);

struct ExecRequest {
  std::string id, console_socket, pid_file;
  std::string process_json;            ///< the "process" object; "": made of the rest and the container's own
  std::vector<std::string> args, env, capabilities;
  std::string cwd, user;               ///< user: "UID[:GID]"
  std::vector<uint32_t> additional_gids;
  bool terminal = false, no_new_privileges = false, detach = false;
  std::optional<std::string> apparmor_profile, selinux_label;
  std::string cgroup;                  ///< below the container's own
  unsigned preserved_fds = 0;
};
Result<int, LaunchError> ExecInContainer(const RuntimeOptions& options, const ExecRequest& request);

struct Described {
  State state;
  Status status = Status::kStopped;
};
/// Errors: kNotFound "container ... does not exist".
Result<Described> DescribeContainer(const RuntimeOptions& options, const std::string& id);
Result<std::vector<Described>> ListContainers(const RuntimeOptions& options);
/// The state as JSON, as the specification has it, with runc's additions.
Json StateJson(const Described& container);

/// Errors: kInvalidArgument "container not running".
Result<void> KillContainer(const RuntimeOptions& options, const std::string& id, int signal, bool all);
/// `force`: also one that runs; one that does not exist is no failure.
Result<void> DeleteContainer(const RuntimeOptions& options, const std::string& id, bool force);
Result<void> PauseContainer(const RuntimeOptions& options, const std::string& id);
Result<void> ResumeContainer(const RuntimeOptions& options, const std::string& id);
Result<std::vector<pid_t>> ProcessesOf(const RuntimeOptions& options, const std::string& id);
Result<void> UpdateContainer(const RuntimeOptions& options, const std::string& id, const ResourcesSpec& resources);
/// {"type":"stats","id":...,"data":...}
Result<Json> StatsOf(const RuntimeOptions& options, const std::string& id);

}  // namespace snap::runtime
