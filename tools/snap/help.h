// Help: the text of --help, from the command tree.
#pragma once

#include <string>

#include "tools/snap/command_tree.h"

namespace snap::cli {

/// At most 100 columns, so that it reads well in any terminal and in a paste.
std::string RenderHelp(const CommandTree& tree, const CLI::App& app);

/// Words of `text` in lines of at most `columns`, each after `indent` spaces; paragraphs (empty lines) are
/// kept, and a paragraph whose lines begin with a space is kept as it is.
std::string Wrap(std::string_view text, size_t columns, size_t indent);

}  // namespace snap::cli
