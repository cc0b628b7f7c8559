#include "tools/snap/containerd_config.h"

#include <algorithm>

#include "fs/base/quote.h"

namespace snap::cli {
namespace {

constexpr const char* kCriImages = "io.containerd.cri.v1.images";
constexpr const char* kCriRuntime = "io.containerd.cri.v1.runtime";
constexpr const char* kCri = "io.containerd.grpc.v1.cri";

/// A table and what it is called in messages.
struct Section {
  const Json* table = nullptr;
  std::string name;

  Result<Section> Child(const std::string& key) const {
    const std::string path = name.empty() ? key : name + "." + key;
    if (table == nullptr) return Section{nullptr, path};
    const auto it = table->find(key);
    if (it == table->end() || it->is_null()) return Section{nullptr, path};
    if (!it->is_object()) return MakeError(ErrorCode::kInvalidArgument, "{} is not a table", Quote(path));
    return Section{&*it, path};
  }

  /// Leaves `value` as it is when the key is not there.
  template <typename T>
  Result<void> Get(const char* key, T& value) const {
    if (table == nullptr) return {};
    const auto it = table->find(key);
    if (it == table->end() || it->is_null()) return {};
    return Read(*it, name + (name.empty() ? "" : ".") + key, value);
  }

 private:
  static Error Wrong(const std::string& path, std::string_view type) {
    return {ErrorCode::kInvalidArgument, fmt::format("{} is not {}", Quote(path), type)};
  }
  static Result<void> Read(const Json& node, const std::string& path, std::string& value) {
    if (!node.is_string()) return Wrong(path, "a string");
    value = node.get_ref<const std::string&>();
    return {};
  }
  static Result<void> Read(const Json& node, const std::string& path, bool& value) {
    if (!node.is_boolean()) return Wrong(path, "true or false");
    value = node.get<bool>();
    return {};
  }
  static Result<void> Read(const Json& node, const std::string& path, uint64_t& value) {
    if (!node.is_number_integer() || (!node.is_number_unsigned() && node.get<int64_t>() < 0)) {
      return Wrong(path, "a whole number");
    }
    value = node.get<uint64_t>();
    return {};
  }
  static Result<void> Read(const Json& node, const std::string& path, std::vector<std::string>& value) {
    if (!node.is_array()) return Wrong(path, "a list");
    std::vector<std::string> strings;
    for (const Json& item : node) SNAP_TRY_VOID(Read(item, path, strings.emplace_back()));
    value = std::move(strings);
    return {};
  }
};

Result<void> ReadProxies(const Section& top, ContainerdConfig& config) {
  SNAP_TRY(const Section proxies, top.Child("proxy_plugins"));
  if (proxies.table == nullptr) return {};
  for (const auto& [name, table] : proxies.table->items()) {
    SNAP_TRY(const Section section, proxies.Child(name));
    ContainerdConfig::ProxyPlugin& proxy = config.proxies.emplace_back();
    proxy.name = name;
    SNAP_TRY_VOID(section.Get("type", proxy.type));
    SNAP_TRY_VOID(section.Get("address", proxy.address));
    SNAP_TRY_VOID(section.Get("capabilities", proxy.capabilities));
    SNAP_TRY(const Section exports, section.Child("exports"));
    if (exports.table == nullptr) continue;
    for (const auto& [key, value] : exports.table->items())
      SNAP_TRY_VOID(exports.Get(key.c_str(), proxy.exports[key]));
  }
  return {};
}

Result<void> ReadTransfer(const Section& plugins, ContainerdConfig& config) {
  SNAP_TRY(const Section transfer, plugins.Child("io.containerd.transfer.v1.local"));
  SNAP_TRY_VOID(transfer.Get("max_concurrent_unpacks", config.max_concurrent_unpacks));
  if (transfer.table == nullptr) return {};
  const auto list = transfer.table->find("unpack_config");
  if (list == transfer.table->end() || list->is_null()) return {};
  const std::string name = transfer.name + ".unpack_config";
  if (!list->is_array())
    return MakeError(ErrorCode::kInvalidArgument, "{} is not a list of tables", Quote(name));
  for (const Json& item : *list) {
    if (!item.is_object())
      return MakeError(ErrorCode::kInvalidArgument, "{} is not a list of tables", Quote(name));
    const Section section{&item, name};
    ContainerdConfig::Unpack& unpack = config.unpacks.emplace_back();
    SNAP_TRY_VOID(section.Get("platform", unpack.platform));
    SNAP_TRY_VOID(section.Get("snapshotter", unpack.snapshotter));
    SNAP_TRY_VOID(section.Get("differ", unpack.differ));
  }
  return {};
}

Result<void> ReadRuntimes(const Section& runtimes, ContainerdConfig& config) {
  if (runtimes.table == nullptr) return {};
  for (const auto& [name, table] : runtimes.table->items()) {
    SNAP_TRY(const Section runtime, runtimes.Child(name));
    std::string snapshotter;
    SNAP_TRY_VOID(runtime.Get("snapshotter", snapshotter));
    if (!snapshotter.empty()) config.runtime_snapshotters[name] = std::move(snapshotter);
  }
  return {};
}

Result<void> ReadCri(const Section& plugins, ContainerdConfig& config) {
  SNAP_TRY(const Section cri, plugins.Child(kCri));
  SNAP_TRY(const Section old_containerd, cri.Child("containerd"));
  SNAP_TRY(const Section new_images, plugins.Child(kCriImages));
  const Section& images = config.version >= 3 ? new_images : old_containerd;
  SNAP_TRY_VOID(images.Get("snapshotter", config.cri_snapshotter));
  SNAP_TRY_VOID(images.Get("disable_snapshot_annotations", config.disable_snapshot_annotations));
  SNAP_TRY_VOID(images.Get("discard_unpacked_layers", config.discard_unpacked_layers));
  SNAP_TRY_VOID((config.version >= 3 ? new_images : cri)
                    .Get("image_pull_with_sync_fs", config.image_pull_with_sync_fs));
  SNAP_TRY_VOID(images.Get("use_local_image_pull", config.use_local_image_pull));
  SNAP_TRY(const Section new_runtime, plugins.Child(kCriRuntime));
  SNAP_TRY(const Section new_containerd, new_runtime.Child("containerd"));
  SNAP_TRY(const Section runtimes, (config.version >= 3 ? new_containerd : old_containerd).Child("runtimes"));
  return ReadRuntimes(runtimes, config);
}

}  // namespace

bool ContainerdConfig::ProxyPlugin::Can(std::string_view capability) const {
  return std::find(capabilities.begin(), capabilities.end(), capability) != capabilities.end();
}

std::string ContainerdConfig::CriKey(std::string_view setting) const {
  if (version >= 3) return fmt::format("[plugins.\"{}\"] {}", kCriImages, setting);
  if (setting == "image_pull_with_sync_fs") return fmt::format("[plugins.\"{}\"] {}", kCri, setting);
  return fmt::format("[plugins.\"{}\".containerd] {}", kCri, setting);
}

Result<ContainerdConfig> ReadContainerdConfig(const Json& document) {
  ContainerdConfig config;
  if (!document.is_object())
    return MakeError(ErrorCode::kInvalidArgument, "containerd's configuration is not a table");
  const Section top{&document, ""};
  SNAP_TRY_VOID(top.Get("version", config.version));
  if (config.version < 2) {
    return MakeError(
        ErrorCode::kUnsupported,
        "containerd's configuration is of version 1; 'containerd config migrate' prints it anew");
  }
  if (config.version > 4) {
    return MakeError(ErrorCode::kUnsupported,
                     "containerd's configuration is of version {}, which is newer than this program",
                     config.version);
  }
  SNAP_TRY(const Section grpc, top.Child("grpc"));
  SNAP_TRY_VOID(grpc.Get("address", config.grpc_address));
  SNAP_TRY_VOID(top.Get("disabled_plugins", config.disabled_plugins));
  SNAP_TRY_VOID(ReadProxies(top, config));
  SNAP_TRY(const Section plugins, top.Child("plugins"));
  SNAP_TRY(const Section diff, plugins.Child("io.containerd.service.v1.diff-service"));
  SNAP_TRY_VOID(diff.Get("default", config.differs));
  SNAP_TRY_VOID(ReadTransfer(plugins, config));
  SNAP_TRY_VOID(ReadCri(plugins, config));
  return config;
}

}  // namespace snap::cli
