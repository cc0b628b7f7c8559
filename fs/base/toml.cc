// The second and last file that sees toml++ (config.cc is the other); its exceptions are compiled out here,
// too. Invariant: depth is bounded by the parser (256 levels), so the walk over its tree may recurse.
#include "fs/base/toml.h"

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <sstream>

#include "fs/base/quote.h"

namespace snap {
namespace {

// NOLINTNEXTLINE(misc-no-recursion): see above
Json ToJson(const toml::node& node) {
  if (const toml::table* table = node.as_table(); table != nullptr) {
    Json object = Json::object();
    for (const auto& [key, value] : *table) object[std::string(key.str())] = ToJson(value);
    return object;
  }
  if (const toml::array* array = node.as_array(); array != nullptr) {
    Json list = Json::array();
    for (const toml::node& item : *array) list.push_back(ToJson(item));
    return list;
  }
  if (const auto* string = node.as_string(); string != nullptr) return string->get();
  if (const auto* integer = node.as_integer(); integer != nullptr) return integer->get();
  if (const auto* number = node.as_floating_point(); number != nullptr) return number->get();
  if (const auto* boolean = node.as_boolean(); boolean != nullptr) return boolean->get();
  std::ostringstream text;
  if (const auto* date = node.as_date(); date != nullptr) text << date->get();
  if (const auto* time = node.as_time(); time != nullptr) text << time->get();
  if (const auto* both = node.as_date_time(); both != nullptr) text << both->get();
  return text.str();
}

}  // namespace

Result<Json> ParseToml(std::string_view text, std::string_view name, size_t max_bytes) {
  const std::string file = EscapeUnprintable(name);
  if (text.size() > max_bytes) {
    return MakeError(ErrorCode::kLimitExceeded, "read {}: more than {} bytes", file, max_bytes);
  }
  const toml::parse_result parsed = toml::parse(text, name);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return MakeError(ErrorCode::kInvalidArgument, "{}:{}: {}", file, error.source().begin.line,
                     EscapeUnprintable(error.description()));
  }
  return ToJson(parsed.table());
}

}  // namespace snap
