// snap-runtime: an OCI runtime with runc's command line. Invariant: a failure is one line on standard error and, with --log, one in the
// log, in the form that engines read.
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>

#include <seccomp.h>

#include "fs/base/fault.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/quote.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "tools/snap-runtime/commands.h"
#include "tools/snap/version.h"

namespace snap::runtime_cli {
namespace {

using Kind = Flag::Kind;

constexpr Flag kGlobalFlags[] = {{Kind::kSwitch, "debug", "", "log more"},
                                 {Kind::kText, "log", "", "file that gets log lines"},
                                 {Kind::kText, "log-format", "", "text (default) or json"},
                                 {Kind::kText, "root", "", "where the state of containers is"},
                                 {Kind::kSwitch, "systemd-cgroup", "", ""},
                                 {Kind::kText, "cgroup-manager", "", "cgroupfs"},
                                 {Kind::kText, "criu", "", ""},
                                 {Kind::kText, "rootless", "", "auto (default), true or false"},
                                 {Kind::kSwitch, "help", "h", ""},
                                 {Kind::kSwitch, "version", "v", ""}};

std::string Now() {
  const std::time_t now = std::time(nullptr);
  tm utc{};
  (void)gmtime_r(&now, &utc);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

/// To standard error and the log. `globals` may be what could be read of them.
void Report(const Arguments& globals, const Error& error) {
  (void)sys::WriteAll(FdRef(2), error.message() + "\n");  // there is nobody left to tell
  const std::string path = globals.Text("log");
  if (path.empty() || path == "/dev/stderr") return;
  const std::string line = globals.Text("log-format") == "json"
                               ? DumpJson({{"level", "error"}, {"msg", error.message()}, {"time", Now()}}) + "\n"
                               : fmt::format("time=\"{}\" level=error msg={}\n", Now(), Json(error.message()).dump(-1, ' ', false, Json::error_handler_t::replace));
  const SysResult<UniqueFd> file = sys::OpenAt(FdRef::Cwd(), path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (file.ok()) (void)sys::WriteAll(*file, line);
}

std::string HelpText() {
  std::string text = "usage: snap-runtime [OPTIONS] COMMAND [ARGUMENTS]\n\nRuns containers from OCI bundles, with runc's command line.\n\ncommands:\n";
  for (const Command& command : Commands()) text += fmt::format("  {:<12} {}\n", command.name, command.summary);
  text += "\noptions:\n";
  for (const Flag& flag : kGlobalFlags) {
    if (!flag.help.empty()) text += fmt::format("  --{:<16} {}\n", flag.name, flag.help);
  }
  return text + "\nexample:\n  snap-runtime run --bundle /path/to/bundle web\n";
}

std::string HelpOf(const Command& command) {
  std::string text = fmt::format("usage: snap-runtime {} [OPTIONS] {}\n\n{}.\n", command.name, command.operands, command.summary);
  for (const Flag& flag : command.flags) {
    if (!flag.help.empty()) text += fmt::format("  --{:<18} {}\n", flag.name, flag.help);
  }
  return text;
}

std::string VersionText() {
  const scmp_version* const seccomp = seccomp_version();
  return fmt::format("snap-runtime version {}\ncommit: {}\nspec: 1.2.1\nlibseccomp: {}.{}.{}\n", cli::kVersion, cli::kVersion,
                     seccomp->major, seccomp->minor, seccomp->micro);
}

int PrintText(const std::string& text) { return sys::WriteAll(FdRef(1), text).ok() ? 0 : 1; }

std::string DefaultRoot(bool rootless) {
  if (!rootless) return "/run/snap-runtime";
  const char* const runtime_dir = std::getenv("XDG_RUNTIME_DIR");  // NOLINT(concurrency-mt-unsafe): one thread
  return std::string(runtime_dir != nullptr && runtime_dir[0] == '/' ? runtime_dir : "/tmp/snap-runtime-" + std::to_string(sys::EffectiveUid())) +
         (runtime_dir != nullptr && runtime_dir[0] == '/' ? "/snap-runtime" : "");
}

/// Root of the first user namespace may do what it wants; anybody else what is left.
bool IsRootless() {
  if (sys::EffectiveUid() != 0) return true;
  const SysResult<std::string> map = sys::ReadFileAt(FdRef::Cwd(), "/proc/self/uid_map", 4096);
  return map.ok() && map->find("4294967295") == std::string::npos;
}

Result<runtime::RuntimeOptions> OptionsOf(const Arguments& globals) {
  runtime::RuntimeOptions options;
  const std::string rootless = globals.Has("rootless") ? globals.Text("rootless") : "auto";
  if (rootless != "auto" && rootless != "true" && rootless != "false") {
    return MakeError(ErrorCode::kInvalidArgument, "--rootless is auto, true or false, not {}", Quote(rootless));
  }
  options.rootless = rootless == "auto" ? IsRootless() : rootless == "true";
  options.root = globals.Has("root") ? globals.Text("root") : DefaultRoot(options.rootless);
  if (!options.root.starts_with('/') || options.root == "/") {
    return MakeError(ErrorCode::kInvalidArgument, "--root takes an absolute path of a directory, not {}", Quote(options.root));
  }
  if (globals.Has("systemd-cgroup") || globals.Text("cgroup-manager") == "systemd") {
    return MakeError(ErrorCode::kUnsupported, "the systemd cgroup driver is not supported: use cgroupfs");
  }
  const std::string manager = globals.Text("cgroup-manager");
  if (!manager.empty() && manager != "cgroupfs" && manager != "disabled") {
    return MakeError(ErrorCode::kInvalidArgument, "--cgroup-manager is cgroupfs or disabled, not {}", Quote(manager));
  }
  options.no_cgroups = manager == "disabled";
  return options;
}

int Main(const std::vector<std::string>& words) {
  Result<Arguments> globals = Arguments::Parse(words, kGlobalFlags);
  if (!globals.ok()) {
    Report(Arguments(), globals.error());
    return 1;
  }
  if (globals->Has("version")) return PrintText(VersionText());
  const std::vector<std::string>& rest = globals->operands();
  if (globals->Has("help") || rest.empty() || rest[0] == "help") return PrintText(HelpText());
  const auto fail = [&](const Error& error, int status) {
    Report(*globals, error);
    return status;
  };
  const Command* command = nullptr;
  for (const Command& known : Commands()) {
    if (known.name == rest[0]) command = &known;
  }
  if (command == nullptr) return fail(MakeError(ErrorCode::kInvalidArgument, "no command {}: see snap-runtime --help", Quote(rest[0])), 1);
  std::vector<Flag> flags(command->flags.begin(), command->flags.end());
  flags.push_back({Kind::kSwitch, "help", "h", ""});
  const Result<Arguments> arguments = Arguments::Parse(std::span(rest).subspan(1), flags);
  if (!arguments.ok()) return fail(arguments.error(), 1);
  if (arguments->Has("help")) return PrintText(HelpOf(*command));
  const size_t operands = arguments->operands().size();
  if (operands < command->least_operands || operands > command->most_operands) {
    return fail(MakeError(ErrorCode::kInvalidArgument, "usage: snap-runtime {} [OPTIONS] {}", command->name, command->operands), 1);
  }
  if (const Result<void> armed = fault::ArmFromEnvironment(); !armed.ok()) return fail(armed.error(), 1);
  log::SetProgram("snap-runtime");
  if (globals->Has("debug")) log::SetLevel(log::Level::kDebug);
  const Result<runtime::RuntimeOptions> options = OptionsOf(*globals);
  if (!options.ok()) return fail(options.error(), 1);
  if (command->launches) {
    const SysResult<void> sealed = sys::SealExecutable();
    // Without rights over mounts there are none over a file of root's either.
    if (!sealed.ok() && !(sealed.error() == EPERM && options->rootless)) {
      return fail(Error(sealed.error(), "protect own executable"), 1);
    }
    if (const SysResult<void> hidden = sys::SetDumpable(false); !hidden.ok()) return fail(Error(hidden.error(), "forbid inspection"), 1);
  }
  const Result<int, runtime::LaunchError> status = command->run(*options, *arguments);
  if (status.ok()) return *status;
  // runc's callers look at the text; the status is 1, but for exec and for what ran.
  return fail(status.error().error, status.error().exit_code == 255 ? 255 : 1);
}

}  // namespace
}  // namespace snap::runtime_cli

int main(int argc, char** argv) { return snap::runtime_cli::Main({argv + 1, argv + argc}); }
