// Progress of an import or save: bars on a terminal, one line per change of phase elsewhere.
// Invariant: the terminal is in its usual state after every write (no hidden cursor, no raw mode, the cursor
// below the bars), so a program that is killed leaves nothing to repair.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "snapshotter/store.h"

namespace snap::cli {

struct TerminalSize {
  unsigned columns = 80, rows = 24;
};

/// Threads: one call at a time, from any thread.
class ProgressView {
 public:
  using Clock = std::chrono::steady_clock;
  using Event = ImportOptions::Progress;
  virtual ~ProgressView() = default;
  virtual void Update(const Event& event, Clock::time_point now) = 0;
  /// Draws the last state; nothing is drawn after it. Called on success and on failure.
  virtual void Finish() = 0;
};

using WriteText = std::function<void(std::string_view)>;

/// "layer 1/3 0123456789ab: extracting", one line for each layer and phase.
std::unique_ptr<ProgressView> MakePlainProgress(WriteText write);
/// A line with a bar for each layer being worked on, redrawn at most ten times a second; finished layers
/// scroll up. `size` is asked before each drawing.
std::unique_ptr<ProgressView> MakeBarProgress(WriteText write, std::function<TerminalSize()> size);

/// "0123456789ab  [=====>    ]  12.3MB/45MB  67MB/s" in at most `columns` columns.
std::string RenderBar(std::string_view label, uint64_t bytes, uint64_t total, double bytes_per_second,
                      unsigned columns);

}  // namespace snap::cli
