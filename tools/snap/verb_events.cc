// snap events: what the daemon does, as it happens.
#include "fs/base/quote.h"
#include "fs/base/time.h"
#include "snapshotter/control_client.h"
#include "tools/snap/context.h"
#include "tools/snap/daemon.h"
#include "tools/snap/json_output.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

constexpr int64_t kNanoseconds = 1'000'000'000;

std::string TimeText(int64_t time_ns) {
  std::string text = snap::FormatRfc3339(time_ns / kNanoseconds);
  text.insert(text.size() - 1, fmt::format(".{:06}", time_ns % kNanoseconds / 1000));
  return text;
}

std::string Line(const Event& event) {
  std::string line = TimeText(event.time_ns) + " " + EscapeUnprintable(event.type);
  for (const auto& [name, value] : event.attributes)
    line += " " + EscapeUnprintable(name) + "=" + EscapeUnprintable(value);
  return line + "\n";
}

Result<int> Events(Context& context) {
  SNAP_TRY(const std::unique_ptr<ControlClient> daemon, ConnectToDaemon(context.settings().root));
  if (daemon == nullptr) {
    context.SetHint("events come from 'snapshotterd'");
    context.Report(MakeError(ErrorCode::kUnavailable, "follow events: the daemon is not running"));
    return kExitFailure;
  }
  const auto print = [&](const Event& event) -> Result<bool> {
    // One document for each line, so that they can be read as they come.
    context.Print(context.json() ? DumpJson({{"time", TimeText(event.time_ns)},
                                             {"type", event.type},
                                             {"attributes", event.attributes}}) +
                                       "\n"
                                 : Line(event));
    SNAP_TRY_VOID(context.Flush());
    return true;
  };
  SNAP_TRY_VOID(daemon->Follow({}, print));
  return kExitOk;
}

}  // namespace

void AddEvents(CommandTree& tree) {
  tree.AddVerb(
      {.name = "events",
       .usage = "[OPTIONS]",
       .summary = "Show what the daemon does, as it happens",
       .description =
           "Prints a line for each event from now on: its time, its type and what it is about. Ends with an "
           "error when the "
           "daemon stops. Who reads too slowly gets 'events.lost' with the number of those that are missing.",
       .examples = {{"snap events", "Until it is interrupted."},
                    {"snap events --format json", "One JSON document for each line."}},
       .default_format = "table"},
      [](OptionSet&) -> CommandTree::Action { return Events; });
}

}  // namespace snap::cli
