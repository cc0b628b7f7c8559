#include "fs/image_checksums.h"

#include <sys/stat.h>

#include <algorithm>
#include <memory>

#include "fs/base/sys_file.h"
#include "fs/file_ranges.h"

namespace snap {
namespace {

constexpr size_t kStep = size_t{1} << 20U;

Result<void> HashRange(FdRef image, uint64_t begin, uint64_t end, Xxh3Hasher& hasher) {
  const auto buffer = std::make_unique<std::byte[]>(kStep);
  while (begin < end) {
    const std::span piece(buffer.get(), static_cast<size_t>(std::min<uint64_t>(kStep, end - begin)));
    SNAP_TRY_VOID(ReadExactly(image, begin, piece));
    hasher.Update(piece);
    begin += piece.size();
  }
  return {};
}

}  // namespace

Result<Xxh128> HashAround(FdRef image, uint64_t begin, uint64_t end) {
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(image), "look at an image");
  Xxh3Hasher hasher;
  SNAP_TRY_VOID(HashRange(image, 0, begin, hasher));
  SNAP_TRY_VOID(HashRange(image, end, static_cast<uint64_t>(stat.st_size), hasher));
  return hasher.Finish();
}

Result<void> VerifyImage(FdRef image, const ImageChecksums& checksums) {
  Xxh3Hasher hasher;
  SNAP_TRY_VOID(HashRange(image, checksums.data_begin, checksums.data_end, hasher));
  if (hasher.Finish() != checksums.data) return MakeError(ErrorCode::kCorrupt, "layer.erofs: the data of files has changed");
  SNAP_TRY(const Xxh128 rest, HashAround(image, checksums.data_begin, checksums.data_end));
  if (rest != checksums.rest) return MakeError(ErrorCode::kCorrupt, "layer.erofs: its metadata has changed");
  return {};
}

}  // namespace snap
