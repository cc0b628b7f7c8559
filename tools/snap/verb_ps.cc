// snap ps: lists containers.
#include <algorithm>

#include "tools/snap/containers.h"
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/table.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

constexpr size_t kCommandColumns = 22;

struct PsArgs {
  bool all = false, quiet = false, no_trunc = false;
};

std::string CommandText(const ContainerRecord& container) {
  return fmt::format("{}", fmt::join(container.args, " "));
}

std::string StatusText(const ContainerRecord& container, bool running, TimePoint now) {
  const std::string_view state = ContainerState(container, running);
  if (state == "created") return "Created";
  if (state == "exited") {
    std::string text = fmt::format("Exited ({})", ContainerExitCode(container));
    if (!container.finished.empty()) text += " " + HumanAge(container.finished, now);
    return text;
  }
  // There is no second start: a container runs since it was made.
  const std::optional<TimePoint> created = ParseRfc3339(container.created);
  return created ? "Up " + HumanDuration(std::chrono::duration_cast<std::chrono::seconds>(now - *created))
                 : "Up";
}

Result<int> Ps(Context& context, const PsArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(std::vector<ContainerRecord> containers, ReapContainers(*store));
  std::sort(containers.begin(), containers.end(), [](const ContainerRecord& a, const ContainerRecord& b) {
    return std::tie(b.created, b.id) < std::tie(a.created, a.id);
  });
  Json rows = Json::array();
  Table table({{"CONTAINER ID"}, {"IMAGE"}, {"COMMAND"}, {"CREATED"}, {"STATUS"}, {"NAMES"}});
  for (const ContainerRecord& container : containers) {
    const bool running = Store::IsRunning(container);
    if (!running && !args.all) continue;
    const std::string id = args.no_trunc ? container.id : ShortId(container.id);
    if (context.json()) {
      rows.push_back(ContainerJson(container, running));
    } else if (args.quiet) {
      context.Print(id + "\n");
    } else {
      const std::string command = CommandText(container);
      table.AddRow({id, container.image_name,
                    "\"" + (args.no_trunc ? command : Shorten(command, kCommandColumns)) + "\"",
                    HumanAge(container.created, context.now()), StatusText(container, running, context.now()),
                    container.name});
    }
  }
  if (context.json()) {
    context.Print(RenderJson(rows));
  } else if (!args.quiet) {
    context.Print(table.Render());
  }
  return kExitOk;
}

}  // namespace

void AddPs(CommandTree& tree) {
  tree.AddVerb({.name = "ps",
                .usage = "[OPTIONS]",
                .summary = "List containers",
                .description = "Running ones only, unless -a is given; newest first.",
                .examples = {{"snap ps -a", "With those that have ended."},
                             {"snap rm $(snap ps -aq)", "Remove those."}},
                .default_format = "table"},
               [](OptionSet& options) -> CommandTree::Action {
                 const auto args = std::make_shared<PsArgs>();
                 options.Flag("-a,--all", args->all, "Also those that have ended");
                 options.Flag("-q,--quiet", args->quiet, "Only ids");
                 options.Flag("--no-trunc", args->no_trunc, "Show whole ids and commands");
                 return [args](Context& context) { return Ps(context, *args); };
               });
}

}  // namespace snap::cli
