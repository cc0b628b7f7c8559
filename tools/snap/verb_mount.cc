// snap mount: shows an image's or a container's tree at a directory, or lists what is mounted.
#include "fs/base/quote.h"
#include "tools/snap/containers.h"
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/mounting.h"
#include "tools/snap/table.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

struct MountArgs {
  std::string reference, directory, backend;
  std::optional<unsigned> layer, upto, only;
  bool read_write = false, trusted = false;
};

Result<int> ListMounts(Context& context, Store& store, MountsRegistry& registry,
                       const MountsRegistry::Lock& lock) {
  SNAP_TRY(const std::vector<LiveMount> mounts, CleanStale(store, registry, lock));
  if (context.json()) {
    Json rows = Json::array();
    for (const LiveMount& mount : mounts) rows.push_back(MountJson(mount.record, mount.state));
    context.Print(RenderJson(rows));
    return kExitOk;
  }
  Table table({{"MOUNT ID"}, {"SOURCE"}, {"LAYERS"}, {"MODE"}, {"CREATED"}, {"TARGET"}});
  for (const auto& [record, state] : mounts) {
    const std::string elsewhere =
        state == MountsRegistry::State::kElsewhere ? " (in " + record.mount_namespace + ")" : "";
    table.AddRow({record.id, record.image_name, record.selection, record.read_write ? "rw" : "ro",
                  HumanAge(record.created, context.now()), record.target + elsewhere});
  }
  context.Print(table.Render());
  return kExitOk;
}

Result<int> MountTree(Context& context, const MountArgs& args) {
  SNAP_TRY_VOID(context.ChooseBackend(args.backend));
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(MountsRegistry* const registry, context.OpenMounts());
  SNAP_TRY(const MountsRegistry::Lock lock, registry->Acquire());
  if (args.reference.empty()) return ListMounts(context, *store, *registry, lock);
  SNAP_TRY_VOID(CleanStale(*store, *registry, lock));

  const bool part = args.layer || args.upto || args.only;
  if (args.read_write && args.layer) {
    return MakeError(ErrorCode::kInvalidArgument, "--rw and --layer exclude each other: layers never change");
  }
  MountRequest request;
  request.image_name = args.reference;
  request.layer = args.layer;
  request.upto = args.upto;
  request.only = args.only;
  request.read_write = args.read_write;
  request.trusted = args.trusted;
  request.target = args.directory;

  Result<ContainerRecord> container = store->FindContainer(args.reference);
  std::optional<ImageRecord> image;
  if (container.ok()) {
    if (part) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{} is a container: --layer, --upto and --only are for images", Quote(args.reference));
    }
    SNAP_TRY(image, store->FindImage(container->image.ToString()));
    request.container = &*container;
  } else if (container.error().code() != ErrorCode::kNotFound) {
    return std::move(container).error();
  } else {
    SNAP_TRY(image, FindImage(context, *store, args.reference));
  }
  request.image = &*image;
  Result<MountRecord> record =
      AttachMount(*store, *registry, lock, request, FormatRfc3339Nano(context.now()));
  if (!record.ok()) {
    if (record.error().code() == ErrorCode::kNotFound && part) {
      context.SetHint(fmt::format("'snap layers {}' numbers the layers", args.reference));
    } else if (record.error().code() == ErrorCode::kBusy && container.ok()) {
      context.SetHint(fmt::format("mount it without --rw, or work in /proc/{}/root", container->init_pid));
    }
    return std::move(record).error();
  }
  if (context.json()) {
    context.Print(RenderJson(MountJson(*record, MountsRegistry::State::kMounted)));
  } else {
    context.Print(record->target + "\n");
  }
  return kExitOk;
}

}  // namespace

void AddMount(CommandTree& tree) {
  tree.AddVerb(
      {.name = "mount",
       .usage = "[OPTIONS] [IMAGE|CONTAINER [DIR]]",
       .summary = "Mount an image or a container, or list the mounts",
       .description = "Without arguments lists the mounts. With an image shows its tree read-only at DIR, or "
                      "at a new directory "
                      "under the run directory; prints the directory. With a container shows its tree with "
                      "its changes.\n"
                      "\n"
                      "The mount stays until 'snap umount', and the image cannot be removed while it is "
                      "mounted. Set-id programs "
                      "and device files of the image do not work in it unless --trusted is given.",
       .examples = {{"snap mount debian:12", "Prints a directory with the image's files."},
                    {"snap mount --upto 3 app:1.4 /mnt", "As it was after its third layer."},
                    {"snap mount --only 4 app:1.4", "What the fourth layer alone brought."},
                    {"snap mount --layer 4 app:1.4", "The same as it lies in the store, with its whiteouts."},
                    {"snap mount --rw debian:12", "For trying things; changes go at 'snap umount'."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<MountArgs>();
        options.Operand("IMAGE|CONTAINER", args->reference, false, "What to mount");
        options.Operand("DIR", args->directory, false, "Where; an existing directory");
        options.Number("--layer", args->layer, 1,
                       "Only layer N as stored: whiteouts are devices 0:0, large files may show no data");
        options.Number("--upto", args->upto, 1, "Layers 1 to N, counted from the bottom");
        options.Number("--only", args->only, 1, "Only layer N, whiteouts applied");
        options.Exclusive({"--layer", "--upto", "--only"});
        options.Flag("--rw", args->read_write,
                     "Writable: an image on a throw-away upper, a container in its own");
        options.Choice("--backend", args->backend, {"auto", "overlay", "fuse"},
                       "What stacks the layers; auto (default): overlayfs, or FUSE where that is refused");
        options.Flag("--trusted", args->trusted, "Let set-id programs and device files of the image work");
        return [args](Context& context) { return MountTree(context, *args); };
      });
}

}  // namespace snap::cli
