// Hooks that the runtime itself runs, in its own namespaces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "runtime/spec.h"

namespace snap::runtime {

/// Runs them in order with `state` on standard input and waits for each. `kind` is for messages: "prestart".
/// Errors: kCancelled for one that fails or takes longer than its timeout (it is killed), with the end of what it wrote to standard
/// error; kNotFound.
Result<void> RunHooks(const std::vector<HookSpec>& hooks, std::string_view kind, std::string_view state);

}  // namespace snap::runtime
