// Launching a process in a rootfs of its own: namespaces, mounts, credentials, and what becomes of it.
// The parent prepares everything as descriptors; one clone3; the child runs a fixed list of named steps in plain
// system calls (no allocation, no locks) and reports {step, errno} on a pipe before it may exec anything.
// Invariant: fails closed. If any step fails nothing of the image ever runs; nothing is mounted in the caller's mount
// namespace; when the container's pid 1 is gone, so are its namespaces and mounts.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/sys_process.h"
#include "fs/base/unique_fd.h"

namespace snap::runtime {

enum class Network { kNone, kHost };

struct BindMount {
  std::string source;       ///< absolute host path; made (a directory, 0755) when missing, as Docker's -v does
  std::string target;       ///< absolute path inside the container, resolved there; made when missing (directory or
                            ///< empty file like the source). Not '/', nothing below /proc.
  bool read_only = false;
  bool recursive = true;
};
/// Docker's "-v SOURCE:TARGET[:OPTIONS]"; options ro, rw, rbind, bind. Errors: kInvalidArgument.
Result<BindMount> ParseBindMount(std::string_view text);

/// What runs, and in what. Paths inside the container are resolved in its rootfs, never on the host.
struct ContainerSpec {
  std::string id;                     ///< for messages
  std::string hostname;               ///< "": the id's first 12 characters
  std::vector<std::string> args;      ///< args[0] is looked up in PATH of `env` inside the rootfs
  std::vector<std::string> env;       ///< "NAME=value"; PATH, HOSTNAME, HOME and, with a terminal, TERM are added when missing
  std::string working_dir = "/";      ///< made when missing
  std::string user;                   ///< "", "uid", "name", "uid:gid", "name:group", ... as Docker reads it (user.h)
  Network network = Network::kNone;
  bool read_only_rootfs = false;
  bool terminal = false;
  winsize terminal_size{};
  bool new_privileges = false;        ///< false: PR_SET_NO_NEW_PRIVS
  std::vector<BindMount> binds;
};

/// How a launch failed tells the exit status: 125 our failure, 126 found but not executable, 127 not found.
struct LaunchError {
  int exit_code = 125;
  Error error;
};

/// A started container. Dropping it does not stop it.
class Container {
 public:
  /// Starts it. `rootfs` is a detached mount; it is consumed. Standard streams are the caller's 0, 1, 2 unless
  /// `terminal`: then a new pty in the container, whose master the caller owns. All three must be open, none a directory.
  /// On success the container's program runs: exec has happened. On failure nothing of the image ran and nothing is left,
  /// except directories that were made as mount points in a writable rootfs.
  /// Threads: safe, but the kernel ties the container to the calling *thread*: when that ends, or the process dies, the
  /// container is killed (PR_SET_PDEATHSIG SIGKILL, race-free). Call it from a thread that lives as long.
  static Result<Container, LaunchError> Start(const ContainerSpec& spec, UniqueFd rootfs);

  pid_t pid() const { return pid_; }
  FdRef pidfd() const { return pidfd_; }
  /// The pty master; invalid without a terminal.
  FdRef terminal() const { return terminal_; }
  /// Closes the pty master: the container's terminal hangs up.
  void HangUp() { terminal_.Reset(); }
  Result<void> Signal(int signal);
  /// Waits for the end and reaps it.
  Result<sys::ExitStatus> Wait();

  /// One that was started otherwise. `pid` is a child of this process; an invalid `terminal`: none.
  Container(pid_t pid, UniqueFd pidfd, UniqueFd terminal) : pid_(pid), pidfd_(std::move(pidfd)), terminal_(std::move(terminal)) {}

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd terminal_;
};

/// Supervises in the foreground as `docker run` does: forwards signals (SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1/2,
/// SIGWINCH as a window size, ...), copies between this process' terminal (in raw mode, always restored) and the pty.
/// Returns the exit status to pass on: the code, or 128 + signal.
/// A caller that blocks the signals before Start loses none in between.
/// SIGTSTP stops the container's first process and then this one; SIGCONT continues both.
/// Errors: of the caller's terminal or pty; the container runs on then, and the terminal is restored.
/// Threads: call it with the other threads blocking signals, or without other threads; the mask is put back.
Result<int> RunForeground(Container& container);

/// The 14 capabilities that Docker gives, as a bit mask.
uint64_t DefaultCapabilities();
/// Docker's masked and read-only paths.
const std::vector<const char*>& MaskedPaths();
const std::vector<const char*>& ReadOnlyPaths();

}  // namespace snap::runtime
