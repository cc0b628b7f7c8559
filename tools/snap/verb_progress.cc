#include "tools/snap/verb_progress.h"

#include "fs/base/sys_file.h"
#include "fs/base/sys_terminal.h"

namespace snap::cli {
namespace {

const FdRef kStderr(2);

TerminalSize CurrentSize() {
  const auto size = sys::GetWindowSize(kStderr);
  if (!size.ok() || size->ws_col == 0 || size->ws_row == 0) return {};
  return {size->ws_col, size->ws_row};
}

}  // namespace

std::unique_ptr<ProgressView> MakeProgress(Context& context, bool quiet) {
  ProgressMode mode = context.settings().progress;
  if (quiet) mode = ProgressMode::kNone;
  if (mode == ProgressMode::kAuto) {
    const bool dumb = ProcessEnvironment()("TERM").value_or("dumb") == "dumb";
    mode = sys::IsTerminal(kStderr) && !dumb ? ProgressMode::kTty : ProgressMode::kPlain;
  }
  const WriteText write = [&context](std::string_view text) { context.Note(text); };
  switch (mode) {
    case ProgressMode::kTty:
      return MakeBarProgress(write, CurrentSize);
    case ProgressMode::kPlain:
      return MakePlainProgress(write);
    case ProgressMode::kAuto:
    case ProgressMode::kNone:
      break;
  }
  return nullptr;
}

}  // namespace snap::cli
