#include "fs/file_ranges.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "fs/base/sys_file.h"

namespace snap {
namespace {

constexpr size_t kStep = size_t{1} << 20U;

struct Range {
  uint64_t begin, end;
};

/// The next data at or after `from`; an empty one at `size` when only a hole is left.
Result<Range> NextData(FdRef file, uint64_t from, uint64_t size) {
  const SysResult<uint64_t> begin = sys::Seek(file, static_cast<int64_t>(from), SEEK_DATA);
  if (!begin.ok()) {
    if (begin.error() == ENXIO) return Range{size, size};
    if (begin.error() == EINVAL) return Range{from, size};  // a file system that does not tell
    return Error(begin.error(), "find data");
  }
  if (*begin >= size) return Range{size, size};
  SNAP_TRY_SYS(const uint64_t end, sys::Seek(file, static_cast<int64_t>(*begin), SEEK_HOLE), "find hole");
  return Range{*begin, std::min(end, size)};
}

bool AllZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

Result<void> ReadExactly(FdRef file, uint64_t offset, std::span<std::byte> buffer) {
  while (!buffer.empty()) {
    SNAP_TRY_SYS(const size_t got, sys::PRead(file, buffer, offset), "read");
    if (got == 0) return MakeError(ErrorCode::kCorrupt, "read: the file ends at byte {}", offset);
    buffer = buffer.subspan(got);
    offset += got;
  }
  return {};
}

Result<void> ForEachData(FdRef file, uint64_t size, const DataVisitor& visit) {
  const size_t step = static_cast<size_t>(std::min<uint64_t>(kStep, size));
  const auto buffer = std::make_unique<std::byte[]>(std::max<size_t>(step, 1));
  for (uint64_t at = 0; at < size;) {
    SNAP_TRY(const Range data, NextData(file, at, size));
    for (at = data.begin; at < data.end;) {
      const std::span piece(buffer.get(), static_cast<size_t>(std::min<uint64_t>(step, data.end - at)));
      SNAP_TRY_VOID(ReadExactly(file, at, piece));
      SNAP_TRY_VOID(visit(at, piece));
      at += piece.size();
    }
  }
  return {};
}

Result<bool> IsZero(FdRef file, uint64_t begin, uint64_t end) {
  const size_t step = static_cast<size_t>(std::min<uint64_t>(kStep, end - begin));
  const auto buffer = std::make_unique<std::byte[]>(std::max<size_t>(step, 1));
  for (uint64_t at = begin; at < end;) {
    SNAP_TRY(const Range data, NextData(file, at, end));
    for (at = data.begin; at < data.end;) {
      const std::span piece(buffer.get(), static_cast<size_t>(std::min<uint64_t>(step, data.end - at)));
      SNAP_TRY_VOID(ReadExactly(file, at, piece));
      if (!AllZero(piece)) return false;
      at += piece.size();
    }
  }
  return true;
}

Result<bool> SameData(FdRef a, FdRef b, uint64_t size) {
  SNAP_TRY_SYS(const struct stat stat_a, sys::FStat(a), "look at a file");
  SNAP_TRY_SYS(const struct stat stat_b, sys::FStat(b), "look at a file");
  if (stat_a.st_dev == stat_b.st_dev && stat_a.st_ino == stat_b.st_ino) return true;
  const size_t step = static_cast<size_t>(std::min<uint64_t>(kStep, size));
  const auto in_a = std::make_unique<std::byte[]>(std::max<size_t>(step, 1));
  const auto in_b = std::make_unique<std::byte[]>(std::max<size_t>(step, 1));
  for (uint64_t at = 0; at < size;) {
    SNAP_TRY(const Range data_a, NextData(a, at, size));
    SNAP_TRY(const Range data_b, NextData(b, at, size));
    at = std::min(data_a.begin, data_b.begin);  // before it both have a hole
    if (at >= size) break;
    const bool is_in_a = data_a.begin <= at;
    const bool is_in_b = data_b.begin <= at;
    // As far as both stay what they are here.
    const uint64_t end = std::min(is_in_a ? data_a.end : data_a.begin, is_in_b ? data_b.end : data_b.begin);
    while (at < end) {
      const size_t part = static_cast<size_t>(std::min<uint64_t>(step, end - at));
      const std::span part_a(in_a.get(), part);
      const std::span part_b(in_b.get(), part);
      if (is_in_a) SNAP_TRY_VOID(ReadExactly(a, at, part_a));
      if (is_in_b) SNAP_TRY_VOID(ReadExactly(b, at, part_b));
      const bool same = is_in_a && is_in_b ? std::memcmp(part_a.data(), part_b.data(), part) == 0
                                           : AllZero(is_in_a ? part_a : part_b);
      if (!same) return false;
      at += part;
    }
  }
  return true;
}

}  // namespace snap
