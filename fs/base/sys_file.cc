// Thin: each function is one call plus its retry rule. RemoveTree is the one algorithm here, because everything that
// owns directories needs it and it must be safe against symlinks.
#include "fs/base/sys_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

namespace snap::sys {
namespace {

constexpr size_t kMaxRead = 1U << 30U;

template <typename Call>
auto RetryEintr(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

SysResult<void> Check(long result) {
  if (result < 0) return LastErrno();
  return {};
}

SysResult<UniqueFd> CheckFd(long result) {
  if (result < 0) return LastErrno();
  return UniqueFd(static_cast<int>(result));
}

SysResult<size_t> CheckSize(ssize_t result) {
  if (result < 0) return LastErrno();
  return static_cast<size_t>(result);
}

}  // namespace

SysResult<UniqueFd> OpenAt(FdRef dir, const char* path, int flags, mode_t mode) {
  return CheckFd(RetryEintr([&] { return ::openat(dir.get(), path, flags | O_CLOEXEC, mode); }));
}

SysResult<UniqueFd> OpenAt2(FdRef dir, const char* path, uint64_t flags, uint64_t resolve, mode_t mode) {
  // The kernel gives up with EAGAIN when a rename or mount raced with a '..' step; an attacker can provoke that for
  // ever, so the number of tries is bounded.
  constexpr int kTries = 128;
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = resolve;
  for (int i = 0;; ++i) {
    const long fd = ::syscall(SYS_openat2, dir.get(), path, &how, sizeof how);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    if (errno == EINTR || (errno == EAGAIN && i < kTries)) continue;
    return LastErrno();
  }
}

SysResult<UniqueFd> OpenInRoot(FdRef root, const char* path, uint64_t flags, mode_t mode) {
  return OpenAt2(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, mode);
}

SysResult<UniqueFd> OpenBeneath(FdRef dir, const char* path, uint64_t flags, mode_t mode) {
  return OpenAt2(dir, path, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS, mode);
}

SysResult<UniqueFd> Dup(FdRef fd) { return CheckFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)); }

SysResult<UniqueFd> Reopen(FdRef fd, int flags) {
  return OpenAt(FdRef::Cwd(), ProcFdPath(fd).c_str(), flags);
}

SysResult<UniqueFd> MemfdCreate(const char* name, unsigned flags) {
  return CheckFd(::memfd_create(name, flags | MFD_CLOEXEC));
}

SysResult<Pipe> MakePipe(int flags) {
  int fds[2];
  if (::pipe2(fds, flags | O_CLOEXEC) < 0) return LastErrno();
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

SysResult<size_t> Read(FdRef fd, std::span<std::byte> buffer) {
  return CheckSize(
      RetryEintr([&] { return ::read(fd.get(), buffer.data(), std::min(buffer.size(), kMaxRead)); }));
}

SysResult<size_t> PRead(FdRef fd, std::span<std::byte> buffer, uint64_t offset) {
  return CheckSize(RetryEintr([&] {
    return ::pread(fd.get(), buffer.data(), std::min(buffer.size(), kMaxRead), static_cast<off_t>(offset));
  }));
}

SysResult<size_t> Write(FdRef fd, std::span<const std::byte> data) {
  return CheckSize(RetryEintr([&] { return ::write(fd.get(), data.data(), std::min(data.size(), kMaxRead)); }));
}

SysResult<void> WriteAll(FdRef fd, std::span<const std::byte> data) {
  while (!data.empty()) {
    SNAP_TRY(const size_t written, Write(fd, data));
    data = data.subspan(written);
  }
  return {};
}

SysResult<void> WriteAll(FdRef fd, std::string_view data) { return WriteAll(fd, std::as_bytes(std::span(data))); }

SysResult<size_t> PWrite(FdRef fd, std::span<const std::byte> data, uint64_t offset) {
  return CheckSize(RetryEintr([&] {
    return ::pwrite(fd.get(), data.data(), std::min(data.size(), kMaxRead), static_cast<off_t>(offset));
  }));
}

SysResult<void> PWriteAll(FdRef fd, std::span<const std::byte> data, uint64_t offset) {
  while (!data.empty()) {
    SNAP_TRY(const size_t written, PWrite(fd, data, offset));
    data = data.subspan(written);
    offset += written;
  }
  return {};
}

SysResult<std::string> ReadAll(FdRef fd, size_t max_bytes) {
  std::string out;
  constexpr size_t kStep = 16384;
  for (;;) {
    const size_t before = out.size();
    out.resize(before + kStep);
    SNAP_TRY(const size_t got, Read(fd, std::as_writable_bytes(std::span(out).subspan(before))));
    out.resize(before + got);
    if (got == 0) return out;
    if (out.size() > max_bytes) return Errno(EFBIG);
  }
}

SysResult<std::string> ReadFileAt(FdRef dir, const char* path, size_t max_bytes) {
  SNAP_TRY(const UniqueFd fd, OpenAt(dir, path, O_RDONLY));
  return ReadAll(fd, max_bytes);
}

SysResult<uint64_t> Seek(FdRef fd, int64_t offset, int whence) {
  const off_t result = ::lseek(fd.get(), offset, whence);
  if (result < 0) return LastErrno();
  return static_cast<uint64_t>(result);
}

SysResult<void> Truncate(FdRef fd, uint64_t size) {
  return Check(RetryEintr([&] { return ::ftruncate(fd.get(), static_cast<off_t>(size)); }));
}

SysResult<void> Fallocate(FdRef fd, int mode, uint64_t offset, uint64_t size) {
  return Check(RetryEintr(
      [&] { return ::fallocate(fd.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(size)); }));
}

SysResult<size_t> CopyFileRange(FdRef in, uint64_t in_offset, FdRef out, uint64_t out_offset, size_t size) {
  auto in_position = static_cast<off64_t>(in_offset);
  auto out_position = static_cast<off64_t>(out_offset);
  return CheckSize(RetryEintr(
      [&] { return ::copy_file_range(in.get(), &in_position, out.get(), &out_position, size, 0); }));
}

SysResult<void> Fsync(FdRef fd) { return Check(::fsync(fd.get())); }
SysResult<void> Fdatasync(FdRef fd) { return Check(::fdatasync(fd.get())); }
SysResult<void> SyncFs(FdRef fd) { return Check(::syncfs(fd.get())); }

SysResult<void> StartWriteback(FdRef fd, uint64_t offset, uint64_t size) {
  return Check(::sync_file_range(fd.get(), static_cast<off64_t>(offset), static_cast<off64_t>(size),
                                 SYNC_FILE_RANGE_WRITE));
}

SysResult<void> MkdirAt(FdRef dir, const char* path, mode_t mode) { return Check(::mkdirat(dir.get(), path, mode)); }

SysResult<void> MknodAt(FdRef dir, const char* path, mode_t mode, dev_t device) {
  return Check(::mknodat(dir.get(), path, mode, device));
}

SysResult<void> SymlinkAt(const char* target, FdRef dir, const char* path) {
  return Check(::symlinkat(target, dir.get(), path));
}

SysResult<void> LinkAt(FdRef old_dir, const char* old_path, FdRef new_dir, const char* new_path) {
  return Check(::linkat(old_dir.get(), old_path, new_dir.get(), new_path, 0));
}

SysResult<void> LinkFd(FdRef file, FdRef new_dir, const char* new_path) {
  return Check(::linkat(AT_FDCWD, ProcFdPath(file).c_str(), new_dir.get(), new_path, AT_SYMLINK_FOLLOW));
}

SysResult<void> UnlinkAt(FdRef dir, const char* path, int flags) { return Check(::unlinkat(dir.get(), path, flags)); }

SysResult<void> RenameAt(FdRef old_dir, const char* old_path, FdRef new_dir, const char* new_path, unsigned flags) {
  return Check(::renameat2(old_dir.get(), old_path, new_dir.get(), new_path, flags));
}

SysResult<std::string> ReadLinkAt(FdRef dir, const char* path) {
  std::string out(4096, '\0');
  const ssize_t size = ::readlinkat(dir.get(), path, out.data(), out.size());
  if (size < 0) return LastErrno();
  out.resize(static_cast<size_t>(size));
  return out;
}

SysResult<std::vector<DirEntry>> ListDir(FdRef dir) {
  SNAP_TRY(UniqueFd fd, OpenAt(dir, ".", O_RDONLY | O_DIRECTORY));
  std::vector<DirEntry> entries;
  alignas(dirent64) char buffer[32768];
  for (;;) {
    const ssize_t size = ::getdents64(fd.get(), buffer, sizeof buffer);
    if (size < 0) return LastErrno();
    if (size == 0) return entries;
    for (ssize_t at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") {
        entries.push_back({std::string(name), entry->d_type, entry->d_ino});
      }
      at += entry->d_reclen;
    }
  }
}

SysResult<void> RemoveTree(FdRef dir, const char* name) {
  {
    const SysResult<void> unlinked = UnlinkAt(dir, name);
    if (unlinked.ok() || unlinked.error() == ENOENT) return {};
    // Linux says EISDIR for a directory; EPERM is POSIX' word and some file systems'.
    if (!(unlinked.error() == EISDIR) && !(unlinked.error() == EPERM)) return unlinked.error();
  }
  struct Level {
    UniqueFd fd;
    std::string name;
    std::vector<DirEntry> entries;
  };
  auto enter = [](FdRef parent, const char* child) -> SysResult<Level> {
    SNAP_TRY(UniqueFd fd, OpenAt(parent, child, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    SNAP_TRY(std::vector<DirEntry> entries, ListDir(fd));
    return Level{std::move(fd), child, std::move(entries)};
  };
  SNAP_TRY(Level top, enter(dir, name));
  SNAP_TRY(const struct stat top_stat, FStat(top.fd));
  // Descriptors of ancestors are kept open, so depth is limited by RLIMIT_NOFILE; deeper trees than that are flattened
  // by moving a subdirectory up to the top level first.
  constexpr size_t kMaxOpenLevels = 256;
  std::vector<Level> stack;
  stack.push_back(std::move(top));
  uint64_t flattened = 0;
  while (!stack.empty()) {
    Level& level = stack.back();
    if (level.entries.empty()) {
      const std::string done = level.name;
      stack.pop_back();
      const FdRef parent = stack.empty() ? dir : stack.back().fd.ref();
      SNAP_TRY_VOID(UnlinkAt(parent, done.c_str(), AT_REMOVEDIR));
      continue;
    }
    const DirEntry entry = std::move(level.entries.back());
    level.entries.pop_back();
    if (entry.type != DT_DIR) {
      const SysResult<void> unlinked = UnlinkAt(level.fd, entry.name.c_str());
      if (unlinked.ok() || unlinked.error() == ENOENT) continue;
      if (!(unlinked.error() == EISDIR)) return unlinked.error();
    }
    if (stack.size() >= kMaxOpenLevels) {
      const std::string moved = ".snap-flattened-" + std::to_string(flattened++);
      SNAP_TRY_VOID(RenameAt(level.fd, entry.name.c_str(), stack.front().fd, moved.c_str()));
      stack.front().entries.push_back({moved, DT_DIR, entry.inode});
      continue;
    }
    SNAP_TRY(Level child, enter(level.fd, entry.name.c_str()));
    SNAP_TRY(const struct stat child_stat, FStat(child.fd));
    if (child_stat.st_dev != top_stat.st_dev) return Errno(EXDEV);
    stack.push_back(std::move(child));
  }
  return {};
}

SysResult<struct stat> FStat(FdRef fd) {
  struct stat out;
  if (::fstat(fd.get(), &out) < 0) return LastErrno();
  return out;
}

SysResult<struct stat> StatAt(FdRef dir, const char* path, int flags) {
  struct stat out;
  if (::fstatat(dir.get(), path, &out, flags | AT_SYMLINK_NOFOLLOW) < 0) return LastErrno();
  return out;
}

SysResult<struct statx> StatX(FdRef dir, const char* path, int flags, unsigned mask) {
  struct statx out;
  if (::statx(dir.get(), path, flags, mask, &out) < 0) return LastErrno();
  return out;
}

SysResult<struct statfs> FStatFs(FdRef fd) {
  struct statfs out;
  if (::fstatfs(fd.get(), &out) < 0) return LastErrno();
  return out;
}

SysResult<struct statvfs> FStatVfs(FdRef fd) {
  struct statvfs out;
  if (::fstatvfs(fd.get(), &out) < 0) return LastErrno();
  return out;
}

SysResult<void> FChmod(FdRef fd, mode_t mode) { return Check(::fchmod(fd.get(), mode)); }
SysResult<void> FChmodAt(FdRef dir, const char* path, mode_t mode) {
  return Check(::fchmodat(dir.get(), path, mode, 0));
}
SysResult<void> FChown(FdRef fd, uid_t uid, gid_t gid) { return Check(::fchown(fd.get(), uid, gid)); }
SysResult<bool> IsMountPoint(FdRef dir, const char* path) {
  const SysResult<struct statx> found = StatX(dir, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE);
  if (!found.ok()) return found.error();
  return (found->stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

SysResult<void> FChownAt(FdRef dir, const char* path, uid_t uid, gid_t gid, int flags) {
  return Check(::fchownat(dir.get(), path, uid, gid, flags | AT_SYMLINK_NOFOLLOW));
}

SysResult<void> FSetTimes(FdRef fd, const Times& times) {
  const timespec both[2] = {times.access, times.modify};
  return Check(::futimens(fd.get(), both));
}

SysResult<void> SetTimesAt(FdRef dir, const char* path, const Times& times, int flags) {
  const timespec both[2] = {times.access, times.modify};
  return Check(::utimensat(dir.get(), path, both, flags | AT_SYMLINK_NOFOLLOW));
}

SysResult<void> FSetXattr(FdRef fd, const char* name, std::span<const std::byte> value, int flags) {
  return Check(::fsetxattr(fd.get(), name, value.data(), value.size(), flags));
}

namespace {

// The value can grow between the two calls, hence the loop.
template <typename Get>
SysResult<std::string> GetSized(Get get) {
  for (;;) {
    const ssize_t size = get(nullptr, 0);
    if (size < 0) return LastErrno();
    if (size == 0) return std::string();
    std::string out(static_cast<size_t>(size), '\0');
    const ssize_t got = get(out.data(), out.size());
    if (got >= 0) {
      out.resize(static_cast<size_t>(got));
      return out;
    }
    if (errno != ERANGE) return LastErrno();
  }
}

SysResult<std::vector<std::string>> SplitNames(SysResult<std::string> names) {
  if (!names.ok()) return names.error();
  std::vector<std::string> out;
  for (std::string_view rest = *names; !rest.empty();) {
    const size_t end = rest.find('\0');
    out.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return out;
}

// The *xattrat calls are too new (6.13) to rely on; the l* calls take a path, so the directory comes from /proc.
std::string ProcPathAt(FdRef dir, const char* name) {
  return dir.get() == AT_FDCWD ? std::string(name) : ProcFdPath(dir) + "/" + name;
}

}  // namespace

SysResult<std::string> FGetXattr(FdRef fd, const char* name) {
  return GetSized([&](char* buffer, size_t size) { return ::fgetxattr(fd.get(), name, buffer, size); });
}

SysResult<std::vector<std::string>> FListXattr(FdRef fd) {
  return SplitNames(GetSized([&](char* buffer, size_t size) { return ::flistxattr(fd.get(), buffer, size); }));
}

SysResult<void> FRemoveXattr(FdRef fd, const char* name) { return Check(::fremovexattr(fd.get(), name)); }

SysResult<void> SetXattrAt(FdRef dir, const char* name, const char* xattr, std::span<const std::byte> value,
                           int flags) {
  return Check(::lsetxattr(ProcPathAt(dir, name).c_str(), xattr, value.data(), value.size(), flags));
}

SysResult<std::string> GetXattrAt(FdRef dir, const char* name, const char* xattr) {
  const std::string path = ProcPathAt(dir, name);
  return GetSized([&](char* buffer, size_t size) { return ::lgetxattr(path.c_str(), xattr, buffer, size); });
}

SysResult<std::vector<std::string>> ListXattrAt(FdRef dir, const char* name) {
  const std::string path = ProcPathAt(dir, name);
  return SplitNames(GetSized([&](char* buffer, size_t size) { return ::llistxattr(path.c_str(), buffer, size); }));
}

SysResult<void> RemoveXattrAt(FdRef dir, const char* name, const char* xattr) {
  return Check(::lremovexattr(ProcPathAt(dir, name).c_str(), xattr));
}

// The link in /proc is followed, to the file that the descriptor holds.
SysResult<void> PathFdSetXattr(FdRef path_fd, const char* xattr, std::span<const std::byte> value, int flags) {
  return Check(::setxattr(ProcFdPath(path_fd).c_str(), xattr, value.data(), value.size(), flags));
}

SysResult<std::string> PathFdGetXattr(FdRef path_fd, const char* xattr) {
  const std::string path = ProcFdPath(path_fd);
  return GetSized([&](char* buffer, size_t size) { return ::getxattr(path.c_str(), xattr, buffer, size); });
}

SysResult<std::vector<std::string>> PathFdListXattr(FdRef path_fd) {
  const std::string path = ProcFdPath(path_fd);
  return SplitNames(GetSized([&](char* buffer, size_t size) { return ::listxattr(path.c_str(), buffer, size); }));
}

SysResult<void> PathFdRemoveXattr(FdRef path_fd, const char* xattr) {
  return Check(::removexattr(ProcFdPath(path_fd).c_str(), xattr));
}

SysResult<void> Flock(FdRef fd, int operation) {
  return Check(RetryEintr([&] { return ::flock(fd.get(), operation); }));
}

SysResult<void> CloneFile(FdRef target, FdRef source) {
  return Check(::ioctl(target.get(), FICLONE, source.get()));
}

SysResult<void> SpreadSubdirectories(FdRef dir) {
  int flags = 0;
  SNAP_TRY_VOID(Check(::ioctl(dir.get(), FS_IOC_GETFLAGS, &flags)));
  if ((flags & FS_TOPDIR_FL) != 0) return {};
  flags |= FS_TOPDIR_FL;
  return Check(::ioctl(dir.get(), FS_IOC_SETFLAGS, &flags));
}

SysResult<FileHandle> NameToHandle(FdRef dir, const char* name) {
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> buffer{};
  auto* const handle = reinterpret_cast<file_handle*>(buffer.data());
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(dir.get(), name, handle, &mount_id, AT_EMPTY_PATH) < 0) return LastErrno();
  return FileHandle{handle->handle_type, std::string(buffer.data() + sizeof(file_handle), handle->handle_bytes)};
}

SysResult<std::array<char, 16>> FileSystemUuid(FdRef dir) {
  // Newer than Debian 12's headers: struct fsuuid2 of linux/fs.h (6.9).
  struct Uuid2 {
    uint8_t size;
    std::array<char, 16> uuid;
  };
  SNAP_TRY(const UniqueFd readable, OpenAt(dir, ".", O_RDONLY | O_DIRECTORY | O_NONBLOCK));
  Uuid2 answer{};
  if (::ioctl(readable.get(), _IOR(0x15, 0, Uuid2), &answer) < 0) {
    return errno == ENOTTY || errno == EINVAL ? Errno(EOPNOTSUPP) : LastErrno();
  }
  if (answer.size != answer.uuid.size()) return Errno(EOPNOTSUPP);
  return answer.uuid;
}

bool IsTerminal(FdRef fd) { return ::isatty(fd.get()) == 1; }

std::string ProcFdPath(FdRef fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

std::string DescribeFd(FdRef fd) {
  SysResult<std::string> path = ReadLinkAt(FdRef::Cwd(), ProcFdPath(fd).c_str());
  return path.ok() ? *path : "fd " + std::to_string(fd.get());
}

void ClearUmask() { (void)::umask(0); }

}  // namespace snap::sys
