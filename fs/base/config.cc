// The only file that sees toml++; its exceptions are compiled out, its errors carry line numbers.
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

Result<ConfigFile> ConfigFile::Parse(std::string_view text, std::string_view name,
                                     std::span<const ConfigKey> keys) {
  const std::string file = EscapeUnprintable(name);
  toml::parse_result parsed = toml::parse(text, name);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return MakeError(ErrorCode::kInvalidArgument, "{}:{}: {}", file, error.source().begin.line,
                     EscapeUnprintable(error.description()));
  }
  ConfigFile config;
  for (const auto& [toml_key, node] : parsed.table()) {
    const std::string_view key_name = toml_key.str();
    const auto line = toml_key.source().begin.line;
    const auto key =
        std::find_if(keys.begin(), keys.end(), [&](const ConfigKey& k) { return k.name == key_name; });
    if (key == keys.end()) {
      return MakeError(ErrorCode::kInvalidArgument, "{}:{}: unknown key {} (known: {})", file, line,
                       Quote(key_name), KeyList(keys));
    }
    const auto wrong_kind = [&] {
      return MakeError(ErrorCode::kInvalidArgument, "{}:{}: key {} must be {}", file, line, Quote(key_name),
                       KindName(key->kind));
    };
    switch (key->kind) {
      case ConfigKey::Kind::kString: {
        const auto* value = node.as_string();
        if (value == nullptr) return wrong_kind();
        const std::string& string = value->get();
        const auto& choices = key->choices;
        if (!choices.empty() && std::find(choices.begin(), choices.end(), string) == choices.end()) {
          return MakeError(ErrorCode::kInvalidArgument, "{}:{}: key {} is {}, not one of {}", file, line,
                           Quote(key_name), Quote(string), fmt::join(choices, ", "));
        }
        config.values_.emplace(key_name, string);
        break;
      }
      case ConfigKey::Kind::kUnsigned: {
        const auto* value = node.as_integer();
        if (value == nullptr || value->get() < 0) return wrong_kind();
        config.values_.emplace(key_name, static_cast<uint64_t>(value->get()));
        break;
      }
      case ConfigKey::Kind::kBool: {
        const auto* value = node.as_boolean();
        if (value == nullptr) return wrong_kind();
        config.values_.emplace(key_name, value->get());
        break;
      }
    }
  }
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

}  // namespace snap
