// Settings: what flags, environment and configuration file together say.
// Invariant: flags win over the environment, the environment over the file, the file over the defaults; each
// setting remembers which of them it came from.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fs/base/config.h"
#include "fs/base/result.h"
#include "fs/io_engine.h"
#include "fs/layer_store.h"
#include "snapshotter/store.h"

namespace snap::cli {

enum class ColorMode { kAuto, kAlways, kNever };
enum class BackendChoice { kAuto, kOverlay, kFuse };
enum class ProgressMode { kAuto, kTty, kPlain, kNone };

inline constexpr std::string_view kDefaultRoot = "/var/lib/snap-store";
inline constexpr std::string_view kDefaultRunDir = "/run/snap-store";
inline constexpr std::string_view kDefaultConfig = "/etc/snap-store/config.toml";

/// What the command line said; empty strings and nullopt for what it did not.
struct Flags {
  std::string root, color, progress, durability, io_engine, layer_format, backend;
  std::optional<unsigned> parallel_layers;
};

using Environment = std::function<std::optional<std::string>(const std::string& name)>;
/// The process' own.
Environment ProcessEnvironment();

struct Settings {
  std::string root{kDefaultRoot};       ///< absolute
  std::string run_dir{kDefaultRunDir};  ///< absolute; <root>/run unless the root is the default one
  Durability durability = Durability::kFull;
  IoEngineKind io_engine = IoEngineKind::kAuto;
  LayerFormatChoice layer_format = LayerFormatChoice::kAuto;
  BackendChoice backend = BackendChoice::kAuto;
  unsigned parallel_layers = 0;  ///< 0: as many as processors
  ColorMode color = ColorMode::kAuto;
  ProgressMode progress = ProgressMode::kAuto;
  std::string config_path;                     ///< the file that was read, "" when there was none
  std::map<std::string, std::string> sources;  ///< setting -> "flag", "environment", "file" or "default"
};

/// The keys of config.toml, those of all programs; docs/config.md describes them.
std::span<const ConfigKey> ConfigKeys();

struct FoundConfig {
  ConfigFile file;
  std::string path;  ///< "" when there was none
};
/// Reads the file that SNAP_CONFIG names ("" = none), else kDefaultConfig if it exists.
/// Errors: kNotFound when SNAP_CONFIG names a missing file; kInvalidArgument for what it must not say.
Result<FoundConfig> FindConfig(const Environment& environment);

/// FindConfig and MergeSettings. Errors: theirs.
Result<Settings> LoadSettings(const Flags& flags, const Environment& environment);
/// The merge alone.
Result<Settings> MergeSettings(const Flags& flags, const Environment& environment, const ConfigFile& file);

}  // namespace snap::cli
