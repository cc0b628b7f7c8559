// snap run: starts a container from an image and stays in front of it until it ends.
// Invariant: the record exists before the container and is updated or removed after it; if this process is
// killed, the kernel kills the container with it and the next snap command finds the record of a dead
// launcher.
#include <csignal>
#include <thread>

#include "fs/base/log.h"
#include "fs/base/quote.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_terminal.h"
#include "runtime/container.h"
#include "tools/snap/containers.h"
#include "tools/snap/context.h"
#include "tools/snap/image_info.h"
#include "tools/snap/run_plan.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

constexpr FdRef kStdin(0);
constexpr int kOwnFailure = 125;
constexpr size_t kMaxEnvFile = size_t{1} << 20U;

struct RunArgs {
  std::string image, name, working_dir, user, hostname, network, backend;
  std::optional<std::string> entrypoint;
  std::vector<std::string> env, env_files, volumes;
  bool remove = false, interactive = false, terminal = false, read_only = false;
};

/// The pid 1 of a container that lives longer than a moment is worth a transaction; of one that is gone in a
/// millisecond it is not. Waits beside the supervisor and ends when the container does.
class InitRecorder {
 public:
  InitRecorder(Store& store, ContainerRecord record, runtime::Container& container)
      : thread_([&store, record = std::move(record), &container]() mutable {
          const FdRef fds[] = {container.pidfd()};
          const auto ended = sys::PollReadable(fds, std::chrono::milliseconds(100));
          if (!ended.ok() || ended->has_value()) return;
          record.init_pid = container.pid();
          const SysResult<uint64_t> start = sys::ProcessStartTime(container.pid());
          if (!start.ok()) return;
          record.init_start_time = *start;
          if (const Result<void> updated = store.UpdateContainer(record); !updated.ok()) {
            log::Warning("{}, other commands know this container by its launcher only",
                         updated.error().message());
          }
        }) {}
  InitRecorder(const InitRecorder&) = delete;
  InitRecorder& operator=(const InitRecorder&) = delete;
  ~InitRecorder() { thread_.join(); }

 private:
  std::thread thread_;
};

Result<RunRequest> ReadRequest(const RunArgs& args, const std::vector<std::string>& command,
                               const std::string& hostname) {
  RunRequest request;
  request.entrypoint = args.entrypoint;
  request.command = command;
  request.env = args.env;
  request.working_dir = args.working_dir;
  request.user = args.user;
  request.hostname = hostname;
  for (const std::string& path : args.env_files) {
    SNAP_TRY_SYS(std::string text, sys::ReadFileAt(FdRef::Cwd(), path.c_str(), kMaxEnvFile),
                 "read environment file {}", Quote(path));
    SNAP_TRY_VOID(ParseEnvFile(text, path));  // again in PlanRun, but here the file has a name
    request.env_files.push_back(std::move(text));
  }
  return request;
}

Result<std::vector<runtime::BindMount>> ReadVolumes(const RunArgs& args) {
  std::vector<runtime::BindMount> binds;
  for (const std::string& volume : args.volumes) {
    SNAP_TRY(runtime::BindMount bind, runtime::ParseBindMount(volume));
    binds.push_back(std::move(bind));
  }
  return binds;
}

/// 64 hex digits, as people know container ids.
std::string NewContainerId() { return sys::RandomHex128() + sys::RandomHex128(); }

/// Says in the record how it ended, or removes it.
Result<void> Close(Store& store, ContainerRecord record, int exit_code) {
  if (record.remove_at_exit) {
    const Result<void> removed = store.RemoveContainer(record.id);
    // `snap rm -f` of another process was faster.
    if (!removed.ok() && removed.error().code() != ErrorCode::kNotFound) return removed.error();
    return {};
  }
  record.finished = FormatRfc3339(std::chrono::system_clock::now());
  record.exit_code = exit_code;
  record.launcher_pid = 0;
  record.init_pid = 0;
  const Result<void> updated = store.UpdateContainer(record);
  if (!updated.ok() && updated.error().code() != ErrorCode::kNotFound) return updated.error();
  return {};
}

/// From the record to the end of the container; the exit status to pass on.
Result<int, runtime::LaunchError> Launch(Store& store, const ImageRecord& image,
                                         const ContainerRecord& record, const runtime::ContainerSpec& spec) {
  MountOptions options;
  options.volatile_upper = record.remove_at_exit;
  options.share_images = true;  // as long as `rootfs` lives: until the container has ended
  Result<Mount> rootfs = store.MountImage(image, {}, record.id, options);
  if (!rootfs.ok()) return runtime::LaunchError{kOwnFailure, std::move(rootfs).error()};
  auto container = runtime::Container::Start(spec, (*std::move(rootfs)).Release());
  if (!container.ok()) return std::move(container).error();
  Result<int> status = 0;
  {
    const InitRecorder recorder(store, record, *container);
    status = runtime::RunForeground(*container);
    // The recorder waits for the container: one that nobody supervises any more must not be left.
    if (!status.ok()) (void)container->Signal(SIGKILL);  // gone already is as good
  }
  if (!status.ok()) {
    (void)container->Wait();  // only to reap it; the failure that counts is the supervisor's
    return runtime::LaunchError{kOwnFailure, std::move(status).error()};
  }
  return *status;
}

Result<int> Run(Context& context, const RunArgs& args) {
  SNAP_TRY_SYS_VOID(sys::SealExecutable(), "protect own executable");
  // -t without a terminal would leave the program with one that nobody can type into.
  if (args.terminal && !sys::IsTerminal(kStdin)) {
    context.SetHint("leave out -t when standard input is a pipe or a file");
    return MakeError(ErrorCode::kInvalidArgument, "the input device is not a TTY");
  }
  SNAP_TRY(std::vector<runtime::BindMount> binds, ReadVolumes(args));

  // The database's threads must not take signals that are meant for the container: they inherit this mask.
  // What comes before the container runs is passed to it then.
  SNAP_TRY_SYS_VOID(sys::BlockAllSignals(), "block signals");
  SNAP_TRY_VOID(context.ChooseBackend(args.backend));
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(const ImageRecord image, FindImage(context, *store, args.image));
  SNAP_TRY(const oci::ImageConfig config, ConfigOf(image));

  ContainerRecord record;
  record.id = NewContainerId();
  const std::string hostname = !args.hostname.empty() ? args.hostname : ShortId(record.id);
  SNAP_TRY(const RunRequest request, ReadRequest(args, context.command(), hostname));
  SNAP_TRY(const RunPlan plan, PlanRun(config, request, ProcessEnvironment()));
  record.name = args.name;
  record.image = image.id;
  record.image_name = args.image;
  record.args = plan.args;
  record.created = FormatRfc3339Nano(context.now());
  record.remove_at_exit = args.remove;
  SNAP_TRY_SYS(record.boot_id, sys::BootId(), "read the boot id");
  record.launcher_pid = sys::Pid();
  SNAP_TRY_SYS(record.launcher_start_time, sys::ProcessStartTime(sys::Pid()),
               "read this process' start time");

  runtime::ContainerSpec spec;
  spec.id = record.id;
  spec.hostname = hostname;
  spec.args = plan.args;
  spec.env = plan.env;
  spec.working_dir = plan.working_dir;
  spec.user = plan.user;
  spec.network = args.network == "host" ? runtime::Network::kHost : runtime::Network::kNone;
  spec.read_only_rootfs = args.read_only;
  spec.terminal = args.terminal;
  spec.binds = std::move(binds);
  if (args.terminal) {
    // A terminal that does not know its size leaves the pty's at 0x0, which programs take for "not known".
    if (const auto size = sys::GetWindowSize(kStdin); size.ok()) spec.terminal_size = *size;
  }
  if (!args.interactive && !args.terminal) {
    SNAP_TRY_SYS(const UniqueFd null, sys::OpenAt(FdRef::Cwd(), "/dev/null", O_RDONLY), "open '/dev/null'");
    SNAP_TRY_SYS_VOID(sys::DupTo(null, kStdin.get()), "redirect standard input");
  }

  Result<ContainerRecord> created = store->CreateContainer(std::move(record));
  if (!created.ok()) {
    if (created.error().code() == ErrorCode::kExists)
      context.SetHint("choose another --name, or 'snap rm' the old one");
    return std::move(created).error();
  }
  const Result<int, runtime::LaunchError> status = Launch(*store, image, *created, spec);
  const int exit_code = status.ok() ? *status : status.error().exit_code;
  const Result<void> closed = Close(*store, *std::move(created), exit_code);
  if (!status.ok()) {
    context.Report(status.error().error);
    return exit_code;
  }
  // The container's own status is what the caller asked for.
  if (!closed.ok()) log::Warning("{}, the next snap command tries again", closed.error().message());
  return exit_code;
}

}  // namespace

void AddRun(CommandTree& tree) {
  tree.AddVerb(
      {.name = "run",
       .usage = "[OPTIONS] IMAGE [COMMAND [ARG...]]",
       .summary = "Run a program in a container made from an image",
       .description = "Starts the image's program, or COMMAND with the image's entrypoint, in namespaces and "
                      "with a tree of its own, "
                      "and waits for its end. Options come before IMAGE; what follows belongs to the "
                      "command. Signals are passed on.\n"
                      "\n"
                      "Exit status: 125 when snap itself failed, 126 when the command cannot be executed, "
                      "127 when it is not found, "
                      "otherwise the command's own, 128 + N when signal N ended it.",
       .examples = {{"snap run --rm -it debian:12 bash", "A shell; everything is gone at its end."},
                    {"snap run --rm -v $PWD:/src:ro -w /src debian:12 ls -l",
                     "With a directory of the host."},
                    {"snap run -e LANG=C -u www-data --name web debian:12 id",
                     "As another user; kept for 'snap diff web'."}},
       .command_follows = true,
       .failure_status = kOwnFailure},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<RunArgs>();
        options.Operand("IMAGE", args->image, true,
                        "Name or id of an image; the command and its arguments follow");
        options.Flag("--rm", args->remove, "Remove the container when it ends");
        options.Flag("-i,--interactive", args->interactive, "Pass standard input on");
        options.Flag("-t,--tty", args->terminal, "Give it a terminal; implies -i");
        options.Texts("-e,--env", args->env, "NAME[=VALUE]",
                      "Set a variable; without a value, to the caller's");
        options.Texts("--env-file", args->env_files, "FILE", "Set variables from lines NAME=VALUE");
        options.Texts("-v,--volume", args->volumes, "SOURCE:TARGET[:ro]",
                      "Show a file or directory of the host");
        options.Text("-w,--workdir", args->working_dir, "PATH", "Working directory");
        options.Text("-u,--user", args->user, "USER[:GROUP]", "User and group, by name or number");
        options.Text("--name", args->name, "NAME", "Name of the container; without it, one is made up");
        options.Flag("--read-only", args->read_only, "Make the container's tree read-only");
        options.Text("--hostname", args->hostname, "NAME", "Host name; without it, the container's short id");
        options.Choice("--network", args->network, {"none", "host"},
                       "none: only loopback (default); host: the host's");
        options.Choice("--backend", args->backend, {"auto", "overlay", "fuse"},
                       "What stacks the layers; auto (default): overlayfs, or FUSE where that is refused");
        options.OptionalText("--entrypoint", args->entrypoint, "PROGRAM",
                             "Instead of the image's entrypoint and command");
        return [args](Context& context) { return Run(context, *args); };
      });
}

}  // namespace snap::cli
