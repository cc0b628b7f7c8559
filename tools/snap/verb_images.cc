// snap images: lists images, one line for each name.
#include <algorithm>

#include "tools/snap/context.h"
#include "tools/snap/image_info.h"
#include "tools/snap/json_output.h"
#include "tools/snap/table.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

struct ImagesArgs {
  bool quiet = false, digests = false, no_trunc = false;
};

Result<int> Images(Context& context, const ImagesArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(std::vector<ImageRecord> images, store->Images());
  std::vector<std::pair<TimePoint, size_t>>
      order;  // newest first; equal times by name; dangling ones in any order
  std::vector<std::string> created;
  for (size_t i = 0; i < images.size(); ++i) {
    std::sort(images[i].names.begin(), images[i].names.end());
    created.push_back(CreatedOf(images[i]));
    order.emplace_back(ParseRfc3339(created[i]).value_or(TimePoint()), i);
  }
  std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first > b.first;
    return images[a.second].names < images[b.second].names;
  });

  if (args.quiet && !context.json()) {
    for (const auto& [time, i] : order) {
      context.Print((args.no_trunc ? images[i].id.ToString() : images[i].id.digest.Short()) + "\n");
    }
    return kExitOk;
  }
  LayerSizes sizes(store->layers());
  if (context.json()) {
    Json rows = Json::array();
    for (const auto& [time, i] : order)
      rows.push_back(ImageRowJson(images[i], created[i], sizes.Of(images[i])));
    context.Print(RenderJson(rows));
    return kExitOk;
  }
  std::vector<Table::Column> columns = {{"REPOSITORY"}, {"TAG"}};
  if (args.digests) columns.push_back({"DIGEST"});
  columns.insert(columns.end(), {{"IMAGE ID"}, {"CREATED"}, {"SIZE"}});
  Table table(std::move(columns));
  for (const auto& [time, i] : order) {
    const ImageRecord& image = images[i];
    std::vector<std::string> names = image.names;
    if (names.empty()) names.emplace_back();
    for (const std::string& name : names) {
      auto [repository, tag] = SplitName(name);
      std::vector<std::string> row = {std::move(repository), std::move(tag)};
      if (args.digests) row.push_back(image.manifest_digest ? image.manifest_digest->ToString() : "<none>");
      row.push_back(args.no_trunc ? image.id.ToString() : image.id.digest.Short());
      row.push_back(HumanAge(created[i], context.now()));
      row.push_back(HumanSize(sizes.Of(image)));
      table.AddRow(std::move(row));
    }
  }
  context.Print(table.Render());
  return kExitOk;
}

}  // namespace

void AddImages(CommandTree& tree) {
  tree.AddVerb(
      {.name = "images",
       .usage = "[OPTIONS]",
       .summary = "List the images of the store",
       .description =
           "One line for each name, newest image first. SIZE is the sum of the image's layers, also of "
           "those that other images share; 'snap system df' tells what is on disk.",
       .examples = {{"snap images", "All images."},
                    {"snap rmi $(snap images -q)", "Remove all of them."},
                    {"snap images --format json", "For scripts."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<ImagesArgs>();
        options.Flag("-q,--quiet", args->quiet, "Only ids");
        options.Flag("--digests", args->digests, "Show the manifests' digests");
        options.Flag("--no-trunc", args->no_trunc, "Show whole ids");
        return [args](Context& context) { return Images(context, *args); };
      });
}

}  // namespace snap::cli
