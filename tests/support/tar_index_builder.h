// Tar indexes made by hand: any records, right checksums. Shared by the unit test and the fuzz target of one
// corpus.
#pragma once

#include <zstd.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "fs/base/check.h"
#include "fs/tar_index.h"
#include "fs/tar_index_format.h"

namespace snap::test {

inline constexpr uint64_t kImageBytes = 100'000;
inline const std::vector<ObjectId> kObjects = {ObjectId{.hash = {1}, .size = 70'000, .variant = 0},
                                               ObjectId{.hash = {2}, .size = 0, .variant = 0}};

/// Bytes that follow from where they are. Checks that nothing is asked for that an index cannot have meant.
class PatternContent final : public TarContentReader {
 public:
  Result<void> ReadImage(uint64_t offset, std::span<std::byte> buffer) override {
    SNAP_CHECK(!buffer.empty() && offset + buffer.size() > offset);
    if (offset + buffer.size() > kImageBytes) return Error(ErrorCode::kCorrupt, "read beyond the image");
    return Fill(offset, buffer);
  }
  Result<void> ReadObject(const ObjectId& object, uint64_t offset, std::span<std::byte> buffer) override {
    SNAP_CHECK(!buffer.empty() && offset <= object.size && buffer.size() <= object.size - offset);
    return Fill(offset, buffer);
  }

 private:
  static Result<void> Fill(uint64_t offset, std::span<std::byte> buffer) {
    for (std::byte& byte : buffer) byte = static_cast<std::byte>(offset++ * 31U >> 3U);
    return {};
  }
};

/// `records` in an index with right checksums and two objects.
inline std::vector<std::byte> WrapRecords(std::span<const std::byte> records, uint64_t tar_bytes) {
  using namespace tar_index;
  std::vector<std::byte> out(kMagic.size() + ZSTD_compressBound(records.size()));
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  const size_t frame = ZSTD_compress(out.data() + kMagic.size(), out.size() - kMagic.size(), records.data(),
                                     records.size(), 1);
  SNAP_CHECK(ZSTD_isError(frame) == 0);
  const size_t objects_at = kMagic.size() + frame;
  const size_t trailer_at = objects_at + kObjects.size() * kObjectBytes;
  out.assign(out.begin(), out.begin() + static_cast<ptrdiff_t>(objects_at));
  out.resize(trailer_at + kTrailerBytes);
  std::byte* at = out.data() + objects_at;
  for (const ObjectId& object : kObjects) {
    std::memcpy(at, object.hash.data(), object.hash.size());
    PutLittle(at + object.hash.size(), object.size);
    at += kObjectBytes;
  }
  std::byte* const trailer = out.data() + trailer_at;
  Xxh3Hasher hasher;
  const auto put_hash = [&](size_t offset, size_t from, size_t size) {
    hasher.Update(std::span(out).subspan(from, size));
    const Xxh128 hash = hasher.Finish();
    std::memcpy(trailer + offset, hash.data(), hash.size());
  };
  PutLittle(trailer + kFrameBytesAt, uint64_t{frame});
  PutLittle(trailer + kObjectCountAt, uint64_t{kObjects.size()});
  PutLittle(trailer + kTarBytesAt, tar_bytes);
  put_hash(kFrameHashAt, kMagic.size(), frame);
  put_hash(kObjectsHashAt, objects_at, trailer_at - objects_at);
  put_hash(kTrailerHashAt, trailer_at, kTrailerHashAt);
  std::memcpy(trailer + kTrailerMagicAt, kMagic.data(), kMagic.size());
  return out;
}

/// A file of tests/fuzz/corpus/tar_index: records, then three bytes that say how long their tar is.
inline std::vector<std::byte> IndexOfCorpusFile(std::span<const std::byte> file) {
  if (file.size() < 3) return {};
  uint64_t tar_bytes = 0;
  for (const std::byte byte : file.last(3)) tar_bytes = tar_bytes << 8U | std::to_integer<uint64_t>(byte);
  return WrapRecords(file.first(file.size() - 3), tar_bytes & 0xFFFFFU);
}

}  // namespace snap::test
