// System calls between clone and exec, in a child that shares its parent's heap and locks as they happened to be.
// Invariant: nothing here allocates, takes a lock, or goes through a C library function that keeps state (set*id
// calls are the kernel's, for this thread only). Errors: the kernel's errno. Other child-safe wrappers are in
// sys_file.h and sys_mount.h: all that neither return nor take a std::string.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

/// clone3(2) like fork, with CLONE_* `flags`, CLONE_PIDFD and CLONE_CLEAR_SIGHAND added. Returns 0 in the child, where
/// `pidfd` stays empty. Only the calling thread exists in the child.
SysResult<pid_t> CloneProcess(uint64_t flags, UniqueFd& pidfd);
/// The same for a child of this process' own parent (CLONE_PARENT), whose end the parent is told.
SysResult<pid_t> CloneSibling(uint64_t flags);
/// setns(2) with a descriptor of a namespace, or a pidfd and several CLONE_NEW*.
SysResult<void> EnterNamespaces(FdRef fd, uint64_t types);
/// unshare(2).
SysResult<void> Unshare(uint64_t flags);
/// Waits for a child by number and reaps it; a shell's code: its own, or 128 + signal.
SysResult<int> WaitChild(pid_t pid);
/// The same for so long at most; nullopt: it still runs.
SysResult<std::optional<int>> WaitChildFor(pid_t pid, int milliseconds);
/// kill(2).
SysResult<void> SendSignal(pid_t pid, int signal);
/// Blocks every signal for this thread; the previous mask is returned.
SysResult<sigset_t> BlockAllSignals();
SysResult<void> SetSignalMask(const sigset_t& mask);
/// Every signal back to its default action, also ignored ones (they would survive exec).
void ResetSignalActions();
/// Unblocks every signal.
SysResult<void> ClearSignalMask();

[[noreturn]] void ExitNow(int code);
void SleepMilliseconds(int milliseconds);
/// execve(2); returns only when it failed.
Errno Execve(const char* path, char* const argv[], char* const envp[]);

/// PR_SET_PDEATHSIG. The kernel forgets it when credentials change.
SysResult<void> SetParentDeathSignal(int signal);
/// True when the process of the pidfd is gone or a zombie.
SysResult<bool> HasExited(FdRef pidfd);
SysResult<void> SetDumpable(bool dumpable);
SysResult<void> SetNoNewPrivileges();
/// setsid(2).
SysResult<void> NewSession();
/// A fresh, anonymous session keyring.
SysResult<void> JoinNewSessionKeyring();
/// TIOCSCTTY for a session leader without a terminal.
SysResult<void> SetControllingTerminal(FdRef terminal);
/// umask(2).
void SetUmask(mode_t mask);

SysResult<void> SetHostname(const char* name, size_t size);
SysResult<void> SetDomainname(const char* name, size_t size);
/// Brings the interface "lo" of this network namespace up.
SysResult<void> LoopbackUp();

/// dup2(2): `target` becomes the same file, without close-on-exec.
SysResult<void> DupTo(FdRef fd, int target);
/// Clears close-on-exec.
SysResult<void> KeepOverExec(FdRef fd);
/// Closes first..last.
SysResult<void> CloseRange(unsigned first, unsigned last);
SysResult<void> ChangeDir(FdRef dir);
/// getcwd(2): bytes written to `out` without the final NUL. Starts with "(unreachable)" for a directory outside the root.
SysResult<size_t> WorkingDir(std::span<char> out);
/// readlinkat(2); bytes written. ENAMETOOLONG when the target does not fit.
SysResult<size_t> ReadLinkInto(FdRef dir, const char* path, std::span<char> out);
/// faccessat(2) with F_OK, following symlinks.
bool Exists(const char* path);
/// faccessat2(2) with X_OK for the effective ids.
SysResult<void> CanExecute(const char* path);
/// Opens a file of /proc/self ("attr/exec"), after making sure that /proc is one. Errors: ENODEV when it is not.
SysResult<UniqueFd> OpenProcSelf(const char* path, int flags);
bool IsDirectory(const char* path);

SysResult<void> SetGroups(std::span<const gid_t> groups);
/// Real, effective and saved id.
SysResult<void> SetGid(gid_t gid);
SysResult<void> SetUid(uid_t uid);

/// PR_SET_KEEPCAPS: a change of the user id leaves the permitted capabilities.
SysResult<void> KeepCapabilities(bool keep);
/// Makes these capabilities ambient; they must be permitted and inheritable.
SysResult<void> RaiseAmbientCapabilities(uint64_t mask);
/// setrlimit(2). EPERM: the hard limit would rise without CAP_SYS_RESOURCE.
SysResult<void> SetResourceLimit(int resource, uint64_t soft, uint64_t hard);
/// personality(2).
SysResult<void> SetPersonality(uint32_t persona);
/// ioprio_set(2) of this process.
SysResult<void> SetIoPriority(uint16_t priority);
/// struct sched_attr of sched_setattr(2).
struct SchedulerAttributes {
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;
};
SysResult<void> SetScheduler(const SchedulerAttributes& attributes);
/// sched_setaffinity(2); bit N of the mask is processor N.
SysResult<void> SetAffinity(std::span<const uint64_t> mask);

struct CapabilitySets {
  uint64_t effective = 0, permitted = 0, inheritable = 0;
};
SysResult<CapabilitySets> GetCapabilities();
SysResult<void> SetCapabilities(const CapabilitySets& sets);
/// Removes everything but `keep` from the bounding set.
SysResult<void> LimitBoundingSet(uint64_t keep);
SysResult<void> ClearAmbientCapabilities();

}  // namespace snap::sys
