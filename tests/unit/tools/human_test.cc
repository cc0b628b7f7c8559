#include "tools/snap/human.h"

#include <gtest/gtest.h>

#include <limits>

namespace snap::cli {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(HumanSize, HasThreeDigitsAndSiUnits) {
  EXPECT_EQ(HumanSize(0), "0B");
  EXPECT_EQ(HumanSize(999), "999B");
  EXPECT_EQ(HumanSize(1000), "1kB");
  EXPECT_EQ(HumanSize(1024), "1.02kB");
  EXPECT_EQ(HumanSize(116'800'000), "117MB");
  EXPECT_EQ(HumanSize(1'500'000'000), "1.5GB");
  EXPECT_EQ(HumanSize(999'400), "999kB");
  EXPECT_EQ(HumanSize(999'600), "1MB") << "not 1e+03kB";
  EXPECT_EQ(HumanSize(std::numeric_limits<uint64_t>::max()), "18.4EB");
}

TEST(HumanDuration, SaysItInOneWordOrTwo) {
  EXPECT_EQ(HumanDuration(seconds(-5)), "Less than a second");
  EXPECT_EQ(HumanDuration(seconds(0)), "Less than a second");
  EXPECT_EQ(HumanDuration(seconds(1)), "1 second");
  EXPECT_EQ(HumanDuration(seconds(59)), "59 seconds");
  EXPECT_EQ(HumanDuration(seconds(60)), "About a minute");
  EXPECT_EQ(HumanDuration(minutes(59)), "59 minutes");
  EXPECT_EQ(HumanDuration(minutes(60)), "About an hour");
  EXPECT_EQ(HumanDuration(hours(47)), "47 hours");
  EXPECT_EQ(HumanDuration(hours(48)), "2 days");
  EXPECT_EQ(HumanDuration(hours(24 * 14)), "2 weeks");
  EXPECT_EQ(HumanDuration(hours(24 * 60)), "2 months");
  EXPECT_EQ(HumanDuration(hours(24 * 365 * 2)), "2 years");
}

TEST(Rfc3339, ReadsOffsetsAndFractionsAndWritesUtc) {
  EXPECT_EQ(NormalRfc3339("2023-01-07T10:00:00Z"), "2023-01-07T10:00:00Z");
  EXPECT_EQ(NormalRfc3339("2023-01-07T10:00:00.123456789+01:30"), "2023-01-07T08:30:00Z");
  EXPECT_EQ(NormalRfc3339("2022-12-31 23:00:00-02:00"), "2023-01-01T01:00:00Z");
  EXPECT_EQ(NormalRfc3339("1969-12-31T23:59:59.5Z"), "1969-12-31T23:59:59Z");
  EXPECT_EQ(NormalRfc3339("2024-02-29T00:00:00z"), "2024-02-29T00:00:00Z");
}

TEST(Rfc3339, NanosecondsKeepTheOrderOfTimesAsText) {
  const TimePoint time = *ParseRfc3339("2023-01-07T10:00:00.000000042Z");
  EXPECT_EQ(FormatRfc3339Nano(time), "2023-01-07T10:00:00.000000042Z");
  EXPECT_LT(FormatRfc3339Nano(time), FormatRfc3339Nano(time + std::chrono::milliseconds(999)));
}

TEST(Rfc3339, RefusesWhatIsNoTime) {
  for (const char* text : {"", "now", "2023-01-07", "2023-1-7T10:00:00Z", "2023-02-29T00:00:00Z",
                           "2023-13-01T00:00:00Z", "2023-01-07T24:00:00Z", "2023-01-07T10:00:00",
                           "2023-01-07T10:00:00.Z", "2023-01-07T10:00:00+1", "2023-01-07T10:00:00Zx",
                           "0001-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "2023-01-07T10:00:00+99:00"}) {
    EXPECT_EQ(ParseRfc3339(text), std::nullopt) << text;
    EXPECT_EQ(NormalRfc3339(text), "") << text;
  }
}

TEST(HumanAge, IsRelativeToTheGivenClockAndForgivesNonsense) {
  const TimePoint now = *ParseRfc3339("2023-01-07T10:00:00Z");
  EXPECT_EQ(HumanAge("2023-01-07T07:00:00Z", now), "3 hours ago");
  EXPECT_EQ(HumanAge("\x1b[31m", now), "N/A");
}

TEST(Shorten, CutsBetweenCharactersOnly) {
  EXPECT_EQ(Shorten("abcdef", 6), "abcdef");
  EXPECT_EQ(Shorten("abcdef", 5), "abcd…");
  EXPECT_EQ(Shorten("ábcdé", 4), "ábc…");
  EXPECT_EQ(Shorten("abc", 0), "");
  EXPECT_EQ(DisplayWidth("ábc…"), 4U);
}

}  // namespace
}  // namespace snap::cli
