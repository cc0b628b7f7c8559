// Processes are named by pidfd; a bare pid is only ever used to find one.
#include "fs/base/sys_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <vector>

#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"

namespace snap::sys {
namespace {

SysResult<std::optional<ExitStatus>> WaitFlags(FdRef pidfd, int flags) {
  siginfo_t info{};
  int result;
  do {
    result = ::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | flags);
  } while (result < 0 && errno == EINTR);
  if (result < 0) return LastErrno();
  if (info.si_pid == 0) return std::optional<ExitStatus>();
  ExitStatus status;
  (info.si_code == CLD_EXITED ? status.code : status.signal) = info.si_status;
  return std::optional(status);
}

}  // namespace

SysResult<ExitStatus> WaitPidfd(FdRef pidfd) {
  SNAP_TRY(const std::optional<ExitStatus> status, WaitFlags(pidfd, 0));
  SNAP_CHECK(status.has_value());
  return *status;
}

SysResult<std::optional<ExitStatus>> TryWaitPidfd(FdRef pidfd) { return WaitFlags(pidfd, WNOHANG); }

SysResult<UniqueFd> PidfdOpen(pid_t pid) {
  const long fd = ::syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return LastErrno();
  return UniqueFd(static_cast<int>(fd));
}

SysResult<void> PidfdSendSignal(FdRef pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) < 0) return LastErrno();
  return {};
}

SysResult<uint64_t> ProcessStartTime(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  SNAP_TRY(const std::string text, ReadFileAt(FdRef::Cwd(), path.c_str(), 4096));
  // The command name in field 2 may hold spaces and parentheses: count from the last ')'.
  std::string_view rest = text;
  const size_t close = rest.rfind(')');
  if (close == std::string_view::npos) return Errno(EINVAL);
  rest.remove_prefix(close + 2);
  constexpr int kStartTime = 22;
  for (int field = 3; field < kStartTime; ++field) {
    const size_t space = rest.find(' ');
    if (space == std::string_view::npos) return Errno(EINVAL);
    rest.remove_prefix(space + 1);
  }
  uint64_t value = 0;
  if (std::from_chars(rest.data(), rest.data() + rest.size(), value).ec != std::errc()) return Errno(EINVAL);
  return value;
}

SysResult<UniqueFd> SignalFd(const sigset_t& mask) {
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &mask, nullptr); error != 0) return Errno(error);
  const int fd = ::signalfd(-1, &mask, SFD_CLOEXEC);
  if (fd < 0) return LastErrno();
  return UniqueFd(fd);
}

SysResult<std::optional<size_t>> PollReadable(std::span<const FdRef> fds,
                                              std::optional<std::chrono::milliseconds> timeout) {
  std::vector<pollfd> polls;
  polls.reserve(fds.size());
  for (const FdRef fd : fds) polls.push_back({fd.get(), POLLIN, 0});
  int ready;
  do {
    ready = ::poll(polls.data(), polls.size(), timeout ? static_cast<int>(timeout->count()) : -1);
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return LastErrno();
  for (size_t i = 0; i < polls.size(); ++i) {
    if (polls[i].revents != 0) return std::optional(i);
  }
  return std::optional<size_t>();
}

SysResult<void> SealExecutable() {
  constexpr size_t kMaxArguments = size_t{4} << 20U;  // more than the kernel passes on by default
  SNAP_TRY(const UniqueFd self, OpenAt(FdRef::Cwd(), "/proc/self/exe", O_PATH));
  struct statvfs where {};
  if (::fstatvfs(self.get(), &where) < 0) return LastErrno();
  if ((where.f_flag & ST_RDONLY) != 0) return {};
  SNAP_TRY(std::string arguments, ReadFileAt(FdRef::Cwd(), "/proc/self/cmdline", kMaxArguments));
  std::vector<char*> argv;
  for (size_t at = 0; at < arguments.size(); at = arguments.find('\0', at) + 1) argv.push_back(&arguments[at]);
  argv.push_back(nullptr);
  SNAP_TRY(const UniqueFd clone, OpenTree(FdRef::Cwd(), "/proc/self/exe", OPEN_TREE_CLONE));
  SNAP_TRY_VOID(MountSetAttr(clone, MOUNT_ATTR_RDONLY, 0, 0, false));
  (void)::syscall(SYS_execveat, clone.get(), "", argv.data(), environ, AT_EMPTY_PATH);
  return LastErrno();  // only reached when it failed
}

SysResult<std::string> BootId() {
  static const SysResult<std::string> id = []() -> SysResult<std::string> {
    SNAP_TRY(std::string text, ReadFileAt(FdRef::Cwd(), "/proc/sys/kernel/random/boot_id", 128));
    while (text.ends_with('\n')) text.pop_back();
    return text;
  }();
  return id;
}

std::string KernelRelease() {
  utsname name{};
  (void)::uname(&name);  // cannot fail with a valid buffer
  return name.release;
}

std::string MachineName() {
  utsname name{};
  (void)::uname(&name);  // cannot fail with a valid buffer
  return name.machine;
}

void FillRandom(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = ::getrandom(out.data(), out.size(), 0);
    SNAP_CHECK(got > 0 || errno == EINTR);
    if (got > 0) out = out.subspan(static_cast<size_t>(got));
  }
}

SysResult<void> RunDetached(const std::function<void()>& work) {
  const pid_t child = fork();
  if (child < 0) return Errno(errno);
  if (child > 0) return {};
  (void)setsid();  // fails for nobody who was just born
  if (chdir("/") != 0) _exit(1);
  if (const int null = open("/dev/null", O_RDWR | O_CLOEXEC); null >= 0) {
    for (const int stream : {0, 1, 2}) (void)dup2(null, stream);
  }
  work();
  _exit(0);
}

std::string RandomHex128() {
  std::array<std::byte, 16> bytes;
  FillRandom(bytes);
  std::string out;
  for (const std::byte b : bytes) fmt::format_to(std::back_inserter(out), "{:02x}", std::to_integer<unsigned>(b));
  return out;
}

unsigned ProcessorCount() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) < 0) return 1;
  return std::max(1U, static_cast<unsigned>(CPU_COUNT(&set)));
}

void RaiseOpenFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);  // a lower limit only shortens the deepest possible stack
}

uid_t EffectiveUid() { return ::geteuid(); }
gid_t EffectiveGid() { return ::getegid(); }
pid_t Pid() { return ::getpid(); }

}  // namespace snap::sys
