#include "tools/snap/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tools/snap/human.h"

namespace snap::cli {
namespace {

using Event = ProgressView::Event;
using Phase = Event::Phase;
using std::chrono::milliseconds;
using testing::HasSubstr;

Event Make(Phase phase, size_t layer, uint64_t bytes, uint64_t total = 1000) {
  Event event;
  event.phase = phase;
  event.layer = layer;
  event.layer_count = 3;
  event.label = "layer" + std::to_string(layer);
  event.bytes = bytes;
  event.total_bytes = total;
  return event;
}

struct Screen {
  std::string text;
  WriteText writer() {
    return [this](std::string_view piece) { text += piece; };
  }
  std::string Take() { return std::exchange(text, ""); }
};

const ProgressView::Clock::time_point kStart{std::chrono::seconds(1000)};

TEST(PlainProgress, SaysOneLineForEachPhase) {
  Screen screen;
  const auto view = MakePlainProgress(screen.writer());
  view->Update(Make(Phase::kStarted, 0, 0), kStart);
  view->Update(Make(Phase::kExtracting, 0, 10), kStart);
  view->Update(Make(Phase::kExtracting, 0, 20), kStart);
  view->Update(Make(Phase::kExists, 1, 0), kStart);
  Event done = Make(Phase::kDone, 0, 1000);
  done.entries = 5;
  view->Update(done, kStart);
  view->Finish();
  EXPECT_EQ(screen.text,
            "layer 1/3 layer0: starting\nlayer 1/3 layer0: extracting\nlayer 2/3 layer1: already there\n"
            "layer 1/3 layer0: done, 5 entries, 1kB read\n");
}

TEST(PlainProgress, OfASaveHasNoEntries) {
  Screen screen;
  const auto view = MakePlainProgress(screen.writer());
  view->Update(Make(Phase::kSaving, 0, 10), kStart);
  view->Update(Make(Phase::kSaving, 0, 20), kStart);
  view->Update(Make(Phase::kDone, 0, 1000), kStart);
  view->Finish();
  EXPECT_EQ(screen.text, "layer 1/3 layer0: saving\nlayer 1/3 layer0: done, 1kB read\n");
}

TEST(RenderBar, FillsTheWidthAndNeverMore) {
  EXPECT_EQ(RenderBar("abc", 500, 1000, 0, 40), "abc           [=======>      ]  500B/1kB");
  for (unsigned columns = 1; columns < 140; ++columns) {
    EXPECT_LE(DisplayWidth(RenderBar("0123456789ab", 123'456'789, 1'234'567'890, 98'765'432, columns)),
              columns);
  }
}

TEST(RenderBar, WithoutATotalHasNoBar) {
  EXPECT_EQ(RenderBar("abc", 500, 0, 2000, 80), "abc             500B  2kB/s");
}

TEST(RenderBar, MoreBytesThanPromisedIsFull) {
  EXPECT_THAT(RenderBar("abc", 5000, 1000, 0, 60), HasSubstr("=]  1kB/1kB"));
}

TEST(BarProgress, RedrawsInPlaceAndKeepsFinishedLayersAbove) {
  Screen screen;
  const auto view = MakeBarProgress(screen.writer(), [] { return TerminalSize{60, 24}; });
  view->Update(Make(Phase::kExtracting, 0, 100), kStart);
  EXPECT_THAT(screen.Take(), testing::StartsWith("layer0"));
  view->Update(Make(Phase::kExtracting, 1, 100), kStart + milliseconds(200));
  const std::string second = screen.Take();
  EXPECT_THAT(second, testing::StartsWith("\x1b[1A\r")) << "back over one bar";
  EXPECT_THAT(second, HasSubstr("layer1"));
  view->Update(Make(Phase::kDone, 0, 1000), kStart + milliseconds(400));
  const std::string third = screen.Take();
  EXPECT_THAT(third, testing::StartsWith("\x1b[2A\r"));
  EXPECT_LT(third.find("layer0        done"), third.find("layer1"));
  view->Finish();
  EXPECT_THAT(screen.Take(), testing::StartsWith("\x1b[1A\r")) << "the finished layer is not drawn over";
}

TEST(BarProgress, DrawsAtMostTenTimesASecondButEveryChangeOfPhase) {
  Screen screen;
  const auto view = MakeBarProgress(screen.writer(), [] { return TerminalSize{60, 24}; });
  view->Update(Make(Phase::kExtracting, 0, 100), kStart);
  (void)screen.Take();
  view->Update(Make(Phase::kExtracting, 0, 200), kStart + milliseconds(50));
  EXPECT_EQ(screen.Take(), "");
  view->Update(Make(Phase::kFlushing, 0, 200), kStart + milliseconds(60));
  EXPECT_THAT(screen.Take(), HasSubstr("flushing"));
  view->Update(Make(Phase::kFlushing, 0, 300), kStart + milliseconds(200));
  EXPECT_NE(screen.Take(), "");
}

TEST(BarProgress, ShowsNoMoreBarsThanThereAreRows) {
  Screen screen;
  const auto view = MakeBarProgress(screen.writer(), [] { return TerminalSize{60, 4}; });
  for (size_t layer = 0; layer < 20; ++layer) view->Update(Make(Phase::kStarted, layer, 0), kStart);
  (void)screen.Take();
  view->Finish();
  EXPECT_THAT(screen.Take(), testing::StartsWith("\x1b[3A\r"));
}

TEST(BarProgress, LeavesTheTerminalAsItWasAfterEveryWrite) {
  Screen screen;
  const auto view = MakeBarProgress(screen.writer(), [] { return TerminalSize{60, 24}; });
  Event event = Make(Phase::kExtracting, 0, 100);
  event.label = "a\x1b[?25l";
  view->Update(event, kStart);
  const std::string text = screen.Take();
  EXPECT_EQ(text.find("\x1b[?"), std::string::npos) << "neither a hidden cursor nor what the label wants";
  EXPECT_TRUE(text.ends_with("\n\x1b[J")) << "the cursor is below the bars";
}

}  // namespace
}  // namespace snap::cli
