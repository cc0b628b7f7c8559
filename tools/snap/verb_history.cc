// snap history: how an image was built, newest step first, as its configuration tells it.
#include <algorithm>

#include "tools/snap/context.h"
#include "tools/snap/image_info.h"
#include "tools/snap/json_output.h"
#include "tools/snap/table.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

constexpr size_t kCreatedByColumns = 60;

struct HistoryArgs {
  std::string image;
  bool no_trunc = false;
};

struct Step {
  oci::HistoryEntry entry;
  const ImageLayer* layer = nullptr;  // none for steps that changed only the configuration
};

/// The history is the author's claim: where it names fewer steps than there are layers, layers follow without
/// one.
std::vector<Step> Steps(const oci::ImageConfig& config, const std::vector<ImageLayer>& layers) {
  std::vector<Step> steps;
  size_t next = 0;
  for (const oci::HistoryEntry& entry : config.history) {
    const bool has_layer = !entry.empty_layer && next < layers.size();
    steps.push_back({entry, has_layer ? &layers[next++] : nullptr});
  }
  for (; next < layers.size(); ++next) steps.push_back({{}, &layers[next]});
  std::reverse(steps.begin(), steps.end());
  return steps;
}

Result<int> History(Context& context, const HistoryArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(const ImageRecord image, FindImage(context, *store, args.image));
  SNAP_TRY(const oci::ImageConfig config, ConfigOf(image));
  SNAP_TRY(const std::vector<ImageLayer> layers, store->ImageLayers(image));
  const std::vector<Step> steps = Steps(config, layers);
  if (context.json()) {
    Json rows = Json::array();
    for (const Step& step : steps) {
      rows.push_back({{"layer", step.layer != nullptr ? step.layer->manifest.id.ToString() : ""},
                      {"created", NormalRfc3339(step.entry.created)},
                      {"created_by", step.entry.created_by},
                      {"author", step.entry.author},
                      {"comment", step.entry.comment},
                      {"size_bytes", step.layer != nullptr ? step.layer->manifest.usage.data_bytes : 0}});
    }
    context.Print(RenderJson(rows));
    return kExitOk;
  }
  Table table({{"LAYER"}, {"CREATED"}, {"CREATED BY"}, {"SIZE"}, {"COMMENT"}});
  for (const Step& step : steps) {
    std::string layer = "<none>";
    if (step.layer != nullptr) {
      layer = args.no_trunc ? step.layer->manifest.id.ToString() : step.layer->manifest.id.digest.Short();
    }
    table.AddRow({std::move(layer), HumanAge(step.entry.created, context.now()),
                  args.no_trunc ? step.entry.created_by : Shorten(step.entry.created_by, kCreatedByColumns),
                  HumanSize(step.layer != nullptr ? step.layer->manifest.usage.data_bytes : 0),
                  step.entry.comment});
  }
  context.Print(table.Render());
  return kExitOk;
}

}  // namespace

void AddHistory(CommandTree& tree) {
  tree.AddVerb({.name = "history",
                .usage = "[OPTIONS] IMAGE",
                .summary = "Show how an image was built",
                .description = "Newest step first. Steps without a layer only changed the configuration.",
                .examples = {{"snap history --no-trunc node:20", "With the whole commands."}},
                .default_format = "table"},
               [](OptionSet& options) -> CommandTree::Action {
                 const auto args = std::make_shared<HistoryArgs>();
                 options.Operand("IMAGE", args->image, true, "Name or id of an image");
                 options.Flag("--no-trunc", args->no_trunc, "Show whole ids and commands");
                 return [args](Context& context) { return History(context, *args); };
               });
}

}  // namespace snap::cli
