#include "tools/snap/app.h"

#include <exception>

#include "fs/base/log.h"
#include "fs/base/sys_file.h"
#include "tools/snap/completion.h"
#include "tools/snap/context.h"
#include "tools/snap/help.h"
#include "tools/snap/man.h"
#include "tools/snap/verbs.h"
#include "tools/snap/version.h"

namespace snap::cli {
namespace {

int PrintText(std::string_view text) {
  const SysResult<void> written = sys::WriteAll(FdRef(1), text);
  if (written.ok()) return kExitOk;
  return PrintError(Error(written.error(), "write to standard output"), "", false, false, 0);
}

/// Colour for errors that come before the settings are known.
bool EarlyColor() {
  const auto settings = MergeSettings({}, ProcessEnvironment(), {});
  const ColorMode mode = settings.ok() ? settings->color : ColorMode::kNever;
  return mode == ColorMode::kAlways || (mode == ColorMode::kAuto && sys::IsTerminal(FdRef(2)));
}

/// "__complete -- WORD..." and "__man DIR", for scripts and the build: not in help, not bound to their rules.
std::optional<int> RunHidden(const CommandTree& tree, const std::vector<std::string>& words) {
  if (words.size() >= 2 && words[0] == "__complete" && words[1] == "--") {
    const std::vector<std::string> typed(words.begin() + 2, words.end());
    return PrintText(RenderCompletion(Complete(tree, typed, StoreNames(tree, typed))));
  }
  if (words.size() == 2 && words[0] == "__man") {
    const Result<void> written = WriteManPages(tree, words[1]);
    return written.ok() ? kExitOk : PrintError(written.error(), "", false, EarlyColor(), 0);
  }
  return std::nullopt;
}

int RunVerb(const CommandTree& tree, const CommandTree::Parsed& parsed, int failure_status) {
  if (tree.global().debug) log::SetLevel(log::Level::kDebug);
  const bool json = tree.global().format == "json" && tree.global().format_given;
  Result<Settings> settings = LoadSettings(tree.global().flags, ProcessEnvironment());
  if (!settings.ok()) return PrintError(settings.error(), "", json, EarlyColor(), failure_status);
  Context context(*std::move(settings), tree, parsed);
  const Result<int> status = (*parsed.action)(context);
  if (!status.ok()) context.Report(status.error());
  // What was found before a failure is printed too: of several operands some may have worked.
  if (const Result<void> flushed = context.Flush(); !flushed.ok()) context.Report(flushed.error());
  if (status.ok() && *status != kExitOk) return *status;
  return context.reported_status();
}

int RunParsed(std::vector<std::string> words) {
  CommandTree tree;
  AddVerbs(tree);
  if (const std::optional<int> status = RunHidden(tree, words)) return *status;
  // "snap help system df" is "snap system df --help".
  if (!words.empty() && words.front() == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  const Result<CommandTree::Parsed> parsed = tree.Parse(words);
  if (!parsed.ok()) {
    const bool json = tree.global().format == "json";
    return PrintError(parsed.error(), tree.hint(), json, EarlyColor(), tree.failure_status());
  }
  switch (parsed->kind) {
    case CommandTree::Parsed::Kind::kHelp:
      return PrintText(RenderHelp(tree, *parsed->app));
    case CommandTree::Parsed::Kind::kVersion:
      return PrintText(fmt::format("snap {}\n", kVersion));
    case CommandTree::Parsed::Kind::kRun:
      break;
  }
  return RunVerb(tree, *parsed, tree.failure_status());
}

}  // namespace

int RunSnap(const std::vector<std::string>& words) {
  try {
    return RunParsed(words);
  } catch (const std::exception& exception) {
    return PrintError(Error(ErrorCode::kInternal, exception.what()), "", false, false, 0);
  }
}

}  // namespace snap::cli
