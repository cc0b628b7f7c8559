// A thread can change its mount namespace alone, a process cannot change its user namespace once it has
// threads: hence threads for mounts and children for users.
#include "fs/base/sys_namespace.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <thread>

#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_process.h"

namespace snap::sys {
namespace {

SysResult<void> Check(long result) {
  if (result < 0) return LastErrno();
  return {};
}

SysResult<void> EnterScratch(FdRef scratch) {
  // The copied mounts are still peers of the caller's; without this ours would propagate to them.
  SNAP_TRY_VOID(Mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
  SNAP_TRY_VOID(MoveMountAt(scratch, FdRef::Cwd(), "/"));
  return Check(::fchdir(scratch.get()));
}

SysResult<void> RunInside(FdRef scratch, const std::function<void()>& body) {
  SNAP_TRY(const UniqueFd home, OpenAt(FdRef::Cwd(), "/proc/thread-self/ns/mnt", O_RDONLY));
  SNAP_TRY_VOID(Check(::unshare(CLONE_NEWNS)));
  SysResult<void> entered = EnterScratch(scratch);
  if (entered.ok()) body();
  // Going home drops the namespace now. The end of the thread would do it too, but after join() has returned:
  // the caller would find its layers busy for a moment.
  (void)::setns(home.get(), CLONE_NEWNS);  // in a process without CAP_SYS_CHROOT the thread's end has to do
  return entered;
}

struct Child {
  pid_t pid;
  UniqueFd pidfd;
};

/// A copy of the process, as fork makes it, in new namespaces; pid 0 in the child.
SysResult<Child> Clone(uint64_t namespaces) {
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = namespaces | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return LastErrno();
  return Child{static_cast<pid_t>(pid), UniqueFd(pidfd)};
}

SysResult<void> WriteProcFile(pid_t pid, const char* name, std::string_view text) {
  const std::string path = fmt::format("/proc/{}/{}", pid, name);
  SNAP_TRY(const UniqueFd file, OpenAt(FdRef::Cwd(), path.c_str(), O_WRONLY));
  return WriteAll(file, text);
}

SysResult<UniqueFd> MapAndOpen(pid_t pid, const std::string& uid_map, const std::string& gid_map) {
  SNAP_TRY_VOID(WriteProcFile(pid, "uid_map", uid_map));
  // Without CAP_SETGID in the parent namespace the kernel only takes a gid map after this.
  (void)WriteProcFile(pid, "setgroups", "deny");  // with the capability it is not needed
  SNAP_TRY_VOID(WriteProcFile(pid, "gid_map", gid_map));
  return OpenAt(FdRef::Cwd(), fmt::format("/proc/{}/ns/user", pid).c_str(), O_RDONLY);
}

}  // namespace

SysResult<void> RunInPrivateMountNamespace(FdRef scratch, const std::function<void()>& body) {
  SysResult<void> outcome;
  try {
    std::thread([&] { outcome = RunInside(scratch, body); }).join();
  } catch (const std::system_error& error) {
    return Errno(error.code().value() != 0 ? error.code().value() : EAGAIN);
  }
  return outcome;
}

SysResult<UniqueFd> NewUserNamespace(const std::string& uid_map, const std::string& gid_map) {
  SNAP_TRY(Pipe pipe, MakePipe());
  SNAP_TRY(const Child child, Clone(CLONE_NEWUSER));
  if (child.pid == 0) {
    // Lives until the parent closes its end: that is also how it ends when the parent dies.
    (void)::close(pipe.write_end.get());
    char byte;
    (void)!::read(pipe.read_end.get(), &byte, 1);
    ::_exit(0);
  }
  SysResult<UniqueFd> user_namespace = MapAndOpen(child.pid, uid_map, gid_map);
  pipe.write_end.Reset();
  // Another thread's child may hold a copy of the pipe for a moment; do not wait for that.
  (void)PidfdSendSignal(child.pidfd, SIGKILL);
  SNAP_TRY_VOID(WaitPidfd(child.pidfd));
  return user_namespace;
}

SysResult<int> RunInUserNamespace(int (*body)()) {
  SNAP_TRY(const Child child, Clone(CLONE_NEWUSER | CLONE_NEWNS));
  if (child.pid == 0) ::_exit(body());
  SNAP_TRY(const ExitStatus status, WaitPidfd(child.pidfd));
  if (status.signal != 0) return Errno(EINTR);
  return status.code;
}

SysResult<void> EnterEmptyMountNamespace() {
  if (::unshare(CLONE_NEWNS) < 0) return LastErrno();
  SNAP_TRY_VOID(Mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
  SNAP_TRY(const UniqueFd context, FsOpen("tmpfs"));
  SNAP_TRY_VOID(FsConfigString(context, "size", "4k"));
  SNAP_TRY_VOID(FsConfigString(context, "mode", "555"));
  SNAP_TRY_VOID(FsConfigCreate(context));
  SNAP_TRY(const UniqueFd root, FsMount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  SNAP_TRY_VOID(MkdirAt(root, "proc", 0555));
  SNAP_TRY(const UniqueFd proc, OpenTree(FdRef::Cwd(), "/proc", OPEN_TREE_CLONE | AT_RECURSIVE));
  SNAP_TRY_VOID(MoveMountAt(root, FdRef::Cwd(), "/"));
  SNAP_TRY_VOID(MoveMountAt(proc, root, "proc"));
  if (::fchdir(root.get()) < 0) return LastErrno();
  SNAP_TRY_VOID(PivotRoot(".", "."));
  SNAP_TRY_VOID(Unmount(".", kUnmountDetach));
  if (::chdir("/") < 0) return LastErrno();
  return {};
}

SysResult<uint64_t> NamespaceType(FdRef ns) {
  const int type = ::ioctl(ns.get(), NS_GET_NSTYPE);
  if (type < 0) return LastErrno();
  return static_cast<uint64_t>(static_cast<unsigned>(type));
}

}  // namespace snap::sys
