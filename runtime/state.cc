// state.json is written aside and renamed. A lock on the directory serialises commands; it goes with the descriptor.
#include "runtime/state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "fs/base/json.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_process.h"

namespace snap::runtime {
namespace {

constexpr const char* kStateFile = "state.json";
constexpr const char* kConfigFile = "config.json";
constexpr size_t kMaxState = size_t{1} << 20U;
constexpr size_t kMaxConfig = size_t{16} << 20U;
constexpr size_t kMaxId = 1024;

bool IsIdStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-';
}

Error NoSuch(std::string_view id) { return MakeError(ErrorCode::kNotFound, "container {} does not exist", Quote(id)); }

/// Every component that is missing, 0711: others may pass, as engines with their own users do, and see nothing.
Result<UniqueFd> MakeRoot(const std::string& root) {
  for (size_t end = root.find('/', 1);; end = root.find('/', end + 1)) {
    const std::string prefix = root.substr(0, end);
    const SysResult<void> made = sys::MkdirAt(FdRef::Cwd(), prefix.c_str(), 0711);
    if (!made.ok() && !(made.error() == EEXIST)) return Error(made.error(), "make directory " + Quote(prefix));
    if (end == std::string::npos) break;
  }
  SNAP_TRY_SYS(UniqueFd fd, sys::OpenAt(FdRef::Cwd(), root.c_str(), O_RDONLY | O_DIRECTORY), "open directory {}", Quote(root));
  return fd;
}

Result<void> Replace(FdRef dir, const char* name, std::string_view text) {
  const std::string aside = std::string(".") + name;
  (void)sys::UnlinkAt(dir, aside.c_str());  // of a launcher that was killed
  {
    SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(dir, aside.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600), "write {}", Quote(name));
    SNAP_TRY_SYS_VOID(sys::WriteAll(file, text), "write {}", Quote(name));
  }
  SNAP_TRY_SYS_VOID(sys::RenameAt(dir, aside.c_str(), dir, name), "write {}", Quote(name));
  return {};
}

Result<std::map<std::string, std::string>> ReadMap(const Json& parent, const char* key, std::string_view what) {
  std::map<std::string, std::string> out;
  SNAP_TRY(const Json* const object, JsonObjectOrNull(parent, key, what));
  if (object == nullptr) return out;
  for (const auto& [name, value] : object->items()) {
    if (!value.is_string()) return MakeError(ErrorCode::kCorrupt, "{}: {}: not a string", what, Quote(name));
    out[name] = value.get<std::string>();
  }
  return out;
}

}  // namespace

std::string_view StatusName(Status status) {
  switch (status) {
    case Status::kCreating: return "creating";
    case Status::kCreated: return "created";
    case Status::kRunning: return "running";
    case Status::kPaused: return "paused";
    case Status::kStopped: return "stopped";
  }
  return "";
}

Result<void> CheckContainerId(std::string_view id) {
  const bool good = !id.empty() && id.size() <= kMaxId && IsIdStart(id[0]) &&
                    std::all_of(id.begin(), id.end(), [](char c) { return IsIdStart(c) || c == '.'; });
  if (good) return {};
  return MakeError(ErrorCode::kInvalidArgument, "container id {} is invalid: it takes letters, digits, '_', '+', '-' and, behind the first, '.'",
                   Quote(id));
}

Result<StateDir> StateDir::Create(const std::string& root, const std::string& id) {
  SNAP_TRY_VOID(CheckContainerId(id));
  SNAP_TRY(UniqueFd root_fd, MakeRoot(root));
  const SysResult<void> made = sys::MkdirAt(root_fd, id.c_str(), 0700);
  if (!made.ok() && made.error() == EEXIST) {
    return MakeError(ErrorCode::kExists, "container with id {} already exists", Quote(id));
  }
  if (!made.ok()) return Error(made.error(), fmt::format("make directory {} in {}", Quote(id), Quote(root)));
  SNAP_TRY_SYS(UniqueFd dir, sys::OpenAt(root_fd, id.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW), "open directory {} in {}", Quote(id),
               Quote(root));
  SNAP_TRY_SYS_VOID(sys::Flock(dir, LOCK_EX), "lock container {}", Quote(id));
  return StateDir(std::move(root_fd), std::move(dir), id);
}

Result<StateDir> StateDir::Open(const std::string& root, const std::string& id) {
  SNAP_TRY_VOID(CheckContainerId(id));
  SysResult<UniqueFd> root_fd = sys::OpenAt(FdRef::Cwd(), root.c_str(), O_RDONLY | O_DIRECTORY);
  if (!root_fd.ok() && root_fd.error() == ENOENT) return NoSuch(id);
  if (!root_fd.ok()) return Error(root_fd.error(), "open directory " + Quote(root));
  SysResult<UniqueFd> dir = sys::OpenAt(*root_fd, id.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir.ok() && dir.error() == ENOENT) return NoSuch(id);
  if (!dir.ok()) return Error(dir.error(), fmt::format("open directory {} in {}", Quote(id), Quote(root)));
  SNAP_TRY_SYS_VOID(sys::Flock(*dir, LOCK_EX), "lock container {}", Quote(id));
  SNAP_TRY_SYS(const struct stat status, sys::FStat(*dir), "look at container {}", Quote(id));
  if (status.st_nlink == 0) return NoSuch(id);  // removed while we waited
  return StateDir(*std::move(root_fd), *std::move(dir), id);
}

Result<std::vector<std::string>> StateDir::List(const std::string& root) {
  std::vector<std::string> ids;
  const SysResult<UniqueFd> root_fd = sys::OpenAt(FdRef::Cwd(), root.c_str(), O_RDONLY | O_DIRECTORY);
  if (!root_fd.ok() && root_fd.error() == ENOENT) return ids;
  if (!root_fd.ok()) return Error(root_fd.error(), "open directory " + Quote(root));
  SNAP_TRY_SYS(const auto entries, sys::ListDir(*root_fd), "list directory {}", Quote(root));
  for (const sys::DirEntry& entry : entries) {
    if (CheckContainerId(entry.name).ok()) ids.push_back(entry.name);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

Result<void> StateDir::Save(const State& state) {
  const Json json = {{"ociVersion", state.oci_version}, {"id", state.id},           {"pid", state.pid},
                     {"startTime", state.start_time},   {"bundle", state.bundle},   {"rootfs", state.rootfs},
                     {"created", state.created},        {"ownerUid", state.owner_uid}, {"cgroups", state.cgroups},
                     {"annotations", state.annotations}, {"systemd", state.systemd}};
  return Replace(dir_, kStateFile, DumpJson(json));
}

Result<State> StateDir::Load() const {
  const SysResult<std::string> text = sys::ReadFileAt(dir_, kStateFile, kMaxState);
  if (!text.ok()) return Error(text.error(), fmt::format("read the state of container {}", Quote(id_)));
  const std::string what = "state of container " + Quote(id_);
  SNAP_TRY(const Json json, ParseJson(*text, what));
  State state;
  SNAP_TRY(state.oci_version, JsonString(json, "ociVersion", what));
  SNAP_TRY(state.id, JsonString(json, "id", what));
  SNAP_TRY(const uint64_t pid, JsonUnsigned(json, "pid", what));
  if (pid > INT32_MAX) return MakeError(ErrorCode::kCorrupt, "{}: pid is out of range", what);
  state.pid = static_cast<pid_t>(pid);
  SNAP_TRY(state.start_time, JsonUnsigned(json, "startTime", what));
  SNAP_TRY(state.bundle, JsonString(json, "bundle", what));
  SNAP_TRY(state.rootfs, JsonString(json, "rootfs", what));
  SNAP_TRY(state.created, JsonString(json, "created", what));
  SNAP_TRY(const uint64_t owner, JsonUnsigned(json, "ownerUid", what));
  state.owner_uid = static_cast<uint32_t>(owner);
  SNAP_TRY(state.cgroups, ReadMap(json, "cgroups", what));
  SNAP_TRY(state.annotations, ReadMap(json, "annotations", what));
  SNAP_TRY(state.systemd, JsonBoolOr(json, "systemd", false, what));
  return state;
}

Result<void> StateDir::SaveConfig(std::string_view text) { return Replace(dir_, kConfigFile, text); }

Result<std::string> StateDir::LoadConfig() const {
  SNAP_TRY_SYS(std::string text, sys::ReadFileAt(dir_, kConfigFile, kMaxConfig), "read the configuration of container {}", Quote(id_));
  return text;
}

Result<void> StateDir::Remove() && {
  SNAP_TRY_SYS_VOID(sys::RemoveTree(root_, id_.c_str()), "remove the state of container {}", Quote(id_));
  return {};
}

bool IsAlive(const State& state) {
  if (state.pid <= 0) return false;
  const SysResult<uint64_t> started = sys::ProcessStartTime(state.pid);
  if (!started.ok() || *started != state.start_time) return false;
  const SysResult<UniqueFd> pidfd = sys::PidfdOpen(state.pid);
  if (!pidfd.ok()) return false;
  const SysResult<bool> exited = sys::HasExited(*pidfd);
  return exited.ok() && !*exited;
}

}  // namespace snap::runtime
