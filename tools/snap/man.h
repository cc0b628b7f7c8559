// Manual pages in man(7) troff, from the command tree: one for the program, one for each verb.
#pragma once

#include <string>

#include "fs/base/result.h"
#include "tools/snap/command_tree.h"

namespace snap::cli {

/// The page of the root, a group or a verb.
std::string RenderManPage(const CommandTree& tree, const CLI::App& app);
/// Writes snap.1, snap-import.1, snap-system-df.1, ... into an existing directory.
Result<void> WriteManPages(const CommandTree& tree, const std::string& directory);

/// Text with everything escaped that troff would act on.
std::string TroffText(std::string_view text);

}  // namespace snap::cli
