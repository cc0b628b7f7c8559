// snap version: of the program, and of what it can be compared by in a report.
#include "fs/base/sys_process.h"
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/verbs.h"
#include "tools/snap/version.h"

namespace snap::cli {
namespace {

Result<int> Version(Context& context) {
  if (context.json()) {
    context.Print(
        RenderJson({{"version", kVersion}, {"compiler", __VERSION__}, {"kernel", sys::KernelRelease()}}));
  } else {
    context.Print(fmt::format("snap {}\n", kVersion));
  }
  return kExitOk;
}

}  // namespace

void AddVersion(CommandTree& tree) {
  tree.AddVerb({.name = "version",
                .usage = "[OPTIONS]",
                .summary = "Show the version",
                .description = "'snap system info' tells more about the store and the machine.",
                .examples = {{"snap version --format json", "With the compiler and the kernel."}},
                .default_format = "table"},
               [](OptionSet&) -> CommandTree::Action { return Version; });
}

void AddVerbs(CommandTree& tree) {
  AddImport(tree);
  AddImages(tree);
  AddRmi(tree);
  AddTag(tree);
  AddSave(tree);
  AddLayers(tree);
  AddInspect(tree);
  AddHistory(tree);
  AddMount(tree);
  AddUmount(tree);
  AddRun(tree);
  AddPs(tree);
  AddRm(tree);
  AddDiff(tree);
  AddEvents(tree);
  AddSystem(tree);
  AddSystemMigrate(tree);
  AddWhy(tree);
  AddEngineConfig(tree);
  AddDoctor(tree);
  AddVersion(tree);
  AddCompletion(tree);
}

}  // namespace snap::cli
