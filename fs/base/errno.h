// Errno: a system call's error number as a type, so that it is never mixed up with another int.
// Invariant: an Errno held by a failed Result is never zero.
#pragma once

#include <string>

namespace snap {

class Errno {
 public:
  constexpr explicit Errno(int code) : code_(code) {}
  constexpr int code() const { return code_; }
  /// The C library's text, e.g. "No such file or directory". Threads: safe.
  std::string Message() const;
  friend constexpr bool operator==(Errno, Errno) = default;
  friend constexpr bool operator==(Errno e, int code) { return e.code_ == code; }

 private:
  int code_;
};

/// The calling thread's errno.
Errno LastErrno();

}  // namespace snap
