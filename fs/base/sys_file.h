// System calls on files and directories, typed. Together with sys_mount and sys_process the only place with raw calls.
// Invariants: every new descriptor is close-on-exec; EINTR is retried where that is safe; nothing allocates except
// where the return type owns memory. Errors: the kernel's errno, unchanged. Threads: safe, like the calls themselves.
#pragma once

#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::sys {

// --- opening -----------------------------------------------------------------------------------------------------
/// openat(2). O_CLOEXEC is added.
SysResult<UniqueFd> OpenAt(FdRef dir, const char* path, int flags, mode_t mode = 0);
/// openat2(2) with RESOLVE_* flags: the way paths inside a rootfs are resolved. O_CLOEXEC is added; EAGAIN (a rename
/// raced with the walk) is retried for a bounded number of times.
SysResult<UniqueFd> OpenAt2(FdRef dir, const char* path, uint64_t flags, uint64_t resolve, mode_t mode = 0);
/// Opens a path beneath `root` as a chroot would see it: symlinks and '..' stay inside, magic links are refused.
SysResult<UniqueFd> OpenInRoot(FdRef root, const char* path, uint64_t flags, mode_t mode = 0);
/// Opens a path beneath `dir` without following any symlink on the way.
SysResult<UniqueFd> OpenBeneath(FdRef dir, const char* path, uint64_t flags, mode_t mode = 0);
SysResult<UniqueFd> Dup(FdRef fd);
/// Re-opens an O_PATH descriptor for I/O through /proc/self/fd. Only for descriptors whose type was checked.
SysResult<UniqueFd> Reopen(FdRef fd, int flags);
SysResult<UniqueFd> MemfdCreate(const char* name, unsigned flags);
struct Pipe { UniqueFd read_end, write_end; };
SysResult<Pipe> MakePipe(int flags = 0);

// --- data --------------------------------------------------------------------------------------------------------
/// One read(2); 0 at end of file.
SysResult<size_t> Read(FdRef fd, std::span<std::byte> buffer);
SysResult<size_t> PRead(FdRef fd, std::span<std::byte> buffer, uint64_t offset);
/// One write(2); may be short.
SysResult<size_t> Write(FdRef fd, std::span<const std::byte> data);
/// Writes all of it, continuing after short writes.
SysResult<void> WriteAll(FdRef fd, std::span<const std::byte> data);
SysResult<void> WriteAll(FdRef fd, std::string_view data);
SysResult<void> PWriteAll(FdRef fd, std::span<const std::byte> data, uint64_t offset);
/// The whole content of a small file. Errors: EFBIG when it has more than `max_bytes`.
SysResult<std::string> ReadAll(FdRef fd, size_t max_bytes);
SysResult<std::string> ReadFileAt(FdRef dir, const char* path, size_t max_bytes);
SysResult<uint64_t> Seek(FdRef fd, int64_t offset, int whence);
SysResult<void> Truncate(FdRef fd, uint64_t size);
SysResult<void> Fallocate(FdRef fd, int mode, uint64_t offset, uint64_t size);
/// One pwrite(2); may be short.
SysResult<size_t> PWrite(FdRef fd, std::span<const std::byte> data, uint64_t offset);
/// copy_file_range(2) at explicit offsets; 0 at end of input.
SysResult<size_t> CopyFileRange(FdRef in, uint64_t in_offset, FdRef out, uint64_t out_offset, size_t size);

// --- durability: a failed flush is never retried, the file is to be discarded ----------------------------------------
SysResult<void> Fsync(FdRef fd);
SysResult<void> Fdatasync(FdRef fd);
/// Flushes the whole file system; reports write-back errors since the descriptor was opened: open it before writing.
SysResult<void> SyncFs(FdRef fd);
/// Starts write-back of a range without waiting (SYNC_FILE_RANGE_WRITE); no durability promise.
SysResult<void> StartWriteback(FdRef fd, uint64_t offset, uint64_t size);

// --- names -------------------------------------------------------------------------------------------------------
SysResult<void> MkdirAt(FdRef dir, const char* path, mode_t mode);
SysResult<void> MknodAt(FdRef dir, const char* path, mode_t mode, dev_t device);
SysResult<void> SymlinkAt(const char* target, FdRef dir, const char* path);
/// linkat(2) without following symlinks.
SysResult<void> LinkAt(FdRef old_dir, const char* old_path, FdRef new_dir, const char* new_path);
/// Gives an open file (O_TMPFILE or O_PATH) a name.
SysResult<void> LinkFd(FdRef file, FdRef new_dir, const char* new_path);
/// `flags` may be AT_REMOVEDIR.
SysResult<void> UnlinkAt(FdRef dir, const char* path, int flags = 0);
/// renameat2(2) with RENAME_* flags.
SysResult<void> RenameAt(FdRef old_dir, const char* old_path, FdRef new_dir, const char* new_path, unsigned flags = 0);
SysResult<std::string> ReadLinkAt(FdRef dir, const char* path);

struct DirEntry {
  std::string name;
  uint8_t type;  ///< DT_*; DT_UNKNOWN when the file system does not say
  uint64_t inode;
};
/// Entries without '.' and '..', in the file system's order. Cost O(entries).
SysResult<std::vector<DirEntry>> ListDir(FdRef dir);
/// Deletes `name` in `dir` and everything below it without following symlinks or crossing into other file systems
/// (EXDEV). Iterative: depth is bounded by memory, not by the stack. A missing name is success.
SysResult<void> RemoveTree(FdRef dir, const char* name);

// --- attributes --------------------------------------------------------------------------------------------------
SysResult<struct stat> FStat(FdRef fd);
/// fstatat without following symlinks.
SysResult<struct stat> StatAt(FdRef dir, const char* path, int flags = 0);
SysResult<struct statx> StatX(FdRef dir, const char* path, int flags, unsigned mask);
/// Whether `path` (not followed) is the root of a mount. Errors: ENOENT.
SysResult<bool> IsMountPoint(FdRef dir, const char* path);
SysResult<struct statfs> FStatFs(FdRef fd);
SysResult<struct statvfs> FStatVfs(FdRef fd);
SysResult<void> FChmod(FdRef fd, mode_t mode);
SysResult<void> FChmodAt(FdRef dir, const char* path, mode_t mode);
SysResult<void> FChown(FdRef fd, uid_t uid, gid_t gid);
/// Without following symlinks. `flags` may be AT_EMPTY_PATH.
SysResult<void> FChownAt(FdRef dir, const char* path, uid_t uid, gid_t gid, int flags = 0);
struct Times { timespec access, modify; };
SysResult<void> FSetTimes(FdRef fd, const Times& times);
/// Without following symlinks. `flags` may be AT_EMPTY_PATH.
SysResult<void> SetTimesAt(FdRef dir, const char* path, const Times& times, int flags = 0);

/// xattrs of an open file.
SysResult<void> FSetXattr(FdRef fd, const char* name, std::span<const std::byte> value, int flags = 0);
SysResult<std::string> FGetXattr(FdRef fd, const char* name);
SysResult<std::vector<std::string>> FListXattr(FdRef fd);
SysResult<void> FRemoveXattr(FdRef fd, const char* name);
/// xattrs of a name in a directory, without following it when it is a symlink (works for symlinks and devices).
SysResult<void> SetXattrAt(FdRef dir, const char* name, const char* xattr, std::span<const std::byte> value,
                           int flags = 0);
SysResult<std::string> GetXattrAt(FdRef dir, const char* name, const char* xattr);
SysResult<std::vector<std::string>> ListXattrAt(FdRef dir, const char* name);
SysResult<void> RemoveXattrAt(FdRef dir, const char* name, const char* xattr);
/// xattrs of a file that is held by an O_PATH descriptor (not of a symlink).
SysResult<void> PathFdSetXattr(FdRef path_fd, const char* xattr, std::span<const std::byte> value, int flags = 0);
SysResult<std::string> PathFdGetXattr(FdRef path_fd, const char* xattr);
SysResult<std::vector<std::string>> PathFdListXattr(FdRef path_fd);
SysResult<void> PathFdRemoveXattr(FdRef path_fd, const char* xattr);

// --- locks and misc ----------------------------------------------------------------------------------------------
/// flock(2); `operation` is LOCK_SH or LOCK_EX, with LOCK_NB for EWOULDBLOCK instead of waiting.
SysResult<void> Flock(FdRef fd, int operation);
/// FICLONE: shares the blocks of `source` with `target`. EOPNOTSUPP or EXDEV where the file system cannot.
SysResult<void> CloneFile(FdRef target, FdRef source);
/// Sets FS_TOPDIR_FL (chattr +T): ext4 then spreads the directories made in `dir` over the disk instead of putting them
/// beside it. EOPNOTSUPP or ENOTTY on file systems without such a flag.
SysResult<void> SpreadSubdirectories(FdRef dir);
/// name_to_handle_at(2) without following symlinks; "" is the descriptor itself. Errors: EOPNOTSUPP.
struct FileHandle {
  int type = 0;
  std::string bytes;
};
SysResult<FileHandle> NameToHandle(FdRef dir, const char* name);
/// FS_IOC_GETFSUUID of the file system that an open directory (O_PATH is enough) lies in. Errors: EOPNOTSUPP where it has or tells none.
SysResult<std::array<char, 16>> FileSystemUuid(FdRef dir);
bool IsTerminal(FdRef fd);
/// "/proc/self/fd/N": for calls that only take a path.
std::string ProcFdPath(FdRef fd);
/// The path the kernel knows an open file by, for messages only.
std::string DescribeFd(FdRef fd);
/// Sets the process' umask to 0, so that modes given to open and mkdir are exact. Call once in main.
void ClearUmask();

}  // namespace snap::sys
