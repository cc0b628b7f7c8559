// snap diff: what a container changed in its image, or what differs between two images.
#include <charconv>

#include "fs/base/quote.h"
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/tree_diff.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

struct DiffArgs {
  std::string first, second;
};

/// "IMAGE" or "IMAGE@N": an image as it was after its Nth layer.
struct ImageAt {
  ImageRecord image;
  std::optional<size_t> upto;
};

Result<ImageAt> FindImageAt(Context& context, Store& store, const std::string& reference) {
  const size_t at = reference.rfind('@');
  size_t number = 0;
  const char* end = reference.data() + reference.size();
  const bool has_number = at != std::string::npos && at + 1 < reference.size() &&
                          std::from_chars(reference.data() + at + 1, end, number).ptr == end;
  SNAP_TRY(ImageRecord image, FindImage(context, store, has_number ? reference.substr(0, at) : reference));
  ImageAt found{std::move(image), std::nullopt};
  if (has_number) {
    if (number > found.image.layers.size()) {
      return MakeError(ErrorCode::kNotFound, "image {} has no layer {}: it has {}",
                       Quote(reference.substr(0, at)), number, found.image.layers.size());
    }
    found.upto = number;
  }
  return found;
}

Result<std::vector<Change>> DiffImages(Store& store, const ImageAt& old_image, const ImageAt& new_image) {
  MountOptions options;
  options.read_only = true;
  MountSelection old_selection;
  MountSelection new_selection;
  old_selection.upto = old_image.upto;
  new_selection.upto = new_image.upto;
  SNAP_TRY(const Mount new_mount, store.MountImage(new_image.image, new_selection, std::nullopt, options));
  SNAP_TRY(const Mount old_mount, store.MountImage(old_image.image, old_selection, std::nullopt, options));
  return CompareTrees(old_mount.root(), new_mount.root());
}

Result<std::vector<Change>> DiffContainer(Store& store, const ContainerRecord& container) {
  SNAP_TRY(const ImageRecord image, store.FindImage(container.image.ToString()));
  MountOptions options;
  options.read_only = true;
  SNAP_TRY(const Mount lower, store.MountImage(image, {}, std::nullopt, options));
  SNAP_TRY(const LayerStore::Upper upper, store.layers().OpenUpper(container.id));
  SNAP_TRY(const Mount merged, store.MountImage(image, {}, container.id, options));
  return ReadUpper(upper.fs, lower.root(), merged.root());
}

Result<std::vector<Change>> FindChanges(Context& context, Store& store, const DiffArgs& args) {
  if (args.second.empty()) {
    Result<ContainerRecord> container = store.FindContainer(args.first);
    if (container.ok()) return DiffContainer(store, *container);
    if (container.error().code() != ErrorCode::kNotFound) return std::move(container).error();
  }
  SNAP_TRY(const ImageAt first, FindImageAt(context, store, args.first));
  if (!args.second.empty()) {
    SNAP_TRY(const ImageAt second, FindImageAt(context, store, args.second));
    return DiffImages(store, first, second);
  }
  // One image alone: what its last layer (or layer N) changed.
  const size_t top = first.upto.value_or(first.image.layers.size());
  if (top < 2) {
    context.SetHint("compare it with another image: snap diff A B");
    return MakeError(ErrorCode::kInvalidArgument, "{} has nothing below its first layer to compare with",
                     Quote(args.first));
  }
  return DiffImages(store, {first.image, top - 1}, {first.image, top});
}

Result<int> Diff(Context& context, const DiffArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(const std::vector<Change> changes, FindChanges(context, *store, args));
  if (context.json()) {
    Json rows = Json::array();
    for (const Change& change : changes) {
      rows.push_back({{"kind", std::string(1, static_cast<char>(change.kind))}, {"path", change.path}});
    }
    context.Print(RenderJson(rows));
    return kExitOk;
  }
  const bool color = context.color_output();
  for (const Change& change : changes) {
    std::string_view on;
    if (color) {
      on = change.kind == Change::Kind::kAdded     ? "\x1b[32m"
           : change.kind == Change::Kind::kDeleted ? "\x1b[31m"
                                                   : "\x1b[33m";
    }
    context.Print(fmt::format("{}{} {}{}\n", on, static_cast<char>(change.kind),
                              EscapeUnprintable(change.path), color ? "\x1b[0m" : ""));
  }
  return kExitOk;
}

}  // namespace

void AddDiff(CommandTree& tree) {
  tree.AddVerb(
      {.name = "diff",
       .usage = "[OPTIONS] CONTAINER | IMAGE[@N] [IMAGE[@N]]",
       .summary = "Show what a container changed, or how images differ",
       .description =
           "A is added, C is changed, D is deleted. Of two images the second is the newer one; IMAGE@N is "
           "the image as it was after its layer N ('snap layers' numbers them). One image alone: what "
           "its last layer, or layer N, changed. Times alone are no difference between images.",
       .examples = {{"snap diff calm-heron", "What the container changed in its image."},
                    {"snap diff app:1.4 app:1.5", "From one image to the next."},
                    {"snap diff app:1.5@3", "What layer 3 changed."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<DiffArgs>();
        options.Operand("CONTAINER|IMAGE", args->first, true, "A container, or the older image");
        options.Operand("IMAGE", args->second, false, "The newer image");
        return [args](Context& context) { return Diff(context, *args); };
      });
}

}  // namespace snap::cli
