#include "tools/snap/errors.h"

#include <algorithm>
#include <numeric>

#include "fs/base/json.h"
#include "fs/base/quote.h"

namespace snap::cli {
namespace {

/// Number of insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> above(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  std::iota(above.begin(), above.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

/// Messages quote what they cite already; this catches what slipped through, without escaping twice.
std::string OneLine(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

int ExitStatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return kExitUsage;
    case ErrorCode::kNotFound:
      return kExitNotFound;
    case ErrorCode::kExists:
    case ErrorCode::kBusy:
      return kExitConflict;
    case ErrorCode::kPermission:
      return kExitPermission;
    case ErrorCode::kCorrupt:
    case ErrorCode::kLimitExceeded:
      return kExitIntegrity;
    case ErrorCode::kNoSpace:
      return kExitNoSpace;
    case ErrorCode::kUnavailable:
      return kExitUnavailable;
    case ErrorCode::kUnsupported:
    case ErrorCode::kCancelled:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return kExitFailure;
  }
  return kExitFailure;
}

std::string_view GeneralHint(ErrorCode code, bool is_root) {
  switch (code) {
    case ErrorCode::kPermission:
      return is_root ? "" : "try again as root, or choose a store of your own with --root";
    case ErrorCode::kNoSpace:
      return "'snap system df' shows what takes space, 'snap system gc' frees what is unused";
    case ErrorCode::kCorrupt:
      return "'snap system check' tells whether the store is sound; if the input is damaged, get it again";
    case ErrorCode::kInternal:
      return "this is a bug of snap: please report it with the output of the same command and --debug";
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kExists:
    case ErrorCode::kLimitExceeded:
    case ErrorCode::kUnsupported:
    case ErrorCode::kBusy:
    case ErrorCode::kUnavailable:
    case ErrorCode::kCancelled:
    case ErrorCode::kIo:
      return "";
  }
  return "";
}

std::string RenderErrorText(const ErrorReport& report, bool color) {
  const std::string_view red = color ? "\x1b[1;31m" : "";
  const std::string_view cyan = color ? "\x1b[36m" : "";
  const std::string_view off = color ? "\x1b[0m" : "";
  std::string out = fmt::format("{}snap:{} {}\n", red, off, OneLine(report.message));
  if (!report.hint.empty()) out += fmt::format("{}hint:{} {}\n", cyan, off, OneLine(report.hint));
  return out;
}

std::string RenderErrorJson(const ErrorReport& report) {
  const Json error = {{"code", ErrorCodeName(report.code)},
                      {"message", report.message},
                      {"hint", report.hint},
                      {"exit_status", report.exit_status}};
  return DumpJson(Json{{"error", error}}) + "\n";
}

std::string_view ClosestWord(std::string_view word, const std::vector<std::string_view>& candidates) {
  // A word of a few letters is one slip away from many others; longer ones may hold two.
  size_t best_distance = word.size() <= 3 ? 2 : 3;
  std::string_view best;
  for (const std::string_view candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace snap::cli
