#include "tools/snap/human.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <ctime>

namespace snap::cli {
namespace {

/// Reads exactly `count` digits at `pos` and moves it behind them.
std::optional<int> Digits(std::string_view text, size_t& pos, size_t count) {
  if (pos + count > text.size()) return std::nullopt;
  int value = 0;
  for (size_t i = 0; i < count; ++i) {
    const char c = text[pos + i];
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  pos += count;
  return value;
}

bool Eat(std::string_view text, size_t& pos, char wanted) {
  if (pos >= text.size() || text[pos] != wanted) return false;
  ++pos;
  return true;
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

}  // namespace

std::string HumanSize(uint64_t bytes) {
  static constexpr std::array<const char*, 7> kUnits = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  // 999.5 kB would print as 1e+03kB: what rounds to a thousand belongs to the next unit.
  while (unit + 1 < kUnits.size() && value >= (unit == 0 ? 1000.0 : 999.5)) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.3g}{}", value, kUnits[unit]);
}

std::string HumanDuration(std::chrono::seconds duration) {
  const int64_t seconds = duration.count();
  const int64_t minutes = seconds / 60;
  const auto hours = static_cast<int64_t>(std::lround(static_cast<double>(seconds) / 3600));
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return fmt::format("{} seconds", seconds);
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return fmt::format("{} minutes", minutes);
  if (hours == 1) return "About an hour";
  if (hours < 48) return fmt::format("{} hours", hours);
  if (hours < int64_t{24} * 7 * 2) return fmt::format("{} days", hours / 24);
  if (hours < int64_t{24} * 30 * 2) return fmt::format("{} weeks", hours / 24 / 7);
  if (hours < int64_t{24} * 365 * 2) return fmt::format("{} months", hours / 24 / 30);
  return fmt::format("{} years", hours / 24 / 365);
}

std::string HumanAge(std::string_view rfc3339, TimePoint now) {
  const std::optional<TimePoint> time = ParseRfc3339(rfc3339);
  if (!time) return "N/A";
  return HumanDuration(std::chrono::duration_cast<std::chrono::seconds>(now - *time)) + " ago";
}

std::optional<TimePoint> ParseRfc3339(std::string_view text) {
  size_t pos = 0;
  const auto year = Digits(text, pos, 4);
  if (!year || !Eat(text, pos, '-')) return std::nullopt;
  const auto month = Digits(text, pos, 2);
  if (!month || !Eat(text, pos, '-')) return std::nullopt;
  const auto day = Digits(text, pos, 2);
  if (!day || (!Eat(text, pos, 'T') && !Eat(text, pos, 't') && !Eat(text, pos, ' '))) return std::nullopt;
  const auto hour = Digits(text, pos, 2);
  if (!hour || !Eat(text, pos, ':')) return std::nullopt;
  const auto minute = Digits(text, pos, 2);
  if (!minute || !Eat(text, pos, ':')) return std::nullopt;
  const auto second = Digits(text, pos, 2);
  if (!second || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;

  std::chrono::nanoseconds fraction{0};
  if (Eat(text, pos, '.')) {
    int64_t scale = 100'000'000;
    const size_t first = pos;
    for (; pos < text.size() && text[pos] >= '0' && text[pos] <= '9'; ++pos, scale /= 10) {
      fraction += std::chrono::nanoseconds((text[pos] - '0') * scale);
    }
    if (pos == first) return std::nullopt;
  }
  std::chrono::minutes offset{0};
  if (!Eat(text, pos, 'Z') && !Eat(text, pos, 'z')) {
    const bool east = Eat(text, pos, '+');
    if (!east && !Eat(text, pos, '-')) return std::nullopt;
    const auto offset_hours = Digits(text, pos, 2);
    if (!offset_hours || !Eat(text, pos, ':')) return std::nullopt;
    const auto offset_minutes = Digits(text, pos, 2);
    if (!offset_minutes || *offset_hours > 23 || *offset_minutes > 59) return std::nullopt;
    offset = std::chrono::minutes((east ? 1 : -1) * (*offset_hours * 60 + *offset_minutes));
  }
  if (pos != text.size()) return std::nullopt;

  const std::chrono::year_month_day date(std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  // The clock counts nanoseconds in 64 bits: it reaches from 1678 to 2261.
  if (!date.ok() || *year < 1678 || *year > 2261) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second) - offset + std::chrono::duration_cast<TimePoint::duration>(fraction);
}

std::string FormatRfc3339(TimePoint time) {
  const std::time_t seconds =
      std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(time));
  std::tm fields{};
  if (::gmtime_r(&seconds, &fields) == nullptr) return "";
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", fields.tm_year + 1900, fields.tm_mon + 1,
                     fields.tm_mday, fields.tm_hour, fields.tm_min, fields.tm_sec);
}

std::string FormatRfc3339Nano(TimePoint time) {
  std::string text = FormatRfc3339(time);
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  const auto fraction = std::chrono::duration_cast<std::chrono::nanoseconds>(time - whole).count();
  if (!text.empty()) text.insert(text.size() - 1, fmt::format(".{:09}", fraction));
  return text;
}

std::string NormalRfc3339(std::string_view text) {
  const std::optional<TimePoint> time = ParseRfc3339(text);
  return time ? FormatRfc3339(*time) : "";
}

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  for (const char c : text) width += IsContinuation(c) ? 0U : 1U;
  return width;
}

std::string Shorten(std::string_view text, size_t columns) {
  if (DisplayWidth(text) <= columns) return std::string(text);
  if (columns == 0) return "";
  size_t end = 0;
  for (size_t kept = 0; end < text.size(); ++end) {
    if (IsContinuation(text[end])) continue;
    if (++kept == columns) break;
  }
  return std::string(text.substr(0, end)) + "…";
}

}  // namespace snap::cli
