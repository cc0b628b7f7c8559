// Mounts with mount(2), or starts the program in the foreground and waits until its mountpoint is another
// device.
#include "tests/union/union_mount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace snap::test {
namespace {

constexpr int kPatienceMs = 10'000;
constexpr unsigned long kFlags = MS_NODEV | MS_NOATIME;

void SleepMs(int ms) { usleep(static_cast<useconds_t>(ms) * 1000); }

dev_t DeviceOf(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 ? info.st_dev : 0;
}

std::string Join(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : ":") + item;
  return out;
}

std::string Options(const UnionDirs& dirs) {
  std::string options = "lowerdir=" + Join(dirs.lowers_top_first);
  if (!dirs.upper.empty()) options += ",upperdir=" + dirs.upper + ",workdir=" + dirs.work;
  return options;
}

// The end of the server: nullopt while it runs.
std::optional<int> Reap(pid_t pid, int patience_ms) {
  for (int waited = 0;; ++waited) {
    int status = 0;
    const pid_t got = waitpid(pid, &status, WNOHANG);
    if (got == pid) return status;
    if (got < 0) return 0;  // somebody else reaped it: nothing is known against it
    if (waited >= patience_ms) return std::nullopt;
    SleepMs(1);
  }
}

std::string DescribeStatus(int status) {
  if (WIFSIGNALED(status)) return fmt::format("was killed by signal {}", WTERMSIG(status));
  return fmt::format("exited with {}", WEXITSTATUS(status));
}

}  // namespace

void Die(const std::string& message) {
  fmt::print(stderr, "{}: {}\n", program_invocation_short_name, message);
  std::exit(2);
}

Workplace::Workplace(std::string directory) : path_(std::move(directory)), own_(path_.empty()) {
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    Die(fmt::format("a mount namespace of its own: {}", strerror(errno)));
  }
  if (!own_) return;
  path_ = "/tmp/snap-union-XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) Die("make a directory in /tmp");
  if (mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=4g,mode=755") != 0) Die("mount a tmpfs");
}

Workplace::~Workplace() {
  if (!own_) return;
  (void)umount2(path_.c_str(), MNT_DETACH);  // ends with the namespace in any case
  (void)rmdir(path_.c_str());
}

Result<UnionMount> UnionMount::Mount(const std::string& program, const UnionDirs& dirs,
                                     std::string mountpoint) {
  std::string options = Options(dirs);
  if (program == "kernel") {
    options += ",redirect_dir=off,index=off,metacopy=off";
    if (mount("overlay", mountpoint.c_str(), "overlay", kFlags, options.c_str()) != 0) {
      return Error(ErrorCode::kIo, fmt::format("mount overlayfs: {}", strerror(errno)));
    }
    return UnionMount(std::move(mountpoint), -1);
  }
  const size_t comma = program.find(',');
  const std::string path = program.substr(0, comma);
  if (comma != std::string::npos) options += program.substr(comma);
  const dev_t before = DeviceOf(mountpoint);
  std::fflush(stdout);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return Error(ErrorCode::kIo, fmt::format("fork: {}", strerror(errno)));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    execlp(path.c_str(), path.c_str(), "-f", "-o", options.c_str(), mountpoint.c_str(), nullptr);
    fmt::print(stderr, "{}: {}\n", path, strerror(errno));
    _exit(127);
  }
  UnionMount result(std::move(mountpoint), pid);
  for (int waited = 0; waited < kPatienceMs; ++waited) {
    if (DeviceOf(result.mountpoint_) != before) return result;
    if (const std::optional<int> status = Reap(pid, 0)) {
      result.server_ = -1;
      result.mountpoint_.clear();
      return Error(ErrorCode::kIo, fmt::format("{} {}", path, DescribeStatus(*status)));
    }
    SleepMs(1);
  }
  return Error(ErrorCode::kIo, fmt::format("{} has not mounted anything", path));
}

UnionMount::UnionMount(UnionMount&& other) noexcept
    : mountpoint_(std::exchange(other.mountpoint_, {})), server_(std::exchange(other.server_, -1)) {}

UnionMount::~UnionMount() {
  if (mountpoint_.empty()) return;
  if (server_ > 0) kill(server_, SIGKILL);
  (void)umount2(mountpoint_.c_str(), MNT_DETACH);  // the namespace ends the mount in any case
  if (server_ > 0) (void)Reap(server_, kPatienceMs);
}

Result<void> UnionMount::Unmount() {
  if (umount2(mountpoint_.c_str(), 0) != 0) {
    return Error(errno == EBUSY ? ErrorCode::kBusy : ErrorCode::kIo,
                 fmt::format("unmount: {}", strerror(errno)));
  }
  mountpoint_.clear();
  if (server_ < 0) return {};
  const pid_t pid = std::exchange(server_, -1);
  const std::optional<int> status = Reap(pid, kPatienceMs);
  if (!status) {
    kill(pid, SIGKILL);
    (void)Reap(pid, kPatienceMs);
    return Error(ErrorCode::kIo, "the server does not end after the unmount");
  }
  if (*status != 0) return Error(ErrorCode::kIo, "the server " + DescribeStatus(*status));
  return {};
}

void UnionMount::ForgetServer() {
  server_ = -1;
  (void)umount2(mountpoint_.c_str(), MNT_DETACH);  // the namespace ends it in any case
  mountpoint_.clear();
}

Result<void> UnionMount::DropCaches() {
  if (mount(nullptr, mountpoint_.c_str(), nullptr, MS_REMOUNT | kFlags, nullptr) != 0) {
    return Error(ErrorCode::kIo, fmt::format("remount: {}", strerror(errno)));
  }
  return {};
}

}  // namespace snap::test
