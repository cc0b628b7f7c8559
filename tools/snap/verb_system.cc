// snap system: the store as a whole: what it takes, whether it is sound, what can go.
#include "fs/base/quote.h"
#include "fs/base/sys_process.h"
#include "tools/snap/containers.h"
#include "tools/snap/context.h"
#include "tools/snap/daemon.h"
#include "tools/snap/json_output.h"
#include "tools/snap/mounting.h"
#include "tools/snap/table.h"
#include "tools/snap/verbs.h"
#include "tools/snap/version.h"

namespace snap::cli {
namespace {

Result<int> DiskUse(Context& context) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(const DiskUsage usage, store->Usage());
  Json rows = Json::array();
  Table table({{"TYPE"},
               {"COUNT", Table::Align::kRight},
               {"SIZE", Table::Align::kRight},
               {"RECLAIMABLE", Table::Align::kRight}});
  for (const DiskUsage::Row& row : usage.rows) {
    rows.push_back({{"kind", row.kind},
                    {"count", row.count},
                    {"bytes", row.bytes},
                    {"reclaimable_bytes", row.reclaimable_bytes}});
    table.AddRow(
        {row.kind, std::to_string(row.count), HumanSize(row.bytes), HumanSize(row.reclaimable_bytes)});
  }
  context.Print(context.json() ? RenderJson(rows) : table.Render());
  return kExitOk;
}

struct CheckArgs {
  bool repair = false, rebuild = false, scrub = false;
};

Result<int> Check(Context& context, const CheckArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  CheckOptions options;
  options.repair = args.repair;
  options.rebuild = args.rebuild;
  options.scrub = args.scrub;
  SNAP_TRY(const CheckReport report, store->Check(options));
  size_t open = 0;
  for (const CheckFinding& finding : report.findings) open += finding.repaired ? 0U : 1U;
  if (context.json()) {
    Json findings = Json::array();
    for (const CheckFinding& finding : report.findings) {
      findings.push_back({{"object", finding.object},
                          {"problem", finding.problem},
                          {"repair", finding.repair},
                          {"repaired", finding.repaired}});
    }
    context.Print(RenderJson({{"layers", report.layers},
                              {"images", report.images},
                              {"containers", report.containers},
                              {"objects", report.objects},
                              {"snapshots", report.snapshots},
                              {"scrubbed_bytes", report.scrubbed_bytes},
                              {"findings", std::move(findings)},
                              {"clean", open == 0}}));
  } else {
    if (!report.findings.empty()) {
      Table table({{"OBJECT"}, {"PROBLEM"}, {"REPAIR"}, {"DONE"}});
      for (const CheckFinding& finding : report.findings) {
        table.AddRow({finding.object, finding.problem, finding.repair, finding.repaired ? "yes" : "no"});
      }
      context.Print(table.Render());
    }
    context.Print(fmt::format(
        "{} layers, {} objects, {} images, {} snapshots, {} containers{}: {}\n", report.layers, report.objects, report.images,
        report.snapshots, report.containers, args.scrub ? ", " + HumanSize(report.scrubbed_bytes) + " read" : std::string(),
        open == 0 ? std::string("clean") : fmt::format("{} {}", open, open == 1 ? "problem" : "problems")));
    if (open > 0 && !args.repair) context.Note("hint: 'snap system check --repair' does what REPAIR says\n");
  }
  return open == 0 ? kExitOk : kExitIntegrity;
}

/// That --dry-run lists; more is for nobody to read.
constexpr size_t kMaxFindings = 1000;

struct GcArgs {
  bool dry_run = false;
};

Result<int> Gc(Context& context, const GcArgs& args) {
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(MountsRegistry* const registry, context.OpenMounts());
  size_t stale_mounts = 0;
  std::vector<std::string> orphan_uppers;
  {
    SNAP_TRY(const MountsRegistry::Lock lock, registry->Acquire());
    SNAP_TRY(const std::vector<MountRecord> records, registry->List());
    SNAP_TRY(const std::vector<MountsRegistry::State> states, registry->StatesOf(records));
    for (const MountsRegistry::State state : states)
      stale_mounts += state == MountsRegistry::State::kGone ? 1U : 0U;
    if (!args.dry_run) SNAP_TRY_VOID(CleanStale(*store, *registry, lock));
    SNAP_TRY(orphan_uppers, CleanOrphanUppers(*store, *registry, lock, !args.dry_run));
  }
  SNAP_TRY(GcReport report, store->CollectGarbage(args.dry_run, args.dry_run ? kMaxFindings : 0));
  report.uppers += orphan_uppers.size();
  for (const std::string& upper : orphan_uppers) {
    if (!args.dry_run || report.findings.size() >= kMaxFindings) break;
    report.findings.push_back({"upper", upper, 0, "the mount that it was made for is gone"});
  }
  if (context.json()) {
    Json findings = Json::array();
    for (const GcFinding& finding : report.findings) {
      findings.push_back({{"type", finding.type}, {"id", finding.id}, {"bytes", finding.bytes}, {"reason", finding.reason}});
    }
    context.Print(RenderJson({{"dry_run", args.dry_run},
                              {"layers", report.layers},
                              {"objects", report.objects},
                              {"stages", report.stages},
                              {"trash", report.trash},
                              {"uppers", report.uppers},
                              {"containers", report.containers},
                              {"mounts", stale_mounts},
                              {"merged", report.merged},
                              {"findings", std::move(findings)},
                              {"bytes", report.bytes}}));
    return kExitOk;
  }
  if (!report.findings.empty()) {
    Table table({{"TYPE"}, {"ID"}, {"SIZE", Table::Align::kRight}, {"REASON"}});
    for (const GcFinding& finding : report.findings) {
      table.AddRow({finding.type, finding.id, HumanSize(finding.bytes), finding.reason});
    }
    context.Print(table.Render() + "\n");
    const uint64_t named = report.layers + report.objects + report.merged + report.uppers + report.containers;
    if (named > report.findings.size()) {
      context.Note(fmt::format("note: the first {} of {} are listed\n", report.findings.size(), named));
    }
  }
  context.Print(RenderFields({{"Layers", std::to_string(report.layers)},
                              {"Merged images", std::to_string(report.merged)},
                              {"Objects", std::to_string(report.objects)},
                              {"Unfinished layers", std::to_string(report.stages)},
                              {"Trash", std::to_string(report.trash)},
                              {"Container trees", std::to_string(report.uppers)},
                              {"Containers", std::to_string(report.containers)},
                              {"Mount records", std::to_string(stale_mounts)},
                              {args.dry_run ? "Would free" : "Freed", HumanSize(report.bytes)}}));
  return kExitOk;
}

Json DaemonJson(const std::optional<DaemonInfo>& daemon) {
  if (!daemon) return nullptr;
  return {{"pid", daemon->pid}, {"version", daemon->version}, {"started", daemon->started}, {"address", daemon->address}};
}

std::string DaemonText(const std::optional<DaemonInfo>& daemon) {
  if (!daemon) return "none serves this store";
  std::string text = fmt::format("process {}", daemon->pid);
  if (!daemon->version.empty()) text += ", version " + EscapeUnprintable(daemon->version);
  if (!daemon->address.empty()) text += ", at " + EscapeUnprintable(daemon->address);
  return text;
}

Result<int> Info(Context& context) {
  const Settings& settings = context.settings();
  SNAP_TRY(Store* const store, context.OpenStore());
  SNAP_TRY(const std::vector<ImageRecord> images, store->Images());
  SNAP_TRY(const std::vector<ContainerRecord> containers, store->Containers());
  SNAP_TRY(const std::vector<LayerId> layers, store->layers().List());
  size_t running = 0;
  for (const ContainerRecord& container : containers) running += Store::IsRunning(container) ? 1U : 0U;
  SNAP_TRY(const std::optional<DaemonInfo> daemon, FindDaemon(settings.root));
  const std::vector<UnionBackend::Feature> features = store->backend().Features();
  if (context.json()) {
    Json feature_list = Json::array();
    for (const auto& [name, available, detail] : features) {
      feature_list.push_back({{"name", name}, {"available", available}, {"detail", detail}});
    }
    context.Print(RenderJson(
        {{"version", kVersion},
         {"root", settings.root},
         {"run_dir", settings.run_dir},
         {"config", settings.config_path},
         {"durability", DurabilityName(settings.durability)},
         {"setting_sources", settings.sources},
         {"images", images.size()},
         {"layers", layers.size()},
         {"containers", containers.size()},
         {"containers_running", running},
         {"daemon", DaemonJson(daemon)},
         {"kernel", sys::KernelRelease()},
         {"processors", sys::ProcessorCount()},
         {"backend", {{"name", store->backend().name()}, {"features", std::move(feature_list)}}}}));
    return kExitOk;
  }
  const auto from = [&](const char* setting) { return " (" + settings.sources.at(setting) + ")"; };
  std::vector<std::pair<std::string, std::string>> fields = {
      {"Version", kVersion},
      {"Store", settings.root + from("root")},
      {"Run directory", settings.run_dir},
      {"Configuration", settings.config_path.empty() ? "none" : settings.config_path},
      {"Durability", std::string(DurabilityName(settings.durability)) + from("durability")},
      {"Images", std::to_string(images.size())},
      {"Layers", std::to_string(layers.size())},
      {"Containers", fmt::format("{} ({} running)", containers.size(), running)},
      {"Daemon", DaemonText(daemon)},
      {"Kernel", sys::KernelRelease()},
      {"Processors", std::to_string(sys::ProcessorCount())},
      {"Mounts by", std::string(store->backend().name())}};
  for (const auto& [name, available, detail] : features) {
    fields.emplace_back("  " + name,
                        (available ? "yes" : "no") + (detail.empty() ? "" : " (" + detail + ")"));
  }
  context.Print(RenderFields(fields));
  return kExitOk;
}

}  // namespace

void AddSystem(CommandTree& tree) {
  tree.AddGroup("system", "Look after the store");
  tree.AddVerb(
      {.name = "system df",
       .usage = "[OPTIONS]",
       .summary = "Show what the store takes on disk",
       .description = "RECLAIMABLE is what 'snap system gc', or removing what nobody uses, gives back.",
       .examples = {{"snap system df", "By kind."}},
       .default_format = "table"},
      [](OptionSet&) -> CommandTree::Action { return DiskUse; });
  tree.AddVerb(
      {.name = "system check",
       .usage = "[OPTIONS]",
       .summary = "Check that the store is whole",
       .description =
           "Compares the database with what is on disk. Exit status 0 when it is clean or everything was "
           "repaired, 6 when problems are left.",
       .examples = {{"snap system check", "Only look."},
                    {"snap system check --repair",
                     "Delete what has no owner and forget what has no content."},
                    {"snap system check --scrub", "Read everything and compare it with its checksums."},
                    {"snap system check --rebuild", "Make a new database from the layers on disk."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<CheckArgs>();
        options.Flag("--repair", args->repair, "Repair what can be repaired");
        options.Flag("--scrub", args->scrub,
                     "Read all packed layers and objects and compare them with their checksums");
        options.Flag("--rebuild", args->rebuild, "Make the database anew first; names of images are lost");
        return [args](Context& context) { return Check(context, *args); };
      });
  tree.AddVerb(
      {.name = "system gc",
       .usage = "[OPTIONS]",
       .summary = "Delete what nobody needs",
       .description =
           "Unfinished layers of programs that are gone, trash, layers of no image, objects of no layer, trees of no container, "
           "containers of 'run --rm' whose launcher was killed. Images and other containers stay.",
       .examples = {{"snap system gc --dry-run", "What would go, why, and how much that is."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<GcArgs>();
        options.Flag("--dry-run", args->dry_run, "Delete nothing, list what would go and why");
        return [args](Context& context) { return Gc(context, *args); };
      });
  tree.AddVerb({.name = "system info",
                .usage = "[OPTIONS]",
                .summary = "Show settings and what this machine can do",
                .description = "In parentheses: where a setting comes from, and why a feature is missing.",
                .examples = {{"snap system info --format json", "For a report."}},
                .default_format = "table"},
               [](OptionSet&) -> CommandTree::Action { return Info; });
}

}  // namespace snap::cli
