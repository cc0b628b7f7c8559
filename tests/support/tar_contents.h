// What a TarReader says about an archive, as values that tests compare.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/base/result.h"
#include "fs/byte_source.h"
#include "fs/tar_reader.h"

namespace snap::test {

/// Hands out a string in chunks of a fixed size, each in memory of its own that is freed when the next one is
/// asked for: a view that is kept too long is a use after free for the address sanitizer.
class StringChunks final : public ChunkSource {
 public:
  explicit StringChunks(std::string_view bytes, size_t chunk_bytes = 65536)
      : left_(bytes), chunk_bytes_(chunk_bytes) {}
  Result<std::span<const std::byte>> NextChunk() override;

 private:
  std::string_view left_;
  size_t chunk_bytes_;
  std::unique_ptr<std::byte[]> chunk_;
};

struct TarItem {
  TarEntry entry;
  /// Data by offset; adjacent pieces joined.
  std::vector<std::pair<uint64_t, std::string>> runs;
  /// Of a file without holes.
  std::string data() const { return runs.empty() ? std::string() : runs.front().second; }
};

/// Reads everything. Errors: the reader's.
Result<std::vector<TarItem>> ReadTar(std::string_view bytes, size_t chunk_bytes = 65536,
                                     const TarLimits& limits = {});

/// The error of ReadTar, "" when there is none.
std::string ReadTarError(std::string_view bytes, const TarLimits& limits = {});

}  // namespace snap::test
