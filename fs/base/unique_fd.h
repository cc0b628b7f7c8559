// UniqueFd owns a file descriptor, FdRef borrows one. Neither converts to or from int by accident.
// Invariant: every descriptor of this program is close-on-exec from birth (the sys_* wrappers see to it).
#pragma once

#include <fcntl.h>

#include <utility>

namespace snap {

/// A borrowed descriptor; valid while its owner lives. Cheap to copy.
class FdRef {
 public:
  constexpr explicit FdRef(int fd) : fd_(fd) {}
  /// The working directory, for *at calls. Only for paths that the user typed.
  static constexpr FdRef Cwd() { return FdRef(AT_FDCWD); }
  constexpr int get() const { return fd_; }
  constexpr bool valid() const { return fd_ >= 0 || fd_ == AT_FDCWD; }

 private:
  int fd_;
};

/// Owns a descriptor and closes it once. Close is never retried: the descriptor is gone even after EINTR.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }
  int get() const { return fd_; }
  FdRef ref() const { return FdRef(fd_); }
  operator FdRef() const { return ref(); }  // NOLINT(google-explicit-constructor): borrowing is always safe
  /// Gives the descriptor up; the caller owns it now.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }
  void Reset();

 private:
  int fd_ = -1;
};

}  // namespace snap
