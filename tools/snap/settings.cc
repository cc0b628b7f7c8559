#include "tools/snap/settings.h"

#include <array>
#include <charconv>
#include <cstdlib>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap::cli {
namespace {

/// One setting's value and the place that it came from.
struct Chosen {
  std::string value, source;
};

struct Names {
  const char* setting;
  const char* variable;  // of the environment; nullptr: none
};

Chosen Choose(const Names& names, const std::string& flag, const Environment& environment,
              const std::optional<std::string>& file, std::string_view fallback) {
  if (!flag.empty()) return {flag, "flag"};
  if (names.variable != nullptr) {
    // Like most programs: an empty variable is as good as none.
    if (auto value = environment(names.variable); value && !value->empty()) return {*value, "environment"};
  }
  if (file) return {*file, "file"};
  return {std::string(fallback), "default"};
}

Error BadValue(std::string_view setting, const Chosen& chosen, std::string_view allowed) {
  return MakeError(ErrorCode::kInvalidArgument, "{} is {} (from {}), not {}", setting, Quote(chosen.value),
                   chosen.source, allowed);
}

/// Lexically: "." and ".." and doubled slashes of a path that need not exist yet.
Result<std::string> AbsolutePath(const std::string& path, std::string_view what) {
  if (path.find('\0') != std::string::npos)
    return MakeError(ErrorCode::kInvalidArgument, "{} holds a NUL byte", what);
  std::string full = path;
  if (!path.starts_with('/')) {
    SNAP_TRY_SYS(const std::string cwd, sys::ReadLinkAt(FdRef::Cwd(), "/proc/self/cwd"),
                 "find the working directory");
    full = cwd + "/" + path;
  }
  while (full.size() > 1 && full.ends_with('/')) full.pop_back();
  return full;
}

}  // namespace

Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value =
        std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): nothing here calls setenv
    if (value == nullptr) return std::nullopt;
    return value;
  };
}

std::span<const ConfigKey> ConfigKeys() {
  using Kind = ConfigKey::Kind;
  static const std::array<ConfigKey, 15> kKeys = {{
      {"root", Kind::kString, {}},
      {"durability", Kind::kString, {"full", "none"}},
      {"io_engine", Kind::kString, {"auto", "plain", "uring"}},
      {"layer_format", Kind::kString, {"auto", "packed", "tree"}},
      {"backend", Kind::kString, {"auto", "overlay", "fuse"}},
      {"parallel_layers", Kind::kUnsigned, {}},
      {"color", Kind::kString, {"auto", "always", "never"}},
      {"progress", Kind::kString, {"auto", "tty", "plain", "none"}},
      {"daemon.address", Kind::kString, {}},
      {"daemon.containerd_address", Kind::kString, {}},
      {"daemon.content_roots", Kind::kStrings, {}},
      {"daemon.metrics_address", Kind::kString, {}},
      {"daemon.parallel_applies", Kind::kUnsigned, {}},
      {"daemon.log_level", Kind::kString, {"debug", "info", "warning", "error"}},
      {"daemon.log_format", Kind::kString, {"text", "json"}},
  }};
  return kKeys;
}

Result<FoundConfig> FindConfig(const Environment& environment) {
  const std::optional<std::string> named = environment("SNAP_CONFIG");
  const std::string path = named.value_or(std::string(kDefaultConfig));
  if (path.empty()) return FoundConfig{};
  Result<ConfigFile> file = ConfigFile::Load(path, ConfigKeys());
  if (!file.ok()) {
    if (file.error().code() == ErrorCode::kNotFound && !named) return FoundConfig{};
    return std::move(file).error();
  }
  return FoundConfig{*std::move(file), path};
}

Result<Settings> LoadSettings(const Flags& flags, const Environment& environment) {
  SNAP_TRY(FoundConfig found, FindConfig(environment));
  SNAP_TRY(Settings settings, MergeSettings(flags, environment, found.file));
  settings.config_path = std::move(found.path);
  return settings;
}

Result<Settings> MergeSettings(const Flags& flags, const Environment& environment, const ConfigFile& file) {
  Settings settings;
  const auto choose = [&](const Names& names, const std::string& flag,
                          const std::optional<std::string>& in_file, std::string_view fallback) {
    Chosen chosen = Choose(names, flag, environment, in_file, fallback);
    settings.sources[names.setting] = chosen.source;
    return chosen;
  };

  const Chosen root = choose({"root", "SNAP_ROOT"}, flags.root, file.String("root"), kDefaultRoot);
  SNAP_TRY(settings.root, AbsolutePath(root.value, "root"));
  settings.run_dir = settings.root == kDefaultRoot ? std::string(kDefaultRunDir) : settings.root + "/run";

  const Chosen durability =
      choose({"durability", "SNAP_DURABILITY"}, flags.durability, file.String("durability"), "full");
  const auto parsed_durability = ParseDurability(durability.value);
  if (!parsed_durability.ok()) return BadValue("durability", durability, "full or none");
  settings.durability = *parsed_durability;

  const Chosen engine =
      choose({"io_engine", "SNAP_IO_ENGINE"}, flags.io_engine, file.String("io_engine"), "auto");
  const auto parsed_engine = ParseIoEngineKind(engine.value);
  if (!parsed_engine.ok()) return BadValue("io_engine", engine, "auto, plain or uring");
  settings.io_engine = *parsed_engine;

  const Chosen format =
      choose({"layer_format", "SNAP_LAYER_FORMAT"}, flags.layer_format, file.String("layer_format"), "auto");
  const auto parsed_format = ParseLayerFormatChoice(format.value);
  if (!parsed_format.ok()) return BadValue("layer_format", format, "auto, packed or tree");
  settings.layer_format = *parsed_format;

  const Chosen backend = choose({"backend", "SNAP_BACKEND"}, flags.backend, file.String("backend"), "auto");
  if (backend.value == "overlay") {
    settings.backend = BackendChoice::kOverlay;
  } else if (backend.value == "fuse") {
    settings.backend = BackendChoice::kFuse;
  } else if (backend.value != "auto") {
    return BadValue("backend", backend, "auto, overlay or fuse");
  }

  const auto file_parallel = file.Unsigned("parallel_layers");
  const Chosen parallel =
      choose({"parallel_layers", "SNAP_PARALLEL_LAYERS"},
             flags.parallel_layers ? std::to_string(*flags.parallel_layers) : "",
             file_parallel ? std::optional(std::to_string(*file_parallel)) : std::nullopt, "0");
  const char* end = parallel.value.data() + parallel.value.size();
  const auto number = std::from_chars(parallel.value.data(), end, settings.parallel_layers);
  constexpr unsigned kMaxParallel = 1024;
  if (number.ec != std::errc() || number.ptr != end || settings.parallel_layers > kMaxParallel) {
    return BadValue("parallel_layers", parallel, "a number from 0 (as many as processors) to 1024");
  }

  // https://no-color.org: present and not empty means no colour; a flag still wins.
  const std::optional<std::string> no_color = environment("NO_COLOR");
  const bool dumb = environment("TERM").value_or("") == "dumb";
  Chosen color = choose({"color", nullptr}, flags.color, file.String("color"), "auto");
  if (color.source != "flag" && ((no_color && !no_color->empty()) || dumb)) {
    color = {"never", "environment"};
    settings.sources["color"] = color.source;
  }
  if (color.value == "always") {
    settings.color = ColorMode::kAlways;
  } else if (color.value == "never") {
    settings.color = ColorMode::kNever;
  } else if (color.value != "auto") {
    return BadValue("color", color, "auto, always or never");
  }

  const Chosen progress =
      choose({"progress", "SNAP_PROGRESS"}, flags.progress, file.String("progress"), "auto");
  if (progress.value == "tty") {
    settings.progress = ProgressMode::kTty;
  } else if (progress.value == "plain") {
    settings.progress = ProgressMode::kPlain;
  } else if (progress.value == "none") {
    settings.progress = ProgressMode::kNone;
  } else if (progress.value != "auto") {
    return BadValue("progress", progress, "auto, tty, plain or none");
  }
  return settings;
}

}  // namespace snap::cli
