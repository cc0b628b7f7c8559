// snap layers: the layers of an image, bottom first, numbered as `mount --upto` and `diff` take them.
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/table.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

constexpr size_t kCreatedByColumns = 50;

struct LayersArgs {
  std::string image;
  bool quiet = false, no_trunc = false;
};

Result<int> Layers(Context& context, const LayersArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(const ImageRecord image, FindImage(context, *store, args.image));
  SNAP_TRY(const std::vector<ImageLayer> layers, store->ImageLayers(image));
  if (context.json()) {
    Json rows = Json::array();
    for (size_t i = 0; i < layers.size(); ++i) rows.push_back(ImageLayerJson(layers[i], i + 1));
    context.Print(RenderJson(rows));
    return kExitOk;
  }
  if (args.quiet) {
    for (const ImageLayer& layer : layers) {
      context.Print((args.no_trunc ? layer.manifest.id.ToString() : layer.manifest.id.digest.Short()) + "\n");
    }
    return kExitOk;
  }
  Table table({{"N", Table::Align::kRight},
               {"LAYER ID"},
               {"FILES", Table::Align::kRight},
               {"SIZE", Table::Align::kRight},
               {"IMAGES", Table::Align::kRight},
               {"CREATED BY"}});
  for (size_t i = 0; i < layers.size(); ++i) {
    const ImageLayer& layer = layers[i];
    const std::string& created_by = layer.history.created_by;
    table.AddRow({std::to_string(i + 1),
                  args.no_trunc ? layer.manifest.id.ToString() : layer.manifest.id.digest.Short(),
                  std::to_string(layer.manifest.usage.entries), HumanSize(layer.manifest.usage.data_bytes),
                  std::to_string(layer.references),
                  args.no_trunc ? created_by : Shorten(created_by, kCreatedByColumns)});
  }
  context.Print(table.Render());
  return kExitOk;
}

}  // namespace

void AddLayers(CommandTree& tree) {
  tree.AddVerb(
      {.name = "layers",
       .usage = "[OPTIONS] IMAGE",
       .summary = "List the layers of an image",
       .description =
           "Bottom first. N is the number that 'snap mount --upto', '--only', '--layer' and 'snap diff "
           "IMAGE@N' take; IMAGES says how many images share the layer.",
       .examples = {{"snap layers node:20", "What each layer holds and which command made it."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<LayersArgs>();
        options.Operand("IMAGE", args->image, true, "Name or id of an image");
        options.Flag("-q,--quiet", args->quiet, "Only ids");
        options.Flag("--no-trunc", args->no_trunc, "Show whole ids and commands");
        return [args](Context& context) { return Layers(context, *args); };
      });
}

}  // namespace snap::cli
