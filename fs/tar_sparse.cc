// The three spellings of sparse maps end in one SparseMap, where all checks of the numbers live.
#include "fs/tar_sparse.h"

#include <algorithm>
#include <limits>

#include "fs/tar_header.h"

namespace snap::tar {

SparseMap::SparseMap(std::vector<DataExtent>& extents, size_t max_extents)
    : extents_(extents), max_extents_(max_extents) {
  extents_.clear();
}

Result<void> SparseMap::Add(int64_t offset, int64_t size) {
  if (offset < 0 || size < 0) return MakeError(ErrorCode::kCorrupt, "sparse map has a negative number");
  if (++count_ > max_extents_) {
    return MakeError(ErrorCode::kLimitExceeded, "sparse map has more than {} extents", max_extents_);
  }
  const auto begin = static_cast<uint64_t>(offset);
  const auto length = static_cast<uint64_t>(size);
  if (begin < end_) return MakeError(ErrorCode::kCorrupt, "sparse map is not ascending at offset {}", begin);
  // Two non-negative int64_t never overflow an uint64_t; the end must be a file offset all the same.
  if (begin + length > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return MakeError(ErrorCode::kCorrupt, "sparse map overflows at offset {}", begin);
  }
  end_ = begin + length;
  stored_ += length;  // the extents are disjoint: the sum is at most end_
  if (length != 0) extents_.push_back({begin, length});
  return {};
}

Result<void> SparseMap::Finish(uint64_t file_size, uint64_t stored_size) const {
  if (end_ > file_size) {
    return MakeError(ErrorCode::kCorrupt, "sparse map reaches to {} in a file of {} bytes", end_, file_size);
  }
  if (stored_ != stored_size) {
    return MakeError(ErrorCode::kCorrupt, "sparse map describes {} bytes of data but {} are stored", stored_,
                     stored_size);
  }
  return {};
}

Result<void> AddOldGnuPairs(std::string_view map_field, bool more, SparseMap& map) {
  constexpr size_t kNumber = 12;
  bool ended = false;
  for (; map_field.size() >= 2 * kNumber; map_field.remove_prefix(2 * kNumber)) {
    const std::string_view offset = map_field.substr(0, kNumber);
    const std::string_view size = map_field.substr(kNumber, kNumber);
    // Readers end the list at an empty offset (Go) or an empty size (GNU tar): both must be empty, and stay
    // so.
    const bool unused = offset.front() == '\0' && size.front() == '\0';
    if (unused) {
      ended = true;
      continue;
    }
    const auto begin = ParseNumber(offset);
    const auto length = ParseNumber(size);
    if (ended || offset.front() == '\0' || size.front() == '\0' || !begin || !length) {
      return MakeError(ErrorCode::kCorrupt, "sparse map of the header is malformed");
    }
    SNAP_TRY_VOID(map.Add(*begin, *length));
  }
  if (ended && more)
    return MakeError(ErrorCode::kCorrupt, "sparse map of the header ends before its last block");
  return {};
}

Result<bool> MapReader::AddBlock(std::string_view block) {
  for (const char c : block) {
    if (c == '\n') {
      if (digits_ == 0) return MakeError(ErrorCode::kCorrupt, "sparse map has an empty line");
      SNAP_TRY_VOID(AddNumber(number_));
      number_ = 0;
      digits_ = 0;
      if (expect_ == Expect::kOffsetLine && pairs_left_ == 0) return true;
      continue;
    }
    constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
    const auto digit = static_cast<uint64_t>(static_cast<unsigned char>(c)) - '0';
    if (digit > 9 || number_ > (kMax - digit) / 10) {
      return MakeError(ErrorCode::kCorrupt, "sparse map has a line that is not a number");
    }
    number_ = number_ * 10 + digit;
    // Leading zeros would make a number of any length.
    constexpr size_t kMaxDigits = 20;
    if (++digits_ > kMaxDigits)
      return MakeError(ErrorCode::kCorrupt, "sparse map has a number of too many digits");
  }
  return false;
}

Result<void> MapReader::AddNumber(uint64_t number) {
  switch (expect_) {
    case Expect::kCountLine:
      pairs_left_ = number;
      expect_ = Expect::kOffsetLine;
      return {};
    case Expect::kOffsetLine:
      offset_ = number;
      expect_ = Expect::kSizeLine;
      return {};
    case Expect::kSizeLine:
      --pairs_left_;
      expect_ = Expect::kOffsetLine;
      return map_.Add(static_cast<int64_t>(offset_), static_cast<int64_t>(number));
  }
  return {};
}

}  // namespace snap::tar
