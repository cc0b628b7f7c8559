// snap inspect: everything that is known about images, containers and layers, as JSON.
#include <algorithm>

#include "fs/base/quote.h"
#include "tools/snap/context.h"
#include "tools/snap/image_info.h"
#include "tools/snap/json_output.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

struct InspectArgs {
  std::vector<std::string> references;
  std::string type;
};

bool IsNotFound(const Error& error) { return error.code() == ErrorCode::kNotFound; }

Result<Json> InspectContainer(Store& store, const std::string& reference) {
  SNAP_TRY(const ContainerRecord container, store.FindContainer(reference));
  Json json = ContainerJson(container, Store::IsRunning(container));
  json["type"] = "container";
  return json;
}

Result<Json> InspectImage(Store& store, const std::string& reference) {
  SNAP_TRY(const ImageRecord image, store.FindImage(reference));
  SNAP_TRY(const oci::ImageConfig config, ConfigOf(image));
  SNAP_TRY(const std::vector<ImageLayer> layers, store.ImageLayers(image));
  return ImageJson(image, config, layers);
}

/// A layer by its id, or the beginning of one.
Result<Json> InspectLayer(Store& store, const std::string& reference) {
  std::string_view prefix = reference;
  if (prefix.starts_with("sha256:")) prefix.remove_prefix(7);
  SNAP_TRY(const std::vector<LayerId> ids, store.layers().List());
  std::vector<LayerId> found;
  std::copy_if(ids.begin(), ids.end(), std::back_inserter(found),
               [&](const LayerId& id) { return !prefix.empty() && id.Hex().starts_with(prefix); });
  if (found.empty()) return MakeError(ErrorCode::kNotFound, "no layer {}", Quote(reference));
  if (found.size() > 1) {
    return MakeError(ErrorCode::kInvalidArgument, "{} begins the ids of {} layers", Quote(reference),
                     found.size());
  }
  SNAP_TRY(const LayerManifest manifest, store.layers().Find(found.front()));
  Json json = LayerManifestToJson(manifest, std::nullopt);
  json["type"] = "layer";
  SNAP_TRY(const std::vector<ImageRecord> images, store.Images());
  Json users = Json::array();
  for (const ImageRecord& image : images) {
    if (std::find(image.layers.begin(), image.layers.end(), manifest.id) != image.layers.end()) {
      users.push_back(image.id.ToString());
    }
  }
  json["images"] = std::move(users);
  return json;
}

Result<Json> InspectOne(Store& store, const std::string& reference, const std::string& type) {
  using Inspector = Result<Json> (*)(Store&, const std::string&);
  struct Kind {
    std::string_view name;
    Inspector inspect;
  };
  static constexpr Kind kKinds[] = {
      {"container", InspectContainer}, {"image", InspectImage}, {"layer", InspectLayer}};
  for (const Kind& kind : kKinds) {
    if (!type.empty() && type != kind.name) continue;
    Result<Json> json = kind.inspect(store, reference);
    if (json.ok() || !IsNotFound(json.error()) || !type.empty()) return json;
  }
  return MakeError(ErrorCode::kNotFound, "no image, container or layer {}", Quote(reference));
}

Result<int> Inspect(Context& context, const InspectArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  Json documents = Json::array();
  for (const std::string& reference : args.references) {
    Result<Json> document = InspectOne(*store, reference, args.type);
    if (document.ok()) {
      documents.push_back(*std::move(document));
    } else {
      context.Report(document.error());
    }
  }
  context.Print(RenderJson(documents));
  return context.reported_status();
}

}  // namespace

void AddInspect(CommandTree& tree) {
  tree.AddVerb(
      {.name = "inspect",
       .usage = "[OPTIONS] IMAGE|CONTAINER|LAYER...",
       .summary = "Show all that is known of images, containers and layers",
       .description =
           "Prints a JSON array with one object for each argument. Without --type a container is tried "
           "first, then an image, then a layer. docs/cli-json.md describes the keys.",
       .examples = {{"snap inspect debian:12 | jq '.[0].config.env'",
                     "One thing of an image's configuration."},
                    {"snap inspect --type layer 4a7d", "A layer by the beginning of its id."}},
       .default_format = "json"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<InspectArgs>();
        options.Operands("OBJECT", args->references, true, "Names or ids");
        options.Choice("--type", args->type, {"image", "container", "layer"}, "Look only for this kind");
        return [args](Context& context) { return Inspect(context, *args); };
      });
}

}  // namespace snap::cli
