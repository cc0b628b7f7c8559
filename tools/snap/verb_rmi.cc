// snap rmi: removes names and images.
#include <algorithm>

#include "fs/base/quote.h"
#include "fs/base/sys_process.h"
#include "tools/snap/containers.h"
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/mounting.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

struct RmiArgs {
  std::vector<std::string> references;
  bool force = false, wait = false;
};

/// True when removing `reference` removes the image and not only one of its names.
bool RemovesImage(const ImageRecord& image, const std::string& reference) {
  if (image.names.size() <= 1) return true;
  const Result<std::string> name = NormalizeImageName(reference);
  return !name.ok() || std::find(image.names.begin(), image.names.end(), *name) == image.names.end();
}

Result<Store::RemovedImage> RemoveOne(Context& context, Store& store, const std::vector<LiveMount>& mounts,
                                      const std::string& reference, bool force) {
  SNAP_TRY(const ImageRecord image, FindImage(context, store, reference));
  if (RemovesImage(image, reference)) {
    const auto mount = std::find_if(mounts.begin(), mounts.end(), [&](const LiveMount& live) {
      return live.record.image == image.id.ToString();
    });
    if (mount != mounts.end()) {
      context.SetHint(fmt::format("'snap umount {}' first", mount->record.id));
      return MakeError(ErrorCode::kBusy, "image {} is mounted at {}", Quote(reference),
                       Quote(mount->record.target));
    }
  }
  Result<Store::RemovedImage> removed = store.RemoveImage(reference, force, Store::Deletion::kLater);
  if (!removed.ok() && removed.error().code() == ErrorCode::kBusy) {
    context.SetHint(
        "'snap ps -a' shows the containers; 'snap rm' removes them, 'snap rmi -f' the image under stopped "
        "ones");
  }
  return removed;
}

Result<int> Rmi(Context& context, const RmiArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(MountsRegistry* const registry, context.OpenMounts());
  SNAP_TRY(std::optional<MountsRegistry::Lock> lock, registry->Acquire());
  SNAP_TRY(const std::vector<LiveMount> mounts, CleanStale(*store, *registry, *lock));
  SNAP_TRY_VOID(ReapContainers(*store));
  Json rows = Json::array();
  for (const std::string& reference : args.references) {
    const Result<Store::RemovedImage> removed = RemoveOne(context, *store, mounts, reference, args.force);
    if (!removed.ok()) {
      context.Report(removed.error());
      continue;
    }
    if (context.json()) {
      Json layers = Json::array();
      for (const LayerId& layer : removed->layers) layers.push_back(layer.ToString());
      rows.push_back({{"untagged", removed->untagged},
                      {"deleted", removed->deleted ? removed->deleted->ToString() : ""},
                      {"layers", std::move(layers)}});
      continue;
    }
    for (const std::string& name : removed->untagged)
      context.Print("Untagged: " + EscapeUnprintable(name) + "\n");
    if (removed->deleted) context.Print("Deleted: " + removed->deleted->ToString() + "\n");
    for (const LayerId& layer : removed->layers) context.Print("Deleted layer: " + layer.ToString() + "\n");
  }
  if (context.json()) context.Print(RenderJson(rows));
  // File systems that discard blocks as they free them take a second for a gigabyte: nobody needs to wait for that.
  lock.reset();  // before a child shares it
  const auto delete_trash = [store] { (void)store->layers().EmptyTrash(); };  // the next one who collects garbage does it
  if (args.wait || !sys::RunDetached(delete_trash).ok()) delete_trash();
  return context.reported_status();
}

}  // namespace

void AddRmi(CommandTree& tree) {
  tree.AddVerb(
      {.name = "rmi",
       .usage = "[OPTIONS] IMAGE...",
       .summary = "Remove images",
       .description =
           "A name of an image that has several goes alone. The last name, or an id, removes the image "
           "with all names, and the layers that no other image uses. An image that is mounted or that "
           "a container uses is kept. Files are deleted in the background.",
       .examples = {{"snap rmi debian:12", "By name."},
                    {"snap rmi -f 4a7d", "By the beginning of its id, even if a stopped container uses it."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<RmiArgs>();
        options.Operands("IMAGE", args->references, true, "Names or ids of images");
        options.Flag("--wait", args->wait, "Return when the disk space is free again");
        options.Flag("-f,--force", args->force, "Also when a stopped container uses the image");
        return [args](Context& context) { return Rmi(context, *args); };
      });
}

}  // namespace snap::cli
