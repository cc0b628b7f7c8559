// The limits live in a SAX handler, so a bomb is refused while reading and never built.
#include "fs/base/json.h"

#include <set>
#include <vector>

#include "fs/base/quote.h"

namespace snap {
namespace {

class LimitedBuilder final : public nlohmann::json_sax<Json> {
 public:
  LimitedBuilder(const JsonLimits& limits, std::string_view what) : limits_(limits), what_(what) {}

  bool null() override { return Add(Json()); }
  bool boolean(bool value) override { return Add(Json(value)); }
  bool number_integer(number_integer_t value) override { return Add(Json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Add(Json(value)); }
  bool number_float(number_float_t value, const string_t&) override { return Add(Json(value)); }
  bool string(string_t& value) override { return Add(Json(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& value) override {
    if (stack_.back()->contains(value)) {
      error_ = MakeError(ErrorCode::kCorrupt, "parse {}: duplicate key {}", what_, Quote(value));
      return false;
    }
    key_ = std::move(value);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    if (!error_) error_ = MakeError(ErrorCode::kCorrupt, "parse {}: malformed JSON at byte {}", what_, position);
    return false;
  }

  Result<Json> Take() && {
    if (error_) return std::move(*error_);
    return std::move(root_);
  }

 private:
  Json* Place(Json value) {
    if (++values_ > limits_.max_values) {
      error_ = MakeError(ErrorCode::kLimitExceeded, "parse {}: more than {} values", what_, limits_.max_values);
      return nullptr;
    }
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }
  bool Add(Json value) { return Place(std::move(value)) != nullptr; }
  bool Open(Json value) {
    if (stack_.size() >= limits_.max_depth) {
      error_ = MakeError(ErrorCode::kLimitExceeded, "parse {}: nested deeper than {}", what_, limits_.max_depth);
      return false;
    }
    Json* placed = Place(std::move(value));
    if (placed == nullptr) return false;
    stack_.push_back(placed);
    return true;
  }
  bool Close() {
    stack_.pop_back();
    return true;
  }

  const JsonLimits& limits_;
  std::string_view what_;
  Json root_;
  std::vector<Json*> stack_;
  std::string key_;
  size_t values_ = 0;
  std::optional<Error> error_;
};

const Json* Find(const Json& parent, const char* key) {
  if (!parent.is_object()) return nullptr;
  const auto found = parent.find(key);
  return found == parent.end() || found->is_null() ? nullptr : &*found;
}

Error Wrong(std::string_view what, const char* key, const char* expected) {
  return MakeError(ErrorCode::kCorrupt, "{}: field '{}' is not {}", what, key, expected);
}
Error Missing(std::string_view what, const char* key) {
  return MakeError(ErrorCode::kCorrupt, "{}: field '{}' is missing", what, key);
}

}  // namespace

Result<Json> ParseJson(std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return MakeError(ErrorCode::kLimitExceeded, "parse {}: {} bytes, at most {} are accepted", what, text.size(),
                     limits.max_bytes);
  }
  if (text.starts_with("\xef\xbb\xbf")) {
    return MakeError(ErrorCode::kCorrupt, "parse {}: starts with a byte order mark", what);
  }
  LimitedBuilder builder(limits, what);
  (void)Json::sax_parse(text.begin(), text.end(), &builder);  // failures are kept in the builder
  return std::move(builder).Take();
}

Result<const Json*> JsonObjectOrNull(const Json& parent, const char* key, std::string_view what) {
  const Json* value = Find(parent, key);
  if (value != nullptr && !value->is_object()) return Wrong(what, key, "an object");
  return value;
}

Result<const Json*> JsonArrayOrNull(const Json& parent, const char* key, std::string_view what) {
  const Json* value = Find(parent, key);
  if (value != nullptr && !value->is_array()) return Wrong(what, key, "an array");
  return value;
}

Result<const Json*> JsonObject(const Json& parent, const char* key, std::string_view what) {
  SNAP_TRY(const Json* value, JsonObjectOrNull(parent, key, what));
  if (value == nullptr) return Missing(what, key);
  return value;
}

Result<const Json*> JsonArray(const Json& parent, const char* key, std::string_view what) {
  SNAP_TRY(const Json* value, JsonArrayOrNull(parent, key, what));
  if (value == nullptr) return Missing(what, key);
  return value;
}

Result<std::string> JsonString(const Json& parent, const char* key, std::string_view what) {
  const Json* value = Find(parent, key);
  if (value == nullptr) return Missing(what, key);
  if (!value->is_string()) return Wrong(what, key, "a string");
  return value->get_ref<const std::string&>();
}

Result<std::string> JsonStringOr(const Json& parent, const char* key, std::string fallback, std::string_view what) {
  if (Find(parent, key) == nullptr) return fallback;
  return JsonString(parent, key, what);
}

Result<uint64_t> JsonUnsigned(const Json& parent, const char* key, std::string_view what) {
  const Json* value = Find(parent, key);
  if (value == nullptr) return Missing(what, key);
  if (!value->is_number_unsigned()) return Wrong(what, key, "a non-negative integer");
  return value->get<uint64_t>();
}

Result<bool> JsonBoolOr(const Json& parent, const char* key, bool fallback, std::string_view what) {
  const Json* value = Find(parent, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Wrong(what, key, "a boolean");
  return value->get<bool>();
}

Result<std::vector<std::string>> JsonStrings(const Json& parent, const char* key, std::string_view what) {
  SNAP_TRY(const Json* array, JsonArrayOrNull(parent, key, what));
  std::vector<std::string> out;
  if (array == nullptr) return out;
  for (const Json& item : *array) {
    if (!item.is_string()) return Wrong(what, key, "an array of strings");
    out.push_back(item.get_ref<const std::string&>());
  }
  return out;
}

std::string DumpJson(const Json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace snap
