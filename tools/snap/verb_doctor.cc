// snap doctor: looks at the machine, the store, the daemon and the engines, and says what is wrong and what
// to do. Invariant: nothing is changed, except by the daemon's own probe, which removes what it makes. What a
// check concludes from what is read here is in doctor_checks.cc.
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_program.h"
#include "fs/base/sys_socket.h"
#include "fs/base/toml.h"
#include "tools/snap/context.h"
#include "tools/snap/doctor_checks.h"
#include "tools/snap/json_output.h"
#include "tools/snap/table.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

constexpr const char* kDefaultContainerdConfig = "/etc/containerd/config.toml";
constexpr const char* kDefaultDockerConfig = "/etc/docker/daemon.json";
constexpr std::chrono::seconds kDumpPatience{20};
constexpr std::chrono::seconds kProbePatience{120};
constexpr size_t kMaxDump = size_t{1} << 20U;
constexpr size_t kMaxShownFindings = 3;

struct DoctorArgs {
  std::string containerd_address, config, docker_config, address;
  bool no_canary = false;
};

bool Exists(const std::string& path) { return sys::StatAt(FdRef::Cwd(), path.c_str()).ok(); }

std::string FirstLine(std::string_view text) {
  return EscapeUnprintable(text.substr(0, std::min<size_t>(text.find('\n'), 300)));
}

class Doctor {
 public:
  Doctor(Context& context, const DoctorArgs& args) : context_(context), args_(args) {}

  Result<DoctorChecks> Run() && {
    SNAP_TRY(address_,
             AddressOf("daemon.address", args_.address, context_.settings().run_dir + "/snapshotterd.sock"));
    SNAP_TRY(containerd_address_, AddressOf("daemon.containerd_address", args_.containerd_address,
                                            "/run/containerd/containerd.sock"));
    ExamineStore();
    const size_t before_daemon = checks_.size();
    ExamineContainerd();
    ExamineDocker();
    DoctorChecks engines(std::make_move_iterator(checks_.begin() + static_cast<ptrdiff_t>(before_daemon)),
                         std::make_move_iterator(checks_.end()));
    checks_.resize(before_daemon);
    ExamineDaemon();
    checks_.insert(checks_.end(), std::make_move_iterator(engines.begin()),
                   std::make_move_iterator(engines.end()));
    return std::move(checks_);
  }

 private:
  void Say(std::string name, Verdict verdict, std::string detail, std::string advice = "") {
    checks_.push_back({std::move(name), verdict, std::move(detail), std::move(advice)});
  }
  void Add(DoctorChecks more) {
    checks_.insert(checks_.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }

  static Result<std::string> AddressOf(std::string_view key, const std::string& flag, std::string fallback) {
    if (!flag.empty()) return flag;
    SNAP_TRY(const FoundConfig found, FindConfig(ProcessEnvironment()));
    return found.file.String(key).value_or(std::move(fallback));
  }

  void ExamineStore() {
    const Result<Store*> store = context_.OpenStore();
    if (!store.ok()) {
      Say("store", Verdict::kProblem, store.error().message(),
          std::string(GeneralHint(store.error().code(), true)));
      return;
    }
    Add(CheckFeatures((*store)->backend().Features()));
    const Result<CheckReport> report = (*store)->Check({});
    if (!report.ok()) {
      Say("store", Verdict::kProblem, report.error().message(), "'snap system check' says more");
    } else if (report->findings.empty()) {
      Say("store", Verdict::kOk,
          fmt::format("{}: {} layers, {} images, database and directories agree", context_.settings().root,
                      report->layers, report->images));
    } else {
      for (size_t i = 0; i < std::min(report->findings.size(), kMaxShownFindings); ++i) {
        const CheckFinding& finding = report->findings[i];
        Say("store", Verdict::kProblem,
            fmt::format("{}: {} ({} of {})", finding.object, finding.problem, i + 1, report->findings.size()),
            "'snap system check' lists all, with --repair it repairs them");
      }
    }
  }

  void ExamineDaemon() {
    const SysResult<struct stat> stat = sys::StatAt(FdRef::Cwd(), address_.c_str());
    if (!stat.ok()) {
      // Only somebody who was told to use it misses it.
      Say("daemon.socket", configured_ ? Verdict::kProblem : Verdict::kNote,
          fmt::format("no daemon: {} {}", address_,
                      stat.error() == ENOENT ? "is not there" : "cannot be looked at"),
          configured_ ? "start it: systemctl start snapshotterd"
                      : "engines need it: systemctl start snapshotterd");
      return;
    }
    constexpr mode_t kWriteByOthers = 0002;
    if (!S_ISSOCK(stat->st_mode)) {
      Say("daemon.socket", Verdict::kProblem, fmt::format("{} is not a socket", address_),
          "remove it and start the daemon");
      return;
    }
    const SysResult<UniqueFd> connection = sys::ConnectUnix(address_);
    if (!connection.ok()) {
      const bool nobody = connection.error() == ECONNREFUSED;
      Say("daemon.socket", Verdict::kProblem,
          nobody ? fmt::format("nobody listens at {}: the daemon was killed", address_)
                 : fmt::format("connect to {}: {}", address_, connection.error().Message()),
          nobody ? "systemctl restart snapshotterd" : "run this as root");
      return;
    }
    if ((stat->st_mode & kWriteByOthers) != 0) {
      Say("daemon.socket", Verdict::kProblem,
          fmt::format("everybody may connect to {} (mode {:04o}), which is as good as being root", address_,
                      stat->st_mode & 07777U),
          fmt::format("chmod 0660 {}", address_));
    } else {
      Say("daemon.socket", Verdict::kOk,
          fmt::format("listens at {}; mode {:04o}, owner {}:{}", address_, stat->st_mode & 07777U,
                      stat->st_uid, stat->st_gid));
    }
    if (!args_.no_canary) RunProbe();
  }

  /// The daemon's program beside this one, or wherever PATH has it.
  static std::string DaemonProgram() {
    const SysResult<std::string> self = sys::ReadLinkAt(FdRef::Cwd(), "/proc/self/exe");
    if (self.ok()) {
      const std::string folder = self->substr(0, self->rfind('/'));
      for (const std::string& candidate : {folder + "/snapshotterd", folder + "/../sbin/snapshotterd"}) {
        if (Exists(candidate)) return candidate;
      }
    }
    return "snapshotterd";
  }

  void RunProbe() {
    const SysResult<sys::ProgramResult> probe =
        sys::RunProgram({DaemonProgram(), "probe", "--address", address_, "--containerd-address",
                         containerd_address_, "--format", "json"},
                        kProbePatience, kMaxDump);
    if (!probe.ok()) {
      Say("daemon.canary", Verdict::kNote, "run snapshotterd probe: " + probe.error().Message(),
          "install snapshotterd beside snap");
      return;
    }
    if (probe->timed_out) {
      Say("daemon.canary", Verdict::kProblem, fmt::format("no answer in {} seconds", kProbePatience.count()),
          "'journalctl -u snapshotterd' says what the daemon is doing");
      return;
    }
    Result<DoctorChecks> checks = ReadProbe(probe->out);
    if (checks.ok()) {
      Add(*std::move(checks));
    } else {
      Say("daemon.canary", Verdict::kProblem,
          fmt::format("{}; it said: {}", checks.error().message(), FirstLine(probe->err)),
          "snap and snapshotterd must be of the same version");
    }
  }

  /// nullopt when that was said.
  std::optional<Json> DumpContainerd() {
    const bool given = !args_.config.empty();
    const std::string file = given ? args_.config : kDefaultContainerdConfig;
    std::vector<std::string> words = {"containerd"};
    if (given || Exists(file)) words.insert(words.end(), {"--config", file});
    words.insert(words.end(), {"config", "dump"});
    const SysResult<sys::ProgramResult> dump = sys::RunProgram(words, kDumpPatience, kMaxDump);
    std::string problem;
    if (!dump.ok()) {
      problem = dump.error().Message();
    } else if (dump->timed_out) {
      problem = fmt::format("no answer in {} seconds", kDumpPatience.count());
    } else if (dump->status.ShellCode() != 0) {
      problem = FirstLine(dump->err);
    }
    if (problem.empty()) {
      Result<Json> document = ParseToml(dump->out, "containerd config dump");
      if (document.ok()) return *std::move(document);
      problem = document.error().message();
    }
    Say("containerd.config", Verdict::kProblem, fmt::format("containerd cannot read {}: {}", file, problem),
        "containerd does not start with it either; correct the file");
    return std::nullopt;
  }

  void ExamineContainerd() {
    const Result<EngineVersion> version = AskEngineVersion("containerd");
    if (!version.ok()) {
      const bool missing = version.error().code() == ErrorCode::kNotFound;
      Say("containerd", missing ? Verdict::kNote : Verdict::kWarning,
          missing ? "no containerd here" : version.error().message());
      return;
    }
    const std::optional<Json> document = DumpContainerd();
    if (!document) return;
    Result<ContainerdConfig> config = ReadContainerdConfig(*document);
    if (!config.ok()) {
      Say("containerd.config", Verdict::kProblem, config.error().message(), "correct the file");
      return;
    }
    for (const auto& proxy : config->proxies) {
      if (proxy.type == "snapshot" && (proxy.address == address_ || proxy.address == "unix://" + address_)) {
        proxies_.push_back(proxy.name);
        configured_ = true;
      }
    }
    Say("containerd", Verdict::kOk,
        fmt::format("version {}, configuration version {}", version->ToString(), config->version));
    if (configured_ && config->grpc_address != containerd_address_) {
      Say("containerd.address", Verdict::kWarning,
          fmt::format("[grpc] address is {}, but the daemon looks for blobs at {}",
                      Quote(config->grpc_address), containerd_address_),
          "set daemon.containerd_address in the daemon's configuration");
    }
    Add(CheckContainerd({*version, *std::move(config), address_}));
  }

  void ExamineDocker() {
    const Result<EngineVersion> version = AskEngineVersion("dockerd");
    if (!version.ok()) {
      const bool missing = version.error().code() == ErrorCode::kNotFound;
      Say("docker", missing ? Verdict::kNote : Verdict::kWarning,
          missing ? "no Docker here" : version.error().message());
      return;
    }
    const std::string file = args_.docker_config.empty() ? kDefaultDockerConfig : args_.docker_config;
    DockerFacts facts{*version, Json(), proxies_};
    const SysResult<std::string> text = sys::ReadFileAt(FdRef::Cwd(), file.c_str(), kMaxDump);
    if (text.ok()) {
      Result<Json> config = ParseJson(*text, file);
      if (!config.ok()) {
        Say("docker.config", Verdict::kProblem, config.error().message(),
            "dockerd does not start with it; correct the file");
        return;
      }
      facts.config = *std::move(config);
    } else if (text.error() != ENOENT || !args_.docker_config.empty()) {
      Say("docker.config", Verdict::kProblem,
          fmt::format("read {}: {}", Quote(file), text.error().Message()));
      return;
    }
    Add(CheckDocker(facts));
  }

  Context& context_;
  const DoctorArgs& args_;
  std::string address_, containerd_address_;
  std::vector<std::string> proxies_;  // names of our snapshotter in containerd's configuration
  bool configured_ = false;
  DoctorChecks checks_;
};

Result<int> Diagnose(Context& context, const DoctorArgs& args) {
  SNAP_TRY(const DoctorChecks checks, Doctor(context, args).Run());
  if (context.json()) {
    context.Print(RenderJson(DoctorJson(checks)));
  } else {
    Table table({{"RESULT"}, {"CHECK"}, {"WHY, AND WHAT TO DO"}});
    for (const DoctorCheck& check : checks) {
      table.AddRow({std::string(VerdictName(check.verdict)), check.name, check.detail});
      if (!check.advice.empty()) table.AddRow({"", "", "-> " + check.advice});
    }
    context.Print(table.Render());
  }
  return HasProblem(checks) ? kExitFailure : kExitOk;
}

}  // namespace

void AddDoctor(CommandTree& tree) {
  tree.AddVerb(
      {.name = "doctor",
       .usage = "[OPTIONS]",
       .summary = "Check the store, the daemon and the engines that use it",
       .description = "Looks at the kernel, the store, the daemon's socket, and the configuration of "
                      "containerd and Docker as they "
                      "understand it themselves. What works but silently takes another way is a warning that "
                      "names the key to change. "
                      "A canary then takes a snapshot through the daemon and removes it again.\n\n"
                      "Results are ok, note, warning and problem. Exit status 1 when there is a problem.",
       .examples = {{"snap doctor", "After every change to containerd's configuration."},
                    {"snap doctor --no-canary --format json", "For monitoring: only looks."},
                    {"snap doctor --config ./config.toml", "A configuration that is not in use yet."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<DoctorArgs>();
        options.Text("--address", args->address, "SOCKET", "Of snapshotterd, instead of the configured one");
        options.Text("--containerd-address", args->containerd_address, "SOCKET",
                     "Of containerd, instead of the configured one");
        options.Text("--config", args->config, "FILE",
                     "containerd's, instead of /etc/containerd/config.toml");
        options.Text("--docker-config", args->docker_config, "FILE",
                     "Docker's, instead of /etc/docker/daemon.json");
        options.Flag("--no-canary", args->no_canary, "Only look, take no snapshot");
        return [args](Context& context) { return Diagnose(context, *args); };
      });
}

}  // namespace snap::cli
