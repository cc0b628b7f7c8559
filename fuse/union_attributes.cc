// Attributes: those of the upper file, else of the topmost layer's, with the union's own number, ids as the mount shows them, and what
// override_stat says where that is in use.
#include <fcntl.h>
#include <sys/xattr.h>

#include "fs/base/sys_file.h"
#include "fuse/override_stat.h"
#include "fuse/union_impl.h"

namespace snap::fuse {
namespace {

constexpr const char* kCapabilityXattr = "security.capability";

bool CanCarryOverride(mode_t mode) { return S_ISREG(mode) || S_ISDIR(mode); }

}  // namespace

SysResult<FileStat> UnionFs::Impl::Show(const NodeRef& node, FileStat on_disk, const UpperFile* upper) {
  struct stat& st = on_disk.st;
  if (UsesOverride() && CanCarryOverride(st.st_mode)) {
    SNAP_TRY(const std::optional<OverrideStat> shown,
             LoadOverride(options_.xattr_permissions, [&](const std::string& xattr) -> SysResult<std::string> {
               if (upper != nullptr) return upper->GetXattr(xattr);
               if (node->IsDirectory()) return node->directory->lowers.front()->GetXattrSelf(xattr);
               return node->lower_directory->GetXattr(node->lower_name, xattr);
             }));
    if (shown) {
      st.st_uid = shown->uid;
      st.st_gid = shown->gid;
      st.st_mode = shown->permissions | shown->type.value_or(st.st_mode & S_IFMT);
      st.st_rdev = shown->device;
    }
  }
  st.st_uid = options_.squash_uid.value_or(options_.uids.Shown(st.st_uid));
  st.st_gid = options_.squash_gid.value_or(options_.gids.Shown(st.st_gid));
  st.st_ino = node->inode;
  // A merged directory's links are in several layers; 1 tells programs not to count.
  if (node->IsDirectory() && (options_.static_nlink || !node->directory->lowers.empty())) st.st_nlink = 1;
  // Removed, and held by whoever has it open: what is on disk may still have its name.
  if (node->places.empty() && node != root_ && (node->IsDirectory() || upper == nullptr)) st.st_nlink = 0;
  return on_disk;
}

SysResult<FileStat> UnionFs::Impl::StatLocked(const NodeRef& node) {
  if (node->upper.load(std::memory_order_acquire)) {
    SNAP_TRY(const UpperFile file, UpperOf(node));
    SNAP_TRY(FileStat stat, file.Stat());
    if (node->metacopy) {
      SNAP_TRY(const FileStat data, node->lower_directory->Stat(node->lower_name));
      stat.st.st_blocks = data.st.st_blocks;
    }
    return Show(node, stat, &file);
  }
  if (node->IsDirectory()) {
    SNAP_TRY(const FileStat stat, node->directory->lowers.front()->StatSelf());
    return Show(node, stat, nullptr);
  }
  SNAP_TRY(const FileStat stat, node->lower_directory->Stat(node->lower_name));
  return Show(node, stat, nullptr);
}

SysResult<FileStat> UnionFs::Impl::Stat(const NodeRef& node) {
  const std::lock_guard lock(node->mutex);
  return StatLocked(node);
}

SysResult<void> UnionFs::Impl::GiveOwner(const UpperFile& file, mode_t mode, uint32_t uid, uint32_t gid, dev_t device) {
  if (!UsesOverride()) {
    SNAP_TRY(const FileStat made, file.Stat());
    if (made.st.st_uid != uid || made.st.st_gid != gid) SNAP_TRY_VOID(file.Chown(uid, gid));
    // mkdir does not set them, and chown drops them. The rest of the mode may come from an inherited ACL.
    const mode_t set_id = mode & (S_ISUID | S_ISGID);
    if (!S_ISLNK(mode) && set_id != 0) SNAP_TRY_VOID(file.Chmod((made.st.st_mode & 01777U) | set_id));
    return {};
  }
  SNAP_TRY(const FileStat made, file.Stat());
  if (!CanCarryOverride(made.st.st_mode)) return {};
  OverrideStat stat{uid, gid, mode & 07777U, mode & S_IFMT, device};
  SNAP_TRY_VOID(file.SetXattr(OverrideXattrName(options_.xattr_permissions), FormatOverride(stat)));
  return file.Chmod(S_ISDIR(made.st.st_mode) ? 0755 : 0644);
}

SysResult<void> UnionFs::Impl::ChangeAttributes(const NodeRef& node, const UpperFile& file, const AttributeChange& change,
                                                const OpenFileRef& open) {
  if (change.size) {
    if (!S_ISREG(node->type)) return Errno(S_ISDIR(node->type) ? EISDIR : EINVAL);
    FdRef target(-1);
    UniqueFd opened;
    std::unique_lock<std::mutex> handle_lock;
    if (open != nullptr) {
      handle_lock = std::unique_lock(open->mutex);
      if (open->upper.valid() && (open->flags & O_ACCMODE) != O_RDONLY) target = open->upper;
    }
    if (!target.valid()) {
      SNAP_TRY(opened, file.Open(O_WRONLY));
      target = opened;
    }
    SNAP_TRY_VOID(sys::Truncate(target, *change.size));
  }

  std::optional<uint32_t> uid, gid;
  if (change.uid && !options_.squash_uid) {
    uid = options_.uids.OnDisk(*change.uid);
    if (!uid) return Errno(EINVAL);
  }
  if (change.gid && !options_.squash_gid) {
    gid = options_.gids.OnDisk(*change.gid);
    if (!gid) return Errno(EINVAL);
  }
  std::optional<mode_t> permissions = change.permissions;
  if (permissions && S_ISLNK(node->type)) return Errno(EOPNOTSUPP);
  if (change.kill_suid_sgid && !permissions && S_ISREG(node->type)) {
    SNAP_TRY(const FileStat shown, StatLocked(node));
    const mode_t mode = shown.st.st_mode;
    const mode_t killed = mode & ~static_cast<mode_t>(S_ISUID | ((mode & S_IXGRP) != 0 ? S_ISGID : 0));
    if (killed != mode) permissions = killed & 07777U;
    const SysResult<void> removed = file.RemoveXattr(kCapabilityXattr);
    if (!removed.ok() && !(removed.error() == ENODATA) && !(removed.error() == EOPNOTSUPP)) return removed;
  }
  if (UsesOverride() && (uid || gid || permissions)) {
    SNAP_TRY(const FileStat on_disk, file.Stat());
    if (CanCarryOverride(on_disk.st.st_mode)) {
      const std::string name = OverrideXattrName(options_.xattr_permissions);
      SNAP_TRY(const std::optional<OverrideStat> known,
               LoadOverride(options_.xattr_permissions, [&](const std::string& xattr) { return file.GetXattr(xattr); }));
      OverrideStat stat = known.value_or(
          OverrideStat{on_disk.st.st_uid, on_disk.st.st_gid, on_disk.st.st_mode & 07777U, std::nullopt, 0});
      if (uid) stat.uid = *uid;
      if (gid) stat.gid = *gid;
      if (permissions) stat.permissions = *permissions;
      SNAP_TRY_VOID(file.SetXattr(name, FormatOverride(stat)));
      uid = gid = std::nullopt;
      permissions = std::nullopt;
    }
  }
  if (uid || gid) SNAP_TRY_VOID(file.Chown(uid.value_or(static_cast<uid_t>(-1)), gid.value_or(static_cast<gid_t>(-1))));
  if (permissions) SNAP_TRY_VOID(file.Chmod(*permissions));
  if (change.access_time || change.modify_time) {
    const timespec keep{0, UTIME_OMIT};
    SNAP_TRY_VOID(file.SetTimes(change.access_time.value_or(keep), change.modify_time.value_or(keep)));
  }
  return {};
}

// --- operations

SysResult<FileStat> UnionFs::GetAttr(NodeId id) {
  SNAP_TRY(const NodeRef node, impl_->Get(id));
  return impl_->Stat(node);
}

SysResult<FileStat> UnionFs::SetAttr(NodeId id, const AttributeChange& change, std::optional<HandleId> handle) {
  SNAP_TRY(const NodeRef node, impl_->Get(id));
  if (!impl_->writable()) return Errno(EROFS);
  SNAP_TRY_VOID(impl_->EnsureUpper(node, change.size.value_or(Impl::kMetadata)));
  OpenFileRef open;
  if (handle && *handle != 0) {
    SNAP_TRY(open, impl_->HandleOf(*handle));
  }
  const std::lock_guard lock(node->mutex);
  SNAP_TRY(const UpperFile file, impl_->UpperOf(node));
  SNAP_TRY_VOID(impl_->ChangeAttributes(node, file, change, open));
  return impl_->StatLocked(node);
}

}  // namespace snap::fuse
