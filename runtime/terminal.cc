// The pty comes from TIOCGPTPEER on a master that was opened below our own devpts descriptor (CVE-2025-52565 is what
// happens when /dev/pts/N is looked up by name).
#include "runtime/terminal.h"

#include <fcntl.h>

#include <utility>

#include "fs/base/sys_file.h"
#include "fs/base/sys_terminal.h"

namespace snap::runtime {

Result<Pty> OpenPty(FdRef devpts, uid_t owner, const winsize& size) {
  Pty pty;
  SNAP_TRY_SYS(pty.master, sys::OpenAt(devpts, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW), "open a new terminal");
  SNAP_TRY_SYS_VOID(sys::UnlockPty(pty.master), "unlock the new terminal");
  SNAP_TRY_SYS(pty.peer, sys::OpenPtyPeer(pty.master), "open the container's end of the new terminal");
  SNAP_TRY_SYS_VOID(sys::FChown(pty.peer, owner, static_cast<gid_t>(-1)), "give the new terminal to uid {}", owner);
  if (size.ws_row != 0 || size.ws_col != 0) {
    SNAP_TRY_SYS_VOID(sys::SetWindowSize(pty.master, size), "set the new terminal's size");
  }
  return pty;
}

Result<RawTerminal> RawTerminal::Enter(FdRef terminal) {
  SNAP_TRY_SYS(const termios original, sys::GetTermios(terminal), "read the terminal's settings");
  RawTerminal raw(terminal, original);
  SNAP_TRY_VOID(raw.EnterAgain());
  return raw;
}

Result<void> RawTerminal::EnterAgain() {
  if (raw_) return {};
  termios settings = original_;
  cfmakeraw(&settings);
  sys::RestoreOnCrash(terminal_, original_);  // first: a crash in between must not leave it raw
  raw_ = true;
  SNAP_TRY_SYS_VOID(sys::SetTermios(terminal_, settings), "put the terminal into raw mode");
  return {};
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : terminal_(other.terminal_), original_(other.original_), raw_(std::exchange(other.raw_, false)) {}

RawTerminal::~RawTerminal() { Restore(); }

void RawTerminal::Restore() {
  if (!raw_) return;
  raw_ = false;
  (void)sys::SetTermios(terminal_, original_);  // the terminal may be gone (hang-up); there is nobody left to tell
  sys::RestoreOnCrash(FdRef(-1), original_);
}

}  // namespace snap::runtime
