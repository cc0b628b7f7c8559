// Completion: what can come next on a command line, for the shells' scripts, which all ask `snap __complete`.
// Protocol: a line "value<TAB>description" for each candidate, then one line that says what they are:
// ":words",
// ":nospace" (more follows directly), ":files" or ":dirs" (the shell completes names itself; no candidates).
// Invariant: never fails, never creates a store, prints nothing else.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "tools/snap/command_tree.h"

namespace snap::cli {

struct Candidate {
  std::string value, description;
  friend bool operator==(const Candidate&, const Candidate&) = default;
};
struct Completion {
  enum class Kind { kWords, kNoSpace, kFiles, kDirectories } kind = Kind::kWords;
  std::vector<Candidate> candidates;
};

/// Names of things in the store by kind ("IMAGE", "CONTAINER", "LAYER", "MOUNT").
using NameSource = std::function<std::vector<Candidate>(std::string_view kind)>;

/// `words` without the program's name; the last one is being typed and may be empty.
Completion Complete(const CommandTree& tree, const std::vector<std::string>& words, const NameSource& names);
std::string RenderCompletion(const Completion& completion);

/// Names from the store that the words (--root) and the environment choose; nothing when it cannot be read.
NameSource StoreNames(const CommandTree& tree, const std::vector<std::string>& words);

/// The script for "bash", "zsh" or "fish"; "" for others.
std::string_view CompletionScript(std::string_view shell);

}  // namespace snap::cli
