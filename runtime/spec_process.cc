// "process": what runs, as whom, and what it may do.
#include <sys/resource.h>

#include <algorithm>
#include <array>

#include "runtime/capabilities.h"
#include "runtime/spec_parse.h"

namespace snap::runtime {
namespace {

constexpr std::pair<std::string_view, int> kLimits[] = {
    {"RLIMIT_AS", RLIMIT_AS},         {"RLIMIT_CORE", RLIMIT_CORE},         {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},     {"RLIMIT_FSIZE", RLIMIT_FSIZE},       {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE}, {"RLIMIT_NPROC", RLIMIT_NPROC},       {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO}, {"RLIMIT_RTTIME", RLIMIT_RTTIME},     {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING}};

template <size_t kSize>
Result<uint32_t> IndexOf(const SpecReader& in, const char* key, const std::string& word, const std::array<std::string_view, kSize>& words) {
  const auto found = std::find(words.begin(), words.end(), word);
  if (found == words.end()) return in.Refuse(key, Quote(word) + " is not known");
  return static_cast<uint32_t>(found - words.begin());
}

Result<void> ReadUser(const SpecReader& in, UserSpec& user) {
  SNAP_TRY_VOID(in.Read("uid", user.uid));
  SNAP_TRY_VOID(in.Read("gid", user.gid));
  SNAP_TRY_VOID(in.Read("umask", user.umask));
  if (user.umask && *user.umask > 0777U) return in.Refuse("umask", "more than 0777");
  SNAP_TRY_VOID(in.Each("additionalGids", [&](const Json& item, const std::string& path) {
    return SpecReader::Integer(item, path, user.additional_gids.emplace_back());
  }));
  constexpr uint32_t kNobody = UINT32_MAX;  // -1: "leave it", for the system calls
  const bool bad_group = std::find(user.additional_gids.begin(), user.additional_gids.end(), kNobody) != user.additional_gids.end();
  if (user.uid == kNobody || user.gid == kNobody || bad_group) return in.Refuse("uid", "4294967295 is no id");
  return {};
}

Result<void> ReadCapabilities(const SpecReader& in, CapabilitySpec& out) {
  const std::pair<const char*, uint64_t*> sets[] = {{"bounding", &out.bounding},
                                                    {"effective", &out.effective},
                                                    {"inheritable", &out.inheritable},
                                                    {"permitted", &out.permitted},
                                                    {"ambient", &out.ambient}};
  for (const auto& [key, mask] : sets) {
    std::vector<std::string> names;
    SNAP_TRY_VOID(in.Read(key, names));
    for (const std::string& name : names) {
      const std::optional<unsigned> number = name.starts_with("CAP_") ? CapabilityNumber(name) : std::nullopt;
      // One of a newer kernel cannot be given: as with runc, having fewer is no reason not to start.
      if (number) *mask |= uint64_t{1} << *number;
    }
  }
  return {};
}

Result<void> ReadLimits(const SpecReader& in, ProcessSpec& process) {
  return in.EachObject("rlimits", [&](const SpecReader& item) -> Result<void> {
    RlimitSpec limit;
    std::string type;
    SNAP_TRY_VOID(item.Read("type", type));
    SNAP_TRY_VOID(item.Read("soft", limit.soft));
    SNAP_TRY_VOID(item.Read("hard", limit.hard));
    const auto* const found = std::find_if(std::begin(kLimits), std::end(kLimits), [&](const auto& known) { return known.first == type; });
    if (found == std::end(kLimits)) return item.Refuse("type", Quote(type) + " is no resource limit");
    limit.resource = found->second;
    if (limit.soft > limit.hard) return item.Refuse("soft", "it is above the hard limit");
    for (const RlimitSpec& other : process.rlimits) {
      if (other.resource == limit.resource) return item.Refuse("type", Quote(type) + " is there twice");
    }
    process.rlimits.push_back(limit);
    return {};
  });
}

Result<void> ReadScheduler(const SpecReader& in, SchedulerSpec& out) {
  constexpr std::array<std::string_view, 7> kPolicies = {"SCHED_OTHER", "SCHED_FIFO", "SCHED_RR",      "SCHED_BATCH",
                                                         "SCHED_ISO",   "SCHED_IDLE", "SCHED_DEADLINE"};
  constexpr std::array<std::string_view, 7> kFlags = {"SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM",     "SCHED_FLAG_DL_OVERRUN",
                                                      "SCHED_FLAG_KEEP_POLICY",   "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN",
                                                      "SCHED_FLAG_UTIL_CLAMP_MAX"};
  std::string policy;
  std::vector<std::string> flags;
  SNAP_TRY_VOID(in.Read("policy", policy));
  SNAP_TRY(out.policy, IndexOf(in, "policy", policy, kPolicies));
  SNAP_TRY_VOID(in.Read("nice", out.nice));
  SNAP_TRY_VOID(in.Read("priority", out.priority));
  SNAP_TRY_VOID(in.Read("runtime", out.runtime));
  SNAP_TRY_VOID(in.Read("deadline", out.deadline));
  SNAP_TRY_VOID(in.Read("period", out.period));
  SNAP_TRY_VOID(in.Read("flags", flags));
  for (const std::string& flag : flags) {
    SNAP_TRY(const uint32_t bit, IndexOf(in, "flags", flag, kFlags));
    out.flags |= uint64_t{1} << bit;
  }
  return {};
}

Result<void> ReadIoPriority(const SpecReader& in, std::optional<uint16_t>& out) {
  constexpr std::array<std::string_view, 4> kClasses = {"", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"};
  std::string name;
  int32_t level = 0;
  SNAP_TRY_VOID(in.Read("class", name));
  SNAP_TRY_VOID(in.Read("priority", level));
  SNAP_TRY(const uint32_t number, IndexOf(in, "class", name, kClasses));
  if (number == 0) return in.Refuse("class", "it is missing");
  if (level < 0 || level > 7) return in.Refuse("priority", "not from 0 to 7");
  out = static_cast<uint16_t>(number << 13U | static_cast<uint32_t>(level));
  return {};
}

}  // namespace

std::string_view LimitName(int resource) {
  const auto* const found = std::find_if(std::begin(kLimits), std::end(kLimits), [&](const auto& known) { return known.second == resource; });
  return found == std::end(kLimits) ? std::string_view() : found->first;
}

Result<ProcessSpec> ReadProcess(const SpecReader& in) {
  ProcessSpec process;
  SNAP_TRY_VOID(in.Read("terminal", process.terminal));
  SNAP_TRY_VOID(in.Object("consoleSize", [&](const SpecReader& size) -> Result<void> {
    SNAP_TRY_VOID(size.Read("height", process.console_size.height));
    return size.Read("width", process.console_size.width);
  }));
  SNAP_TRY_VOID(in.Object("user", [&](const SpecReader& user) { return ReadUser(user, process.user); }));
  SNAP_TRY_VOID(in.Read("args", process.args));
  if (process.args.empty() || process.args[0].empty()) return in.Refuse("args", "there is no program to run");
  SNAP_TRY_VOID(in.Read("env", process.env));
  for (const std::string& variable : process.env) {
    if (variable.starts_with('=')) return in.Refuse("env", Quote(variable) + " has no name");
  }
  SNAP_TRY_VOID(in.Read("cwd", process.cwd));
  if (!process.cwd.starts_with('/')) return in.Refuse("cwd", Quote(process.cwd) + " is not an absolute path");
  SNAP_TRY_VOID(in.Object("capabilities", [&](const SpecReader& capabilities) {
    return ReadCapabilities(capabilities, process.capabilities.emplace());
  }));
  SNAP_TRY_VOID(ReadLimits(in, process));
  SNAP_TRY_VOID(in.Read("noNewPrivileges", process.no_new_privileges));
  SNAP_TRY_VOID(in.Read("oomScoreAdj", process.oom_score_adj));
  if (process.oom_score_adj && (*process.oom_score_adj < -1000 || *process.oom_score_adj > 1000)) {
    return in.Refuse("oomScoreAdj", "not from -1000 to 1000");
  }
  SNAP_TRY_VOID(in.Read("apparmorProfile", process.apparmor_profile));
  SNAP_TRY_VOID(in.Read("selinuxLabel", process.selinux_label));
  SNAP_TRY_VOID(in.Object("scheduler", [&](const SpecReader& scheduler) { return ReadScheduler(scheduler, process.scheduler.emplace()); }));
  SNAP_TRY_VOID(in.Object("ioPriority", [&](const SpecReader& priority) { return ReadIoPriority(priority, process.io_priority); }));
  SNAP_TRY_VOID(in.Object("execCPUAffinity", [&](const SpecReader& affinity) -> Result<void> {
    SNAP_TRY_VOID(affinity.Read("initial", process.exec_cpu_affinity_initial));
    return affinity.Read("final", process.exec_cpu_affinity_final);
  }));
  return process;
}

}  // namespace snap::runtime
