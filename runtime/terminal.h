// The two terminals of an interactive container: the pty made for it, and the caller's own in raw mode.
// Invariant: a terminal that was put into raw mode is restored on every way out that a process can see coming.
#pragma once

#include <sys/ioctl.h>
#include <sys/types.h>
#include <termios.h>

#include <optional>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::runtime {

struct Pty {
  UniqueFd master, peer;
};
/// A new pty of the given (possibly still detached) devpts instance. Nothing is looked up by path outside of it, so no
/// image can put another file in its place. The peer belongs to `owner`. A size of 0x0 is left as the kernel makes it.
Result<Pty> OpenPty(FdRef devpts, uid_t owner, const winsize& size);

/// The caller's terminal in raw mode; restored by the destructor, by Restore, and by a crash of the process.
/// Threads: one object at a time per process.
class RawTerminal {
 public:
  /// Errors: kIo when `terminal` is none. The descriptor is borrowed.
  static Result<RawTerminal> Enter(FdRef terminal);
  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  ~RawTerminal();
  /// Back to the settings found by Enter, e.g. before the process is suspended.
  void Restore();
  Result<void> EnterAgain();

 private:
  RawTerminal(FdRef terminal, const termios& original) : terminal_(terminal), original_(original) {}
  FdRef terminal_;
  termios original_;
  bool raw_ = false;
};

}  // namespace snap::runtime
