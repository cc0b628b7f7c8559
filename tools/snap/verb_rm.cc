// snap rm: removes containers with their changes.
#include <algorithm>

#include "fs/base/quote.h"
#include "tools/snap/containers.h"
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/mounting.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

struct RmArgs {
  std::vector<std::string> references;
  bool force = false;
};

Result<ContainerRecord> RemoveOne(Context& context, Store& store, const std::vector<LiveMount>& mounts,
                                  const std::string& reference, bool force) {
  SNAP_TRY(const ContainerRecord container, FindContainer(context, store, reference));
  const auto mount = std::find_if(mounts.begin(), mounts.end(), [&](const LiveMount& live) {
    return live.record.container == container.id;
  });
  if (mount != mounts.end()) {
    context.SetHint(fmt::format("'snap umount {}' first", mount->record.id));
    return MakeError(ErrorCode::kBusy, "container {} is mounted at {}", Quote(reference),
                     Quote(mount->record.target));
  }
  if (Store::IsRunning(container)) {
    if (!force) {
      context.SetHint("'snap rm -f' kills it first");
      return MakeError(ErrorCode::kBusy, "container {} is running", Quote(reference));
    }
    SNAP_TRY_VOID(KillContainer(container));
  }
  const Result<void> removed = store.RemoveContainer(container.id);
  // A container of run --rm was removed by its launcher when it was killed.
  if (!removed.ok() && !(force && removed.error().code() == ErrorCode::kNotFound)) return removed.error();
  return container;
}

Result<int> Rm(Context& context, const RmArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(MountsRegistry* const registry, context.OpenMounts());
  SNAP_TRY(const MountsRegistry::Lock lock, registry->Acquire());
  SNAP_TRY(const std::vector<LiveMount> mounts, CleanStale(*store, *registry, lock));
  Json rows = Json::array();
  for (const std::string& reference : args.references) {
    const Result<ContainerRecord> removed = RemoveOne(context, *store, mounts, reference, args.force);
    if (!removed.ok()) {
      context.Report(removed.error());
    } else if (context.json()) {
      rows.push_back({{"id", removed->id}, {"name", removed->name}});
    } else {
      context.Print(EscapeUnprintable(reference) + "\n");
    }
  }
  (void)store->backend().ReleaseUnusedImages();  // of launchers that had to be killed; found again otherwise
  if (context.json()) context.Print(RenderJson(rows));
  return context.reported_status();
}

}  // namespace

void AddRm(CommandTree& tree) {
  tree.AddVerb(
      {.name = "rm",
       .usage = "[OPTIONS] CONTAINER...",
       .summary = "Remove containers",
       .description =
           "Removes containers that have ended, with the changes they made. Prints what was removed.",
       .examples = {{"snap rm calm-heron", "By name."}, {"snap rm -f 4a7d", "Kill it first if it runs."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<RmArgs>();
        options.Operands("CONTAINER", args->references, true, "Names or ids of containers");
        options.Flag("-f,--force", args->force, "Kill running containers");
        return [args](Context& context) { return Rm(context, *args); };
      });
}

}  // namespace snap::cli
