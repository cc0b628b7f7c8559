// Reading JSON from hostile hands: nlohmann's parser behind limits it does not have.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace snap {

using Json = nlohmann::json;

struct JsonLimits {
  size_t max_bytes = size_t{4} << 20U;  ///< containerd's limit for manifests
  size_t max_depth = 64;
  size_t max_values = 1'000'000;
};

/// Parses one JSON document. Duplicate keys in an object are refused: two readers must never see different values.
/// `what` names the document in errors, e.g. "manifest sha256:...".
/// Errors: kLimitExceeded; kCorrupt for malformed JSON, invalid UTF-8 or duplicate keys.
Result<Json> ParseJson(std::string_view text, std::string_view what, const JsonLimits& limits = {});

/// Typed access that turns a wrong or missing field into an error naming it, instead of an exception.
/// An optional field that is absent or null gives nullptr / the fallback; a wrong type is always kCorrupt.
Result<const Json*> JsonObject(const Json& parent, const char* key, std::string_view what);
Result<const Json*> JsonArray(const Json& parent, const char* key, std::string_view what);
Result<std::string> JsonString(const Json& parent, const char* key, std::string_view what);
Result<std::string> JsonStringOr(const Json& parent, const char* key, std::string fallback, std::string_view what);
Result<uint64_t> JsonUnsigned(const Json& parent, const char* key, std::string_view what);
Result<bool> JsonBoolOr(const Json& parent, const char* key, bool fallback, std::string_view what);
/// An optional array of strings; absent or null is empty.
Result<std::vector<std::string>> JsonStrings(const Json& parent, const char* key, std::string_view what);
/// An optional object; nullptr when absent or null.
Result<const Json*> JsonObjectOrNull(const Json& parent, const char* key, std::string_view what);
Result<const Json*> JsonArrayOrNull(const Json& parent, const char* key, std::string_view what);

/// Compact text; bytes that are not UTF-8 become U+FFFD.
std::string DumpJson(const Json& value);

}  // namespace snap
