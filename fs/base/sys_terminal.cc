// Thin wrappers; the crash handler is the one piece of state, and only calls what signal-safety(7) lists.
#include "fs/base/sys_terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace snap::sys {
namespace {

SysResult<void> Check(long result) {
  if (result < 0) return LastErrno();
  return {};
}

constexpr std::array kCrashSignals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
volatile sig_atomic_t g_terminal = -1;  // written before the handlers are installed and after they are removed
termios g_settings;
std::array<struct sigaction, kCrashSignals.size()> g_previous;

void OnCrash(int signal) {
  (void)::tcsetattr(g_terminal, TCSANOW, &g_settings);  // dying anyway
  (void)::raise(signal);                                // SA_RESETHAND: the default action now
}

}  // namespace

SysResult<termios> GetTermios(FdRef terminal) {
  termios settings;
  if (::tcgetattr(terminal.get(), &settings) < 0) return LastErrno();
  return settings;
}

SysResult<void> SetTermios(FdRef terminal, const termios& settings) {
  int result;
  do {
    result = ::tcsetattr(terminal.get(), TCSADRAIN, &settings);
  } while (result < 0 && errno == EINTR);
  return Check(result);
}

SysResult<winsize> GetWindowSize(FdRef terminal) {
  winsize size{};
  if (::ioctl(terminal.get(), TIOCGWINSZ, &size) < 0) return LastErrno();
  return size;
}

SysResult<void> SetWindowSize(FdRef terminal, const winsize& size) {
  return Check(::ioctl(terminal.get(), TIOCSWINSZ, &size));
}

SysResult<void> UnlockPty(FdRef master) {
  const int unlocked = 0;
  return Check(::ioctl(master.get(), TIOCSPTLCK, &unlocked));
}

SysResult<UniqueFd> OpenPtyPeer(FdRef master) {
  const int fd = ::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return LastErrno();
  return UniqueFd(fd);
}

SysResult<void> SetNonBlocking(FdRef fd) {
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0) return LastErrno();
  return Check(::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK));
}

SysResult<size_t> Poll(std::span<pollfd> fds, std::optional<std::chrono::milliseconds> timeout) {
  int ready;
  do {
    ready = ::poll(fds.data(), fds.size(), timeout ? static_cast<int>(timeout->count()) : -1);
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return LastErrno();
  return static_cast<size_t>(ready);
}

void RestoreOnCrash(FdRef terminal, const termios& settings) {
  if (terminal.get() < 0) {
    if (g_terminal < 0) return;
    for (size_t i = 0; i < kCrashSignals.size(); ++i) (void)::sigaction(kCrashSignals[i], &g_previous[i], nullptr);
    g_terminal = -1;
    return;
  }
  const bool installed = g_terminal >= 0;
  g_settings = settings;
  g_terminal = terminal.get();
  if (installed) return;
  struct sigaction action {};
  action.sa_handler = OnCrash;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < kCrashSignals.size(); ++i) (void)::sigaction(kCrashSignals[i], &action, &g_previous[i]);
}

void StopSelf() { (void)::kill(::getpid(), SIGSTOP); }

}  // namespace snap::sys
