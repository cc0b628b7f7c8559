// Directories are named by path: hierarchies are the host's, and nobody who is not trusted can put links into them.
#include "runtime/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <set>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "runtime/cgroup_devices.h"

namespace snap::runtime {
namespace {

constexpr size_t kMaxFile = size_t{4} << 20U;
constexpr int kMaxWaits = 1000;  // of ten milliseconds

/// The text of a small file, without its line end; "" when it cannot be read.
std::string ReadText(const std::string& path) {
  SysResult<std::string> text = sys::ReadFileAt(FdRef::Cwd(), path.c_str(), kMaxFile);
  if (!text.ok()) return "";
  while (text->ends_with('\n')) text->pop_back();
  return *std::move(text);
}

SysResult<void> WriteText(const std::string& path, std::string_view text) {
  SNAP_TRY(const UniqueFd file, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_WRONLY | O_NOFOLLOW));
  return sys::WriteAll(file, text);
}

Result<std::string> CheckPath(std::string_view path, std::string_view id) {
  if (path.empty()) return std::string(id);
  const bool absolute = path.starts_with('/');
  std::string out;
  for (std::string_view rest = path; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    if (part == ".." || part.find('\0') != std::string_view::npos) {
      return MakeError(ErrorCode::kInvalidArgument, "linux.cgroupsPath {}: it must not lead upwards", Quote(path));
    }
    out += "/";
    out += part;
  }
  if (out.empty()) return MakeError(ErrorCode::kInvalidArgument, "linux.cgroupsPath {}: it is the root", Quote(path));
  return absolute ? out : out.substr(1);
}

std::string Join(const std::string& mount_point, const std::string& own, const std::string& path) {
  if (path.starts_with('/')) return mount_point + path;
  return mount_point + (own == "/" ? "" : own) + "/" + path;
}

/// A cpuset without processors takes no process: what is above says which there are.
void FillCpuset(const std::string& parent, const std::string& directory) {
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    if (ReadText(directory + file).empty()) (void)WriteText(directory + file, ReadText(parent + file));
  }
}

/// Controllers reach a cgroup2 only through every directory above it.
void EnableControllers(const std::string& parent) {
  const std::string available = ReadText(parent + "/cgroup.controllers");
  for (size_t at = 0; at < available.size();) {
    const size_t end = std::min(available.find(' ', at), available.size());
    // One at a time: one that cannot be had must not keep the others away.
    (void)WriteText(parent + "/cgroup.subtree_control", "+" + available.substr(at, end - at));
    at = end + 1;
  }
}

bool MayNot(Errno error) { return error == EACCES || error == EPERM || error == EROFS; }

class Maker {
 public:
  ~Maker() {
    if (done_) return;
    for (size_t i = made_.size(); i-- > 0;) (void)sys::UnlinkAt(FdRef::Cwd(), made_[i].c_str(), AT_REMOVEDIR);
  }
  /// Makes every missing directory between the mount point and `directory`.
  SysResult<void> Make(const std::string& mount_point, const std::string& directory, bool cpuset, bool unified) {
    std::string parent = mount_point;
    for (size_t at = mount_point.size() + 1; at <= directory.size();) {
      const size_t end = std::min(directory.find('/', at), directory.size());
      const std::string path = directory.substr(0, end);
      if (unified) EnableControllers(parent);
      const SysResult<void> made = sys::MkdirAt(FdRef::Cwd(), path.c_str(), 0755);
      if (made.ok()) made_.push_back(path);
      else if (!(made.error() == EEXIST)) return made;
      if (cpuset) FillCpuset(parent, path);
      parent = path;
      at = end + 1;
    }
    return {};
  }
  void Keep() { done_ = true; }

 private:
  std::vector<std::string> made_;
  bool done_ = false;
};

SysResult<void> CollectProcesses(const std::string& directory, std::set<pid_t>& out) {
  SNAP_TRY(const UniqueFd dir, sys::OpenAt(FdRef::Cwd(), directory.c_str(), O_RDONLY | O_DIRECTORY));
  const SysResult<std::string> text = sys::ReadFileAt(dir, "cgroup.procs", kMaxFile);
  if (text.ok()) {
    for (size_t at = 0; at < text->size();) {
      const size_t end = std::min(text->find('\n', at), text->size());
      pid_t pid = 0;
      (void)std::from_chars(text->data() + at, text->data() + end, pid);
      if (pid > 0) out.insert(pid);
      at = end + 1;
    }
  }
  SNAP_TRY(const auto entries, sys::ListDir(dir));
  for (const sys::DirEntry& entry : entries) {
    if (entry.type != DT_DIR) continue;
    const SysResult<void> below = CollectProcesses(directory + "/" + entry.name, out);
    if (!below.ok() && !(below.error() == ENOENT)) return below;
  }
  return {};
}

SysResult<void> RemoveDirectories(const std::string& directory) {
  const SysResult<UniqueFd> dir = sys::OpenAt(FdRef::Cwd(), directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) return dir.error() == ENOENT ? SysResult<void>() : SysResult<void>(dir.error());
  SNAP_TRY(const auto entries, sys::ListDir(*dir));
  for (const sys::DirEntry& entry : entries) {
    if (entry.type == DT_DIR) SNAP_TRY_VOID(RemoveDirectories(directory + "/" + entry.name));
  }
  const SysResult<void> removed = sys::UnlinkAt(FdRef::Cwd(), directory.c_str(), AT_REMOVEDIR);
  if (!removed.ok() && removed.error() == ENOENT) return {};
  return removed;
}

}  // namespace

Result<Cgroup> Cgroup::Create(const CgroupLayout& layout, std::string_view path, std::string_view id, bool lenient) {
  SNAP_TRY(const std::string checked, CheckPath(path, id));
  Cgroup cgroup(layout.IsUnified(), {});
  Maker maker;
  const auto make = [&](const std::vector<std::string>& controllers, const std::string& mount_point, const std::string& own,
                        bool unified) -> Result<void> {
    SNAP_FAULT_POINT("runtime.cgroup.create");
    const std::string directory = Join(mount_point, own, checked);
    const bool cpuset = std::find(controllers.begin(), controllers.end(), "cpuset") != controllers.end();
    const SysResult<void> made = maker.Make(mount_point, directory, cpuset, unified);
    if (!made.ok() && lenient && MayNot(made.error())) return {};
    if (!made.ok()) return Error(made.error(), "make cgroup " + Quote(directory));
    for (const std::string& controller : controllers) cgroup.directories_[controller] = directory;
    return {};
  };
  for (const CgroupLayout::Hierarchy& hierarchy : layout.hierarchies) {
    SNAP_TRY_VOID(make(hierarchy.controllers, hierarchy.mount_point, hierarchy.own_path, false));
  }
  if (layout.unified) SNAP_TRY_VOID(make({""}, layout.unified->mount_point, layout.unified->own_path, layout.IsUnified()));
  SNAP_TRY(const std::vector<pid_t> processes, cgroup.Processes());
  if (!processes.empty()) {
    return MakeError(ErrorCode::kBusy, "cgroup {} has processes in it already", Quote(path.empty() ? id : path));
  }
  maker.Keep();
  return cgroup;
}

const std::string* Cgroup::Find(std::string_view controller) const {
  const auto found = directories_.find(std::string(controller));
  return found == directories_.end() ? nullptr : &found->second;
}

Result<void> Cgroup::Write(const CgroupWrite& write) const {
  const std::string* const directory = Find(write.controller);
  if (directory == nullptr) {
    if (write.optional) return {};
    return MakeError(ErrorCode::kUnsupported, "set cgroup {} to {}: this host has no controller {} that may be used", Quote(write.file),
                     Quote(write.value), Quote(write.controller.empty() ? "of the unified hierarchy" : write.controller));
  }
  const SysResult<void> written = WriteText(*directory + "/" + write.file, write.value);
  if (written.ok() || (write.optional && (written.error() == ENOENT || written.error() == EOPNOTSUPP))) return {};
  return Error(written.error(), fmt::format("set cgroup {} to {}", Quote(*directory + "/" + write.file), Quote(write.value)));
}

Result<void> Cgroup::Apply(const ResourcesSpec& resources, bool defaults) {
  SNAP_FAULT_POINT("runtime.cgroup.apply");
  SNAP_TRY(std::vector<CgroupWrite> writes, is_unified_ ? PlanCgroupV2(resources) : PlanCgroupV1(resources));
  // The kernel wants memory <= memory+swap at every moment: whichever order the values need is the one that works.
  const auto is = [](const char* file) { return [file](const CgroupWrite& write) { return write.file == file; }; };
  const auto limit = std::find_if(writes.begin(), writes.end(), is("memory.limit_in_bytes"));
  const auto swap = std::find_if(writes.begin(), writes.end(), is("memory.memsw.limit_in_bytes"));
  if (limit != writes.end() && swap != writes.end() && !Write(*limit).ok()) std::iter_swap(limit, swap);
  for (const CgroupWrite& write : writes) SNAP_TRY_VOID(Write(write));
  if (resources.devices.empty() && !defaults) return {};
  std::vector<DeviceRule> rules = resources.devices;
  if (defaults) {
    const std::vector<DeviceRule>& always = DefaultDeviceRules();
    rules.insert(rules.end(), always.begin(), always.end());
  }
  const std::string* const directory = Find(is_unified_ ? "" : "devices");
  if (directory == nullptr) return {};  // without root: no device that is not there already can be made
  return is_unified_ ? AttachDeviceFilter(*directory, rules) : WriteDeviceRules(*directory, rules);
}

Result<std::vector<UniqueFd>> Cgroup::OpenProcs() const {
  std::set<std::string> opened;
  std::vector<UniqueFd> procs;
  for (const auto& [controller, directory] : directories_) {
    if (!opened.insert(directory).second) continue;
    SNAP_TRY_SYS(UniqueFd file, sys::OpenAt(FdRef::Cwd(), (directory + "/cgroup.procs").c_str(), O_WRONLY), "enter cgroup {}",
                 Quote(directory));
    procs.push_back(std::move(file));
  }
  return procs;
}

Result<void> Cgroup::SetFrozen(bool frozen) {
  const std::string* const v1 = Find("freezer");
  const std::string* const directory = v1 != nullptr ? v1 : Find("");
  if (directory == nullptr) return MakeError(ErrorCode::kUnsupported, "freeze the container: this host has no freezer");
  const std::string file = *directory + (v1 != nullptr ? "/freezer.state" : "/cgroup.freeze");
  const std::string_view wanted = v1 != nullptr ? (frozen ? "FROZEN" : "THAWED") : (frozen ? "1" : "0");
  for (int i = 0; i < kMaxWaits; ++i) {
    SNAP_TRY_SYS_VOID(WriteText(file, wanted), "write {} to {}", Quote(wanted), Quote(file));
    // v1 may stay FREEZING while processes are being made: writing again helps it on, and a thaw in between lets stuck ones pass.
    if (v1 != nullptr && ReadText(file) == wanted) return {};
    if (v1 == nullptr && ReadText(*directory + "/cgroup.events").find(frozen ? "frozen 1" : "frozen 0") != std::string::npos) return {};
    if (v1 != nullptr && frozen && i % 25 == 24) (void)WriteText(file, "THAWED");
    sys::SleepMilliseconds(10);
  }
  (void)WriteText(file, v1 != nullptr ? "THAWED" : "0");
  return MakeError(ErrorCode::kBusy, "{} the container: its processes did not follow within ten seconds", frozen ? "freeze" : "thaw");
}

Result<void> Cgroup::Freeze() { return SetFrozen(true); }
Result<void> Cgroup::Thaw() { return SetFrozen(false); }

Result<bool> Cgroup::IsFrozen() const {
  if (const std::string* const v1 = Find("freezer"); v1 != nullptr) return ReadText(*v1 + "/freezer.state") != "THAWED" && sys::StatAt(FdRef::Cwd(), v1->c_str()).ok();
  if (const std::string* const unified = Find(""); unified != nullptr) return ReadText(*unified + "/cgroup.freeze") == "1";
  return false;
}

Result<std::vector<pid_t>> Cgroup::Processes() const {
  std::set<pid_t> found;
  std::set<std::string> seen;
  for (const auto& [controller, directory] : directories_) {
    if (!seen.insert(directory).second) continue;
    const SysResult<void> collected = CollectProcesses(directory, found);
    if (!collected.ok() && !(collected.error() == ENOENT)) return Error(collected.error(), "list processes of cgroup " + Quote(directory));
    if (!found.empty()) break;  // they are the same everywhere
  }
  return std::vector<pid_t>(found.begin(), found.end());
}

Result<void> Cgroup::Signal(int signal) {
  for (int i = 0; i < kMaxWaits; ++i) {
    SNAP_TRY(const std::vector<pid_t> processes, Processes());
    for (const pid_t pid : processes) {
      const SysResult<void> sent = sys::SendSignal(pid, signal);
      if (!sent.ok() && !(sent.error() == ESRCH)) return Error(sent.error(), fmt::format("send signal {} to process {}", signal, pid));
    }
    if (signal != SIGKILL || processes.empty()) return {};
    (void)Thaw();  // a frozen process dies only when it is thawed (v1)
    sys::SleepMilliseconds(i < 10 ? 1 : 10);
  }
  return MakeError(ErrorCode::kBusy, "the container's processes did not end within ten seconds");
}

Result<Cgroup> Cgroup::Below(std::string_view path) const {
  while (path.starts_with('/')) path.remove_prefix(1);
  SNAP_TRY(const std::string checked, CheckPath(path, ""));
  Cgroup below(is_unified_, {});
  for (const auto& [controller, directory] : directories_) {
    const std::string further = checked.empty() ? directory : directory + "/" + checked;
    if (sys::StatAt(FdRef::Cwd(), further.c_str()).ok()) below.directories_[controller] = further;
  }
  if (below.directories_.empty()) return MakeError(ErrorCode::kNotFound, "the container has no cgroup {}", Quote(path));
  return below;
}

Result<void> Cgroup::Remove() {
  std::set<std::string> seen;
  for (const auto& [controller, directory] : directories_) {
    if (!seen.insert(directory).second) continue;
    SysResult<void> removed = RemoveDirectories(directory);
    // A process that has just ended is in there for a moment more.
    for (int i = 0; i < 200 && !removed.ok() && removed.error() == EBUSY; ++i) {
      sys::SleepMilliseconds(i < 20 ? 1 : 10);
      removed = RemoveDirectories(directory);
    }
    if (!removed.ok()) return Error(removed.error(), "remove cgroup " + Quote(directory));
  }
  return {};
}

namespace {

uint64_t Number(std::string_view text) {
  uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc() ? value : 0;  // "max" is 0 in runc's figures
}

/// "name value" lines.
std::map<std::string, uint64_t> Table(const std::string& text) {
  std::map<std::string, uint64_t> out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    const size_t space = line.find(' ');
    if (space != std::string_view::npos) out[std::string(line.substr(0, space))] = Number(line.substr(space + 1));
    at = end + 1;
  }
  return out;
}

}  // namespace

Json Cgroup::Stats() const {
  Json data = Json::object();
  const auto dir = [&](std::string_view controller) {
    const std::string* const found = Find(is_unified_ ? "" : controller);
    return found == nullptr ? std::string() : *found + "/";
  };
  const std::string pids = dir("pids");
  data["pids"] = {{"current", Number(ReadText(pids + "pids.current"))}, {"limit", Number(ReadText(pids + "pids.max"))}};
  if (is_unified_) {
    const std::string d = dir("");
    const auto cpu = Table(ReadText(d + "cpu.stat"));
    const auto get = [](const std::map<std::string, uint64_t>& table, const char* name) {
      const auto found = table.find(name);
      return found == table.end() ? uint64_t{0} : found->second;
    };
    data["cpu"] = {{"usage",
                    {{"total", get(cpu, "usage_usec") * 1000},
                     {"kernel", get(cpu, "system_usec") * 1000},
                     {"user", get(cpu, "user_usec") * 1000}}},
                   {"throttling",
                    {{"periods", get(cpu, "nr_periods")},
                     {"throttledPeriods", get(cpu, "nr_throttled")},
                     {"throttledTime", get(cpu, "throttled_usec") * 1000}}}};
    data["memory"] = {{"usage",
                       {{"limit", Number(ReadText(d + "memory.max"))}, {"usage", Number(ReadText(d + "memory.current"))}}},
                      {"raw", Table(ReadText(d + "memory.stat"))}};
    return data;
  }
  const std::string acct = dir("cpuacct"), cpu = dir("cpu"), memory = dir("memory");
  const auto times = Table(ReadText(acct + "cpuacct.stat"));
  constexpr uint64_t kTick = 10'000'000;  // USER_HZ is 100 on every architecture
  const auto get = [](const std::map<std::string, uint64_t>& table, const char* name) {
    const auto found = table.find(name);
    return found == table.end() ? uint64_t{0} : found->second;
  };
  const auto throttled = Table(ReadText(cpu + "cpu.stat"));
  data["cpu"] = {{"usage",
                  {{"total", Number(ReadText(acct + "cpuacct.usage"))},
                   {"kernel", get(times, "system") * kTick},
                   {"user", get(times, "user") * kTick}}},
                 {"throttling",
                  {{"periods", get(throttled, "nr_periods")},
                   {"throttledPeriods", get(throttled, "nr_throttled")},
                   {"throttledTime", get(throttled, "throttled_time")}}}};
  const auto part = [&](const std::string& prefix) {
    return Json{{"limit", Number(ReadText(memory + prefix + ".limit_in_bytes"))},
                {"usage", Number(ReadText(memory + prefix + ".usage_in_bytes"))},
                {"max", Number(ReadText(memory + prefix + ".max_usage_in_bytes"))},
                {"failcnt", Number(ReadText(memory + prefix + ".failcnt"))}};
  };
  data["memory"] = {{"usage", part("memory")}, {"swap", part("memory.memsw")}, {"kernel", part("memory.kmem")},
                    {"raw", Table(ReadText(memory + "memory.stat"))}};
  return data;
}

}  // namespace snap::runtime
