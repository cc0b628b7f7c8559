// WriteOperation: the way of one buffer from "being filled" to "on its file", as an explicit state machine.
// Invariant: while kWriting the kernel owns the buffer; every change of phase is one of the functions below.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "fs/base/check.h"

namespace snap::io_engine_impl {

class WriteOperation {
 public:
  enum class Phase : uint8_t { kFree, kFilling, kWriting, kDone, kFailed };
  enum class Next : uint8_t { kSubmitRest, kFinished };

  explicit WriteOperation(std::span<std::byte> buffer) : buffer_(buffer) {}

  /// kFree -> kFilling: what is appended goes to `offset` of `file`.
  void Begin(uint32_t file, uint64_t offset) {
    SNAP_CHECK(phase_ == Phase::kFree);
    phase_ = Phase::kFilling;
    file_ = file;
    offset_ = offset;
    filled_ = written_ = 0;
    error_ = 0;
  }
  /// Takes as much of `data` as fits; returns how much that was.
  size_t Append(std::span<const std::byte> data) {
    SNAP_CHECK(phase_ == Phase::kFilling);
    const size_t taken = std::min(data.size(), buffer_.size() - filled_);
    if (taken != 0) std::memcpy(buffer_.data() + filled_, data.data(), taken);
    filled_ += taken;
    return taken;
  }
  /// kFilling -> kWriting.
  void Start() {
    SNAP_CHECK(phase_ == Phase::kFilling && filled_ > 0);
    phase_ = Phase::kWriting;
  }
  /// The result of a submitted write: bytes, or a negative errno. Short writes and interruptions are
  /// continued; a write of nothing is a failure, since trying it again could go on for ever.
  Next Complete(int res) {
    SNAP_CHECK(phase_ == Phase::kWriting);
    if (res == -EINTR || res == -EAGAIN) return Next::kSubmitRest;
    if (res <= 0) {
      error_ = res == 0 ? EIO : -res;
      phase_ = Phase::kFailed;
      return Next::kFinished;
    }
    written_ += std::min(static_cast<size_t>(res), filled_ - written_);
    if (written_ < filled_) return Next::kSubmitRest;
    phase_ = Phase::kDone;
    return Next::kFinished;
  }
  /// kDone or kFailed -> kFree.
  void Release() {
    SNAP_CHECK(phase_ == Phase::kDone || phase_ == Phase::kFailed);
    phase_ = Phase::kFree;
  }

  Phase phase() const { return phase_; }
  uint32_t file() const { return file_; }
  bool full() const { return filled_ == buffer_.size(); }
  /// Where appended bytes go next.
  uint64_t end_offset() const { return offset_ + filled_; }
  /// What is still to be written, and where.
  std::span<const std::byte> rest() const { return buffer_.subspan(written_, filled_ - written_); }
  uint64_t rest_offset() const { return offset_ + written_; }
  /// The errno of kFailed.
  int error() const { return error_; }

 private:
  std::span<std::byte> buffer_;
  Phase phase_ = Phase::kFree;
  uint32_t file_ = 0;
  uint64_t offset_ = 0;
  size_t filled_ = 0;
  size_t written_ = 0;
  int error_ = 0;
};

}  // namespace snap::io_engine_impl
