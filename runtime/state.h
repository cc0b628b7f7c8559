// What is remembered of a container between two commands: <root>/<id>/state.json beside a copy of its config.json, and the socket at
// which its first process waits to be started. Format: docs/runtime.md. Invariant: the directory exists from before anything of the
// container does until after all of it is gone, so a launcher that is killed at any moment leaves only what `delete --force` finds.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::runtime {

enum class Status { kCreating, kCreated, kRunning, kPaused, kStopped };
std::string_view StatusName(Status status);

struct State {
  std::string id, bundle, rootfs, created, oci_version;
  uint32_t owner_uid = 0;
  pid_t pid = 0;            ///< 0: not there yet
  uint64_t start_time = 0;  ///< ProcessStartTime: with the pid, the process
  std::map<std::string, std::string> cgroups;  ///< controller ("" is the unified hierarchy): directory
  std::map<std::string, std::string> annotations;
  bool systemd = false;
};

/// [a-zA-Z0-9_+-][a-zA-Z0-9_+.-]*, at most 1024 bytes. Errors: kInvalidArgument.
Result<void> CheckContainerId(std::string_view id);

/// The directory of one container, open and locked: commands on one container follow each other.
class StateDir {
 public:
  static constexpr const char* kSocket = "start";
  /// Makes it, mode 0700 below `root`, which is made too. Errors: kExists "container with given ID already exists".
  static Result<StateDir> Create(const std::string& root, const std::string& id);
  /// Errors: kNotFound "container does not exist".
  static Result<StateDir> Open(const std::string& root, const std::string& id);
  /// Ids in `root`, sorted; none when it is not there.
  static Result<std::vector<std::string>> List(const std::string& root);

  FdRef fd() const { return dir_; }
  const std::string& id() const { return id_; }
  /// Replaces state.json in one step. No flush: it is about processes, which a power cut ends too.
  Result<void> Save(const State& state);
  /// Errors: kNotFound for one that died before it was saved; kCorrupt.
  Result<State> Load() const;
  Result<void> SaveConfig(std::string_view text);
  Result<std::string> LoadConfig() const;
  /// Removes the directory and everything in it.
  Result<void> Remove() &&;

 private:
  StateDir(UniqueFd root, UniqueFd dir, std::string id) : root_(std::move(root)), dir_(std::move(dir)), id_(std::move(id)) {}
  UniqueFd root_, dir_;
  std::string id_;
};

/// Whether the process of the state lives (a zombie does not).
bool IsAlive(const State& state);

}  // namespace snap::runtime
