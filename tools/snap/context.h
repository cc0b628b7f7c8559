// Context: what a verb works with: settings, the store, the mounts' registry, output and hints.
// Invariant: data goes to standard output, once, when the verb is done; everything else goes to standard
// error.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "snapshotter/store.h"
#include "tools/snap/command_tree.h"
#include "tools/snap/errors.h"
#include "tools/snap/human.h"
#include "tools/snap/mounts_registry.h"
#include "tools/snap/settings.h"

namespace snap::cli {

/// Threads: one at a time.
class Context {
 public:
  Context(Settings settings, const CommandTree& tree, const CommandTree::Parsed& parsed);
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Settings& settings() const { return settings_; }
  const CommandTree& tree() const { return tree_; }
  /// Words behind the image of `run`.
  const std::vector<std::string>& command() const { return command_; }
  bool json() const { return json_; }
  TimePoint now() const { return now_; }
  bool color_output() const;
  bool color_errors() const;

  /// A verb's --backend, which wins over environment and file; "" leaves it to them. Before OpenStore.
  Result<void> ChooseBackend(const std::string& flag);
  /// The store, opened (and made, if it does not exist) at the first call.
  Result<Store*> OpenStore();
  /// The records of mounts made by `snap mount`; opens the store first, since its directory must be there.
  Result<MountsRegistry*> OpenMounts();

  /// Collects what standard output gets.
  void Print(std::string_view text) { out_ += text; }
  /// Writes what was collected. Errors: kIo, kNoSpace: the data did not arrive.
  Result<void> Flush();
  /// A line to standard error, at once.
  void Note(std::string_view line) const;

  /// What to do about the error that is returned next.
  void SetHint(std::string hint) { hint_ = std::move(hint); }
  /// Reports a failure and goes on; for one of several operands. The verb's exit status is that of the first.
  void Report(const Error& error);
  /// The exit status of what was reported; 0 when nothing was.
  int reported_status() const { return reported_status_; }

 private:
  Settings settings_;
  const CommandTree& tree_;
  std::vector<std::string> command_;
  bool json_;
  bool json_errors_;  // only for callers that asked for JSON
  int failure_status_;
  TimePoint now_ = std::chrono::system_clock::now();
  std::string out_;
  std::string hint_;
  int reported_status_ = 0;
  std::optional<Store> store_;
  std::optional<MountsRegistry> mounts_;
};

/// Prints an error to standard error in the form that was asked for and returns the exit status.
int PrintError(const Error& error, std::string_view hint, bool json, bool color, int failure_status);

/// Store::FindImage, Store::FindContainer with a hint when there is no such thing.
Result<ImageRecord> FindImage(Context& context, Store& store, std::string_view reference);
Result<ContainerRecord> FindContainer(Context& context, Store& store, std::string_view reference);

}  // namespace snap::cli
