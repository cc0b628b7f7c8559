#include "tools/snapshotterd/daemon_settings.h"

#include "fs/base/quote.h"
#include "snapshotter/grpc/options.h"

namespace snap::daemon {
namespace {

constexpr uint64_t kMaxParallel = 1024;

Result<void> RequireAbsolute(const std::string& path, std::string_view key) {
  if (path.starts_with('/') && path.find('\0') == std::string::npos) return {};
  return MakeError(ErrorCode::kInvalidArgument, "{} is {}, not an absolute path", key, Quote(path));
}

Result<log::Level> LevelByName(std::string_view name) {
  if (name == "debug") return log::Level::kDebug;
  if (name == "info") return log::Level::kInfo;
  if (name == "warning") return log::Level::kWarning;
  if (name == "error") return log::Level::kError;
  return MakeError(ErrorCode::kInvalidArgument, "log level is {}, not debug, info, warning or error",
                   Quote(name));
}

}  // namespace

Result<DaemonSettings> LoadDaemonSettings(const DaemonFlags& flags, const cli::Environment& environment) {
  const cli::Environment with_flags = [&](const std::string& name) -> std::optional<std::string> {
    if (name == "SNAP_CONFIG" && !flags.config.empty()) return flags.config;
    return environment(name);
  };
  SNAP_TRY(const cli::FoundConfig found, cli::FindConfig(with_flags));
  const ConfigFile& file = found.file;
  cli::Flags store_flags;
  store_flags.root = flags.root;
  DaemonSettings settings;
  SNAP_TRY(settings.store, cli::MergeSettings(store_flags, with_flags, file));
  settings.store.config_path = found.path;

  const std::string default_address = settings.store.run_dir + "/snapshotterd.sock";
  settings.address =
      !flags.address.empty() ? flags.address : file.String("daemon.address").value_or(default_address);
  SNAP_TRY_VOID(RequireAbsolute(settings.address, "daemon.address"));
  if (auto address = file.String("daemon.containerd_address"))
    settings.containerd_address = *std::move(address);
  SNAP_TRY_VOID(RequireAbsolute(settings.containerd_address, "daemon.containerd_address"));
  settings.content_roots = file.Strings("daemon.content_roots").value_or(DiffOptions().content_roots);
  for (const std::string& root : settings.content_roots) {
    SNAP_TRY_VOID(RequireAbsolute(root, "daemon.content_roots"));
  }
  settings.metrics_address = file.String("daemon.metrics_address").value_or("");
  const uint64_t parallel = file.Unsigned("daemon.parallel_applies").value_or(0);
  if (parallel > kMaxParallel) {
    return MakeError(ErrorCode::kInvalidArgument, "daemon.parallel_applies is {}, at most {} are allowed",
                     parallel, kMaxParallel);
  }
  settings.parallel_applies = static_cast<unsigned>(parallel);

  // As for `snap`: the variable is for looking into one run and wins over the file.
  const std::optional<std::string> variable = environment("SNAP_LOG");
  const std::string level =
      variable && !variable->empty() ? *variable : file.String("daemon.log_level").value_or("info");
  SNAP_TRY(settings.log_level, LevelByName(level));
  const std::string format =
      !flags.log_format.empty() ? flags.log_format : file.String("daemon.log_format").value_or("text");
  settings.log_format = format == "json" ? log::Format::kJson : log::Format::kText;
  return settings;
}

std::vector<std::string> NeedRestart(const DaemonSettings& running, const DaemonSettings& wanted) {
  std::vector<std::string> keys;
  const auto compare = [&](const auto& a, const auto& b, const char* key) {
    if (a != b) keys.emplace_back(key);
  };
  compare(running.store.root, wanted.store.root, "root");
  compare(running.store.durability, wanted.store.durability, "durability");
  compare(running.store.io_engine, wanted.store.io_engine, "io_engine");
  compare(running.store.layer_format, wanted.store.layer_format, "layer_format");
  compare(running.address, wanted.address, "daemon.address");
  compare(running.containerd_address, wanted.containerd_address, "daemon.containerd_address");
  compare(running.content_roots, wanted.content_roots, "daemon.content_roots");
  compare(running.metrics_address, wanted.metrics_address, "daemon.metrics_address");
  compare(running.parallel_applies, wanted.parallel_applies, "daemon.parallel_applies");
  return keys;
}

}  // namespace snap::daemon
