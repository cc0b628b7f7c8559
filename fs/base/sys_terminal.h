// System calls on terminals and ptys, and waiting for several descriptors at once. Errors: the kernel's errno.
// Threads: safe, except RestoreOnCrash (one owner per process).
#pragma once

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <chrono>
#include <optional>
#include <span>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

SysResult<termios> GetTermios(FdRef terminal);
/// tcsetattr with TCSADRAIN: output written so far keeps the old settings.
SysResult<void> SetTermios(FdRef terminal, const termios& settings);
SysResult<winsize> GetWindowSize(FdRef terminal);
SysResult<void> SetWindowSize(FdRef terminal, const winsize& size);

/// Allows the other end of a new pty to be opened.
SysResult<void> UnlockPty(FdRef master);
/// TIOCGPTPEER: the other end, whatever mount namespace or path it has. Never becomes the controlling terminal.
SysResult<UniqueFd> OpenPtyPeer(FdRef master);

SysResult<void> SetNonBlocking(FdRef fd);
/// poll(2); EINTR is retried with the full timeout. The number of descriptors with events.
SysResult<size_t> Poll(std::span<pollfd> fds, std::optional<std::chrono::milliseconds> timeout = std::nullopt);

/// While set, a crash of this process (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT) first restores the terminal's
/// settings, then dies of the signal as before. `fd` < 0 unsets it. Handlers of others are put back on unset.
void RestoreOnCrash(FdRef terminal, const termios& settings);

/// SIGSTOP to the own process; returns after SIGCONT.
void StopSelf();

}  // namespace snap::sys
