// One poll loop over the pidfd, a signalfd and, with a terminal, both directions of a copy. Nothing blocks: each
// direction has a small buffer and is only read when there is room and only written when the other side takes it.
// Invariant: the terminal is restored before any return, and all output of the container was written by then.
#include <signal.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <span>

#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_terminal.h"
#include "runtime/container.h"
#include "runtime/terminal.h"

namespace snap::runtime {
namespace {

constexpr FdRef kStdin(0);
constexpr FdRef kStdout(1);

// Bytes on their way in one direction.
class CopyBuffer {
 public:
  bool HasRoom() const { return end_ < bytes_.size(); }
  bool Empty() const { return begin_ == end_; }

  /// One read; 0 at the end of the input.
  SysResult<size_t> Fill(FdRef from) {
    SNAP_TRY(const size_t got, sys::Read(from, std::span(bytes_).subspan(end_)));
    end_ += got;
    if (got > 0) last_ = bytes_[end_ - 1];
    return got;
  }
  /// One write of at most what a pipe that polls writable takes without blocking.
  SysResult<void> Drain(FdRef to) {
    constexpr size_t kAtOnce = 4096;
    SNAP_TRY(const size_t written, sys::Write(to, std::span(bytes_).subspan(begin_, std::min(end_ - begin_, kAtOnce))));
    begin_ += written;
    if (Empty()) begin_ = end_ = 0;
    return {};
  }
  /// Only for an empty buffer.
  void Put(std::byte b) { bytes_[end_++] = b; }
  void Clear() { begin_ = end_ = 0; }
  std::byte last() const { return last_; }

 private:
  std::array<std::byte, 16384> bytes_{};
  size_t begin_ = 0, end_ = 0;
  std::byte last_{'\n'};
};

// Everything that somebody may send to a program on purpose, and SIGPIPE, which is dropped. Not: what the kernel sends
// for a fault, what would stop us in the background, and what cannot be caught.
sigset_t HandledSignals() {
  sigset_t set;
  sigfillset(&set);
  for (const int signal : {SIGKILL, SIGSTOP, SIGCHLD, SIGURG, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP,
                           SIGSYS, SIGXCPU, SIGXFSZ, SIGTTIN, SIGTTOU, SIGALRM, SIGVTALRM, SIGPROF}) {
    sigdelset(&set, signal);
  }
  return set;
}

class Supervisor {
 public:
  explicit Supervisor(Container& container) : container_(container) {}
  Result<int> Run();

 private:
  Result<void> Setup();
  Result<void> Loop();
  Result<void> HandleSignals();
  void Suspend();
  void CopySize();
  Result<void> PumpTerminal(const pollfd& stdin_poll, const pollfd& stdout_poll, const pollfd& pty_poll);
  Result<void> DrainPty();

  Container& container_;
  UniqueFd signals_;
  std::optional<RawTerminal> raw_;
  CopyBuffer input_;   // our stdin to the pty
  CopyBuffer output_;  // the pty to our stdout
  bool input_open_ = false;
  bool end_of_file_due_ = false;  // to be written when input_ is empty
  bool pty_hung_up_ = false;      // no process has the other end open just now
};

Result<int> Supervisor::Run() {
  SNAP_TRY_SYS(const sigset_t before, sys::BlockAllSignals(), "block signals");
  Result<void> done = Setup();
  if (done.ok()) done = Loop();
  if (done.ok()) done = DrainPty();
  raw_.reset();
  if (signals_) (void)HandleSignals();  // none may stay pending and strike when the mask is put back
  (void)sys::SetSignalMask(before);  // it was this thread's mask a moment ago
  if (!done.ok()) return std::move(done).error();
  SNAP_TRY(const sys::ExitStatus status, container_.Wait());
  return status.ShellCode();
}

Result<void> Supervisor::Setup() {
  const sigset_t handled = HandledSignals();
  SNAP_TRY_SYS_VOID(sys::SetSignalMask(handled), "block the signals to forward");
  SNAP_TRY_SYS(signals_, sys::SignalFd(handled), "open a signalfd");
  SNAP_TRY_SYS_VOID(sys::SetNonBlocking(signals_), "make the signalfd non-blocking");
  if (!container_.terminal().valid()) return {};
  input_open_ = true;
  SNAP_TRY_SYS_VOID(sys::SetNonBlocking(container_.terminal()), "make the pty non-blocking");
  if (sys::IsTerminal(kStdin)) {
    SNAP_TRY(RawTerminal raw, RawTerminal::Enter(kStdin));
    raw_.emplace(std::move(raw));
    CopySize();
  }
  return {};
}

void Supervisor::CopySize() {
  const SysResult<winsize> size = sys::GetWindowSize(kStdin);
  if (size.ok()) (void)sys::SetWindowSize(container_.terminal(), *size);  // cosmetic
}

Result<void> Supervisor::Loop() {
  for (;;) {
    if (end_of_file_due_ && input_.Empty()) {
      // The end of our input is a terminal's end-of-file character: alone on a line, or twice.
      constexpr std::byte kEndOfFile{4};
      if (input_.last() != std::byte{'\n'}) input_.Put(kEndOfFile);
      input_.Put(kEndOfFile);
      end_of_file_due_ = false;
    }
    constexpr short kIn = POLLIN;
    constexpr short kOut = POLLOUT;
    const bool pty = container_.terminal().valid();
    const bool listen = pty && !pty_hung_up_;
    std::array<pollfd, 5> polls = {{
        {container_.pidfd().get(), kIn, 0},
        {signals_.get(), kIn, 0},
        {pty && input_open_ && input_.HasRoom() ? kStdin.get() : -1, kIn, 0},
        {pty && !output_.Empty() ? kStdout.get() : -1, kOut, 0},
        {listen && (output_.HasRoom() || !input_.Empty()) ? container_.terminal().get() : -1,
         static_cast<short>((output_.HasRoom() ? kIn : 0) | (input_.Empty() ? 0 : kOut)), 0},
    }};
    // A program may close its terminal and open /dev/tty again later; a hang-up is always "ready", so look again in a
    // moment instead of spinning on it.
    constexpr std::chrono::milliseconds kLookAgain(50);
    SNAP_TRY_SYS_VOID(sys::Poll(polls, pty_hung_up_ ? std::optional(kLookAgain) : std::nullopt),
                      "wait for the container");
    pty_hung_up_ = false;
    if (polls[1].revents != 0) SNAP_TRY_VOID(HandleSignals());
    if (pty) SNAP_TRY_VOID(PumpTerminal(polls[2], polls[3], polls[4]));
    if (polls[0].revents != 0) return {};
  }
}

Result<void> Supervisor::PumpTerminal(const pollfd& stdin_poll, const pollfd& stdout_poll, const pollfd& pty_poll) {
  if (stdin_poll.revents != 0) {
    const SysResult<size_t> got = input_.Fill(kStdin);
    if (!got.ok() && !(got.error() == EIO) && !(got.error() == EAGAIN)) {
      return Error(got.error(), "read standard input");
    }
    if ((got.ok() && *got == 0) || (!got.ok() && got.error() == EIO)) {
      input_open_ = false;
      end_of_file_due_ = true;
    }
  }
  if ((pty_poll.revents & POLLOUT) != 0 && !input_.Empty()) {
    const SysResult<void> written = input_.Drain(container_.terminal());
    if (!written.ok() && !(written.error() == EAGAIN)) input_.Clear();  // hung up; the read below says so
  }
  if ((pty_poll.revents & (POLLIN | POLLHUP | POLLERR)) != 0 && output_.HasRoom()) {
    const SysResult<size_t> got = output_.Fill(container_.terminal());
    if (!got.ok() && !(got.error() == EIO) && !(got.error() == EAGAIN)) {
      return Error(got.error(), "read the container's terminal");
    }
    pty_hung_up_ = !got.ok() && got.error() == EIO;
  }
  if (stdout_poll.revents != 0 && !output_.Empty()) {
    const SysResult<void> written = output_.Drain(kStdout);
    // Nobody reads any more: what a terminal does then is to hang up.
    if (!written.ok() && !(written.error() == EAGAIN)) container_.HangUp();
  }
  return {};
}

// The container is gone and with it every process of its pid namespace: what is in the pty is all there will be.
Result<void> Supervisor::DrainPty() {
  bool more = true;
  while (container_.terminal().valid() && (more || !output_.Empty())) {
    if (more && output_.HasRoom()) {
      const SysResult<size_t> got = output_.Fill(container_.terminal());
      more = got.ok() && *got > 0;  // EIO: the end. EAGAIN: somebody outside the container still holds the terminal
      continue;
    }
    pollfd poll{kStdout.get(), POLLOUT, 0};
    SNAP_TRY_SYS_VOID(sys::Poll(std::span(&poll, 1)), "wait for standard output");
    const SysResult<void> written = output_.Drain(kStdout);
    if (!written.ok() && !(written.error() == EAGAIN)) container_.HangUp();
  }
  return {};
}

Result<void> Supervisor::HandleSignals() {
  for (;;) {
    signalfd_siginfo info;
    const SysResult<size_t> got = sys::Read(signals_, std::as_writable_bytes(std::span(&info, 1)));
    if (!got.ok() && got.error() == EAGAIN) return {};
    if (!got.ok()) return Error(got.error(), "read a signal");
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGPIPE) continue;  // the write has failed with EPIPE
    if (signal == SIGWINCH) {
      if (raw_) CopySize();
    } else if (signal == SIGTSTP) {
      Suspend();
    } else {
      (void)container_.Signal(signal);  // it may have ended this moment
    }
  }
}

// Job control as for a plain program. Only the first process is stopped for now; with cgroups it will be all of them.
void Supervisor::Suspend() {
  (void)container_.Signal(SIGSTOP);
  if (raw_) raw_->Restore();
  sys::StopSelf();
  if (raw_) {
    (void)raw_->EnterAgain();  // without it the session goes on with line editing
    CopySize();
  }
  (void)container_.Signal(SIGCONT);
}

}  // namespace

Result<int> RunForeground(Container& container) { return Supervisor(container).Run(); }

}  // namespace snap::runtime
