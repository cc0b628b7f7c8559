// Paths are relative to the working directory, which is moved to the base first: so calls that have no *at
// form need no long paths.
#include "tests/union/operation.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "tests/union/tree.h"
#include "tests/union/union_mount.h"

namespace snap::test {
namespace {

constexpr size_t kPage = 4096;

Outcome Plain(int64_t result) { return {result < 0 ? -errno : result, "", ""}; }

std::string Pattern(uint64_t seed, size_t length) {
  std::string out(length, '\0');
  uint64_t state = seed * 2 + 1;
  for (size_t i = 0; i < length; i += 8) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    std::memcpy(out.data() + i, &state, std::min<size_t>(8, length - i));
  }
  return out;
}

// Reads a mapping into `bytes`, or writes them to it. By a system call, which says where a load or store
// would be a bus error.
bool CopyMapped(void* address, std::string& bytes, bool write) {
  const iovec local = {bytes.data(), bytes.size()}, remote = {address, bytes.size()};
  const ssize_t got = write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0)
                            : process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
  return got == static_cast<ssize_t>(bytes.size());
}

// Only this thread changes, which glibc's wrappers would not do.
void BecomeUser(uid_t uid, gid_t gid) {
  if (syscall(SYS_setresgid, -1, gid, -1) != 0 || syscall(SYS_setresuid, -1, uid, -1) != 0)
    Die("cannot become another user");
}
void BecomeRoot() {
  if (syscall(SYS_setresuid, -1, 0, -1) != 0 || syscall(SYS_setresgid, -1, 0, -1) != 0)
    Die("cannot become root again");
}

std::string TimeText(const timespec& time, time_t started) {
  return time.tv_sec >= started ? "now" : fmt::format("{}.{:09}", time.tv_sec, time.tv_nsec);
}

// All names, sorted; what cannot be is in `broken`.
Outcome ListDirectory(int fd) {
  if (fd < 0) return Plain(-1);
  DIR* dir = fdopendir(fd);
  if (dir == nullptr) {
    const int error = errno;
    close(fd);
    return {-error, "", ""};
  }
  rewinddir(dir);
  std::vector<std::string> names;
  Outcome outcome;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(dir);
    if (entry == nullptr) {
      outcome.result = -errno;
      break;
    }
    names.push_back(fmt::format("{}:{}", Printable(entry->d_name), static_cast<int>(entry->d_type)));
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  if (std::adjacent_find(names.begin(), names.end()) != names.end())
    outcome.broken = "a name is listed twice";
  for (const std::string& name : names) outcome.detail += name + " ";
  return outcome;
}

Outcome ListNames(ssize_t length, const std::vector<char>& buffer) {
  if (length < 0) return Plain(-1);
  std::vector<std::string> names;
  for (const char* name = buffer.data(); name < buffer.data() + length; name += strlen(name) + 1)
    names.emplace_back(name);
  std::sort(names.begin(), names.end());
  Outcome outcome;
  for (const std::string& name : names) outcome.detail += name + " ";
  return outcome;
}

}  // namespace

const char* KindName(Kind kind) {
  static constexpr const char* kNames[] = {
#define SNAP_KIND_NAME(name) #name,
      SNAP_OPERATIONS(SNAP_KIND_NAME)
#undef SNAP_KIND_NAME
  };
  return kNames[static_cast<size_t>(kind)];
}

std::string Describe(const Operation& o) {
  std::string out = KindName(o.kind);
  const bool by_slot = (o.kind >= Kind::kOpen && o.kind <= Kind::kListFd);
  if (by_slot) out += fmt::format(" fd{}", o.slot);
  if (o.kind == Kind::kCopyRange) out += fmt::format(" from fd{}", o.other_slot);
  if (o.kind == Kind::kMapKeep || o.kind == Kind::kMapLook) out += fmt::format(" map{}", o.mapping);
  if (!o.path.empty()) out += fmt::format(" '{}'", Printable(o.path));
  if (!o.other.empty()) out += fmt::format(" to '{}'", Printable(o.other));
  if (o.base >= 0) out += fmt::format(" (in fd{})", o.base);
  if (!o.name.empty()) out += fmt::format(" {}", o.name);
  if (!o.value.empty()) out += fmt::format(" value='{}'", Printable(o.value));
  if (o.flags != 0) out += fmt::format(" flags=0{:o}", o.flags);
  if (o.mode != 0) out += fmt::format(" mode={:o}", o.mode);
  if (o.umask != 0) out += fmt::format(" umask={:o}", o.umask);
  if (o.offset != 0 || o.length != 0) out += fmt::format(" offset={} length={}", o.offset, o.length);
  if (o.kind == Kind::kChown || o.kind == Kind::kChownFd) {
    out += fmt::format(" owner={}:{}", static_cast<int>(o.uid), static_cast<int>(o.gid));
  }
  if (o.kind == Kind::kTimes || o.kind == Kind::kTimesFd) {
    for (const timespec& time : o.times) {
      out += time.tv_nsec == UTIME_NOW    ? " now"
             : time.tv_nsec == UTIME_OMIT ? " omit"
                                          : fmt::format(" {}.{:09}", time.tv_sec, time.tv_nsec);
    }
  }
  if (o.as != 0) out += fmt::format(" as {}:{}", o.as, o.as_group);
  return out;
}

Side::Side(const std::string& mountpoint, time_t started)
    : root_(open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)), started_(started) {
  if (!root_) Die("open " + mountpoint + ": " + strerror(errno));
}

Side::~Side() {
  for (Mapping& mapping : mappings_) Unmap(mapping);
}

Outcome Side::Run(const Operation& operation) {
  const int base = operation.base >= 0 && IsOpen(operation.base) ? fd(operation.base) : root_.get();
  Outcome outcome;
  if (fchdir(base) != 0) {
    outcome = {-errno, "chdir", ""};  // the slot is a file, or a directory that may not be searched
  } else {
    umask(operation.umask);
    if (operation.as != 0) BecomeUser(operation.as, operation.as_group);
    outcome = Dispatch(operation);
    if (operation.as != 0) BecomeRoot();
  }
  if (chdir("/") != 0) Die("chdir /");
  if (outcome.result == -ENOTCONN || outcome.result == -ECONNABORTED) outcome.broken = "the server has gone";
  return outcome;
}

Outcome Side::StatOutcome(int result, const struct stat& info) const {
  if (result != 0) return Plain(-1);
  const bool directory = S_ISDIR(info.st_mode);
  return {0,
          fmt::format("{:o} {}:{} nlink={} size={} mtime={} device={}", info.st_mode, info.st_uid,
                      info.st_gid, directory ? 0 : info.st_nlink, directory ? 0 : info.st_size,
                      TimeText(info.st_mtim, started_), info.st_rdev),
          ""};
}

Outcome Side::OpenSlot(const Operation& o) {
  slots_[static_cast<size_t>(o.slot)].Reset();
  const int got = open(o.path.c_str(), o.flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, o.mode);
  if (got < 0) return Plain(-1);
  slots_[static_cast<size_t>(o.slot)] = UniqueFd(got);
  return {};
}

Outcome Side::Copy(const Operation& o) {
  off_t in = o.offset, out = static_cast<off_t>(o.pattern % 65536);
  return Plain(copy_file_range(fd(o.other_slot), &in, fd(o.slot), &out, o.length, 0));
}

// Maps what is there of the range, reads it, and writes the pattern into it. A private mapping must not
// change the file.
Outcome Side::Map(const Operation& o, bool shared) {
  struct stat info {};
  if (fstat(fd(o.slot), &info) != 0) return Plain(-1);
  const auto size = static_cast<uint64_t>(info.st_size);
  const auto offset = static_cast<uint64_t>(o.offset);
  if (!S_ISREG(info.st_mode) || offset >= size) return {-ENXIO, "nothing to map", ""};
  const size_t start = offset / kPage * kPage;
  const size_t length = std::min(o.length + 1, size - offset);
  const size_t mapped = offset - start + length;
  auto* address =
      static_cast<char*>(mmap(nullptr, mapped, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE,
                              fd(o.slot), static_cast<off_t>(start)));
  if (address == MAP_FAILED) return Plain(-1);
  Outcome outcome;
  std::string before(length, '\0');
  std::string pattern = Pattern(o.pattern, length);
  if (!CopyMapped(address + (offset - start), before, false) ||
      !CopyMapped(address + (offset - start), pattern, true)) {
    munmap(address, mapped);
    outcome.broken = fmt::format("mapped {}+{} of {} bytes: bus error", offset, length, size);
    return outcome;
  }
  outcome.detail = fmt::format("{:016x}", HashBytes(before));
  if (shared && (o.flags & 1) != 0) outcome.result = Plain(msync(address, mapped, MS_SYNC)).result;
  munmap(address, mapped);
  std::string after(length, '\0');
  const ssize_t got = pread(fd(o.slot), after.data(), length, static_cast<off_t>(offset));
  if (got != static_cast<ssize_t>(length)) {
    outcome.broken = fmt::format("read after mapping gives {}", got < 0 ? -errno : got);
  } else if (shared && after != pattern) {
    outcome.broken = "what was written through a shared mapping is not read";
  } else if (!shared && fmt::format("{:016x}", HashBytes(after)) != outcome.detail) {
    outcome.broken = "a private mapping changed the file";
  }
  return outcome;
}

void Side::Unmap(Mapping& mapping) {
  if (mapping.address != nullptr) munmap(mapping.address, mapping.length);
  mapping = {};
}

Outcome Side::KeepMapping(const Operation& o) {
  Mapping& mapping = mappings_[static_cast<size_t>(o.mapping)];
  Unmap(mapping);
  const int flags = fcntl(fd(o.slot), F_GETFL);
  constexpr size_t kLength = 128 * 1024;
  void* address = mmap(nullptr, kLength, PROT_READ, MAP_SHARED, fd(o.slot), 0);
  if (address == MAP_FAILED) return Plain(-1);
  mapping.address = address;
  mapping.length = kLength;
  mapping.fd = UniqueFd(fcntl(fd(o.slot), F_DUPFD_CLOEXEC, 0));
  mapping.coherent = flags >= 0 && (flags & O_ACCMODE) == O_RDWR;
  return {};
}

Outcome Side::LookAtMapping(const Operation& o) {
  const Mapping& mapping = mappings_[static_cast<size_t>(o.mapping)];
  struct stat info {};
  if (mapping.address == nullptr || fstat(mapping.fd.get(), &info) != 0) return {-EBADF, "", ""};
  // Through a copy-up the kernel's overlayfs keeps a mapping of a lower file at the old pages: touched, not
  // compared.
  std::string bytes(std::min(static_cast<size_t>(info.st_size), mapping.length), '\0');
  if (!mapping.coherent) return {static_cast<int64_t>(bytes.size()), "", ""};
  if (!CopyMapped(mapping.address, bytes, false)) {
    return {0, "", fmt::format("a mapping of which the file has {} bytes: bus error", bytes.size())};
  }
  return {static_cast<int64_t>(bytes.size()), fmt::format("{:016x}", HashBytes(bytes)), ""};
}

// Reads a directory in small pieces and makes and removes names in between: those that stay are seen once,
// whatever else.
Outcome Side::ListWhileChanging(const Operation& o) {
  const UniqueFd dir(open(o.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return Plain(-1);
  std::map<std::string, int> seen;
  const std::string made = "made-" + std::to_string(o.pattern % 3);
  const std::string removed = o.value;
  Outcome outcome;
  alignas(8) char buffer[320];
  for (int piece = 0;; ++piece) {
    const long got = syscall(SYS_getdents64, dir.get(), buffer, sizeof buffer);
    if (got < 0) {
      outcome.result = -errno;
      break;
    }
    if (got == 0) break;
    for (long at = 0; at < got;) {
      unsigned short length = 0;
      std::memcpy(&length, buffer + at + 16, sizeof length);
      ++seen[buffer + at + 19];
      at += length;
    }
    if (piece == 0) {
      const UniqueFd created(openat(dir.get(), made.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
      outcome.detail += fmt::format("create={} ", created ? 0 : errno);
      outcome.detail += fmt::format("unlink={} ", unlinkat(dir.get(), removed.c_str(), 0) == 0 ? 0 : errno);
    }
  }
  for (const auto& [name, times] : seen) {
    if (name == made || name == removed) continue;
    if (times != 1)
      outcome.broken = fmt::format("'{}' is listed {} times while others change", Printable(name), times);
    outcome.detail += Printable(name) + " ";
  }
  (void)unlinkat(dir.get(), made.c_str(), 0);
  return outcome;
}

Outcome Side::Dispatch(const Operation& o) {
  static std::vector<char> buffer(1U << 18U);
  const char* path = o.path.c_str();
  struct stat info {};
  switch (o.kind) {
    case Kind::kOpen:
      return OpenSlot(o);
    case Kind::kClose: {
      const bool open = IsOpen(o.slot);
      slots_[static_cast<size_t>(o.slot)].Reset();
      return {open ? 0 : -EBADF, "", ""};
    }
    case Kind::kRead: {
      const ssize_t got = pread(fd(o.slot), buffer.data(), std::min(o.length, buffer.size()), o.offset);
      if (got < 0) return Plain(-1);
      return {got, fmt::format("{:016x}", HashBytes({buffer.data(), static_cast<size_t>(got)})), ""};
    }
    case Kind::kWrite: {
      const std::string data = Pattern(o.pattern, o.length);
      return Plain(pwrite(fd(o.slot), data.data(), data.size(), o.offset));
    }
    case Kind::kAppend: {
      if (lseek(fd(o.slot), 0, SEEK_END) > 200'000) return {-EFBIG, "", ""};
      const std::string data = Pattern(o.pattern, o.length);
      return Plain(write(fd(o.slot), data.data(), data.size()));
    }
    case Kind::kTruncate:
      return Plain(ftruncate(fd(o.slot), o.offset));
    case Kind::kAllocate:
      return Plain(fallocate(fd(o.slot), o.flags, o.offset, static_cast<off_t>(o.length)));
    case Kind::kSeek:
      return Plain(lseek(fd(o.slot), o.offset, o.flags));
    case Kind::kSync:
      return Plain(o.flags == 0 ? fsync(fd(o.slot)) : fdatasync(fd(o.slot)));
    case Kind::kStatFd:
      return StatOutcome(fstat(fd(o.slot), &info), info);
    case Kind::kChmodFd:
      return Plain(fchmod(fd(o.slot), o.mode));
    case Kind::kChownFd:
      return Plain(fchown(fd(o.slot), o.uid, o.gid));
    case Kind::kTimesFd:
      return Plain(futimens(fd(o.slot), o.times.data()));
    case Kind::kSetXattrFd:
      return Plain(fsetxattr(fd(o.slot), o.name.c_str(), o.value.data(), o.value.size(), o.flags));
    case Kind::kListXattrFd:
      return ListNames(flistxattr(fd(o.slot), buffer.data(), buffer.size()), buffer);
    case Kind::kCopyRange:
      return Copy(o);
    case Kind::kMapShared:
      return Map(o, true);
    case Kind::kMapPrivate:
      return Map(o, false);
    case Kind::kMapKeep:
      return KeepMapping(o);
    case Kind::kMapLook:
      return LookAtMapping(o);
    case Kind::kLinkFd:
      return Plain(linkat(fd(o.slot), "", AT_FDCWD, path, AT_EMPTY_PATH));
    case Kind::kListFd:
      return ListDirectory(IsOpen(o.slot) ? fcntl(fd(o.slot), F_DUPFD_CLOEXEC, 0) : (errno = EBADF, -1));
    case Kind::kStat:
      return StatOutcome(fstatat(AT_FDCWD, path, &info, o.flags), info);
    case Kind::kAccess:
      return Plain(faccessat(AT_FDCWD, path, o.flags, AT_EACCESS));
    case Kind::kReadLink: {
      const ssize_t got = readlink(path, buffer.data(), buffer.size());
      if (got < 0) return Plain(-1);
      return {got, Printable({buffer.data(), static_cast<size_t>(got)}), ""};
    }
    case Kind::kReadFile: {
      const UniqueFd file(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
      if (!file) return Plain(-1);
      const ssize_t got = read(file.get(), buffer.data(), buffer.size());
      if (got < 0) return Plain(-1);
      return {got, fmt::format("{:016x}", HashBytes({buffer.data(), static_cast<size_t>(got)})), ""};
    }
    case Kind::kTruncatePath:
      return Plain(truncate(path, o.offset));
    case Kind::kChmod:
      return Plain(chmod(path, o.mode));
    case Kind::kChown:
      return Plain(o.flags == 0 ? chown(path, o.uid, o.gid) : lchown(path, o.uid, o.gid));
    case Kind::kTimes:
      return Plain(utimensat(AT_FDCWD, path, o.times.data(), o.flags));
    case Kind::kMakeDirectory:
      return Plain(mkdir(path, o.mode));
    case Kind::kRemoveDirectory:
      return Plain(rmdir(path));
    case Kind::kUnlink:
      return Plain(unlink(path));
    case Kind::kRename:
      return Plain(renameat2(AT_FDCWD, path, AT_FDCWD, o.other.c_str(), static_cast<unsigned>(o.flags)));
    case Kind::kLink:
      return Plain(linkat(AT_FDCWD, path, AT_FDCWD, o.other.c_str(), o.flags));
    case Kind::kSymlink:
      return Plain(symlink(o.value.c_str(), path));
    case Kind::kMakeNode:
      return Plain(mknod(path, o.mode, static_cast<dev_t>(o.offset)));
    case Kind::kSetXattr:
      return Plain(lsetxattr(path, o.name.c_str(), o.value.data(), o.value.size(), o.flags));
    case Kind::kGetXattr: {
      const ssize_t got =
          lgetxattr(path, o.name.c_str(), buffer.data(), std::min<size_t>(o.length, buffer.size()));
      if (got < 0) return Plain(-1);
      return {got, Printable({buffer.data(), o.length == 0 ? 0 : static_cast<size_t>(got)}), ""};
    }
    case Kind::kListXattr:
      return ListNames(llistxattr(path, buffer.data(), buffer.size()), buffer);
    case Kind::kRemoveXattr:
      return Plain(lremovexattr(path, o.name.c_str()));
    case Kind::kList:
      return ListDirectory(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    case Kind::kListWhileChanging:
      return ListWhileChanging(o);
    case Kind::kDropCaches:
      return {};  // done by whoever holds the mounts
  }
  return {};
}

}  // namespace snap::test
