// snap umount: undoes `snap mount`.
#include <algorithm>

#include "fs/base/quote.h"
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/mounting.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

struct UmountArgs {
  std::vector<std::string> references;
  bool all = false;
};

/// By directory or unique id prefix.
Result<LiveMount> FindMount(const std::vector<LiveMount>& mounts, const std::string& reference) {
  const Result<std::string> path = CanonicalDirectory(reference);
  std::vector<LiveMount> found;
  // The last one mounted at a directory is the one that is seen there.
  for (auto it = mounts.rbegin(); it != mounts.rend(); ++it) {
    if (path.ok() && it->record.target == *path) return *it;
    if (it->record.id.starts_with(reference)) found.push_back(*it);
  }
  if (found.size() == 1) return found.front();
  if (found.empty())
    return MakeError(ErrorCode::kNotFound, "nothing of snap is mounted as or at {}", Quote(reference));
  return MakeError(ErrorCode::kInvalidArgument, "{} begins the ids of {} mounts", Quote(reference),
                   found.size());
}

Result<int> Umount(Context& context, const UmountArgs& args) {
  if (args.references.empty() != args.all) {
    return MakeError(ErrorCode::kInvalidArgument, "give either directories or ids of mounts, or --all");
  }
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(MountsRegistry* const registry, context.OpenMounts());
  SNAP_TRY(const MountsRegistry::Lock lock, registry->Acquire());
  SNAP_TRY(std::vector<LiveMount> mounts, CleanStale(*store, *registry, lock));
  std::vector<std::string> references = args.references;
  if (args.all) {
    // Last mounted, first unmounted: mounts may lie in each other.
    for (auto it = mounts.rbegin(); it != mounts.rend(); ++it) references.push_back(it->record.id);
  }
  Json rows = Json::array();
  for (const std::string& reference : references) {
    const Result<LiveMount> mount = FindMount(mounts, reference);
    if (!mount.ok()) {
      context.SetHint("'snap mount' lists the mounts");
      context.Report(mount.error());
      continue;
    }
    const Result<void> detached = DetachMount(*store, *registry, lock, mount->record, mount->state);
    if (!detached.ok()) {
      if (detached.error().code() == ErrorCode::kBusy) {
        context.SetHint(
            fmt::format("'fuser -vm {}' shows which processes work in there", mount->record.target));
      }
      context.Report(detached.error());
      continue;
    }
    std::erase_if(mounts, [&](const LiveMount& live) { return live.record.id == mount->record.id; });
    rows.push_back(MountJson(mount->record, MountsRegistry::State::kGone));
    if (!context.json()) context.Print(mount->record.target + "\n");
  }
  if (context.json()) context.Print(RenderJson(rows));
  return context.reported_status();
}

}  // namespace

void AddUmount(CommandTree& tree) {
  tree.AddVerb(
      {.name = "umount",
       .usage = "[OPTIONS] DIR|ID...",
       .summary = "Unmount what 'snap mount' mounted",
       .description =
           "Also removes what was made for the mount: its directory, and the changes made in an image "
           "mounted with --rw. Prints the directories.",
       .examples = {{"snap umount /mnt", "By directory."}, {"snap umount -a", "All of them."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<UmountArgs>();
        options.Operands("MOUNT", args->references, false, "Directories or ids of mounts");
        options.Flag("-a,--all", args->all, "Unmount everything");
        return [args](Context& context) { return Umount(context, *args); };
      });
}

}  // namespace snap::cli
