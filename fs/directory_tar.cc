// Headers and padding go through a small string; data is read into the caller's buffer.
#include "fs/directory_tar.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "fs/tar_writer.h"

namespace snap {
namespace {

class TarSource final : public ByteSource {
 public:
  explicit TarSource(std::unique_ptr<TreeEntries> entries) : entries_(std::move(entries)) {}

  Result<size_t> Read(std::span<std::byte> buffer) override {
    size_t filled = 0;
    while (filled < buffer.size()) {
      const std::span<std::byte> room = buffer.subspan(filled);
      if (pending_offset_ < pending_.size()) {
        filled += TakePending(room);
      } else if (in_data_) {
        SNAP_TRY(const size_t got, entries_->Read(room));
        filled += got;
        if (got != 0) continue;
        in_data_ = false;
        SetPending(std::string(padding_, '\0'));
      } else if (finished_) {
        break;
      } else {
        SNAP_TRY_VOID(NextHeader());
      }
    }
    return filled;
  }

 private:
  size_t TakePending(std::span<std::byte> room) {
    const size_t size = std::min(room.size(), pending_.size() - pending_offset_);
    std::memcpy(room.data(), pending_.data() + pending_offset_, size);
    pending_offset_ += size;
    return size;
  }

  void SetPending(std::string bytes) {
    pending_ = std::move(bytes);
    pending_offset_ = 0;
  }

  Result<void> NextHeader() {
    SNAP_TRY(const TarEntry* entry, entries_->Next());
    if (entry == nullptr) {
      SetPending(std::string(tar::kTrailerBytes, '\0'));
      finished_ = true;
      return {};
    }
    pending_.clear();
    pending_offset_ = 0;
    SNAP_TRY_VOID(tar::AppendHeader(*entry, pending_));
    const uint64_t stored = tar::StoredBytes(*entry);
    padding_ = tar::Padding(stored);
    in_data_ = entry->kind == TarEntry::Kind::kRegular;
    return {};
  }

  const std::unique_ptr<TreeEntries> entries_;
  std::string pending_;  ///< bytes to give before anything else
  size_t pending_offset_ = 0;
  bool in_data_ = false;  ///< the current entry's data comes next, then padding
  size_t padding_ = 0;
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> MakeTarSource(std::unique_ptr<TreeEntries> entries) {
  return std::make_unique<TarSource>(std::move(entries));
}

std::unique_ptr<ByteSource> MakeDirectoryTarSource(UniqueFd dir, std::string name,
                                                   DirectoryTarOptions options) {
  return MakeTarSource(std::make_unique<TreeEntries>(
      std::move(dir), std::move(name),
      TreeEntriesOptions{.keep_holes = options.keep_holes, .upper = std::nullopt}));
}

}  // namespace snap
