// snap engine-config: what to paste into an engine's configuration. Data to standard output, advice to
// standard error.
#include "fs/base/quote.h"
#include "tools/snap/context.h"
#include "tools/snap/engine_config.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

struct EngineConfigArgs {
  std::string engine, version, address, name{kDefaultSnapshotterName};
};

/// The version that was given, or the one of the engine here, or the newest.
Result<EngineVersion> VersionFor(Context& context, const EngineConfigArgs& args, const std::string& program,
                                 const EngineVersion& newest) {
  if (!args.version.empty()) {
    if (const std::optional<EngineVersion> version = FindEngineVersion(args.version)) return *version;
    return MakeError(ErrorCode::kInvalidArgument, "version {} does not look like 2.1 or 1.7.23",
                     Quote(args.version));
  }
  Result<EngineVersion> found = AskEngineVersion(program);
  if (found.ok()) {
    context.Note(fmt::format("note: for {} {}, which is here\n", program, found->ToString()));
    return found;
  }
  context.Note(found.error().code() == ErrorCode::kNotFound
                   ? fmt::format("note: no {} here; this is for {}.{}, --version says another\n", program,
                                 newest.major, newest.minor)
                   : fmt::format("note: {}; this is for {}.{}\n", found.error().message(), newest.major,
                                 newest.minor));
  return newest;
}

Result<int> EngineConfig(Context& context, const EngineConfigArgs& args) {
  const Settings& settings = context.settings();
  EngineConfigInput input;
  input.name = args.name;
  SNAP_TRY(const FoundConfig config, FindConfig(ProcessEnvironment()));
  input.address =
      !args.address.empty()
          ? args.address
          : config.file.String("daemon.address").value_or(settings.run_dir + "/snapshotterd.sock");
  input.store_root = settings.root;
  input.platform = oci::Platform::Host().ToString();
  SNAP_TRY_VOID(CheckEngineConfigInput(input));
  std::vector<std::string> notes;
  if (args.engine == "docker") {
    SNAP_TRY(const EngineVersion version, VersionFor(context, args, "dockerd", kNewestDocker));
    SNAP_TRY(const std::string text, DockerConfigText(input, version));
    context.Print(text);
    notes = DockerNotes(input);
  } else {
    const bool cri = args.engine == "cri";
    SNAP_TRY(const EngineVersion version, VersionFor(context, args, "containerd", kNewestContainerd));
    SNAP_TRY(const std::string text, ContainerdConfigText(input, version, cri));
    context.Print(text);
    notes = ContainerdNotes(input, version, cri);
  }
  for (const std::string& note : notes) context.Note("note: " + note + "\n");
  return kExitOk;
}

Result<int> CheckedEngineConfig(Context& context, const EngineConfigArgs& args) {
  for (const std::string_view known : {"containerd", "docker", "cri"}) {
    if (args.engine == known) return EngineConfig(context, args);
  }
  return MakeError(ErrorCode::kInvalidArgument, "{} is not one of containerd, docker, cri",
                   Quote(args.engine));
}

}  // namespace

void AddEngineConfig(CommandTree& tree) {
  tree.AddVerb(
      {.name = "engine-config",
       .usage = "[OPTIONS] containerd|docker|cri",
       .summary = "Print the configuration that makes an engine use this store",
       .description =
           "For the version of containerd or Docker that is installed here, or that --version names. The "
           "text goes to "
           "standard output: TOML for containerd, also when Kubernetes uses it (cri), JSON for Docker, whose "
           "containerd "
           "needs its part besides. What to restart goes to standard error.\n\n"
           "Merge it by hand into a file that has other settings. 'snap doctor' checks what came of it.",
       .examples = {{"snap engine-config containerd",
                     "For ctr and nerdctl, with the containerd of this machine."},
                    {"snap engine-config cri --version 2.1", "For Kubernetes on containerd 2.1."},
                    {"snap engine-config docker > /etc/docker/daemon.json",
                     "For Docker, when it has no settings yet."}}},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<EngineConfigArgs>();
        options.Operand("containerd|docker|cri", args->engine, true, "Who is to use the store");
        options.Text("--version", args->version, "VERSION", "Of containerd or Docker, instead of asking it");
        options.Text("--address", args->address, "SOCKET",
                     "Of snapshotterd, instead of the one in the store's run directory");
        options.Text("--name", args->name, "NAME", "What the engine calls the snapshotter, instead of snap");
        return [args](Context& context) { return CheckedEngineConfig(context, *args); };
      });
}

}  // namespace snap::cli
