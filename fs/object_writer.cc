// One large file on its way into objects/. Most are small enough to be held until their hash is known, so that bytes that the
// store has already are compared in memory and never written; longer ones are written aside and dropped when they turn out to
// be there.
#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/file_ranges.h"
#include "fs/object_store.h"

namespace snap {
namespace {

Attributes ObjectAttributes() {
  Attributes attributes;
  attributes.permissions = 0444;
  return attributes;
}

}  // namespace

ObjectWriter::ObjectWriter(ObjectStage& stage, std::unique_ptr<IoEngine> engine)
    : stage_(stage), engine_(std::move(engine)), hasher_(stage.store().secret()) {}
ObjectWriter::~ObjectWriter() = default;

Result<void> ObjectWriter::Begin(uint64_t size) {
  size_ = size;
  held_.clear();
  pieces_.clear();
  spilled_ = false;
  if (size > kHeldBytes) return Spill();
  return {};
}

Result<void> ObjectWriter::Spill() {
  file_name_ = stage_.NewName();
  SNAP_TRY(file_, engine_->Create(stage_.pins_, file_name_, ObjectAttributes(), size_));
  spilled_ = true;
  for (const Piece& piece : pieces_) {
    SNAP_TRY_VOID(engine_->Write(file_, piece.offset, std::span<const std::byte>(held_).subspan(piece.at, piece.size)));
  }
  return {};
}

Result<void> ObjectWriter::Write(uint64_t offset, std::span<const std::byte> data) {
  hasher_.Update(offset, data);
  if (spilled_) return engine_->Write(file_, offset, data);
  if (!pieces_.empty() && pieces_.back().offset + pieces_.back().size == offset) {
    pieces_.back().size += data.size();
  } else {
    pieces_.push_back({offset, held_.size(), data.size()});
  }
  held_.insert(held_.end(), data.begin(), data.end());
  return {};
}

Result<bool> ObjectWriter::SameAsHeld(FdRef candidate) const {
  // Sparse files are rare: compare what is stored, then what is between.
  constexpr size_t kStep = size_t{256} << 10U;
  std::vector<std::byte> buffer(std::min<uint64_t>(kStep, size_));
  auto piece = pieces_.begin();
  for (uint64_t at = 0; at < size_;) {
    while (piece != pieces_.end() && piece->offset + piece->size <= at) ++piece;
    const bool in_data = piece != pieces_.end() && piece->offset <= at;
    const uint64_t end = in_data ? piece->offset + piece->size : piece != pieces_.end() ? piece->offset : size_;
    const size_t want = std::min<uint64_t>(buffer.size(), end - at);
    SNAP_TRY_VOID(ReadExactly(candidate, at, std::span(buffer).first(want)));
    if (in_data) {
      if (std::memcmp(buffer.data(), held_.data() + piece->at + (at - piece->offset), want) != 0) return false;
    } else if (std::any_of(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(want),
                           [](std::byte b) { return b != std::byte{0}; })) {
      return false;
    }
    at += want;
  }
  return true;
}

Result<bool> ObjectWriter::SameAsFile(FdRef candidate) const {
  SNAP_TRY_SYS(const UniqueFd own, sys::OpenAt(stage_.pins_, file_name_.c_str(), O_RDONLY | O_NOFOLLOW), "open object");
  return SameData(own, candidate, size_);
}

Result<ObjectId> ObjectWriter::End() {
  const Xxh128 hash = hasher_.Finish();
  if (spilled_) SNAP_TRY_VOID(Complete());
  const auto same = [&](FdRef candidate) { return spilled_ ? SameAsFile(candidate) : SameAsHeld(candidate); };
  for (;;) {
    ObjectId id;
    SNAP_TRY(const std::optional<ObjectId> found, stage_.FindSame(hash, size_, same, id));
    if (found) {
      shared_bytes_ += size_;
      if (spilled_) SNAP_TRY_SYS_VOID(sys::UnlinkAt(stage_.pins_, file_name_.c_str()), "drop a duplicate object");
      return *found;
    }
    if (!spilled_) {
      SNAP_TRY_VOID(Spill());
      SNAP_TRY_VOID(Complete());
    }
    if (stage_.Add(id, file_name_)) return id;  // otherwise another thread was faster: compare with its object
  }
}

/// From here on others may compare with it, so nothing may be on its way.
Result<void> ObjectWriter::Complete() {
  SNAP_TRY_VOID(engine_->Close(file_));
  return engine_->Drain();
}

}  // namespace snap
