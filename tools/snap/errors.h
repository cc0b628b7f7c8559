// What a user sees when something fails: what, why, what next; and the exit status that scripts branch on.
// Invariant: the exit status follows from the error's class alone (docs/cli.md has the table).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"

namespace snap::cli {

/// 0 is success; `run` uses 125, 126, 127 and the container's own status instead.
enum ExitStatus : int {
  kExitOk = 0,
  kExitFailure = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitConflict = 4,
  kExitPermission = 5,
  kExitIntegrity = 6,
  kExitNoSpace = 7,
  kExitUnavailable = 8,
};
int ExitStatusOf(ErrorCode code);

/// What to do next when the verb knows nothing better; may be empty.
std::string_view GeneralHint(ErrorCode code, bool is_root);

struct ErrorReport {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  std::string hint;  ///< may be empty
  int exit_status = kExitFailure;
};
/// "snap: <message>" and, if there is one, "hint: <hint>"; each one line whatever the message holds.
std::string RenderErrorText(const ErrorReport& report, bool color);
/// {"error":{"code","exit_status","hint","message"}} and a newline.
std::string RenderErrorJson(const ErrorReport& report);

/// The candidate nearest to `word` by edit distance, "" when none is near enough to be what was meant.
std::string_view ClosestWord(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace snap::cli
