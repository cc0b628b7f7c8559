// System calls on processes, namespaces, credentials and the machine. Errors: the kernel's errno. Threads: as noted.
#pragma once

#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

/// What became of a child.
struct ExitStatus {
  int code = 0;    ///< exit code, when signal is 0
  int signal = 0;  ///< the signal that ended it, or 0
  /// As a shell reports it: the code, or 128 + signal.
  int ShellCode() const { return signal != 0 ? 128 + signal : code; }
};

/// Waits for the process of a pidfd (a child) and reaps it.
SysResult<ExitStatus> WaitPidfd(FdRef pidfd);
/// The same without waiting; nullopt while it runs.
SysResult<std::optional<ExitStatus>> TryWaitPidfd(FdRef pidfd);
SysResult<UniqueFd> PidfdOpen(pid_t pid);
SysResult<void> PidfdSendSignal(FdRef pidfd, int signal);
/// Monotonic start time of a process in clock ticks since boot (/proc/PID/stat field 22): with the pid it names a
/// process uniquely on this boot. Errors: ENOENT when there is no such process.
SysResult<uint64_t> ProcessStartTime(pid_t pid);

/// Signals as a readable descriptor; `mask` is blocked for the calling thread.
SysResult<UniqueFd> SignalFd(const sigset_t& mask);
/// Waits until one of the descriptors is readable; nullopt timeout waits for ever. Returns the index of the first
/// ready one, or nullopt after the timeout.
SysResult<std::optional<size_t>> PollReadable(std::span<const FdRef> fds,
                                              std::optional<std::chrono::milliseconds> timeout);

/// Makes sure that this program's file cannot be written through /proc/PID/exe: when it is not on a read-only mount, executes
/// it again (same arguments and environment) from a read-only clone of its mount that exists nowhere else. Returns when that is
/// so already; does not return after the exec. For launchers, before anything else: a container whose entry is
/// "#!/proc/self/exe" runs the launcher's own file and could open it for writing later (CVE-2019-5736).
/// Errors: EPERM without CAP_SYS_ADMIN; ENOSYS before Linux 5.12.
SysResult<void> SealExecutable();

/// Runs `work` in a child of its own session, in '/', with /dev/null as standard streams, that nobody waits for; it ends with
/// `work`. It has copies of this process' descriptors: locks that belong to them are not given back before it ends.
/// Only the calling thread is there in it: `work` must not need others, nor locks that they may hold.
SysResult<void> RunDetached(const std::function<void()>& work);

/// The kernel's random id of this boot (/proc/sys/kernel/random/boot_id), 36 characters. Cached.
SysResult<std::string> BootId();
/// "6.18.44-..." (uname).
std::string KernelRelease();
/// The kernel's name of this machine's architecture, e.g. "x86_64", "aarch64", "armv7l" (uname).
std::string MachineName();
/// 128 random bits from the kernel as 32 hex digits: names for staging directories and ids for containers.
std::string RandomHex128();
void FillRandom(std::span<std::byte> out);
/// Number of processors this process may run on, at least 1.
unsigned ProcessorCount();
/// Raises the soft limit of open files to the hard limit; deep stacks need many descriptors.
void RaiseOpenFileLimit();

uid_t EffectiveUid();
gid_t EffectiveGid();
pid_t Pid();

}  // namespace snap::sys
