// The program: from the command line to the exit status.
#pragma once

#include <string>
#include <vector>

namespace snap::cli {

/// `words` without the program's name. Never throws.
int RunSnap(const std::vector<std::string>& words);

}  // namespace snap::cli
