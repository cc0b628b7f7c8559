#include "snapshotter/id_map.h"

#include <charconv>

#include "fs/base/quote.h"

namespace snap {
namespace {

constexpr size_t kMaxRanges = 340;  // user_namespaces(7)
constexpr uint64_t kIds = uint64_t{1} << 32U;

bool TakeNumber(std::string_view& text, char end, uint32_t& number) {
  const size_t stop = text.find(end);
  const std::string_view digits = text.substr(0, stop);
  const auto [last, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || digits.empty() || last != digits.data() + digits.size()) return false;
  text.remove_prefix(stop == std::string_view::npos ? text.size() : stop + 1);
  return true;
}

bool Overlap(uint32_t a, uint32_t b, uint32_t a_size, uint32_t b_size) {
  return uint64_t{a} < uint64_t{b} + b_size && uint64_t{b} < uint64_t{a} + a_size;
}

Result<std::vector<IdRange>> ParseRanges(std::string_view text) {
  std::vector<IdRange> ranges;
  std::string_view rest = text;
  const auto invalid = [&](std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument, "id mapping {}: {}", Quote(text), why);
  };
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    std::string_view one = rest.substr(0, comma);
    rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    IdRange range;
    const bool complete = one.find(':') != one.rfind(':') && TakeNumber(one, ':', range.inside) &&
                          TakeNumber(one, ':', range.outside);
    if (!complete || one.find(':') != std::string_view::npos || !TakeNumber(one, ':', range.size)) {
      return invalid("is not CONTAINER:HOST:SIZE[,...]");
    }
    if (range.size == 0 || uint64_t{range.inside} + range.size >= kIds ||
        uint64_t{range.outside} + range.size >= kIds) {
      return invalid("has a range that is empty or too large");
    }
    for (const IdRange& other : ranges) {
      if (Overlap(range.inside, other.inside, range.size, other.size) ||
          Overlap(range.outside, other.outside, range.size, other.size)) {
        return invalid("has ranges that overlap");
      }
    }
    ranges.push_back(range);
    if (ranges.size() > kMaxRanges) return invalid("has too many ranges");
  }
  if (ranges.empty()) return invalid("is empty");
  return ranges;
}

}  // namespace

Result<IdMap> IdMap::Parse(std::string_view uids, std::string_view gids) {
  IdMap map;
  SNAP_TRY(map.uids, ParseRanges(uids));
  SNAP_TRY(map.gids, ParseRanges(gids));
  return map;
}

std::string IdMap::KernelText(const std::vector<IdRange>& ranges) {
  std::string text;
  for (const IdRange& range : ranges)
    text += fmt::format("{} {} {}\n", range.inside, range.outside, range.size);
  return text;
}

std::optional<uint32_t> IdMap::Outside(const std::vector<IdRange>& ranges, uint32_t inside) {
  for (const IdRange& range : ranges) {
    if (inside >= range.inside && inside - range.inside < range.size)
      return range.outside + (inside - range.inside);
  }
  return std::nullopt;
}

}  // namespace snap
