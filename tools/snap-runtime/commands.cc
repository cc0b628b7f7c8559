// Output is what callers parse: see runtime(7) of containerd, podman and docker, and docs/runtime.md.
#include "tools/snap-runtime/commands.h"

#include <fcntl.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <thread>

#include "fs/base/json.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_program.h"
#include "runtime/default_spec.h"
#include "runtime/features.h"

namespace snap::runtime_cli {
namespace {

using runtime::LaunchError;
using runtime::RuntimeOptions;
using Kind = Flag::Kind;
using Outcome = Result<int, LaunchError>;

LaunchError Fail(Error error) { return LaunchError{1, std::move(error)}; }
LaunchError Usage(std::string_view text) { return Fail(MakeError(ErrorCode::kInvalidArgument, "{}", text)); }

Outcome Done(Result<void> result) {
  if (!result.ok()) return Fail(std::move(result).error());
  return 0;
}
Outcome Done(Result<void, LaunchError> result) {
  if (!result.ok()) return std::move(result).error();
  return 0;
}

Outcome Print(const std::string& text) {
  const SysResult<void> written = sys::WriteAll(FdRef(1), text);
  if (!written.ok()) return Fail(Error(written.error(), "write to standard output"));
  return 0;
}

template <typename Number>
Result<std::optional<Number>> ParseFlag(const Arguments& arguments, std::string_view name) {
  const std::string text = arguments.Text(name);
  if (text.empty()) return std::optional<Number>();
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return std::optional(number);
  return MakeError(ErrorCode::kInvalidArgument, "--{} takes a number, not {}", name, Quote(text));
}

std::string Absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  const SysResult<std::string> cwd = sys::ReadLinkAt(FdRef::Cwd(), "/proc/self/cwd");
  return (cwd.ok() ? *cwd : "") + "/" + path;
}

constexpr Flag kCreateFlags[] = {
    {Kind::kText, "bundle", "b", "directory with config.json; default: the working directory"},
    {Kind::kText, "config", "f", "file in the bundle in place of config.json"},
    {Kind::kText, "console-socket", "", "unix socket that gets the terminal"},
    {Kind::kText, "pidfd-socket", "", ""},
    {Kind::kText, "pid-file", "", "file that gets the process id"},
    {Kind::kText, "preserve-fds", "", "descriptors from 3 on that the container inherits"},
    {Kind::kSwitch, "no-pivot", "", ""},
    {Kind::kSwitch, "no-new-keyring", "", ""},
    {Kind::kSwitch, "no-subreaper", "", ""},
    {Kind::kSwitch, "detach", "d", "run: do not wait"},
    {Kind::kSwitch, "keep", "", "run: do not delete it at its end"}};

Result<runtime::CreateRequest> CreateRequestOf(const Arguments& arguments) {
  runtime::CreateRequest request;
  request.id = arguments.operands()[0];
  request.bundle = Absolute(arguments.Has("bundle") ? arguments.Text("bundle") : ".");
  if (arguments.Has("config")) request.config = arguments.Text("config");
  request.console_socket = arguments.Text("console-socket");
  request.pid_file = arguments.Text("pid-file");
  request.no_pivot = arguments.Has("no-pivot");
  request.no_new_keyring = arguments.Has("no-new-keyring");
  SNAP_TRY(const std::optional<unsigned> preserved, ParseFlag<unsigned>(arguments, "preserve-fds"));
  request.preserved_fds = preserved.value_or(0);
  if (!arguments.Text("pidfd-socket").empty()) return MakeError(ErrorCode::kUnsupported, "--pidfd-socket is not supported");
  return request;
}

Outcome Create(const RuntimeOptions& options, const Arguments& arguments) {
  const Result<runtime::CreateRequest> request = CreateRequestOf(arguments);
  if (!request.ok()) return Fail(request.error());
  return Done(runtime::CreateContainer(options, *request));
}

Outcome Start(const RuntimeOptions& options, const Arguments& arguments) {
  return Done(runtime::StartContainer(options, arguments.operands()[0]));
}

Outcome Run(const RuntimeOptions& options, const Arguments& arguments) {
  const Result<runtime::CreateRequest> request = CreateRequestOf(arguments);
  if (!request.ok()) return Fail(request.error());
  return runtime::RunContainer(options, *request, arguments.Has("detach"), arguments.Has("keep"));
}

constexpr Flag kExecFlags[] = {{Kind::kText, "process", "p", "file with the process object"},
                               {Kind::kText, "console-socket", "", "unix socket that gets the terminal"},
                               {Kind::kText, "pidfd-socket", "", ""},
                               {Kind::kText, "pid-file", "", "file that gets the process id"},
                               {Kind::kText, "cwd", "", "working directory"},
                               {Kind::kTexts, "env", "e", "NAME=VALUE"},
                               {Kind::kSwitch, "tty", "t", "give it a terminal"},
                               {Kind::kText, "user", "u", "UID[:GID]"},
                               {Kind::kTexts, "additional-gids", "g", "more groups"},
                               {Kind::kSwitch, "detach", "d", "do not wait"},
                               {Kind::kText, "process-label", "", "SELinux label"},
                               {Kind::kText, "apparmor", "", "AppArmor profile"},
                               {Kind::kSwitch, "no-new-privs", "", "set no_new_privs"},
                               {Kind::kTexts, "cap", "c", "add a capability"},
                               {Kind::kText, "preserve-fds", "", "descriptors from 3 on that it inherits"},
                               {Kind::kText, "cgroup", "", "cgroup below the container's"},
                               {Kind::kSwitch, "ignore-paused", "", ""},
                               {Kind::kSwitch, "no-subreaper", "", ""}};

Result<runtime::ExecRequest> ExecRequestOf(const Arguments& arguments) {
  runtime::ExecRequest request;
  request.id = arguments.operands()[0];
  request.args.assign(arguments.operands().begin() + 1, arguments.operands().end());
  if (const std::string file = arguments.Text("process"); !file.empty()) {
    SNAP_TRY_SYS(request.process_json, sys::ReadFileAt(FdRef::Cwd(), file.c_str(), size_t{16} << 20U), "read {}", Quote(file));
  }
  request.console_socket = arguments.Text("console-socket");
  request.pid_file = arguments.Text("pid-file");
  request.cwd = arguments.Text("cwd");
  request.env = arguments.Texts("env");
  request.terminal = arguments.Has("tty");
  request.user = arguments.Text("user");
  request.capabilities = arguments.Texts("cap");
  request.detach = arguments.Has("detach");
  request.no_new_privileges = arguments.Has("no-new-privs");
  request.cgroup = arguments.Text("cgroup");
  if (arguments.Has("process-label")) request.selinux_label = arguments.Text("process-label");
  if (arguments.Has("apparmor")) request.apparmor_profile = arguments.Text("apparmor");
  for (const std::string& text : arguments.Texts("additional-gids")) {
    uint32_t gid = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), gid);
    if (error != std::errc() || end != text.data() + text.size() || gid == UINT32_MAX) {
      return MakeError(ErrorCode::kInvalidArgument, "--additional-gids {}: no id", Quote(text));
    }
    request.additional_gids.push_back(gid);
  }
  SNAP_TRY(const std::optional<unsigned> preserved, ParseFlag<unsigned>(arguments, "preserve-fds"));
  request.preserved_fds = preserved.value_or(0);
  if (!arguments.Text("pidfd-socket").empty()) return MakeError(ErrorCode::kUnsupported, "--pidfd-socket is not supported");
  return request;
}

Outcome Exec(const RuntimeOptions& options, const Arguments& arguments) {
  constexpr int kExecFailed = 255;
  const Result<runtime::ExecRequest> request = ExecRequestOf(arguments);
  Outcome outcome = request.ok() ? runtime::ExecInContainer(options, *request) : Outcome(Fail(request.error()));
  if (outcome.ok()) return outcome;
  return LaunchError{kExecFailed, outcome.error().error};
}

Outcome State(const RuntimeOptions& options, const Arguments& arguments) {
  const Result<runtime::Described> container = runtime::DescribeContainer(options, arguments.operands()[0]);
  if (!container.ok()) return Fail(container.error());
  return Print(runtime::StateJson(*container).dump(2) + "\n");
}

struct SignalName {
  std::string_view name;
  int number;
};
constexpr SignalName kSignals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ILL", SIGILL},       {"TRAP", SIGTRAP}, {"ABRT", SIGABRT},
    {"IOT", SIGIOT},   {"BUS", SIGBUS},   {"FPE", SIGFPE},   {"KILL", SIGKILL},     {"USR1", SIGUSR1}, {"SEGV", SIGSEGV},
    {"USR2", SIGUSR2}, {"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM},     {"STKFLT", SIGSTKFLT}, {"CHLD", SIGCHLD},
    {"CONT", SIGCONT}, {"STOP", SIGSTOP}, {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN},     {"TTOU", SIGTTOU}, {"URG", SIGURG},
    {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH}, {"IO", SIGIO},
    {"PWR", SIGPWR},   {"SYS", SIGSYS}};

std::optional<int> ParseSignal(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return number > 0 && number <= 64 ? std::optional(number) : std::nullopt;
  std::string upper(text);
  std::transform(upper.begin(), upper.end(), upper.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  std::string_view name = upper;
  if (name.starts_with("SIG")) name.remove_prefix(3);
  for (const SignalName& known : kSignals) {
    if (known.name == name) return known.number;
  }
  return std::nullopt;
}

constexpr Flag kKillFlags[] = {{Kind::kSwitch, "all", "a", "all processes of the container"}};

Outcome Kill(const RuntimeOptions& options, const Arguments& arguments) {
  const std::string text = arguments.operands().size() > 1 ? arguments.operands()[1] : "TERM";
  const std::optional<int> signal = ParseSignal(text);
  if (!signal) return Usage("unknown signal " + Quote(text));
  return Done(runtime::KillContainer(options, arguments.operands()[0], *signal, arguments.Has("all")));
}

constexpr Flag kDeleteFlags[] = {{Kind::kSwitch, "force", "f", "also a container that runs"}};

Outcome Delete(const RuntimeOptions& options, const Arguments& arguments) {
  return Done(runtime::DeleteContainer(options, arguments.operands()[0], arguments.Has("force")));
}

constexpr Flag kListFlags[] = {{Kind::kText, "format", "f", "table (default) or json"}, {Kind::kSwitch, "quiet", "q", "ids only"}};

Outcome List(const RuntimeOptions& options, const Arguments& arguments) {
  const Result<std::vector<runtime::Described>> containers = runtime::ListContainers(options);
  if (!containers.ok()) return Fail(containers.error());
  const std::string format = arguments.Has("format") ? arguments.Text("format") : "table";
  if (format == "json") {
    Json rows = Json::array();
    for (const runtime::Described& container : *containers) rows.push_back(runtime::StateJson(container));
    return Print(containers->empty() ? "null\n" : rows.dump() + "\n");
  }
  if (format != "table") return Usage("--format is table or json, not " + Quote(format));
  std::string text;
  if (!arguments.Has("quiet")) text += fmt::format("{:<20} {:<8} {:<10} {:<40} {:<32} {}\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER");
  for (const runtime::Described& container : *containers) {
    const Json json = runtime::StateJson(container);
    if (arguments.Has("quiet")) {
      text += container.state.id + "\n";
      continue;
    }
    text += fmt::format("{:<20} {:<8} {:<10} {:<40} {:<32} {}\n", container.state.id, json["pid"].get<int>(),
                        runtime::StatusName(container.status), container.state.bundle, container.state.created,
                        json["owner"].get<std::string>());
  }
  return Print(text);
}

constexpr Flag kPsFlags[] = {{Kind::kText, "format", "f", "table (default) or json"}};

Outcome Ps(const RuntimeOptions& options, const Arguments& arguments) {
  const Result<std::vector<pid_t>> pids = runtime::ProcessesOf(options, arguments.operands()[0]);
  if (!pids.ok()) return Fail(pids.error());
  const std::string format = arguments.Has("format") ? arguments.Text("format") : "table";
  if (format == "json") return Print(Json(*pids).dump() + "\n");
  if (format != "table") return Usage("--format is table or json, not " + Quote(format));
  std::vector<std::string> words = {"ps"};
  words.insert(words.end(), arguments.operands().begin() + 1, arguments.operands().end());
  if (words.size() == 1) words.emplace_back("-ef");
  const SysResult<sys::ProgramResult> run = sys::RunProgram(words, std::chrono::seconds(30), size_t{16} << 20U);
  if (!run.ok()) return Fail(Error(run.error(), "run 'ps'"));
  if (run->status.ShellCode() != 0) return Usage("ps: " + run->err);
  // The column is where the header has PID.
  std::string out;
  std::optional<size_t> column;
  for (size_t at = 0; at < run->out.size();) {
    const size_t end = std::min(run->out.find('\n', at), run->out.size());
    const std::string line = run->out.substr(at, end - at);
    at = end + 1;
    std::vector<std::string> fields;
    for (size_t i = 0; i < line.size();) {
      const size_t from = line.find_first_not_of(' ', i);
      if (from == std::string::npos) break;
      const size_t to = std::min(line.find(' ', from), line.size());
      fields.push_back(line.substr(from, to - from));
      i = to;
    }
    if (!column) {
      const auto pid = std::find(fields.begin(), fields.end(), "PID");
      if (pid == fields.end()) return Usage("ps: its output has no column PID");
      column = static_cast<size_t>(pid - fields.begin());
      out += line + "\n";
      continue;
    }
    if (*column >= fields.size()) continue;
    const bool ours = std::any_of(pids->begin(), pids->end(), [&](pid_t pid) { return fields[*column] == std::to_string(pid); });
    if (ours) out += line + "\n";
  }
  return Print(out);
}

Outcome Pause(const RuntimeOptions& options, const Arguments& arguments) {
  return Done(runtime::PauseContainer(options, arguments.operands()[0]));
}
Outcome Resume(const RuntimeOptions& options, const Arguments& arguments) {
  return Done(runtime::ResumeContainer(options, arguments.operands()[0]));
}

constexpr Flag kUpdateFlags[] = {{Kind::kText, "resources", "r", "file with the resources object; - is standard input"},
                                 {Kind::kText, "memory", "", "bytes; -1: no limit"},
                                 {Kind::kText, "memory-reservation", "", "bytes"},
                                 {Kind::kText, "memory-swap", "", "memory and swap in bytes; -1: no limit"},
                                 {Kind::kText, "kernel-memory", "", ""},
                                 {Kind::kText, "kernel-memory-tcp", "", ""},
                                 {Kind::kText, "cpu-share", "", "shares"},
                                 {Kind::kText, "cpu-shares", "", ""},
                                 {Kind::kText, "cpu-quota", "", "microseconds in a period"},
                                 {Kind::kText, "cpu-period", "", "microseconds"},
                                 {Kind::kText, "cpu-burst", "", "microseconds"},
                                 {Kind::kText, "cpu-idle", "", "1: idle"},
                                 {Kind::kText, "cpu-rt-period", "", ""},
                                 {Kind::kText, "cpu-rt-runtime", "", ""},
                                 {Kind::kText, "cpuset-cpus", "", "processors"},
                                 {Kind::kText, "cpuset-mems", "", "memory nodes"},
                                 {Kind::kText, "blkio-weight", "", "10 to 1000"},
                                 {Kind::kText, "pids-limit", "", "processes; -1: no limit"}};

Result<runtime::ResourcesSpec> ResourcesOf(const Arguments& arguments) {
  runtime::ResourcesSpec resources;
  if (const std::string file = arguments.Text("resources"); !file.empty()) {
    constexpr size_t kMax = size_t{1} << 20U;
    std::string text;
    if (file == "-") {
      SNAP_TRY_SYS(text, sys::ReadAll(FdRef(0), kMax), "read resources from standard input");
    } else {
      SNAP_TRY_SYS(text, sys::ReadFileAt(FdRef::Cwd(), file.c_str(), kMax), "read resources from {}", Quote(file));
    }
    SNAP_TRY(resources, runtime::ParseResources(text));
  }
  const auto take = [&]<typename Number>(std::string_view name, std::optional<Number>& out) -> Result<void> {
    SNAP_TRY(const std::optional<Number> value, ParseFlag<Number>(arguments, name));
    if (value) out = value;
    return {};
  };
  SNAP_TRY_VOID(take("memory", resources.memory.limit));
  SNAP_TRY_VOID(take("memory-reservation", resources.memory.reservation));
  SNAP_TRY_VOID(take("memory-swap", resources.memory.swap));
  SNAP_TRY_VOID(take("kernel-memory-tcp", resources.memory.kernel_tcp));
  SNAP_TRY_VOID(take("cpu-share", resources.cpu.shares));
  SNAP_TRY_VOID(take("cpu-shares", resources.cpu.shares));
  SNAP_TRY_VOID(take("cpu-quota", resources.cpu.quota));
  SNAP_TRY_VOID(take("cpu-period", resources.cpu.period));
  SNAP_TRY_VOID(take("cpu-burst", resources.cpu.burst));
  SNAP_TRY_VOID(take("cpu-idle", resources.cpu.idle));
  SNAP_TRY_VOID(take("cpu-rt-period", resources.cpu.realtime_period));
  SNAP_TRY_VOID(take("cpu-rt-runtime", resources.cpu.realtime_runtime));
  SNAP_TRY_VOID(take("blkio-weight", resources.block_io.weight));
  SNAP_TRY_VOID(take("pids-limit", resources.pids_limit));
  if (arguments.Has("cpuset-cpus")) resources.cpu.cpus = arguments.Text("cpuset-cpus");
  if (arguments.Has("cpuset-mems")) resources.cpu.mems = arguments.Text("cpuset-mems");
  return resources;
}

Outcome Update(const RuntimeOptions& options, const Arguments& arguments) {
  const Result<runtime::ResourcesSpec> resources = ResourcesOf(arguments);
  if (!resources.ok()) return Fail(resources.error());
  return Done(runtime::UpdateContainer(options, arguments.operands()[0], *resources));
}

constexpr Flag kEventsFlags[] = {{Kind::kSwitch, "stats", "", "once, and end"}, {Kind::kText, "interval", "", "time between two; default 5s"}};

/// "5s", "500ms", "1m".
std::optional<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !(number > 0) || number > 1e9) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  const double scale = unit == "ms" ? 1 : unit == "s" ? 1000 : unit == "m" ? 60000 : unit == "h" ? 3600000 : 0;
  if (scale == 0) return std::nullopt;
  return std::chrono::milliseconds(static_cast<int64_t>(number * scale));
}

Outcome Events(const RuntimeOptions& options, const Arguments& arguments) {
  const auto interval = ParseDuration(arguments.Has("interval") ? arguments.Text("interval") : "5s");
  if (!interval) return Usage("--interval takes a time such as 5s, not " + Quote(arguments.Text("interval")));
  for (bool first = true;; first = false) {
    const Result<Json> stats = runtime::StatsOf(options, arguments.operands()[0]);
    if (!stats.ok()) return first ? Outcome(Fail(stats.error())) : Outcome(0);  // it has ended
    if (Outcome printed = Print(DumpJson(*stats) + "\n"); !printed.ok() || arguments.Has("stats")) return printed;
    std::this_thread::sleep_for(*interval);
  }
}

constexpr Flag kSpecFlags[] = {{Kind::kText, "bundle", "b", "where config.json is written"},
                               {Kind::kSwitch, "rootless", "", "for a user without rights"}};

Outcome Spec(const RuntimeOptions&, const Arguments& arguments) {
  const std::string path = (arguments.Has("bundle") ? arguments.Text("bundle") + "/" : "") + "config.json";
  const SysResult<UniqueFd> file = sys::OpenAt(FdRef::Cwd(), path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0666);
  if (!file.ok()) return Fail(Error(file.error(), "write " + Quote(path)));
  const SysResult<void> written = sys::WriteAll(*file, runtime::DefaultSpecJson(arguments.Has("rootless")));
  if (!written.ok()) return Fail(Error(written.error(), "write " + Quote(path)));
  return 0;
}

Outcome Features(const RuntimeOptions&, const Arguments&) { return Print(runtime::FeaturesJson().dump(2) + "\n"); }

Outcome Checkpoint(const RuntimeOptions&, const Arguments&) {
  return Fail(MakeError(ErrorCode::kUnsupported, "checkpoint and restore are not supported"));
}

constexpr Command kCommands[] = {
    {"create", "ID", "Make a container, ready to be started", kCreateFlags, 1, 1, true, Create},
    {"start", "ID", "Start a container that was created", {}, 1, 1, false, Start},
    {"run", "ID", "Make a container, start it, wait for its end and delete it", kCreateFlags, 1, 1, true, Run},
    {"exec", "ID [COMMAND [ARG...]]", "Run one more program in a container", kExecFlags, 1, SIZE_MAX, true, Exec},
    {"state", "ID", "Print the state of a container", {}, 1, 1, false, State},
    {"kill", "ID [SIGNAL]", "Send a signal, SIGTERM without one, to a container", kKillFlags, 1, 2, false, Kill},
    {"delete", "ID", "Take away what is left of a container", kDeleteFlags, 1, 1, false, Delete},
    {"list", "", "List containers", kListFlags, 0, 0, false, List},
    {"ps", "ID [PS-OPTION...]", "List the processes of a container", kPsFlags, 1, SIZE_MAX, false, Ps},
    {"pause", "ID", "Freeze the processes of a container", {}, 1, 1, false, Pause},
    {"resume", "ID", "Let them go on", {}, 1, 1, false, Resume},
    {"update", "ID", "Change the limits of a container", kUpdateFlags, 1, 1, false, Update},
    {"events", "ID", "Print figures of a container", kEventsFlags, 1, 1, false, Events},
    {"spec", "", "Write a config.json to begin with", kSpecFlags, 0, 0, false, Spec},
    {"features", "", "Print what this runtime can do", {}, 0, 0, false, Features},
    {"checkpoint", "ID", "Not supported", {}, 0, SIZE_MAX, false, Checkpoint},
    {"restore", "ID", "Not supported", {}, 0, SIZE_MAX, false, Checkpoint},
};

}  // namespace

std::span<const Command> Commands() { return kCommands; }

}  // namespace snap::runtime_cli
