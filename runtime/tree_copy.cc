// One level is one call: what is copied is an image's, so the depth is bounded.
#include "runtime/tree_copy.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>

#include "fs/base/sys_file.h"

namespace snap::runtime {
namespace {

constexpr int kMaxDepth = 64;

SysResult<void> CopyData(FdRef from, const char* name, FdRef to, mode_t mode) {
  SNAP_TRY(const UniqueFd source, sys::OpenAt(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  SNAP_TRY(const UniqueFd target, sys::OpenAt(to, name, O_WRONLY | O_CREAT | O_EXCL, mode));
  std::array<std::byte, 65536> buffer;
  for (;;) {
    SNAP_TRY(const size_t got, sys::Read(source, buffer));
    if (got == 0) return {};
    SNAP_TRY_VOID(sys::WriteAll(target, std::span<const std::byte>(buffer).first(got)));
  }
}

SysResult<void> CopyDirectory(FdRef from, FdRef to, dev_t device, int depth);

SysResult<void> CopyName(FdRef from, const char* name, FdRef to, dev_t device, int depth) {
  SNAP_TRY(const struct stat status, sys::StatAt(from, name));
  if (status.st_dev != device) return {};
  if (S_ISDIR(status.st_mode)) {
    SNAP_TRY_VOID(sys::MkdirAt(to, name, 0700));
    SNAP_TRY(const UniqueFd source, sys::OpenAt(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    SNAP_TRY(const UniqueFd target, sys::OpenAt(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    SNAP_TRY_VOID(CopyDirectory(source, target, device, depth + 1));
  } else if (S_ISREG(status.st_mode)) {
    SNAP_TRY_VOID(CopyData(from, name, to, 0600));
  } else if (S_ISLNK(status.st_mode)) {
    SNAP_TRY(const std::string text, sys::ReadLinkAt(from, name));
    SNAP_TRY_VOID(sys::SymlinkAt(text.c_str(), to, name));
  } else {
    SNAP_TRY_VOID(sys::MknodAt(to, name, status.st_mode, status.st_rdev));
  }
  SNAP_TRY_VOID(sys::FChownAt(to, name, status.st_uid, status.st_gid));
  if (!S_ISLNK(status.st_mode)) SNAP_TRY_VOID(sys::FChmodAt(to, name, status.st_mode & 07777U));
  return sys::SetTimesAt(to, name, {status.st_atim, status.st_mtim});
}

SysResult<void> CopyDirectory(FdRef from, FdRef to, dev_t device, int depth) {
  if (depth > kMaxDepth) return Errno(ELOOP);
  SNAP_TRY(const auto entries, sys::ListDir(from));
  for (const sys::DirEntry& entry : entries) SNAP_TRY_VOID(CopyName(from, entry.name.c_str(), to, device, depth));
  return {};
}

}  // namespace

SysResult<void> CopyTree(FdRef from, FdRef to) {
  SNAP_TRY(const UniqueFd source, sys::OpenAt(from, ".", O_RDONLY | O_DIRECTORY));
  SNAP_TRY(const UniqueFd target, sys::OpenAt(to, ".", O_RDONLY | O_DIRECTORY));
  SNAP_TRY(const struct stat status, sys::FStat(source));
  SNAP_TRY_VOID(CopyDirectory(source, target, status.st_dev, 0));
  SNAP_TRY_VOID(sys::FChown(target, status.st_uid, status.st_gid));
  return sys::FChmod(target, status.st_mode & 07777U);
}

}  // namespace snap::runtime
