// With toml.cc the only file that sees toml++; its exceptions are compiled out, its errors carry line numbers.
#include "fs/base/config.h"

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <algorithm>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap {
namespace {

std::string_view KindName(ConfigKey::Kind kind) {
  switch (kind) {
    case ConfigKey::Kind::kString:
      return "a string in quotes";
    case ConfigKey::Kind::kUnsigned:
      return "a whole number of 0 or more";
    case ConfigKey::Kind::kBool:
      return "true or false";
    case ConfigKey::Kind::kStrings:
      return "a list of strings in quotes";
  }
  return "";
}

std::string KeyList(std::span<const ConfigKey> keys) {
  std::string out;
  for (const ConfigKey& key : keys) out += fmt::format("{}{}", out.empty() ? "" : ", ", key.name);
  return out;
}

}  // namespace

Result<ConfigFile> ConfigFile::Load(const std::string& path, std::span<const ConfigKey> keys) {
  const SysResult<std::string> text = sys::ReadFileAt(FdRef::Cwd(), path.c_str(), kMaxBytes);
  if (!text.ok()) {
    if (text.error() == EFBIG) {
      return MakeError(ErrorCode::kLimitExceeded, "read configuration {}: more than {} bytes", Quote(path),
                       kMaxBytes);
    }
    return Error(text.error(), fmt::format("read configuration {}", Quote(path)));
  }
  return Parse(*text, path, keys);
}

/// One pass over a parsed file.
struct ConfigFile::Reader {
  std::string file;
  std::span<const ConfigKey> keys;
  std::map<std::string, Value, std::less<>> values;

  /// The keys of the file (prefix "") or of a section ("daemon.").
  Result<void> ReadTable(const toml::table& table, const std::string& prefix) {
    for (const auto& [toml_key, node] : table) {
      const std::string name = prefix + std::string(toml_key.str());
      const std::string where = fmt::format("{}:{}", file, toml_key.source().begin.line);
      const auto key =
          std::find_if(keys.begin(), keys.end(), [&](const ConfigKey& k) { return k.name == name; });
      // A dot inside quotes is part of a name, and no key of ours has one.
      const bool quoted_dot = toml_key.str().find('.') != std::string_view::npos;
      if (key != keys.end() && !quoted_dot) {
        SNAP_TRY_VOID(ReadValue(*key, node, where));
      } else if (prefix.empty() && IsSection(name)) {
        const toml::table* section = node.as_table();
        if (section == nullptr) {
          return MakeError(ErrorCode::kInvalidArgument, "{}: {} must be a section: [{}]", where, Quote(name),
                           name);
        }
        SNAP_TRY_VOID(ReadTable(*section, name + "."));
      } else {
        return MakeError(ErrorCode::kInvalidArgument, "{}: unknown key {} (known: {})", where, Quote(name),
                         KeyList(keys));
      }
    }
    return {};
  }

 private:
  bool IsSection(const std::string& name) const {
    return std::any_of(keys.begin(), keys.end(),
                       [&](const ConfigKey& key) { return key.name.starts_with(name + "."); });
  }

  Result<void> ReadValue(const ConfigKey& key, const toml::node& node, const std::string& where) {
    std::optional<Value> value;
    switch (key.kind) {
      case ConfigKey::Kind::kString:
        if (const auto* string = node.as_string(); string != nullptr) value.emplace(string->get());
        break;
      case ConfigKey::Kind::kUnsigned:
        if (const auto* number = node.as_integer(); number != nullptr && number->get() >= 0) {
          value.emplace(static_cast<uint64_t>(number->get()));
        }
        break;
      case ConfigKey::Kind::kBool:
        if (const auto* boolean = node.as_boolean(); boolean != nullptr) value.emplace(boolean->get());
        break;
      case ConfigKey::Kind::kStrings:
        if (auto strings = ReadStrings(node)) value.emplace(*std::move(strings));
        break;
    }
    if (!value) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: key {} must be {}", where, Quote(key.name),
                       KindName(key.kind));
    }
    if (const auto* string = std::get_if<std::string>(&*value);
        string != nullptr && !key.choices.empty() &&
        std::find(key.choices.begin(), key.choices.end(), *string) == key.choices.end()) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: key {} is {}, not one of {}", where, Quote(key.name),
                       Quote(*string), fmt::join(key.choices, ", "));
    }
    values.emplace(key.name, *std::move(value));
    return {};
  }

  static std::optional<std::vector<std::string>> ReadStrings(const toml::node& node) {
    const toml::array* array = node.as_array();
    if (array == nullptr) return std::nullopt;
    std::vector<std::string> strings;
    for (const toml::node& item : *array) {
      const auto* string = item.as_string();
      if (string == nullptr) return std::nullopt;
      strings.push_back(string->get());
    }
    return strings;
  }
};

Result<ConfigFile> ConfigFile::Parse(std::string_view text, std::string_view name,
                                     std::span<const ConfigKey> keys) {
  const toml::parse_result parsed = toml::parse(text, name);
  Reader reader{EscapeUnprintable(name), keys, {}};
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return MakeError(ErrorCode::kInvalidArgument, "{}:{}: {}", reader.file, error.source().begin.line,
                     EscapeUnprintable(error.description()));
  }
  SNAP_TRY_VOID(reader.ReadTable(parsed.table(), ""));
  ConfigFile config;
  config.values_ = std::move(reader.values);
  return config;
}

std::optional<std::string> ConfigFile::String(std::string_view key) const {
  const auto it = values_.find(key);
  if (it == values_.end()) return std::nullopt;
  const auto* value = std::get_if<std::string>(&it->second);
  SNAP_CHECK(value != nullptr);
  return *value;
}

std::optional<uint64_t> ConfigFile::Unsigned(std::string_view key) const {
  const auto it = values_.find(key);
  if (it == values_.end()) return std::nullopt;
  const auto* value = std::get_if<uint64_t>(&it->second);
  SNAP_CHECK(value != nullptr);
  return *value;
}

std::optional<bool> ConfigFile::Bool(std::string_view key) const {
  const auto it = values_.find(key);
  if (it == values_.end()) return std::nullopt;
  const auto* value = std::get_if<bool>(&it->second);
  SNAP_CHECK(value != nullptr);
  return *value;
}

std::optional<std::vector<std::string>> ConfigFile::Strings(std::string_view key) const {
  const auto it = values_.find(key);
  if (it == values_.end()) return std::nullopt;
  const auto* value = std::get_if<std::vector<std::string>>(&it->second);
  SNAP_CHECK(value != nullptr);
  return *value;
}

}  // namespace snap
