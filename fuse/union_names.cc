// Making and removing names. What is made and needs more than one system call is made in work/work and moved into place; what is
// removed and has something below it is replaced by a whiteout in one step.
#include <fcntl.h>
#include <sys/stat.h>

#include <thread>

#include "fs/base/sys_file.h"
#include "fs/whiteout.h"
#include "fuse/override_stat.h"
#include "fuse/union_impl.h"

namespace snap::fuse {
namespace {

constexpr const char* kDefaultAclXattr = "system.posix_acl_default";

}  // namespace

SysResult<bool> UnionFs::Impl::InheritsAcl(const NodeRef& directory) {
  std::atomic<int>& known = directory->directory->default_acl;
  if (known.load(std::memory_order_acquire) == 0) {
    SNAP_TRY(const DirFds::Pin pin, UpperPin(directory));
    const SysResult<std::string> acl = UpperFile(pin, ".").GetXattr(kDefaultAclXattr);
    if (!acl.ok() && !(acl.error() == ENODATA) && !(acl.error() == EOPNOTSUPP)) return acl.error();
    known.store(acl.ok() ? 2 : 1, std::memory_order_release);
  }
  return known.load(std::memory_order_acquire) == 2;
}

SysResult<UnionFs::Impl::Creation> UnionFs::Impl::BeginCreation(NodeId directory_id, std::string_view name, mode_t mode,
                                                                const Caller& caller) {
  SNAP_TRY(const NodeRef directory, GetDirectory(directory_id));
  if (!writable()) return Errno(EROFS);
  if (name.size() > traits_.name_max) return Errno(ENAMETOOLONG);
  if (IsReservedName(name)) return Errno(EPERM);
  SNAP_TRY_VOID(EnsureUpper(directory));

  Creation creation;
  creation.directory = directory;
  creation.name = name;
  creation.names = std::unique_lock(directory->directory->names);
  if (directory->directory->removed.load(std::memory_order_acquire)) return Errno(ENOENT);
  SNAP_TRY(creation.pin, UpperPin(directory));
  SNAP_TRY(const UpperLayer::Name upper, LookUpper(directory, creation.name));
  if (upper.kind == UpperLayer::Name::Kind::kPresent) return Errno(EEXIST);
  creation.over_whiteout = upper.kind == UpperLayer::Name::Kind::kWhiteout;
  if (!creation.over_whiteout) {
    SNAP_TRY(const std::optional<DirectoryView::Found> below, FindLower(directory, creation.name));
    if (below) return Errno(EEXIST);
  }

  SNAP_TRY_VOID(ChooseOwner(creation, mode, caller));
  return creation;
}

// The caller's ids, but for the group in a set-group-id directory.
SysResult<void> UnionFs::Impl::ChooseOwner(Creation& creation, mode_t mode, const Caller& caller) {
  std::optional<uint32_t> uid = options_.uids.OnDisk(caller.uid), gid = options_.gids.OnDisk(caller.gid);
  SNAP_TRY(const FileStat parent, Stat(creation.directory));
  if ((parent.st.st_mode & S_ISGID) != 0) {
    gid = options_.gids.OnDisk(parent.st.st_gid);
    if (S_ISDIR(mode)) mode |= S_ISGID;
  }
  // A squashed owner is only shown: on disk the files are the mounting user's.
  if (options_.squash_uid) uid = own_uid_;
  if (options_.squash_gid) gid = own_gid_;
  // The mounting user, outside of the mapping: an engine that prepares a container's tree. On disk its files are its own.
  if (caller.uid == own_uid_) {
    if (!uid) uid = own_uid_;
    if (!gid) gid = own_gid_;
  }
  if (!uid || !gid) return Errno(EOVERFLOW);
  creation.uid = *uid;
  creation.gid = *gid;
  SNAP_TRY(creation.inherits_acl, InheritsAcl(creation.directory));
  creation.mode = creation.inherits_acl || S_ISLNK(mode) ? mode : mode & ~(caller.umask & 0777U);
  return {};
}

SysResult<void> UnionFs::Impl::MakeInPlace(const Creation& creation, const Maker& make, dev_t device) {
  const bool is_directory = S_ISDIR(creation.mode);
  const bool own = creation.uid == own_uid_ && creation.gid == own_gid_ && !UsesOverride() &&
                   (creation.mode & (S_ISUID | S_ISGID)) == 0;
  if (own && !creation.over_whiteout) return make(*creation.pin, creation.name);

  // Aside, in a directory that hands down the same ACL.
  const std::string room_name = upper_->NewName();
  DirFds::Pin room = upper_->work_pin();
  if (creation.inherits_acl) {
    SNAP_TRY_VOID(sys::MkdirAt(upper_->work(), room_name.c_str(), 0700));
    SNAP_TRY(UniqueFd opened, sys::OpenAt(upper_->work(), room_name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW));
    SNAP_TRY(const std::string acl, UpperFile(creation.pin, ".").GetXattr(kDefaultAclXattr));
    room = std::make_shared<const UniqueFd>(std::move(opened));
    SNAP_TRY_VOID(sys::SetXattrAt(*room, ".", kDefaultAclXattr, std::as_bytes(std::span(acl))));
  }
  const std::string prepared = creation.inherits_acl ? "new" : room_name;
  const auto complete = [&]() -> SysResult<void> {
    SNAP_TRY_VOID(make(*room, prepared));
    const UpperFile file(room, prepared);
    SNAP_TRY_VOID(GiveOwner(file, creation.mode, creation.uid, creation.gid, device));
    if (is_directory && creation.over_whiteout) SNAP_TRY_VOID(upper_->MarkOpaque(file));
    return upper_->Place(*room, prepared, is_directory, *creation.pin, creation.name, creation.over_whiteout);
  };
  const SysResult<void> completed = complete();
  if (!completed.ok() || creation.inherits_acl) (void)sys::RemoveTree(upper_->work(), room_name.c_str());  // or the next mount
  return completed;
}

SysResult<Entry> UnionFs::Impl::EntryOfMade(const Creation& creation) {
  CountChange(creation.directory);
  SNAP_TRY(const FileStat stat, UpperFile(creation.pin, creation.name).Stat());
  SNAP_TRY(const NodeRef node, MakeUpperNode(creation.directory, creation.name, stat));
  return EntryOf(node);
}

SysResult<void> UnionFs::Impl::CheckEmpty(const NodeRef& directory) {
  SNAP_TRY(const std::shared_ptr<const Listing> listing, ListNames(directory));
  if (!listing->empty()) return Errno(ENOTEMPTY);
  return {};
}

SysResult<UniqueFd> UnionFs::Impl::HoldBeforeRemoval(const NodeRef& node) {
  if (!node->upper.load(std::memory_order_acquire) || node->places.size() > 1) return UniqueFd();
  SNAP_TRY(const UpperFile file, UpperOf(node));
  return file.OpenPath();
}

SysResult<NodeRef> UnionFs::Impl::FindExisting(const NodeRef& directory, const std::string& name) {
  SNAP_TRY(NodeRef node, FindChild(directory, name));
  if (node == nullptr) return Errno(ENOENT);
  return node;
}

// --- operations

SysResult<Entry> UnionFs::MakeNode(NodeId directory, std::string_view name, mode_t mode, dev_t device, const Caller& caller) {
  SNAP_TRY(const Impl::Creation creation, impl_->BeginCreation(directory, name, mode, caller));
  if (whiteout::IsOverlayWhiteout(mode, device) && S_ISCHR(mode)) return Errno(EPERM);
  // Devices and the like are files whose type is in override_stat, where that is in use.
  const bool as_file = impl_->UsesOverride() && !S_ISFIFO(mode) && !S_ISSOCK(mode);
  SNAP_TRY_VOID(impl_->MakeInPlace(
      creation,
      [&](FdRef at, const std::string& where) -> SysResult<void> {
        const mode_t type = as_file ? S_IFREG : creation.mode & S_IFMT;
        return sys::MknodAt(at, where.c_str(), type | (creation.mode & 07777U), as_file ? 0 : device);
      },
      device));
  return impl_->EntryOfMade(creation);
}

SysResult<Entry> UnionFs::MakeDirectory(NodeId directory, std::string_view name, mode_t mode, const Caller& caller) {
  SNAP_TRY(const Impl::Creation creation, impl_->BeginCreation(directory, name, S_IFDIR | (mode & 07777U), caller));
  SNAP_TRY_VOID(impl_->MakeInPlace(creation, [&](FdRef at, const std::string& where) {
    return sys::MkdirAt(at, where.c_str(), creation.mode & 07777U);
  }));
  return impl_->EntryOfMade(creation);
}

SysResult<Entry> UnionFs::MakeSymlink(NodeId directory, std::string_view name, std::string_view target, const Caller& caller) {
  SNAP_TRY(const Impl::Creation creation, impl_->BeginCreation(directory, name, S_IFLNK | 0777U, caller));
  SNAP_TRY_VOID(impl_->MakeInPlace(creation, [&](FdRef at, const std::string& where) {
    return sys::SymlinkAt(std::string(target).c_str(), at, where.c_str());
  }));
  return impl_->EntryOfMade(creation);
}

SysResult<Entry> UnionFs::Link(NodeId id, NodeId directory, std::string_view name) {
  SNAP_TRY(const NodeRef node, impl_->Get(id));
  if (node->IsDirectory()) return Errno(EPERM);
  if (!impl_->writable()) return Errno(EROFS);
  SNAP_TRY_VOID(impl_->EnsureUpper(node));
  SNAP_TRY(const Impl::Creation creation, impl_->BeginCreation(directory, name, node->type, Caller{}));
  {
    const std::lock_guard lock(node->mutex);
    SNAP_TRY(const UpperFile file, impl_->UpperOf(node));
    if (node->has_origin) SNAP_TRY_VOID(impl_->MarkImpure(creation.directory));
    UpperLayer& upper = *impl_->upper_;
    if (creation.over_whiteout) {
      const std::string prepared = upper.NewName();
      SNAP_TRY_VOID(file.LinkTo(upper.work(), prepared));
      const SysResult<void> placed =
          upper.Place(upper.work(), prepared, false, *creation.pin, creation.name, true);
      if (!placed.ok()) {
        (void)sys::UnlinkAt(upper.work(), prepared.c_str());  // or the next mount
        return placed.error();
      }
    } else {
      SNAP_TRY_VOID(file.LinkTo(*creation.pin, creation.name));
    }
    SNAP_TRY(const FileStat stat, file.Stat());
    if (stat.st.st_nlink > 1) (void)impl_->table_.ShareLinked({stat.st.st_dev, stat.st.st_ino}, node);
    node->places.push_back({creation.directory, creation.name});
    if (node->detached != nullptr) {
      node->detached.reset();
      impl_->detached_.fetch_sub(1, std::memory_order_relaxed);
    }
  }
  {
    const std::lock_guard lock(creation.directory->directory->children_mutex);
    creation.directory->directory->children[creation.name] = node;
    ++creation.directory->directory->changes;
  }
  return impl_->EntryOf(node);
}

SysResult<void> UnionFs::Unlink(NodeId directory_id, std::string_view name_view) {
  SNAP_TRY(const NodeRef directory, impl_->GetDirectory(directory_id));
  if (!impl_->writable()) return Errno(EROFS);
  const std::string name(name_view);
  SNAP_TRY_VOID(impl_->EnsureUpper(directory));
  NodeRef node;  // outlives the locks
  const std::unique_lock names(directory->directory->names);
  SNAP_TRY(node, impl_->FindExisting(directory, name));
  if (node->IsDirectory()) return Errno(EISDIR);
  SNAP_TRY(const std::optional<DirectoryView::Found> below, impl_->FindLower(directory, name));
  SNAP_TRY(const DirFds::Pin pin, impl_->UpperPin(directory));
  const std::lock_guard lock(node->mutex);
  SNAP_TRY(UniqueFd held, impl_->HoldBeforeRemoval(node));
  if (!node->upper.load(std::memory_order_acquire)) {
    SNAP_TRY_VOID(impl_->upper_->MakeWhiteout(*pin, name));
  } else if (below) {
    SNAP_TRY_VOID(impl_->upper_->ReplaceByWhiteout(*pin, name, false));
  } else {
    SNAP_TRY_VOID(sys::UnlinkAt(*pin, name.c_str()));
  }
  impl_->RemovePlace(Impl::TreeLock(impl_->tree_mutex_), directory, name, node, std::move(held));
  impl_->CountChange(directory);
  return {};
}

SysResult<void> UnionFs::RemoveDirectory(NodeId directory_id, std::string_view name_view) {
  SNAP_TRY(const NodeRef directory, impl_->GetDirectory(directory_id));
  if (!impl_->writable()) return Errno(EROFS);
  const std::string name(name_view);
  SNAP_TRY_VOID(impl_->EnsureUpper(directory));
  for (;; std::this_thread::yield()) {
    NodeRef node;  // outlives the locks
    const std::unique_lock names(directory->directory->names);
    SNAP_TRY(node, impl_->FindExisting(directory, name));
    if (!node->IsDirectory()) return Errno(ENOTDIR);
    const std::unique_lock own_names(node->directory->names, std::try_to_lock);
    if (!own_names.owns_lock()) continue;  // somebody works in it, and may want ours
    SNAP_TRY_VOID(impl_->CheckEmpty(node));
    SNAP_TRY(const std::optional<DirectoryView::Found> below, impl_->FindLower(directory, name));
    SNAP_TRY(const DirFds::Pin pin, impl_->UpperPin(directory));
    const std::lock_guard lock(node->mutex);
    SNAP_TRY(UniqueFd held, impl_->HoldBeforeRemoval(node));
    const Impl::TreeLock tree(impl_->tree_mutex_);
    if (!node->upper.load(std::memory_order_acquire)) {
      SNAP_TRY_VOID(impl_->upper_->MakeWhiteout(*pin, name));
    } else if (below) {
      SNAP_TRY_VOID(impl_->upper_->ReplaceByWhiteout(*pin, name, true));
    } else {
      SNAP_TRY_VOID(impl_->upper_->RemoveEmptyDirectory(*pin, name));
    }
    impl_->RemovePlace(tree, directory, name, node, std::move(held));
    impl_->CountChange(directory);
    return {};
  }
}

}  // namespace snap::fuse
