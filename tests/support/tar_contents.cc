#include "tests/support/tar_contents.h"

#include <algorithm>
#include <cstring>

namespace snap::test {

Result<std::span<const std::byte>> StringChunks::NextChunk() {
  const size_t size = std::min(chunk_bytes_, left_.size());
  chunk_ = std::make_unique<std::byte[]>(size);
  if (size != 0) std::memcpy(chunk_.get(), left_.data(), size);
  left_.remove_prefix(size);
  return std::span<const std::byte>(chunk_.get(), size);
}

Result<std::vector<TarItem>> ReadTar(std::string_view bytes, size_t chunk_bytes, const TarLimits& limits) {
  StringChunks source(bytes, chunk_bytes);
  TarReader reader(source, limits);
  std::vector<TarItem> items;
  for (;;) {
    SNAP_TRY(const TarEntry* entry, reader.Next());
    if (entry == nullptr) return items;
    TarItem item{*entry, {}};
    for (;;) {
      SNAP_TRY(const TarReader::Data data, reader.NextData());
      if (data.bytes.empty()) break;
      const std::string_view text(reinterpret_cast<const char*>(data.bytes.data()), data.bytes.size());
      if (!item.runs.empty() && item.runs.back().first + item.runs.back().second.size() == data.offset) {
        item.runs.back().second += text;
      } else {
        item.runs.emplace_back(data.offset, text);
      }
    }
    items.push_back(std::move(item));
  }
}

std::string ReadTarError(std::string_view bytes, const TarLimits& limits) {
  const auto items = ReadTar(bytes, 65536, limits);
  return items.ok() ? std::string() : items.error().message();
}

}  // namespace snap::test
