#include "tools/snap/json_output.h"

#include "tools/snap/human.h"

namespace snap::cli {
namespace {

Json HistoryJson(const oci::HistoryEntry& entry) {
  return {{"created", NormalRfc3339(entry.created)},
          {"created_by", entry.created_by},
          {"author", entry.author},
          {"comment", entry.comment},
          {"empty_layer", entry.empty_layer}};
}

Json UsageJson(const LayerUsage& usage) {
  return {{"entries", usage.entries}, {"data_bytes", usage.data_bytes}, {"disk_bytes", usage.disk_bytes}};
}

}  // namespace

std::string RenderJson(const Json& document) {
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json ImageRowJson(const ImageRecord& image, const std::string& created, uint64_t size_bytes) {
  return {{"id", image.id.ToString()},
          {"names", image.names},
          {"manifest_digest", image.manifest_digest ? image.manifest_digest->ToString() : ""},
          {"created", NormalRfc3339(created)},
          {"imported", image.imported},
          {"source", image.source},
          {"layers", image.layers.size()},
          {"size_bytes", size_bytes}};
}

Json ImageLayerJson(const ImageLayer& layer, size_t number) {
  Json json = LayerManifestToJson(layer.manifest, layer.references);
  json["number"] = number;
  json["chain_id"] = layer.chain_id.ToString();
  json["history"] = HistoryJson(layer.history);
  return json;
}

Json LayerManifestToJson(const LayerManifest& manifest, std::optional<uint32_t> references) {
  Json json = {{"id", manifest.id.ToString()},
               {"diff_id", manifest.diff_id.ToString()},
               {"blob_id", manifest.blob_id ? manifest.blob_id->ToString() : ""},
               {"blob_bytes", manifest.blob_bytes},
               {"tar_bytes", manifest.tar_bytes},
               {"format", manifest.format},
               {"durable", manifest.durable},
               {"created", manifest.created},
               {"usage", UsageJson(manifest.usage)}};
  if (references) json["references"] = *references;
  return json;
}

Json ImageJson(const ImageRecord& image, const oci::ImageConfig& config,
               const std::vector<ImageLayer>& layers) {
  uint64_t size = 0;
  Json layer_list = Json::array();
  for (size_t i = 0; i < layers.size(); ++i) {
    size += layers[i].manifest.usage.data_bytes;
    layer_list.push_back(ImageLayerJson(layers[i], i + 1));
  }
  Json labels = Json::object();
  for (const auto& [name, value] : config.labels) labels[name] = value;
  Json history = Json::array();
  for (const oci::HistoryEntry& entry : config.history) history.push_back(HistoryJson(entry));

  Json json = ImageRowJson(image, config.created, size);
  json["type"] = "image";
  json["author"] = config.author;
  json["platform"] = {{"os", config.platform.os},
                      {"architecture", config.platform.architecture},
                      {"variant", config.platform.variant}};
  json["config"] = {{"entrypoint", config.entrypoint},
                    {"cmd", config.cmd},
                    {"env", config.env},
                    {"user", config.user},
                    {"working_dir", config.working_dir},
                    {"stop_signal", config.stop_signal},
                    {"labels", std::move(labels)},
                    {"volumes", config.volumes},
                    {"exposed_ports", config.exposed_ports}};
  json["layers"] = std::move(layer_list);
  json["history"] = std::move(history);
  return json;
}

std::string_view ContainerState(const ContainerRecord& container, bool running) {
  if (running) return "running";
  return container.finished.empty() && container.launcher_pid == 0 ? "created" : "exited";
}

int ContainerExitCode(const ContainerRecord& container) {
  constexpr int kKilled = 128 + 9;
  return container.finished.empty() && container.launcher_pid != 0 ? kKilled : container.exit_code;
}

Json ContainerJson(const ContainerRecord& container, bool running) {
  return {{"id", container.id},
          {"name", container.name},
          {"image", container.image.ToString()},
          {"image_name", container.image_name},
          {"args", container.args},
          {"created", container.created},
          {"finished", container.finished},
          {"state", ContainerState(container, running)},
          {"exit_code", running ? 0 : ContainerExitCode(container)},
          {"pid", running ? container.init_pid : 0},
          {"launcher_pid", running ? container.launcher_pid : 0},
          {"remove_at_exit", container.remove_at_exit}};
}

Json MountJson(const MountRecord& record, MountsRegistry::State state) {
  return {{"id", record.id},
          {"target", record.target},
          {"image", record.image},
          {"image_name", record.image_name},
          {"container", record.container},
          {"selection", record.selection},
          {"read_write", record.read_write},
          {"created", record.created},
          {"visible", state == MountsRegistry::State::kMounted}};
}

}  // namespace snap::cli
