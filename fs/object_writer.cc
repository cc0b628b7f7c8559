// One large file on its way into objects/. Most are small enough to be held until their hash is known, so that bytes that the
// store has already are compared in memory and never written. Of a longer one the beginning is: where an object of its size begins
// so too, the rest is compared as it comes, and written only from where they differ.
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

constexpr size_t kStep = size_t{256} << 10U;
constexpr size_t kFirstStep = size_t{4} << 10U;  // most that differ do so there
// A layer could hold any number of files that begin alike.
constexpr size_t kMaxCandidates = 64;
constexpr size_t kMaxCandidateBytes = 4 * ObjectWriter::kHeldBytes;

}  // namespace

ObjectWriter::ObjectWriter(ObjectStage& stage, std::unique_ptr<IoEngine> engine)
    : stage_(stage), engine_(std::move(engine)), hasher_(stage.store().secret()) {}
ObjectWriter::~ObjectWriter() = default;

Result<void> ObjectWriter::Begin(uint64_t size) {
  size_ = size;
  end_ = 0;
  held_.clear();
  pieces_.clear();
  candidates_.clear();
  like_.reset();
  place_ = Place::kHeld;
  if (size <= kHeldBytes) return {};
  SNAP_TRY(candidates_, stage_.LargeOfSize(size));
  candidates_.resize(std::min(candidates_.size(), kMaxCandidates));
  return candidates_.empty() ? Spill() : Result<void>();
}

Result<void> ObjectWriter::Write(uint64_t offset, std::span<const std::byte> data) {
  if (place_ == Place::kLike) {
    if (StaysLike(offset, data)) {
      end_ = offset + data.size();
      return {};
    }
    SNAP_TRY_VOID(Depart());
  }
  hasher_.Update(offset, data);
  SNAP_TRY_VOID(place_ == Place::kWritten ? engine_->Write(file_, offset, data) : Hold(offset, data));
  end_ = offset + data.size();
  if (place_ == Place::kHeld && held_.size() > kHeldBytes) return FindLike();
  return {};
}

Result<void> ObjectWriter::Hold(uint64_t offset, std::span<const std::byte> data) {
  if (!pieces_.empty() && pieces_.back().offset + pieces_.back().size == offset) {
    pieces_.back().size += data.size();
  } else {
    pieces_.push_back({offset, held_.size(), data.size()});
  }
  held_.insert(held_.end(), data.begin(), data.end());
  return {};
}

/// What is held goes to a file of its own, and so does what follows.
Result<void> ObjectWriter::Spill() {
  file_name_ = stage_.NewName();
  SNAP_TRY(file_, engine_->Create(stage_.pins_, file_name_, ObjectAttributes(), size_));
  place_ = Place::kWritten;
  for (const Piece& piece : pieces_) {
    SNAP_TRY_VOID(engine_->Write(file_, piece.offset, std::span<const std::byte>(held_).subspan(piece.at, piece.size)));
  }
  return {};
}

// --- files that begin like an object

/// The first candidate that has what is held is what the rest is compared with; without one the file is written.
Result<void> ObjectWriter::FindLike() {
  size_t compared = 0;
  for (const ObjectId& id : candidates_) {
    if (compared > kMaxCandidateBytes) break;
    SNAP_TRY(const std::optional<std::string> name, stage_.PinForReading(id));
    if (!name) continue;
    SNAP_TRY_SYS(UniqueFd fd, sys::OpenAt(stage_.pins_, name->c_str(), O_RDONLY | O_NOFOLLOW), "open object {}",
                 Quote(id.Path()));
    const Result<bool> same = SameAsHeld(fd, end_, &compared);
    if (same.ok() && *same) {
      like_.emplace(Like{std::move(fd), id.hash});
      file_name_ = *name;
      place_ = Place::kLike;
      return {};
    }
    SNAP_TRY_SYS_VOID(sys::UnlinkAt(stage_.pins_, name->c_str()), "unpin object {}", Quote(id.Path()));
  }
  return Spill();
}

/// Whether like_ has zeros from end_ to `offset` and `data` there. One that cannot be read has not.
bool ObjectWriter::StaysLike(uint64_t offset, std::span<const std::byte> data) {
  buffer_.resize(kStep);
  const Result<bool> hole = IsZero(like_->fd, end_, offset);
  if (!hole.ok() || !*hole) return false;
  for (; !data.empty(); offset += std::min(kStep, data.size()), data = data.subspan(std::min(kStep, data.size()))) {
    const auto part = std::span(buffer_).first(std::min(kStep, data.size()));
    if (!ReadExactly(like_->fd, offset, part).ok() || std::memcmp(part.data(), data.data(), part.size()) != 0) return false;
  }
  return true;
}

/// Writes what was only compared: what is held, and after it the first bytes of like_ up to end_.
Result<void> ObjectWriter::Depart() {
  const Like like = std::move(*like_);
  like_.reset();
  const std::string name = std::move(file_name_);
  SNAP_TRY_VOID(Spill());
  const uint64_t held_end = pieces_.back().offset + pieces_.back().size;
  SNAP_TRY_VOID(ForEachData(like.fd, end_, [&](uint64_t offset, std::span<const std::byte> bytes) -> Result<void> {
    const uint64_t skip = offset < held_end ? std::min<uint64_t>(held_end - offset, bytes.size()) : 0;
    bytes = bytes.subspan(skip);
    if (bytes.empty()) return {};
    hasher_.Update(offset + skip, bytes);
    return engine_->Write(file_, offset + skip, bytes);
  }));
  SNAP_TRY_SYS_VOID(sys::UnlinkAt(stage_.pins_, name.c_str()), "unpin an object");
  return {};
}

// --- the end

Result<bool> ObjectWriter::SameAsHeld(FdRef candidate, uint64_t size, size_t* compared) {
  buffer_.resize(kStep);
  size_t step = kFirstStep;
  uint64_t at = 0;
  for (const Piece& piece : pieces_) {
    SNAP_TRY(const bool hole, IsZero(candidate, at, piece.offset));
    if (!hole) return false;
    for (size_t done = 0; done < piece.size;) {
      const auto part = std::span(buffer_).first(std::min(step, piece.size - done));
      if (compared != nullptr) *compared += part.size();
      step = kStep;
      SNAP_TRY_VOID(ReadExactly(candidate, piece.offset + done, part));
      if (std::memcmp(part.data(), held_.data() + piece.at + done, part.size()) != 0) return false;
      done += part.size();
    }
    at = piece.offset + piece.size;
  }
  return IsZero(candidate, at, size);
}

Result<bool> ObjectWriter::SameAsFile(FdRef candidate) const {
  SNAP_TRY_SYS(const UniqueFd own, sys::OpenAt(stage_.pins_, file_name_.c_str(), O_RDONLY | O_NOFOLLOW), "open object");
  return SameData(own, candidate, size_);
}

Result<ObjectId> ObjectWriter::End() {
  if (place_ == Place::kLike && !StaysLike(size_, {})) SNAP_TRY_VOID(Depart());
  Xxh128 hash = hasher_.Finish();
  if (place_ == Place::kLike) hash = like_->hash;  // and the file is a link to it, to be found again or to be added
  if (place_ == Place::kWritten) SNAP_TRY_VOID(Complete());
  const auto same = [&](FdRef candidate) {
    return place_ == Place::kHeld ? SameAsHeld(candidate, size_) : SameAsFile(candidate);
  };
  for (;;) {
    ObjectId id;
    SNAP_TRY(const std::optional<ObjectId> found, stage_.FindSame(hash, size_, same, id));
    if (found) {
      shared_bytes_ += size_;
      if (place_ != Place::kHeld) SNAP_TRY_SYS_VOID(sys::UnlinkAt(stage_.pins_, file_name_.c_str()), "drop a duplicate object");
      return *found;
    }
    if (place_ == Place::kHeld) {
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
