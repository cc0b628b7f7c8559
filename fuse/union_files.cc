// Data of files. Whoever opened a lower file before it was copied up goes on in the copy, as with the kernel's overlayfs: handles look
// again before every use. Passthrough never meets that case: only files of the upper, and layers of a union that nobody can write, are
// given to the kernel.
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/sys_file.h"
#include "fuse/union_impl.h"

namespace snap::fuse {
namespace {

bool IsForWriting(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0; }

// What is meaningful for our own descriptor: the kernel has appended, created and checked already.
int OwnFlags(int flags) { return flags & (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC); }

}  // namespace

SysResult<OpenFileRef> UnionFs::Impl::HandleOf(HandleId handle) {
  HandleShard& shard = handles_[handle % kHandleShards];
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.files.find(handle);
  if (found == shard.files.end()) return Errno(EBADF);
  return found->second;
}

SysResult<UniqueFd> UnionFs::Impl::OpenUpper(const NodeRef& node, int flags) {
  SNAP_TRY(const UpperFile file, UpperOf(node));
  return file.Open(flags);
}

// Writing to a file with rights takes them from it, which is ours to do: the kernel writes to a backing file with our own privileges.
SysResult<bool> UnionFs::Impl::CarriesRights(FdRef file) {
  SNAP_TRY(const struct stat stat, sys::FStat(file));
  if ((stat.st_mode & (S_ISUID | S_ISGID)) != 0) return true;
  if ((stat.st_mode & 0111U) == 0) return false;
  const SysResult<std::string> capability = sys::FGetXattr(file, "security.capability");
  if (!capability.ok() && !(capability.error() == ENODATA) && !(capability.error() == EOPNOTSUPP)) return capability.error();
  return capability.ok();
}

SysResult<Opened> UnionFs::Impl::FinishOpen(const NodeRef& node, OpenFileRef file) {
  FileState& state = node->file;
  Opened opened;
  if (backing_ != nullptr && state.cached_opens == 0) {
    std::optional<FdRef> descriptor;
    if (file->upper.valid()) {
      descriptor = file->upper;
    } else if (!writable()) {
      descriptor = file->lower->descriptor();
    }
    if (descriptor && state.passthrough_opens == 0 && writable()) {
      SNAP_TRY(const bool rights, CarriesRights(*descriptor));
      if (rights) descriptor = std::nullopt;
    }
    if (descriptor && state.passthrough_opens == 0) {
      const SysResult<int32_t> id = backing_->Register(*descriptor);
      state.backing_id = id.ok() ? *id : 0;  // refused: as without passthrough
    }
    if (descriptor && state.backing_id != 0) {
      opened.backing_id = state.backing_id;
      file->passthrough = true;
      ++state.passthrough_opens;
      state.was_passthrough = true;
    }
  }
  if (!file->passthrough) {
    ++state.cached_opens;
    opened.keep_cache = !state.was_passthrough;
  }
  opened.handle = next_handle_.fetch_add(1, std::memory_order_relaxed);
  HandleShard& shard = handles_[opened.handle % kHandleShards];
  const std::lock_guard lock(shard.mutex);
  shard.files.emplace(opened.handle, std::move(file));
  return opened;
}

SysResult<UnionFs::Impl::Target> UnionFs::Impl::TargetOf(NodeId id, HandleId handle, bool for_writing) {
  Target target;
  NodeRef node;
  if (handle != 0) {
    SNAP_TRY(target.file, HandleOf(handle));
    node = target.file->node;
  } else {
    SNAP_TRY(node, Get(id));
    if (!S_ISREG(node->type)) return Errno(EINVAL);
    target.file = std::make_shared<OpenedFile>();
    target.file->node = node;
    target.file->flags = for_writing ? O_RDWR : O_RDONLY;
  }
  if (for_writing) {
    if (!writable()) return Errno(EROFS);
    if (!target.file->upper.valid()) SNAP_TRY_VOID(EnsureUpper(node));
  }
  OpenedFile& file = *target.file;
  const std::lock_guard node_lock(node->mutex);
  const std::lock_guard lock(file.mutex);
  if (!file.upper.valid()) {
    if (node->upper.load(std::memory_order_acquire) && !node->metacopy) {
      SNAP_TRY(file.upper, OpenUpper(node, file.flags & O_ACCMODE));
    } else if (file.lower == nullptr) {
      SNAP_TRY(file.lower, node->lower_directory->OpenFile(node->lower_name));
    }
  }
  if (file.upper.valid()) {
    target.upper = file.upper;
  } else {
    target.lower = file.lower;
  }
  return target;
}

// --- operations

SysResult<Opened> UnionFs::OpenFile(NodeId id, int flags) {
  SNAP_TRY(const NodeRef node, impl_->Get(id));
  if (!S_ISREG(node->type)) return Errno(node->IsDirectory() ? EISDIR : EINVAL);
  const bool for_writing = IsForWriting(flags);
  if (for_writing) {
    if (!impl_->writable()) return Errno(EROFS);
    SNAP_TRY_VOID(impl_->EnsureUpper(node, (flags & O_TRUNC) != 0 ? 0 : Impl::kWhole));
  }
  const std::lock_guard lock(node->mutex);
  auto file = std::make_shared<OpenedFile>();
  file->node = node;
  file->flags = flags;
  if (node->upper.load(std::memory_order_acquire) && !node->metacopy) {
    SNAP_TRY(file->upper, impl_->OpenUpper(node, OwnFlags(flags)));
  } else {
    SNAP_TRY(file->lower, node->lower_directory->OpenFile(node->lower_name));
  }
  return impl_->FinishOpen(node, std::move(file));
}

SysResult<UnionFs::Created> UnionFs::CreateFile(NodeId directory, std::string_view name, mode_t mode, int flags,
                                                const Caller& caller) {
  SNAP_TRY(const Impl::Creation creation, impl_->BeginCreation(directory, name, S_IFREG | (mode & 07777U), caller));
  auto file = std::make_shared<OpenedFile>();
  file->flags = flags;
  SNAP_TRY_VOID(impl_->MakeInPlace(creation, [&](FdRef at, const std::string& where) -> SysResult<void> {
    SNAP_TRY(file->upper, sys::OpenAt(at, where.c_str(), O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | (flags & (O_SYNC | O_DSYNC)),
                                      creation.mode & 07777U));
    return {};
  }));
  Created created;
  SNAP_TRY(created.entry, impl_->EntryOfMade(creation));
  SNAP_TRY(file->node, impl_->Get(created.entry.node));
  const NodeRef node = file->node;
  const std::lock_guard lock(node->mutex);
  SNAP_TRY(created.opened, impl_->FinishOpen(node, std::move(file)));
  return created;
}

SysResult<UnionFs::Created> UnionFs::CreateUnnamed(NodeId directory_id, mode_t mode, int flags, const Caller& caller) {
  Impl& impl = *impl_;
  Impl::Creation creation;
  SNAP_TRY(creation.directory, impl.GetDirectory(directory_id));
  if (!impl.writable()) return Errno(EROFS);
  SNAP_TRY_VOID(impl.EnsureUpper(creation.directory));
  if (creation.directory->directory->removed.load(std::memory_order_acquire)) return Errno(ENOENT);
  SNAP_TRY(creation.pin, impl.UpperPin(creation.directory));
  SNAP_TRY_VOID(impl.ChooseOwner(creation, S_IFREG | (mode & 07777U), caller));
  auto file = std::make_shared<OpenedFile>();
  file->flags = flags;
  SNAP_TRY(file->upper, sys::OpenAt(*creation.pin, ".", O_TMPFILE | O_RDWR | (flags & O_EXCL), creation.mode & 07777U));
  SNAP_TRY(UniqueFd held, sys::Dup(file->upper));
  const UpperFile made(std::make_shared<const UniqueFd>(std::move(held)));
  SNAP_TRY_VOID(impl.GiveOwner(made, creation.mode, creation.uid, creation.gid, 0));
  SNAP_TRY(const FileStat stat, made.Stat());
  file->node = impl.NewNode(S_IFREG, impl.NumberOf(stat.st.st_dev, stat.st.st_ino));
  const NodeRef node = file->node;
  node->upper.store(true, std::memory_order_relaxed);
  SNAP_TRY(UniqueFd path, made.OpenPath());
  impl.Detach(node, std::move(path));
  Created created;
  SNAP_TRY(created.entry, impl.EntryOf(node));
  const std::lock_guard lock(node->mutex);
  SNAP_TRY(created.opened, impl.FinishOpen(node, std::move(file)));
  return created;
}

void UnionFs::ReleaseFile(HandleId handle) {
  OpenFileRef file;
  {
    Impl::HandleShard& shard = impl_->handles_[handle % Impl::kHandleShards];
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.files.find(handle);
    if (found == shard.files.end()) return;
    file = std::move(found->second);
    shard.files.erase(found);
  }
  const NodeRef node = file->node;
  const std::lock_guard lock(node->mutex);
  FileState& state = node->file;
  if (!file->passthrough) {
    --state.cached_opens;
    return;
  }
  if (--state.passthrough_opens == 0) {
    impl_->backing_->Unregister(state.backing_id);
    state.backing_id = 0;
  }
}

SysResult<size_t> UnionFs::Read(NodeId node, HandleId handle, uint64_t offset, std::span<std::byte> buffer) {
  SNAP_TRY(const Impl::Target target, impl_->TargetOf(node, handle, false));
  size_t done = 0;
  while (done < buffer.size()) {  // a short answer would be the end of the file
    const std::span<std::byte> rest = buffer.subspan(done);
    const SysResult<size_t> got = target.upper.valid() ? sys::PRead(target.upper, rest, offset + done)
                                                       : target.lower->Read(offset + done, rest);
    if (!got.ok()) return got.error();
    if (*got == 0) break;
    done += *got;
  }
  return done;
}

SysResult<size_t> UnionFs::Write(NodeId id, HandleId handle, uint64_t offset, std::span<const std::byte> data,
                                 bool kill_suid_sgid) {
  SNAP_TRY(const Impl::Target target, impl_->TargetOf(id, handle, true));
  if (kill_suid_sgid) {
    const NodeRef node = target.file->node;
    const std::lock_guard lock(node->mutex);
    SNAP_TRY(const UpperFile file, impl_->UpperOf(node));
    AttributeChange change;
    change.kill_suid_sgid = true;
    SNAP_TRY_VOID(impl_->ChangeAttributes(node, file, change, nullptr));
  }
  size_t done = 0;
  while (done < data.size()) {
    const SysResult<size_t> written = sys::PWrite(target.upper, data.subspan(done), offset + done);
    if (!written.ok()) {
      if (done > 0) break;  // what was written counts; the next call gets the error
      return written.error();
    }
    done += *written;
  }
  return done;
}

SysResult<void> UnionFs::FlushFile(NodeId node, HandleId handle, bool data_only) {
  if (impl_->options_.is_volatile || !impl_->writable()) return {};
  SNAP_TRY(const Impl::Target target, impl_->TargetOf(node, handle, false));
  if (!target.upper.valid()) return {};  // a layer's file is what it is
  return data_only ? sys::Fdatasync(target.upper) : sys::Fsync(target.upper);
}

SysResult<void> UnionFs::Allocate(NodeId node, HandleId handle, int mode, uint64_t offset, uint64_t size) {
  SNAP_TRY(const Impl::Target target, impl_->TargetOf(node, handle, true));
  return sys::Fallocate(target.upper, mode, offset, size);
}

SysResult<uint64_t> UnionFs::Seek(NodeId node, HandleId handle, uint64_t offset, int whence) {
  SNAP_TRY(const Impl::Target target, impl_->TargetOf(node, handle, false));
  if (target.upper.valid()) return sys::Seek(target.upper, static_cast<int64_t>(offset), whence);
  return target.lower->Seek(offset, whence);
}

SysResult<size_t> UnionFs::CopyRange(NodeId in, HandleId in_handle, uint64_t in_offset, NodeId out, HandleId out_handle,
                                     uint64_t out_offset, size_t size) {
  SNAP_TRY(const Impl::Target target, impl_->TargetOf(out, out_handle, true));
  SNAP_TRY(const Impl::Target source, impl_->TargetOf(in, in_handle, false));
  std::optional<FdRef> from = source.upper.valid() ? std::optional(source.upper) : source.lower->descriptor();
  if (!from) return Errno(EOPNOTSUPP);  // the kernel copies through its cache
  return sys::CopyFileRange(*from, in_offset, target.upper, out_offset, size);
}

SysResult<struct statvfs> UnionFs::StatFs() {
  SNAP_TRY(struct statvfs stat, impl_->upper_ != nullptr ? sys::FStatVfs(impl_->upper_->root())
                                                         : impl_->layers_.front().root->StatFs());
  stat.f_namemax = impl_->traits_.name_max;
  return stat;
}

SysResult<void> UnionFs::SyncAll() {
  if (impl_->options_.is_volatile || impl_->upper_ == nullptr) return {};
  return sys::SyncFs(impl_->upper_->work());
}

UnionFs::Counts UnionFs::counts() const {
  Counts counts;
  counts.nodes = impl_->table_.size();
  for (Impl::HandleShard& shard : impl_->handles_) {
    const std::lock_guard lock(shard.mutex);
    counts.handles += shard.files.size();
  }
  counts.directory_descriptors = impl_->fds_->open_count();
  counts.detached_descriptors = impl_->detached_.load(std::memory_order_relaxed);
  return counts;
}

}  // namespace snap::fuse
