// Typed reading of a specification's JSON: every error names the member by its path, as in "process.user.uid: ...".
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/json.h"
#include "fs/base/quote.h"
#include "fs/base/result.h"

namespace snap::runtime {

/// One object and where it is. Members that are absent or null count as not there. The text outlives the reader.
class SpecReader {
 public:
  SpecReader(const Json& object, std::string path) : object_(object), path_(std::move(path)) {}

  std::string PathOf(std::string_view key) const { return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key); }
  Error Refuse(std::string_view key, std::string_view why, ErrorCode code = ErrorCode::kInvalidArgument) const {
    return MakeError(code, "{}: {}", PathOf(key), why);
  }
  const Json* Find(const char* key) const {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  /// An integer of the type's range.
  template <typename Number>
  Result<void> Read(const char* key, Number& out) const {
    const Json* const value = Find(key);
    if (value == nullptr) return {};
    return Integer(*value, PathOf(key), out);
  }
  template <typename Number>
  Result<void> Read(const char* key, std::optional<Number>& out) const {
    if (Find(key) == nullptr) return {};
    Number number{};
    SNAP_TRY_VOID(Read(key, number));
    out = std::move(number);
    return {};
  }
  Result<void> Read(const char* key, bool& out) const {
    const Json* const value = Find(key);
    if (value == nullptr) return {};
    if (!value->is_boolean()) return Refuse(key, "not true or false");
    out = value->get<bool>();
    return {};
  }
  Result<void> Read(const char* key, std::string& out) const {
    const Json* const value = Find(key);
    if (value == nullptr) return {};
    return Text(*value, PathOf(key), out);
  }
  Result<void> Read(const char* key, std::vector<std::string>& out) const {
    return Each(key, [&](const Json& item, const std::string& path) -> Result<void> {
      SNAP_TRY_VOID(Text(item, path, out.emplace_back()));
      return {};
    });
  }
  /// Calls for every element of an array.
  using Visit = std::function<Result<void>(const Json& item, const std::string& path)>;
  Result<void> Each(const char* key, const Visit& visit) const {
    const Json* const value = Find(key);
    if (value == nullptr) return {};
    if (!value->is_array()) return Refuse(key, "not an array");
    for (size_t i = 0; i < value->size(); ++i) SNAP_TRY_VOID(visit((*value)[i], fmt::format("{}[{}]", PathOf(key), i)));
    return {};
  }
  /// The same with objects.
  Result<void> EachObject(const char* key, const std::function<Result<void>(const SpecReader&)>& visit) const {
    return Each(key, [&](const Json& item, const std::string& path) -> Result<void> {
      if (!item.is_object()) return MakeError(ErrorCode::kInvalidArgument, "{}: not an object", path);
      return visit(SpecReader(item, path));
    });
  }
  /// Calls for every member of an object.
  Result<void> EachMember(const char* key, const std::function<Result<void>(const std::string& name, const Json& value,
                                                                            const std::string& path)>& visit) const {
    const Json* const value = Find(key);
    if (value == nullptr) return {};
    if (!value->is_object()) return Refuse(key, "not an object");
    for (const auto& [name, member] : value->items()) {
      if (name.find('\0') != std::string::npos) return Refuse(key, "a name holds a NUL byte");
      SNAP_TRY_VOID(visit(name, member, fmt::format("{}.{}", PathOf(key), name)));
    }
    return {};
  }
  /// Calls with an object that is there.
  Result<void> Object(const char* key, const std::function<Result<void>(const SpecReader&)>& visit) const {
    const Json* const value = Find(key);
    if (value == nullptr) return {};
    if (!value->is_object()) return Refuse(key, "not an object");
    return visit(SpecReader(*value, PathOf(key)));
  }
  /// Known to the specification, not to this runtime: refused unless it is absent or empty.
  Result<void> Unsupported(const char* key) const {
    const Json* const value = Find(key);
    if (value == nullptr || ((value->is_object() || value->is_array()) && value->empty())) return {};
    return Refuse(key, "this runtime does not support it", ErrorCode::kUnsupported);
  }

  template <typename Number>
  static Result<void> Integer(const Json& value, const std::string& path, Number& out) {
    const auto bad = [&] {
      return MakeError(ErrorCode::kInvalidArgument, "{}: not an integer from {} to {}", path,
                       int64_t{std::numeric_limits<Number>::min()} * 1, uint64_t{std::numeric_limits<Number>::max()});
    };
    if (value.is_number_unsigned()) {
      const auto number = value.get<uint64_t>();
      if (number > uint64_t{std::numeric_limits<Number>::max()}) return bad();
      out = static_cast<Number>(number);
      return {};
    }
    if (value.is_number_integer()) {
      const auto number = value.get<int64_t>();
      if (number >= 0 ? static_cast<uint64_t>(number) > uint64_t{std::numeric_limits<Number>::max()}
                      : !std::numeric_limits<Number>::is_signed || number < static_cast<int64_t>(std::numeric_limits<Number>::min())) {
        return bad();
      }
      out = static_cast<Number>(number);
      return {};
    }
    return bad();
  }
  static Result<void> Text(const Json& value, const std::string& path, std::string& out) {
    if (!value.is_string()) return MakeError(ErrorCode::kInvalidArgument, "{}: not a string", path);
    out = value.get<std::string>();
    if (out.find('\0') != std::string::npos) return MakeError(ErrorCode::kInvalidArgument, "{}: it holds a NUL byte", path);
    return {};
  }

 private:
  const Json& object_;
  std::string path_;
};

}  // namespace snap::runtime
