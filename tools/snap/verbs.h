// The verbs, one file each (verb_<name>.cc).
#pragma once

#include "tools/snap/command_tree.h"

namespace snap::cli {

void AddImport(CommandTree& tree);
void AddImages(CommandTree& tree);
void AddRmi(CommandTree& tree);
void AddTag(CommandTree& tree);
void AddSave(CommandTree& tree);
void AddLayers(CommandTree& tree);
void AddInspect(CommandTree& tree);
void AddHistory(CommandTree& tree);
void AddMount(CommandTree& tree);
void AddUmount(CommandTree& tree);
void AddRun(CommandTree& tree);
void AddPs(CommandTree& tree);
void AddRm(CommandTree& tree);
void AddDiff(CommandTree& tree);
void AddEvents(CommandTree& tree);
void AddSystem(CommandTree& tree);
void AddSystemMigrate(CommandTree& tree);
void AddWhy(CommandTree& tree);
void AddEngineConfig(CommandTree& tree);
void AddDoctor(CommandTree& tree);
void AddVersion(CommandTree& tree);
void AddCompletion(CommandTree& tree);

/// All of them, in the order in which help shows them.
void AddVerbs(CommandTree& tree);

}  // namespace snap::cli
