// The image configuration. Everything in it later reaches a process (arguments, environment, paths), so
// strings that a C program would see cut short are refused here, once.
#include <algorithm>

#include "fs/base/json.h"
#include "fs/base/quote.h"
#include "fs/oci_documents.h"
#include "fs/oci_image.h"

namespace snap::oci {
namespace {

Result<void> RefuseNul(std::string_view value, std::string_view field, std::string_view what) {
  if (value.find('\0') == std::string_view::npos) return {};
  return MakeError(ErrorCode::kCorrupt, "{}: field '{}' contains a NUL byte", what, field);
}

Result<std::string> String(const Json& parent, const char* key, std::string_view what) {
  SNAP_TRY(std::string value, JsonStringOr(parent, key, "", what));
  SNAP_TRY_VOID(RefuseNul(value, key, what));
  return value;
}

Result<std::vector<std::string>> Strings(const Json& parent, const char* key, std::string_view what) {
  SNAP_TRY(std::vector<std::string> values, JsonStrings(parent, key, what));
  for (const std::string& value : values) SNAP_TRY_VOID(RefuseNul(value, key, what));
  return values;
}

/// Go's map[string]struct{}: only the keys mean something.
Result<std::vector<std::string>> Keys(const Json& parent, const char* key, std::string_view what) {
  std::vector<std::string> out;
  SNAP_TRY(const Json* object, JsonObjectOrNull(parent, key, what));
  if (object == nullptr) return out;
  for (const auto& [name, value] : object->items()) {
    SNAP_TRY_VOID(RefuseNul(name, key, what));
    out.push_back(name);
  }
  return out;
}

Result<void> ParseRunConfig(const Json& json, std::string_view what, ImageConfig& out) {
  SNAP_TRY(out.entrypoint, Strings(json, "Entrypoint", what));
  SNAP_TRY(out.cmd, Strings(json, "Cmd", what));
  SNAP_TRY(out.env, Strings(json, "Env", what));
  SNAP_TRY(out.user, String(json, "User", what));
  SNAP_TRY(out.working_dir, String(json, "WorkingDir", what));
  SNAP_TRY(out.stop_signal, String(json, "StopSignal", what));
  SNAP_TRY(out.volumes, Keys(json, "Volumes", what));
  SNAP_TRY(out.exposed_ports, Keys(json, "ExposedPorts", what));
  SNAP_TRY(const Json* labels, JsonObjectOrNull(json, "Labels", what));
  if (labels == nullptr) return {};
  for (const auto& [name, value] : labels->items()) {
    if (!value.is_string()) {
      return MakeError(ErrorCode::kCorrupt, "{}: label {} is not a string", what, Quote(name.substr(0, 200)));
    }
    const auto& text = value.get_ref<const std::string&>();
    SNAP_TRY_VOID(RefuseNul(name, "Labels", what));
    SNAP_TRY_VOID(RefuseNul(text, "Labels", what));
    out.labels.emplace_back(name, text);
  }
  return {};
}

Result<void> ParseRootfs(const Json& json, std::string_view what, ImageConfig& out) {
  SNAP_TRY(const Json* rootfs, JsonObject(json, "rootfs", what));
  SNAP_TRY(const std::string type, JsonString(*rootfs, "type", what));
  if (type != "layers") {
    return MakeError(ErrorCode::kUnsupported, "{}: rootfs type {} is not supported, only 'layers' is", what,
                     Quote(type.substr(0, 200)));
  }
  SNAP_TRY(const std::vector<std::string> diff_ids, JsonStrings(*rootfs, "diff_ids", what));
  if (diff_ids.size() > kMaxLayers) {
    return MakeError(ErrorCode::kLimitExceeded, "{}: {} layers, at most {} are accepted", what,
                     diff_ids.size(), kMaxLayers);
  }
  for (const std::string& text : diff_ids) {
    Result<Digest> digest = Digest::Parse(text);
    if (!digest.ok()) {
      const bool unsupported = digest.error().code() == ErrorCode::kUnsupported;
      return MakeError(unsupported ? ErrorCode::kUnsupported : ErrorCode::kCorrupt, "{}: {}", what,
                       digest.error().message());
    }
    out.diff_ids.push_back({*digest});
  }
  return {};
}

Result<void> ParseHistory(const Json& json, std::string_view what, ImageConfig& out) {
  SNAP_TRY(const Json* history, JsonArrayOrNull(json, "history", what));
  if (history == nullptr) return {};
  for (const Json& item : *history) {
    if (!item.is_object()) return MakeError(ErrorCode::kCorrupt, "{}: history entry is not an object", what);
    HistoryEntry entry;
    SNAP_TRY(entry.created, JsonStringOr(item, "created", "", what));
    SNAP_TRY(entry.created_by, JsonStringOr(item, "created_by", "", what));
    SNAP_TRY(entry.author, JsonStringOr(item, "author", "", what));
    SNAP_TRY(entry.comment, JsonStringOr(item, "comment", "", what));
    SNAP_TRY(entry.empty_layer, JsonBoolOr(item, "empty_layer", false, what));
    out.history.push_back(std::move(entry));
  }
  return {};
}

}  // namespace

Result<ImageConfig> ParseImageConfig(std::string_view text, std::string_view what) {
  SNAP_TRY(const Json json, ParseJson(text, what, {.max_bytes = kMaxConfigBytes}));
  if (!json.is_object()) return MakeError(ErrorCode::kCorrupt, "{}: is not a JSON object", what);
  ImageConfig out;
  SNAP_TRY(out.platform.os, String(json, "os", what));
  SNAP_TRY(out.platform.architecture, String(json, "architecture", what));
  SNAP_TRY(out.platform.variant, String(json, "variant", what));
  out.platform = NormalizePlatform(std::move(out.platform));
  SNAP_TRY(out.created, String(json, "created", what));
  SNAP_TRY(out.author, String(json, "author", what));
  SNAP_TRY(const Json* run, JsonObjectOrNull(json, "config", what));
  if (run != nullptr) SNAP_TRY_VOID(ParseRunConfig(*run, what, out));
  SNAP_TRY_VOID(ParseRootfs(json, what, out));
  SNAP_TRY_VOID(ParseHistory(json, what, out));
  return out;
}

std::string MakeConfigJson(const Platform& platform, const std::vector<DiffId>& diff_ids,
                           std::string_view created, std::string_view created_by) {
  // Json objects are ordered by key, which is what makes the text, and so the image's digest, a function of
  // its input.
  Json json = {{"architecture", platform.architecture}, {"os", platform.os}, {"config", Json::object()}};
  if (!platform.variant.empty()) json["variant"] = platform.variant;
  if (!created.empty()) json["created"] = created;
  Json layers = Json::array();
  Json history = Json::array();
  for (const DiffId& diff_id : diff_ids) {
    layers.push_back(diff_id.ToString());
    Json entry = {{"created_by", created_by}};
    if (!created.empty()) entry["created"] = created;
    history.push_back(std::move(entry));
  }
  json["rootfs"] = {{"type", "layers"}, {"diff_ids", std::move(layers)}};
  json["history"] = std::move(history);
  return DumpJson(json);
}

}  // namespace snap::oci
