// Every operation has the same shape: count, call the union, reply with the value or the errno. `Answer` is that shape.
#include "fuse/operations.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <vector>

namespace snap::fuse {
namespace {

Serving& ServingOf(fuse_req_t req) { return *static_cast<Serving*>(fuse_req_userdata(req)); }

/// Counts, calls, and replies with an errno when the call failed or threw; otherwise the call has replied.
template <typename Call>
void Answer(fuse_req_t req, Operation operation, Call call) noexcept {
  Serving& serving = ServingOf(req);
  serving.requests[static_cast<size_t>(operation)].fetch_add(1, std::memory_order_relaxed);
  int error = 0;
  try {
    const SysResult<void> done = call(serving);
    if (done.ok()) return;
    error = done.error().code();
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
  } catch (const std::exception&) {
    error = EIO;
  }
  (void)fuse_reply_err(req, error);  // nobody is there to hear of it when the mount is gone
}

fuse_entry_param ToParam(const Serving& serving, const Entry& entry) {
  fuse_entry_param param{};
  param.ino = entry.node;
  param.attr = entry.stat.st;
  param.attr_timeout = serving.timeout_seconds;
  param.entry_timeout = serving.timeout_seconds;
  return param;
}

SysResult<void> ReplyEntry(fuse_req_t req, const Serving& serving, const Entry& entry) {
  const fuse_entry_param param = ToParam(serving, entry);
  if (fuse_reply_entry(req, &param) == -ENOENT && entry.node != 0) serving.fs->Forget(entry.node, 1);  // interrupted
  return {};
}

Caller CallerOf(fuse_req_t req) {
  const fuse_ctx* context = fuse_req_ctx(req);
  return {context->uid, context->gid, context->umask};
}

void FillInfo(fuse_file_info& info, const Opened& opened) {
  info.fh = opened.handle;
  info.keep_cache = opened.keep_cache ? 1U : 0U;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  info.backing_id = opened.backing_id;
#endif
}

void Init(void* userdata, fuse_conn_info* connection) {
  auto* serving = static_cast<Serving*>(userdata);
  serving->init(serving->session, connection);
}

void Lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Answer(req, Operation::kLookup, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const Entry entry, serving.fs->Lookup(parent, name));
    return ReplyEntry(req, serving, entry);
  });
}

void Forget(fuse_req_t req, fuse_ino_t node, uint64_t lookups) {
  Serving& serving = ServingOf(req);
  serving.requests[static_cast<size_t>(Operation::kForget)].fetch_add(1, std::memory_order_relaxed);
  serving.fs->Forget(node, lookups);
  fuse_reply_none(req);
}

void ForgetMulti(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  Serving& serving = ServingOf(req);
  serving.requests[static_cast<size_t>(Operation::kForget)].fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < count; ++i) serving.fs->Forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(req);
}

std::optional<HandleId> HandleOf(const fuse_file_info* info) {
  return info == nullptr || info->fh == 0 ? std::nullopt : std::optional<HandleId>(info->fh);
}
HandleId HandleOrNone(const fuse_file_info* info) { return info == nullptr ? 0 : info->fh; }

void GetAttr(fuse_req_t req, fuse_ino_t node, fuse_file_info*) {
  Answer(req, Operation::kGetAttr, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const FileStat stat, serving.fs->GetAttr(node));
    (void)fuse_reply_attr(req, &stat.st, serving.timeout_seconds);
    return {};
  });
}

void SetAttr(fuse_req_t req, fuse_ino_t node, struct stat* attr, int to_set, fuse_file_info* info) {
  Answer(req, Operation::kSetAttr, [&](Serving& serving) -> SysResult<void> {
    AttributeChange change;
    if ((to_set & FUSE_SET_ATTR_MODE) != 0) change.permissions = attr->st_mode & 07777U;
    if ((to_set & FUSE_SET_ATTR_UID) != 0) change.uid = attr->st_uid;
    if ((to_set & FUSE_SET_ATTR_GID) != 0) change.gid = attr->st_gid;
    if ((to_set & FUSE_SET_ATTR_SIZE) != 0) change.size = static_cast<uint64_t>(attr->st_size);
    if ((to_set & FUSE_SET_ATTR_ATIME) != 0) change.access_time = attr->st_atim;
    if ((to_set & FUSE_SET_ATTR_MTIME) != 0) change.modify_time = attr->st_mtim;
    if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0) change.access_time = timespec{0, UTIME_NOW};
    if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0) change.modify_time = timespec{0, UTIME_NOW};
#ifdef FUSE_SET_ATTR_KILL_SUID
    change.kill_suid_sgid = (to_set & (FUSE_SET_ATTR_KILL_SUID | FUSE_SET_ATTR_KILL_SGID)) != 0;
#endif
    SNAP_TRY(const FileStat stat, serving.fs->SetAttr(node, change, HandleOf(info)));
    (void)fuse_reply_attr(req, &stat.st, serving.timeout_seconds);
    return {};
  });
}

void ReadLink(fuse_req_t req, fuse_ino_t node) {
  Answer(req, Operation::kReadLink, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const std::string target, serving.fs->ReadLink(node));
    (void)fuse_reply_readlink(req, target.c_str());
    return {};
  });
}

void Mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) {
  Answer(req, Operation::kMknod, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const Entry entry, serving.fs->MakeNode(parent, name, mode, device, CallerOf(req)));
    return ReplyEntry(req, serving, entry);
  });
}

void Mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  Answer(req, Operation::kMkdir, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const Entry entry, serving.fs->MakeDirectory(parent, name, mode, CallerOf(req)));
    return ReplyEntry(req, serving, entry);
  });
}

void Symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  Answer(req, Operation::kSymlink, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const Entry entry, serving.fs->MakeSymlink(parent, name, target, CallerOf(req)));
    return ReplyEntry(req, serving, entry);
  });
}

void Link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char* name) {
  Answer(req, Operation::kLink, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const Entry entry, serving.fs->Link(node, parent, name));
    return ReplyEntry(req, serving, entry);
  });
}

SysResult<void> ReplyOk(fuse_req_t req) {
  (void)fuse_reply_err(req, 0);
  return {};
}

void Unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Answer(req, Operation::kUnlink, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY_VOID(serving.fs->Unlink(parent, name));
    return ReplyOk(req);
  });
}

void Rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Answer(req, Operation::kRmdir, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY_VOID(serving.fs->RemoveDirectory(parent, name));
    return ReplyOk(req);
  });
}

void Rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name, unsigned flags) {
  Answer(req, Operation::kRename, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY_VOID(serving.fs->Rename(parent, name, new_parent, new_name, flags));
    return ReplyOk(req);
  });
}

bool KillsSetId(const fuse_file_info* info) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
  return info != nullptr && info->kill_suidgid != 0;
#else
  (void)info;
  return false;
#endif
}

void Open(fuse_req_t req, fuse_ino_t node, fuse_file_info* info) {
  Answer(req, Operation::kOpen, [&](Serving& serving) -> SysResult<void> {
    if (serving.no_open) return Errno(ENOSYS);
    if (KillsSetId(info)) {  // it truncates
      AttributeChange change;
      change.kill_suid_sgid = true;
      SNAP_TRY_VOID(serving.fs->SetAttr(node, change, std::nullopt));
    }
    SNAP_TRY(const Opened opened, serving.fs->OpenFile(node, info->flags));
    FillInfo(*info, opened);
    if (fuse_reply_open(req, info) == -ENOENT) serving.fs->ReleaseFile(opened.handle);
    return {};
  });
}

SysResult<void> ReplyCreated(fuse_req_t req, const Serving& serving, const UnionFs::Created& created, fuse_file_info* info) {
  FillInfo(*info, created.opened);
  const fuse_entry_param param = ToParam(serving, created.entry);
  if (fuse_reply_create(req, &param, info) == -ENOENT) {
    serving.fs->ReleaseFile(created.opened.handle);
    serving.fs->Forget(created.entry.node, 1);
  }
  return {};
}

void Create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info) {
  Answer(req, Operation::kCreate, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const UnionFs::Created created, serving.fs->CreateFile(parent, name, mode, info->flags, CallerOf(req)));
    return ReplyCreated(req, serving, created, info);
  });
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 15)
void TmpFile(fuse_req_t req, fuse_ino_t parent, mode_t mode, fuse_file_info* info) {
  Answer(req, Operation::kTmpFile, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const UnionFs::Created created, serving.fs->CreateUnnamed(parent, mode, info->flags, CallerOf(req)));
    return ReplyCreated(req, serving, created, info);
  });
}
#endif

/// A buffer that a thread keeps: requests are of up to a mebibyte.
std::span<std::byte> ThreadBuffer(size_t size) {
  thread_local std::vector<std::byte> buffer;
  if (buffer.size() < size) buffer.resize(size);
  return std::span(buffer).first(size);
}

void Read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, fuse_file_info* info) {
  Answer(req, Operation::kRead, [&](Serving& serving) -> SysResult<void> {
    const std::span<std::byte> buffer = ThreadBuffer(size);
    SNAP_TRY(const size_t got, serving.fs->Read(node, HandleOrNone(info), static_cast<uint64_t>(offset), buffer));
    (void)fuse_reply_buf(req, reinterpret_cast<const char*>(buffer.data()), got);
    return {};
  });
}

void Write(fuse_req_t req, fuse_ino_t node, const char* data, size_t size, off_t offset, fuse_file_info* info) {
  Answer(req, Operation::kWrite, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const size_t written, serving.fs->Write(node, HandleOrNone(info), static_cast<uint64_t>(offset),
                                                     std::as_bytes(std::span(data, size)), KillsSetId(info)));
    (void)fuse_reply_write(req, written);
    return {};
  });
}

// The kernel does not ask again after ENOSYS: close needs nothing of us, and directories have no handles.
void Flush(fuse_req_t req, fuse_ino_t, fuse_file_info*) {
  Answer(req, Operation::kFlush, [](Serving&) -> SysResult<void> { return Errno(ENOSYS); });
}
void OpenDir(fuse_req_t req, fuse_ino_t, fuse_file_info*) {
  Answer(req, Operation::kOpenDir, [](Serving&) -> SysResult<void> { return Errno(ENOSYS); });
}

void Release(fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
  Answer(req, Operation::kRelease, [&](Serving& serving) -> SysResult<void> {
    if (info->fh != 0) serving.fs->ReleaseFile(info->fh);
    return ReplyOk(req);
  });
}

void Fsync(fuse_req_t req, fuse_ino_t node, int data_only, fuse_file_info* info) {
  Answer(req, Operation::kFsync, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY_VOID(serving.fs->FlushFile(node, HandleOrNone(info), data_only != 0));
    return ReplyOk(req);
  });
}

void FsyncDir(fuse_req_t req, fuse_ino_t node, int, fuse_file_info*) {
  Answer(req, Operation::kFsyncDir, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY_VOID(serving.fs->FlushDirectory(node));
    return ReplyOk(req);
  });
}

void ReadDir(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, fuse_file_info*) {
  Answer(req, Operation::kReadDir, [&](Serving& serving) -> SysResult<void> {
    const std::span<std::byte> buffer = ThreadBuffer(size);
    auto* const out = reinterpret_cast<char*>(buffer.data());
    size_t used = 0;
    std::string name;
    SNAP_TRY_VOID(serving.fs->ReadDirectory(node, static_cast<uint64_t>(offset), [&](const DirectoryEntry& entry) {
      struct stat stat{};
      stat.st_ino = entry.inode;
      stat.st_mode = entry.type;
      name = entry.name;
      const size_t needed =
          fuse_add_direntry(req, out + used, size - used, name.c_str(), &stat, static_cast<off_t>(entry.next));
      if (needed > size - used) return false;
      used += needed;
      return true;
    }));
    (void)fuse_reply_buf(req, out, used);
    return {};
  });
}

void ReadDirPlus(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, fuse_file_info*) {
  Answer(req, Operation::kReadDirPlus, [&](Serving& serving) -> SysResult<void> {
    const std::span<std::byte> buffer = ThreadBuffer(size);
    auto* const out = reinterpret_cast<char*>(buffer.data());
    size_t used = 0;
    std::string name;
    const SysResult<void> read = serving.fs->ReadDirectoryPlus(
        node, static_cast<uint64_t>(offset), [&](const DirectoryEntry& entry, const Entry& looked_up) {
          fuse_entry_param param = ToParam(serving, looked_up);
          param.attr.st_ino = entry.inode;
          param.attr.st_mode = looked_up.node == 0 ? entry.type : param.attr.st_mode;
          name = entry.name;
          const size_t needed =
              fuse_add_direntry_plus(req, out + used, size - used, name.c_str(), &param, static_cast<off_t>(entry.next));
          if (needed > size - used) return false;
          used += needed;
          return true;
        });
    // What is in the buffer counts as looked up: an error behind it comes with the next request.
    if (!read.ok() && used == 0) return read.error();
    (void)fuse_reply_buf(req, out, used);
    return {};
  });
}

void StatFs(fuse_req_t req, fuse_ino_t) {
  Answer(req, Operation::kStatFs, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const struct statvfs stat, serving.fs->StatFs());
    (void)fuse_reply_statfs(req, &stat);
    return {};
  });
}

void SetXattr(fuse_req_t req, fuse_ino_t node, const char* name, const char* value, size_t size, int flags) {
  Answer(req, Operation::kSetXattr, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY_VOID(serving.fs->SetXattr(node, name, std::string_view(value, size), flags));
    return ReplyOk(req);
  });
}

/// The protocol of both xattr calls: size 0 asks for the size.
SysResult<void> ReplySized(fuse_req_t req, std::string_view value, size_t size) {
  if (size == 0) {
    (void)fuse_reply_xattr(req, value.size());
  } else if (value.size() > size) {
    return Errno(ERANGE);
  } else {
    (void)fuse_reply_buf(req, value.data(), value.size());
  }
  return {};
}

void GetXattr(fuse_req_t req, fuse_ino_t node, const char* name, size_t size) {
  Answer(req, Operation::kGetXattr, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const std::string value, serving.fs->GetXattr(node, name));
    return ReplySized(req, value, size);
  });
}

void ListXattr(fuse_req_t req, fuse_ino_t node, size_t size) {
  Answer(req, Operation::kListXattr, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const std::vector<std::string> names, serving.fs->ListXattr(node));
    std::string list;
    for (const std::string& name : names) list.append(name).push_back('\0');
    return ReplySized(req, list, size);
  });
}

void RemoveXattr(fuse_req_t req, fuse_ino_t node, const char* name) {
  Answer(req, Operation::kRemoveXattr, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY_VOID(serving.fs->RemoveXattr(node, name));
    return ReplyOk(req);
  });
}

void Fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t size, fuse_file_info* info) {
  Answer(req, Operation::kFallocate, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY_VOID(serving.fs->Allocate(node, HandleOrNone(info), mode, static_cast<uint64_t>(offset),
                                       static_cast<uint64_t>(size)));
    return ReplyOk(req);
  });
}

void Lseek(fuse_req_t req, fuse_ino_t node, off_t offset, int whence, fuse_file_info* info) {
  Answer(req, Operation::kLseek, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const uint64_t at, serving.fs->Seek(node, HandleOrNone(info), static_cast<uint64_t>(offset), whence));
    (void)fuse_reply_lseek(req, static_cast<off_t>(at));
    return {};
  });
}

void CopyFileRange(fuse_req_t req, fuse_ino_t in, off_t in_offset, fuse_file_info* in_info, fuse_ino_t out, off_t out_offset,
                   fuse_file_info* out_info, size_t size, int) {
  Answer(req, Operation::kCopyFileRange, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const size_t copied, serving.fs->CopyRange(in, HandleOrNone(in_info), static_cast<uint64_t>(in_offset), out,
                                                        HandleOrNone(out_info), static_cast<uint64_t>(out_offset), size));
    (void)fuse_reply_write(req, copied);
    return {};
  });
}

void Ioctl(fuse_req_t req, fuse_ino_t, unsigned, void*, fuse_file_info*, unsigned, const void*, size_t, size_t) {
  Answer(req, Operation::kIoctl, [](Serving&) -> SysResult<void> { return Errno(ENOTTY); });
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
void Statx(fuse_req_t req, fuse_ino_t node, int flags, int, fuse_file_info*) {
  Answer(req, Operation::kStatx, [&](Serving& serving) -> SysResult<void> {
    SNAP_TRY(const FileStat stat, serving.fs->GetAttr(node));
    const auto time = [](const timespec& from) {
      struct statx_timestamp to{};
      to.tv_sec = from.tv_sec;
      to.tv_nsec = static_cast<uint32_t>(from.tv_nsec);
      return to;
    };
    struct statx x{};
    x.stx_mask = STATX_BASIC_STATS;
    x.stx_blksize = static_cast<uint32_t>(stat.st.st_blksize);
    x.stx_nlink = static_cast<uint32_t>(stat.st.st_nlink);
    x.stx_uid = stat.st.st_uid;
    x.stx_gid = stat.st.st_gid;
    x.stx_mode = static_cast<uint16_t>(stat.st.st_mode);
    x.stx_ino = stat.st.st_ino;
    x.stx_size = static_cast<uint64_t>(stat.st.st_size);
    x.stx_blocks = static_cast<uint64_t>(stat.st.st_blocks);
    x.stx_rdev_major = major(stat.st.st_rdev);
    x.stx_rdev_minor = minor(stat.st.st_rdev);
    x.stx_atime = time(stat.st.st_atim);
    x.stx_mtime = time(stat.st.st_mtim);
    x.stx_ctime = time(stat.st.st_ctim);
    if (stat.birth.tv_sec != 0) {
      x.stx_mask |= STATX_BTIME;
      x.stx_btime = time(stat.birth);
    }
    (void)fuse_reply_statx(req, flags, &x, serving.timeout_seconds);
    return {};
  });
}
#endif

fuse_lowlevel_ops MakeOperations() {
  fuse_lowlevel_ops ops{};
  ops.init = Init;
  ops.lookup = Lookup;
  ops.forget = Forget;
  ops.forget_multi = ForgetMulti;
  ops.getattr = GetAttr;
  ops.setattr = SetAttr;
  ops.readlink = ReadLink;
  ops.mknod = Mknod;
  ops.mkdir = Mkdir;
  ops.symlink = Symlink;
  ops.link = Link;
  ops.unlink = Unlink;
  ops.rmdir = Rmdir;
  ops.rename = Rename;
  ops.open = Open;
  ops.create = Create;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 15)
  ops.tmpfile = TmpFile;
#endif
  ops.read = Read;
  ops.write = Write;
  ops.flush = Flush;
  ops.release = Release;
  ops.fsync = Fsync;
  ops.opendir = OpenDir;
  ops.readdir = ReadDir;
  ops.readdirplus = ReadDirPlus;
  ops.fsyncdir = FsyncDir;
  ops.statfs = StatFs;
  ops.setxattr = SetXattr;
  ops.getxattr = GetXattr;
  ops.listxattr = ListXattr;
  ops.removexattr = RemoveXattr;
  ops.fallocate = Fallocate;
  ops.lseek = Lseek;
  ops.copy_file_range = CopyFileRange;
  ops.ioctl = Ioctl;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
  ops.statx = Statx;
#endif
  return ops;
}

}  // namespace

std::string_view OperationName(Operation operation) {
  static constexpr std::array<std::string_view, static_cast<size_t>(Operation::kCount)> kNames = {
      "lookup",    "forget",   "getattr",   "setattr",   "readlink",    "mknod",    "mkdir",   "unlink",    "rmdir",
      "symlink",   "rename",   "link",      "open",      "read",        "write",    "flush",   "release",   "fsync",
      "opendir",   "readdir",  "readdirplus", "fsyncdir", "statfs",     "setxattr", "getxattr", "listxattr", "removexattr",
      "create",    "tmpfile",  "fallocate", "lseek",     "copy_file_range", "ioctl", "statx"};
  return kNames[static_cast<size_t>(operation)];
}

const fuse_lowlevel_ops& Operations() {
  static const fuse_lowlevel_ops ops = MakeOperations();
  return ops;
}

}  // namespace snap::fuse
