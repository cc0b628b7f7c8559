// The kernel finds a name by halving over blocks, then within one; so the order is part of the format, '.'
// and '..' included
// ("!" sorts before them).
#include "fs/erofs_directory.h"

#include <algorithm>
#include <cstring>

#include "fs/base/rel_path.h"
#include "fs/erofs_format.h"

namespace snap::erofs {
namespace {

void Insert(std::vector<DirectoryItem>& sorted, const DirectoryItem& item) {
  const auto place =
      std::lower_bound(sorted.begin(), sorted.end(), item,
                       [](const DirectoryItem& a, const DirectoryItem& b) { return a.name < b.name; });
  sorted.insert(place, item);
}

struct Fill {
  size_t items = 0;
  size_t bytes = 0;
};

/// How much of `items` goes into one block.
Fill FillBlock(std::span<const DirectoryItem> items, size_t block_bytes) {
  Fill fill;
  for (const DirectoryItem& item : items) {
    const size_t bytes = sizeof(Dirent) + item.name.size();
    if (fill.bytes + bytes > block_bytes) break;
    fill.bytes += bytes;
    ++fill.items;
  }
  return fill;
}

Error BadBlock(const char* what) { return Error(ErrorCode::kCorrupt, what); }

}  // namespace

void InsertDots(std::vector<DirectoryItem>& sorted, uint64_t self, uint64_t parent) {
  Insert(sorted, {".", self, FileType::kDirectory});
  Insert(sorted, {"..", parent, FileType::kDirectory});
}

uint64_t DirectoryBytes(std::span<const DirectoryItem> sorted, size_t block_bytes) {
  uint64_t full = 0;
  for (;;) {
    const Fill fill = FillBlock(sorted, block_bytes);
    sorted = sorted.subspan(fill.items);
    if (sorted.empty()) return full + fill.bytes;
    full += block_bytes;
  }
}

void EncodeDirectory(std::span<const DirectoryItem> sorted, size_t block_bytes, std::vector<std::byte>& out) {
  while (!sorted.empty()) {
    const Fill fill = FillBlock(sorted, block_bytes);
    const size_t start = out.size();
    const bool last = fill.items == sorted.size();
    out.resize(start + (last ? fill.bytes : block_bytes));
    std::byte* const block = out.data() + start;
    size_t name_at = fill.items * sizeof(Dirent);
    for (size_t i = 0; i < fill.items; ++i) {
      const DirectoryItem& item = sorted[i];
      Dirent dirent;
      dirent.nid = item.nid;
      dirent.name_offset = static_cast<uint16_t>(name_at);
      dirent.type = DirentType(item.type);
      std::memcpy(block + i * sizeof(Dirent), &dirent, sizeof(Dirent));
      std::memcpy(block + name_at, item.name.data(), item.name.size());
      name_at += item.name.size();
    }
    sorted = sorted.subspan(fill.items);
  }
}

Result<DirectoryBlock> DirectoryBlock::Parse(std::span<const std::byte> block) {
  if (block.size() < sizeof(Dirent)) return BadBlock("a directory block is too short");
  const size_t first = Read<Dirent>(block).name_offset;
  if (first < sizeof(Dirent) || first % sizeof(Dirent) != 0 || first > block.size()) {
    return BadBlock("a directory block has a wrong number of entries");
  }
  const DirectoryBlock parsed(block, first / sizeof(Dirent));
  size_t previous = first;
  for (size_t i = 0; i < parsed.count_; ++i) {
    const auto dirent = Read<Dirent>(block.subspan(i * sizeof(Dirent)));
    const size_t offset = dirent.name_offset;
    if (offset < previous || offset >= block.size())
      return BadBlock("a directory entry's name is outside its block");
    previous = offset;
    if (!TypeOfDirent(dirent.type)) return BadBlock("a directory entry has an unknown type");
  }
  for (size_t i = 0; i < parsed.count_; ++i) {
    const Item item = parsed.at(i);
    if (!item.IsDots() && !IsValidName(item.name))
      return BadBlock("a directory entry has an impossible name");
  }
  return parsed;
}

std::string_view DirectoryBlock::Name(size_t index) const {
  const size_t start = Read<Dirent>(block_.subspan(index * sizeof(Dirent))).name_offset;
  const std::string_view text(reinterpret_cast<const char*>(block_.data()), block_.size());
  if (index + 1 < count_) {
    const size_t end = Read<Dirent>(block_.subspan((index + 1) * sizeof(Dirent))).name_offset;
    return text.substr(start, end - start);
  }
  const std::string_view rest = text.substr(start);
  return rest.substr(0, rest.find('\0'));
}

DirectoryBlock::Item DirectoryBlock::at(size_t index) const {
  const auto dirent = Read<Dirent>(block_.subspan(index * sizeof(Dirent)));
  return {Name(index), dirent.nid, TypeOfDirent(dirent.type).value_or(FileType::kRegular)};
}

}  // namespace snap::erofs
