#include "tools/snap/progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "fs/base/quote.h"
#include "tools/snap/human.h"

namespace snap::cli {
namespace {

using Phase = ImportOptions::Progress::Phase;

std::string_view PhaseText(Phase phase) {
  switch (phase) {
    case Phase::kStarted:
      return "starting";
    case Phase::kExtracting:
      return "extracting";
    case Phase::kFlushing:
      return "flushing";
    case Phase::kDone:
      return "done";
    case Phase::kExists:
      return "already there";
    case Phase::kSaving:
      return "saving";
  }
  return "";
}

bool IsEnd(Phase phase) { return phase == Phase::kDone || phase == Phase::kExists; }

/// A layer that is saved is not looked into.
std::string EntriesText(const ProgressView::Event& event) {
  return event.entries == 0 ? ", " : fmt::format(", {} entries, ", event.entries);
}

class PlainProgress final : public ProgressView {
 public:
  explicit PlainProgress(WriteText write) : write_(std::move(write)) {}

  void Update(const Event& event, Clock::time_point) override {
    const auto [it, is_new] = phases_.try_emplace(event.layer, event.phase);
    if (!is_new && it->second == event.phase) return;
    it->second = event.phase;
    std::string line = fmt::format("layer {}/{} {}: {}", event.layer + 1, event.layer_count,
                                   EscapeUnprintable(event.label), PhaseText(event.phase));
    if (event.phase == Phase::kDone) line += EntriesText(event) + HumanSize(event.bytes) + " read";
    write_(line + "\n");
  }
  void Finish() override {}

 private:
  const WriteText write_;
  std::map<size_t, Phase> phases_;
};

class BarProgress final : public ProgressView {
 public:
  BarProgress(WriteText write, std::function<TerminalSize()> size)
      : write_(std::move(write)), size_(std::move(size)) {}

  void Update(const Event& event, Clock::time_point now) override {
    const auto [it, is_new] = active_.try_emplace(event.layer, Layer{event, now, 0});
    Layer& layer = it->second;
    const bool phase_changed = is_new || layer.event.phase != event.phase;
    layer.event = event;
    const std::chrono::duration<double> elapsed = now - layer.started;
    // The first instants say nothing about the rate.
    if (elapsed.count() > 0.05) layer.bytes_per_second = static_cast<double>(event.bytes) / elapsed.count();
    if (!phase_changed && now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
    Draw();
  }

  void Finish() override { Draw(); }

 private:
  struct Layer {
    Event event;
    Clock::time_point started;
    double bytes_per_second = 0;
  };

  static std::string Line(const Layer& layer, unsigned columns) {
    const Event& event = layer.event;
    const std::string label = EscapeUnprintable(Shorten(event.label, 12));
    if (event.phase == Phase::kExtracting || event.phase == Phase::kSaving) {
      return RenderBar(label, event.bytes, event.total_bytes, layer.bytes_per_second, columns);
    }
    std::string line = fmt::format("{:<12}  {}", label, PhaseText(event.phase));
    if (event.phase == Phase::kDone) line += EntriesText(event) + HumanSize(event.bytes);
    return Shorten(line, columns);
  }

  /// One write: back to the first bar, the finished layers' lines, the bars, and away with what was longer
  /// before.
  void Draw() {
    const TerminalSize size = size_();
    const unsigned columns = std::max(20U, size.columns) - 1;  // the last column makes some terminals wrap
    std::string frame;
    if (bars_ > 0) frame += fmt::format("\x1b[{}A\r", bars_);
    for (auto it = active_.begin(); it != active_.end();) {
      if (IsEnd(it->second.event.phase)) {
        frame += Line(it->second, columns) + "\x1b[K\n";
        it = active_.erase(it);
      } else {
        ++it;
      }
    }
    // More bars than rows would scroll, and the way back up would end too low.
    const size_t room = std::max(2U, size.rows) - 1;
    bars_ = 0;
    for (const auto& [index, layer] : active_) {
      if (bars_ == room) break;
      frame += Line(layer, columns) + "\x1b[K\n";
      ++bars_;
    }
    frame += "\x1b[J";
    write_(frame);
  }

  const WriteText write_;
  const std::function<TerminalSize()> size_;
  std::map<size_t, Layer> active_;  // by layer, so that lines keep their order
  size_t bars_ = 0;                 // on the screen, above the cursor
  Clock::time_point drawn_;
};

}  // namespace

std::string RenderBar(std::string_view label, uint64_t bytes, uint64_t total, double bytes_per_second,
                      unsigned columns) {
  std::string left = fmt::format("{:<12}  ", label);
  std::string right = total > 0 ? fmt::format("  {}/{}", HumanSize(std::min(bytes, total)), HumanSize(total))
                                : fmt::format("  {}", HumanSize(bytes));
  if (bytes_per_second > 0)
    right += fmt::format("  {}/s", HumanSize(static_cast<uint64_t>(bytes_per_second)));
  const size_t used = DisplayWidth(left) + DisplayWidth(right);
  constexpr size_t kLeastBar = 8;
  constexpr size_t kMostBar = 52;
  if (total > 0 && used + kLeastBar <= columns) {
    const size_t width = std::min(kMostBar, columns - used) - 2;
    const double part = static_cast<double>(std::min(bytes, total)) / static_cast<double>(total);
    const auto filled = static_cast<size_t>(part * static_cast<double>(width));
    left += '[';
    left.append(filled, '=');
    if (filled < width) left += '>';
    left.append(width - std::min(width, filled + 1), ' ');
    left += ']';
  }
  return Shorten(left + right, columns);
}

std::unique_ptr<ProgressView> MakePlainProgress(WriteText write) {
  return std::make_unique<PlainProgress>(std::move(write));
}

std::unique_ptr<ProgressView> MakeBarProgress(WriteText write, std::function<TerminalSize()> size) {
  return std::make_unique<BarProgress>(std::move(write), std::move(size));
}

}  // namespace snap::cli
