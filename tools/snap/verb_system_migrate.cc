// snap system migrate: layers from one format to the other.
#include "fs/base/quote.h"
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/mounting.h"
#include "tools/snap/table.h"
#include "tools/snap/verbs.h"

#include <algorithm>
#include <set>

namespace snap::cli {
namespace {

struct MigrateArgs {
  std::string format;
  std::vector<std::string> references;
};

Result<int> Migrate(Context& context, const MigrateArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(MountsRegistry* const registry, context.OpenMounts());
  if (args.format != "packed" && args.format != "tree") {
    return MakeError(ErrorCode::kInvalidArgument, "format {} is not 'packed' or 'tree'", Quote(args.format));
  }
  const LayerFormat format = args.format == "tree" ? LayerFormat::kTree : LayerFormat::kPacked;
  std::vector<ImageRecord> images;
  for (const std::string& reference : args.references) {
    SNAP_TRY(ImageRecord image, store->FindImage(reference));
    images.push_back(std::move(image));
  }
  if (args.references.empty()) {
    SNAP_TRY(images, store->Images());
  }
  // Held to the end: nobody mounts with this program what is about to change.
  SNAP_TRY(const MountsRegistry::Lock lock, registry->Acquire());
  SNAP_TRY_VOID(CleanStale(*store, *registry, lock));
  SNAP_TRY(const std::vector<MountRecord> mounts, registry->List());
  if (!mounts.empty()) {
    context.SetHint("'snap mount' lists the mounts, 'snap umount -a' ends them");
    return MakeError(ErrorCode::kBusy, "migrate: {} is mounted at {}", Quote(mounts.front().image_name),
                     Quote(mounts.front().target));
  }
  std::set<LayerId> layers;
  for (const ImageRecord& image : images) layers.insert(image.layers.begin(), image.layers.end());
  size_t migrated = 0;
  for (const LayerId& layer : layers) {
    SNAP_TRY(const bool changed, store->MigrateLayer(layer, format));
    migrated += changed ? 1U : 0U;
    if (changed && !context.json()) context.Note(fmt::format("layer {} is {} now\n", layer.digest.Short(), args.format));
  }
  if (context.json()) {
    context.Print(RenderJson({{"format", args.format}, {"layers", layers.size()}, {"migrated", migrated}}));
  } else {
    context.Print(fmt::format("{} of {} layers migrated to {}\n", migrated, layers.size(), args.format));
  }
  return kExitOk;
}

}  // namespace

void AddSystemMigrate(CommandTree& tree) {
  tree.AddVerb(
      {.name = "system migrate",
       .usage = "[OPTIONS] FORMAT [IMAGE...]",
       .summary = "Store layers in another format",
       .description =
           "Changes the layers of the given images, or of all, to 'packed' or 'tree'. Containers must not run on them and "
           "nothing may be mounted. Each layer is replaced as a whole: interrupted, some have the new format and some the "
           "old one, and everything works. A tree does not keep the exact tar of its layer, so 'snap save' needs layers "
           "that were imported as packed.",
       .examples = {{"snap system migrate packed", "All layers, after an upgrade of the kernel."},
                    {"snap system migrate tree app:1.4", "For tools that want directories."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<MigrateArgs>();
        options.Operand("FORMAT", args->format, true, "'packed' or 'tree'");
        options.Operands("IMAGE", args->references, false, "Images by name or id; without any, all");
        return [args](Context& context) { return Migrate(context, *args); };
      });
}

}  // namespace snap::cli
