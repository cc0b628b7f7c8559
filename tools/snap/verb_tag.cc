// snap tag: gives an image one more name.
#include "fs/base/quote.h"
#include "tools/snap/context.h"
#include "tools/snap/image_info.h"
#include "tools/snap/json_output.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

struct TagArgs {
  std::string image, name;
};

Result<int> TagImage(Context& context, const TagArgs& args) {
  SNAP_TRY(const std::string name, NormalizeImageName(args.name));
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY_VOID(FindImage(context, *store, args.image));
  SNAP_TRY(const ImageRecord image, store->Tag(args.image, name));
  if (context.json()) {
    LayerSizes sizes(store->layers());
    context.Print(RenderJson(ImageRowJson(image, CreatedOf(image), sizes.Of(image))));
  }
  return kExitOk;
}

}  // namespace

void AddTag(CommandTree& tree) {
  tree.AddVerb({.name = "tag",
                .usage = "[OPTIONS] IMAGE NAME",
                .summary = "Give an image another name",
                .description =
                    "A name that another image has moves to this one. A name without a tag means ':latest'.",
                .examples = {{"snap tag debian:12 debian:stable", "Both names are the same image now."}},
                .default_format = "table"},
               [](OptionSet& options) -> CommandTree::Action {
                 const auto args = std::make_shared<TagArgs>();
                 options.Operand("IMAGE", args->image, true, "Name or id of an image");
                 options.Operand("NAME", args->name, true, "The name to add");
                 return [args](Context& context) { return TagImage(context, *args); };
               });
}

}  // namespace snap::cli
