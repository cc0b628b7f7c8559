// snap completion: the shells' completion scripts.
#include "tools/snap/completion.h"
#include "tools/snap/context.h"
#include "tools/snap/verbs.h"

namespace snap::cli {

void AddCompletion(CommandTree& tree) {
  tree.AddVerb(
      {.name = "completion",
       .usage = "[OPTIONS] SHELL",
       .summary = "Print a completion script for a shell",
       .description = "Packages install the scripts already.",
       .examples = {{"source <(snap completion bash)", "In this bash."},
                    {"snap completion fish > ~/.config/fish/completions/snap.fish", "In every fish."}}},
      [](OptionSet& options) -> CommandTree::Action {
        const auto shell = std::make_shared<std::string>();
        options.Operand("bash|zsh|fish", *shell, true, "Which shell");
        return [shell](Context& context) -> Result<int> {
          const std::string_view script = CompletionScript(*shell);
          if (script.empty()) {
            return MakeError(ErrorCode::kInvalidArgument, "there is completion for bash, zsh and fish only");
          }
          context.Print(script);
          return kExitOk;
        };
      });
}

}  // namespace snap::cli
