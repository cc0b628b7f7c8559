// Sizes, ages and times as people read them, in the words and rounding that Docker's users know.
// Invariant: pure functions; the clock is an argument.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace snap::cli {

using TimePoint = std::chrono::system_clock::time_point;

/// SI units, three significant digits: "0B", "999B", "1.02kB", "117MB", "1.5GB".
std::string HumanSize(uint64_t bytes);
/// "Less than a second", "5 seconds", "About a minute", "3 hours", "2 weeks", "4 months", "2 years".
std::string HumanDuration(std::chrono::seconds duration);
/// HumanDuration of the time since an RFC 3339 time, with " ago"; "N/A" when the text is not a time.
std::string HumanAge(std::string_view rfc3339, TimePoint now);

/// Reads RFC 3339 ("2023-01-07T10:00:00.123456789+01:00"), the fraction cut to the clock's precision.
std::optional<TimePoint> ParseRfc3339(std::string_view text);
/// UTC with seconds: "2023-01-07T09:00:00Z".
std::string FormatRfc3339(TimePoint time);
/// The same with nanoseconds, so that what began in the same second can be ordered.
std::string FormatRfc3339Nano(TimePoint time);
/// The same time in UTC when it can be read, otherwise "" : untrusted times for JSON.
std::string NormalRfc3339(std::string_view text);

/// At most `columns` characters, the last one '…' when something was cut; never splits a UTF-8 sequence.
std::string Shorten(std::string_view text, size_t columns);
/// Number of characters (UTF-8 sequences) of printable text.
size_t DisplayWidth(std::string_view text);

}  // namespace snap::cli
