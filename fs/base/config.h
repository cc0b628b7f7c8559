// ConfigFile: a TOML file of settings that programs declare: key = value, in sections ("[daemon]") of one level.
// Invariant: what was loaded holds only declared keys with values of the declared kind; anything else is an
// error that names file, line and key, so a misspelt setting is never silently ignored.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "fs/base/result.h"

namespace snap {

/// One setting that a program knows.
struct ConfigKey {
  enum class Kind { kString, kUnsigned, kBool, kStrings };
  std::string_view name;  ///< "root", or "daemon.address" for a key of section [daemon]
  Kind kind = Kind::kString;
  std::vector<std::string_view> choices;  ///< of a string; empty: any
};

/// Constant after construction. Threads: safe.
class ConfigFile {
 public:
  static constexpr size_t kMaxBytes = size_t{64} << 10U;

  /// No settings.
  ConfigFile() = default;
  /// Errors: kNotFound; kInvalidArgument "/etc/x.toml:3: unknown key 'rooot'"; kLimitExceeded above
  /// kMaxBytes.
  static Result<ConfigFile> Load(const std::string& path, std::span<const ConfigKey> keys);
  /// The same from text; `name` stands for the file in errors.
  static Result<ConfigFile> Parse(std::string_view text, std::string_view name,
                                  std::span<const ConfigKey> keys);

  /// The value of a declared key, nullopt when the file does not set it.
  std::optional<std::string> String(std::string_view key) const;
  std::optional<uint64_t> Unsigned(std::string_view key) const;
  std::optional<bool> Bool(std::string_view key) const;
  std::optional<std::vector<std::string>> Strings(std::string_view key) const;

 private:
  using Value = std::variant<std::string, uint64_t, bool, std::vector<std::string>>;
  struct Reader;
  std::map<std::string, Value, std::less<>> values_;
};

}  // namespace snap
