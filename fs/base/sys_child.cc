// One call per function, as in the other sys files, but with a stricter rule: see the header's invariant. errno is
// the only library state touched, and it is this thread's own.
#include "fs/base/sys_child.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fs/base/sys_file.h"

namespace snap::sys {
namespace {

SysResult<void> Check(long result) {
  if (result < 0) return LastErrno();
  return {};
}

constexpr size_t kKernelSigsetBytes = 8;

}  // namespace

SysResult<pid_t> CloneProcess(uint64_t flags, UniqueFd& pidfd) {
  int fd = -1;
  clone_args args{};
  args.flags = flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
  args.pidfd = reinterpret_cast<uint64_t>(&fd);
  args.exit_signal = SIGCHLD;
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) return LastErrno();
  if (pid > 0) pidfd = UniqueFd(fd);
  return static_cast<pid_t>(pid);
}

SysResult<pid_t> CloneSibling(uint64_t flags) {
  clone_args args{};
  args.flags = flags | CLONE_PARENT | CLONE_CLEAR_SIGHAND;  // the signal at its end is our own: the kernel takes no other
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) return LastErrno();
  return static_cast<pid_t>(pid);
}

SysResult<void> EnterNamespaces(FdRef fd, uint64_t types) {
  return Check(::syscall(SYS_setns, fd.get(), static_cast<int>(types)));
}

SysResult<void> Unshare(uint64_t flags) { return Check(::syscall(SYS_unshare, flags)); }

SysResult<int> WaitChild(pid_t pid) {
  int status = 0;
  long waited;
  do {
    waited = ::syscall(SYS_wait4, pid, &status, __WALL, nullptr);
  } while (waited < 0 && errno == EINTR);
  if (waited < 0) return LastErrno();
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

SysResult<std::optional<int>> WaitChildFor(pid_t pid, int milliseconds) {
  constexpr int kStep = 5;
  for (int waited_ms = 0;; waited_ms += kStep) {
    int status = 0;
    const long waited = ::syscall(SYS_wait4, pid, &status, WNOHANG | __WALL, nullptr);
    if (waited < 0 && errno != EINTR) return LastErrno();
    if (waited > 0) return std::optional(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    if (waited_ms >= milliseconds) return std::optional<int>();
    SleepMilliseconds(kStep);
  }
}

SysResult<void> SendSignal(pid_t pid, int signal) { return Check(::syscall(SYS_kill, pid, signal)); }

SysResult<sigset_t> BlockAllSignals() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  if (const int error = ::pthread_sigmask(SIG_SETMASK, &all, &before); error != 0) return Errno(error);
  return before;
}

SysResult<void> SetSignalMask(const sigset_t& mask) {
  if (const int error = ::pthread_sigmask(SIG_SETMASK, &mask, nullptr); error != 0) return Errno(error);
  return {};
}

void ResetSignalActions() {
  // The kernel's struct sigaction, all zero: SIG_DFL. The C library's sigaction hides the signals it keeps for itself.
  const unsigned long default_action[8] = {};
  for (int signal = 1; signal <= 64; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    (void)::syscall(SYS_rt_sigaction, signal, default_action, nullptr, kKernelSigsetBytes);  // valid numbers only
  }
}

SysResult<void> ClearSignalMask() {
  const uint64_t none = 0;
  return Check(::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, kKernelSigsetBytes));
}

void ExitNow(int code) {
  for (;;) (void)::syscall(SYS_exit_group, code);
}

void SleepMilliseconds(int milliseconds) {
  const timespec time{milliseconds / 1000, (milliseconds % 1000) * 1'000'000L};
  (void)::syscall(SYS_nanosleep, &time, nullptr);  // a shorter sleep is no failure
}

Errno Execve(const char* path, char* const argv[], char* const envp[]) {
  (void)::syscall(SYS_execve, path, argv, envp);
  return LastErrno();
}

SysResult<void> SetParentDeathSignal(int signal) { return Check(::prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)); }

SysResult<bool> HasExited(FdRef pidfd) {
  pollfd poll{pidfd.get(), POLLIN, 0};
  const timespec now{0, 0};
  const long ready = ::syscall(SYS_ppoll, &poll, 1, &now, nullptr, kKernelSigsetBytes);
  if (ready < 0) return LastErrno();
  return ready > 0;
}

SysResult<void> SetDumpable(bool dumpable) { return Check(::prctl(PR_SET_DUMPABLE, dumpable ? 1 : 0, 0, 0, 0)); }
SysResult<void> SetNoNewPrivileges() { return Check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }
SysResult<void> NewSession() { return Check(::syscall(SYS_setsid)); }

SysResult<void> JoinNewSessionKeyring() {
  return Check(::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr, 0, 0, 0));
}

SysResult<void> SetControllingTerminal(FdRef terminal) { return Check(::ioctl(terminal.get(), TIOCSCTTY, 0)); }
void SetUmask(mode_t mask) { (void)::syscall(SYS_umask, mask); }

SysResult<void> SetHostname(const char* name, size_t size) { return Check(::syscall(SYS_sethostname, name, size)); }

SysResult<void> SetDomainname(const char* name, size_t size) { return Check(::syscall(SYS_setdomainname, name, size)); }

SysResult<void> KeepCapabilities(bool keep) { return Check(::prctl(PR_SET_KEEPCAPS, keep ? 1 : 0, 0, 0, 0)); }

SysResult<void> RaiseAmbientCapabilities(uint64_t mask) {
  for (unsigned number = 0; number < 64; ++number) {
    if ((mask >> number & 1U) == 0) continue;
    SNAP_TRY_VOID(Check(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0)));
  }
  return {};
}

SysResult<void> SetResourceLimit(int resource, uint64_t soft, uint64_t hard) {
  const rlimit64 limit{soft, hard};
  return Check(::syscall(SYS_prlimit64, 0, resource, &limit, nullptr));
}

SysResult<void> SetPersonality(uint32_t persona) { return Check(::syscall(SYS_personality, persona)); }

SysResult<void> SetIoPriority(uint16_t priority) {
  constexpr int kWhoProcess = 1;
  return Check(::syscall(SYS_ioprio_set, kWhoProcess, 0, static_cast<int>(priority)));
}

SysResult<void> SetScheduler(const SchedulerAttributes& attributes) {
  struct {  // linux/sched/types.h, SCHED_ATTR_SIZE_VER0
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } raw{48, attributes.policy, attributes.flags, attributes.nice, attributes.priority,
        attributes.runtime, attributes.deadline, attributes.period};
  static_assert(sizeof raw == 48);
  return Check(::syscall(SYS_sched_setattr, 0, &raw, 0));
}

SysResult<void> SetAffinity(std::span<const uint64_t> mask) {
  return Check(::syscall(SYS_sched_setaffinity, 0, mask.size_bytes(), mask.data()));
}

SysResult<void> LoopbackUp() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return LastErrno();
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", sizeof "lo");
  SNAP_TRY_VOID(Check(::ioctl(socket.get(), SIOCGIFFLAGS, &request)));
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  return Check(::ioctl(socket.get(), SIOCSIFFLAGS, &request));
}

SysResult<void> DupTo(FdRef fd, int target) {
  if (fd.get() == target) return KeepOverExec(fd);
  return Check(::syscall(SYS_dup3, fd.get(), target, 0));
}

SysResult<void> KeepOverExec(FdRef fd) { return Check(::fcntl(fd.get(), F_SETFD, 0)); }

SysResult<void> CloseRange(unsigned first, unsigned last) {
  return Check(::syscall(SYS_close_range, first, last, 0));
}

SysResult<void> ChangeDir(FdRef dir) { return Check(::syscall(SYS_fchdir, dir.get())); }

SysResult<size_t> WorkingDir(std::span<char> out) {
  const long size = ::syscall(SYS_getcwd, out.data(), out.size());  // counts the NUL
  if (size < 0) return LastErrno();
  if (size == 0) return Errno(ENOENT);
  return static_cast<size_t>(size) - 1;
}

SysResult<size_t> ReadLinkInto(FdRef dir, const char* path, std::span<char> out) {
  const long size = ::syscall(SYS_readlinkat, dir.get(), path, out.data(), out.size());
  if (size < 0) return LastErrno();
  if (static_cast<size_t>(size) == out.size()) return Errno(ENAMETOOLONG);
  return static_cast<size_t>(size);
}

SysResult<void> CanExecute(const char* path) {
  return Check(::syscall(SYS_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS));
}

SysResult<UniqueFd> OpenProcSelf(const char* path, int flags) {
  SNAP_TRY(const UniqueFd proc, OpenAt(FdRef::Cwd(), "/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW));
  SNAP_TRY(const struct statfs fs, FStatFs(proc));
  if (fs.f_type != PROC_SUPER_MAGIC) return Errno(ENODEV);
  // "self" is a link of procfs' own; everything behind it must be on the same mount.
  SNAP_TRY(const UniqueFd self, OpenAt2(proc, "self", O_PATH | O_DIRECTORY, RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS));
  return OpenAt2(self, path, static_cast<uint64_t>(flags), RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS);
}

bool Exists(const char* path) { return ::syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0; }

bool IsDirectory(const char* path) {
  struct stat status;
  return ::fstatat(AT_FDCWD, path, &status, 0) == 0 && S_ISDIR(status.st_mode);
}

SysResult<void> SetGroups(std::span<const gid_t> groups) {
  return Check(::syscall(SYS_setgroups, groups.size(), groups.data()));
}
SysResult<void> SetGid(gid_t gid) { return Check(::syscall(SYS_setresgid, gid, gid, gid)); }
SysResult<void> SetUid(uid_t uid) { return Check(::syscall(SYS_setresuid, uid, uid, uid)); }

SysResult<CapabilitySets> GetCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  SNAP_TRY_VOID(Check(::syscall(SYS_capget, &header, data)));
  const auto join = [](uint32_t low, uint32_t high) { return uint64_t{high} << 32U | low; };
  return CapabilitySets{join(data[0].effective, data[1].effective), join(data[0].permitted, data[1].permitted),
                        join(data[0].inheritable, data[1].inheritable)};
}

SysResult<void> SetCapabilities(const CapabilitySets& sets) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  for (unsigned half = 0; half < _LINUX_CAPABILITY_U32S_3; ++half) {
    data[half].effective = static_cast<uint32_t>(sets.effective >> (32 * half));
    data[half].permitted = static_cast<uint32_t>(sets.permitted >> (32 * half));
    data[half].inheritable = static_cast<uint32_t>(sets.inheritable >> (32 * half));
  }
  return Check(::syscall(SYS_capset, &header, data));
}

SysResult<void> LimitBoundingSet(uint64_t keep) {
  for (unsigned capability = 0; capability < 64; ++capability) {
    if ((keep >> capability & 1U) != 0) continue;
    // EINVAL says that the kernel knows no capability of this number or above.
    const SysResult<void> dropped = Check(::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0));
    if (!dropped.ok()) {
      if (dropped.error() == EINVAL) return {};
      return dropped.error();
    }
  }
  return {};
}

SysResult<void> ClearAmbientCapabilities() {
  return Check(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
}

}  // namespace snap::sys
