// snap-fuse: the union file system as a program, with fuse-overlayfs' command line.
// Invariant: it answers on standard error and by its exit status before the union is in use; afterwards it holds none of its caller's
// descriptors: callers wait for standard error to be closed.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "fs/base/fault.h"
#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_namespace.h"
#include "fs/base/sys_process.h"
#include "fuse/mount_options.h"
#include "fuse/open_layers.h"
#include "fuse/session.h"
#include "tools/snap/version.h"

namespace snap::fuse {
namespace {

constexpr const char* kHelp =
    "usage: snap-fuse -o lowerdir=DIR[:DIR...][,upperdir=DIR,workdir=DIR][,OPTION...] MOUNTPOINT\n"
    "\n"
    "Mounts a union of directories, the leftmost lower on top. Without upperdir it is read-only.\n"
    "  -o OPTIONS    see snap-fuse(8)\n"
    "  -f            stay in the foreground\n"
    "  -d, --debug   every request on standard error, in the foreground\n"
    "  --features    what is in use here, and what would make it faster\n"
    "  -V, --version\n"
    "  -h, --help\n"
    "\n"
    "examples:\n"
    "  snap-fuse -o lowerdir=/l2:/l1,upperdir=/u,workdir=/w /mnt     a writable union\n"
    "  snap-fuse -o lowerdir=/l2:/l1 /mnt                            to look at\n"
    "  umount /mnt                                                   or fusermount3 -u /mnt\n";

int Complain(const std::string& message) {
  (void)std::fprintf(stderr, "snap-fuse: %s\n", message.c_str());
  return 1;
}

void PrintVersion() {
  // Engines read the second line.
  (void)std::printf("snap-fuse %s\nfuse-overlayfs: version 1.16 (command line)\nFUSE library version %s\n", cli::kVersion,
                    LibfuseVersion().c_str());
}

void PrintFeatures(const SessionOptions& options) {
  for (const SessionFeature& feature : SessionFeatures(options)) {
    (void)std::printf("%s: %s (%s)\n", feature.name.c_str(), feature.active ? "yes" : "no", feature.detail.c_str());
  }
}

/// Waits for signals in a thread of its own: SIGTERM and its like end the session, SIGUSR1 writes the counts.
void WatchSignals(Session& session, const sigset_t& signals) {
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) return;
    if (signal == SIGUSR2) return;  // the session has ended
    if (signal == SIGUSR1) {
      const Result<void> written = session.WriteStats();
      if (!written.ok()) (void)Complain(written.error().message());
    } else {
      session.Stop();
    }
  }
}

Result<void> Detach(FdRef null) {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    SNAP_TRY_SYS_VOID(sys::DupTo(null, fd), "detach from the caller");
  }
  return {};
}

/// In the process that serves; `ready` is told when the union is there.
int Serve(const CommandLine& line, const std::function<Result<void>()>& ready) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Result<std::unique_ptr<Session>> session =
      Session::Mount(line.target, line.session_options, [&](BackingFiles* backing) -> Result<std::unique_ptr<UnionFs>> {
        const std::shared_ptr<DirFds> fds = UnionFs::MakeDirFds(line.union_options);
        SNAP_TRY(OpenedLayers layers, OpenLayers({line.lowers_top_first, line.lower_devices, line.upper, line.work,
                                                           line.objects}, *fds));
        return UnionFs::Open(std::move(layers.lowers_top_first), std::move(layers.upper), line.union_options, fds, backing);
      });
  if (!session.ok()) return Complain(session.error().message());
  if (chdir("/") != 0) return Complain("leave the working directory");
  if (line.IsMountedByCaller()) {
    // The caller's mount namespace may be one that is to end when nobody is in it any more.
    const SysResult<void> left = sys::EnterEmptyMountNamespace();
    if (!left.ok() && !(left.error() == EPERM)) return Complain("leave the mount namespace: " + left.error().Message());
  }
  const Result<void> told = ready();
  if (!told.ok()) return Complain(told.error().message());

  std::thread watcher([&] { WatchSignals(**session, signals); });
  const Result<void> served = (*session)->Serve();
  pthread_kill(watcher.native_handle(), SIGUSR2);
  watcher.join();
  const Result<void> written = (*session)->WriteStats();
  if (!served.ok()) return Complain(served.error().message());
  if (!written.ok()) return Complain(written.error().message());
  return 0;
}

/// The caller waits here until its child serves, or has said why not.
int ServeInBackground(const CommandLine& line) {
  SysResult<sys::Pipe> pipe = sys::MakePipe();
  if (!pipe.ok()) return Complain("make a pipe: " + pipe.error().Message());
  const pid_t child = fork();
  if (child < 0) return Complain("fork: " + LastErrno().Message());
  if (child > 0) {
    pipe->write_end.Reset();
    std::byte word{};
    const SysResult<size_t> got = sys::Read(pipe->read_end, std::span(&word, 1));
    return got.ok() && *got == 1 ? 0 : 1;
  }
  pipe->read_end.Reset();
  const SysResult<UniqueFd> null = sys::OpenAt(FdRef::Cwd(), "/dev/null", O_RDWR);
  if (!null.ok()) return Complain("open /dev/null: " + null.error().Message());
  if (const SysResult<void> led = sys::NewSession(); !led.ok()) return Complain("setsid: " + led.error().Message());
  return Serve(line, [&]() -> Result<void> {
    SNAP_TRY_VOID(Detach(*null));
    SNAP_TRY_SYS_VOID(sys::WriteAll(pipe->write_end, "1"), "tell the caller");
    pipe->write_end.Reset();
    return {};
  });
}

int Main(const std::vector<std::string>& arguments) {
  Result<CommandLine> line = ParseCommandLine(arguments, [](const char* name) -> const char* { return std::getenv(name); },
                                              sys::EffectiveUid() == 0);
  if (!line.ok()) return Complain(line.error().message() + " (see snap-fuse --help)");
  if (line->help) return std::fputs(kHelp, stdout) < 0 ? 1 : 0;
  if (line->version) return PrintVersion(), 0;
  if (line->features) return PrintFeatures(line->session_options), 0;
  for (const std::string& warning : line->warnings) (void)Complain(warning);
  if (const Result<void> armed = fault::ArmFromEnvironment(); !armed.ok()) return Complain(armed.error().message());
  sys::ClearUmask();
  sys::RaiseOpenFileLimit();
  return line->foreground ? Serve(*line, [] { return Result<void>(); }) : ServeInBackground(*line);
}

}  // namespace
}  // namespace snap::fuse

int main(int argc, char** argv) { return snap::fuse::Main({argv + 1, argv + argc}); }
