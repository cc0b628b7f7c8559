// Rename. A directory that has a part below cannot move (EXDEV, as with redirect_dir off): its lower part would stay. Everything else is
// one renameat2 in the upper, which also leaves the whiteout behind; what has to be true of the two places is prepared before it.
#include <fcntl.h>
#include <sys/stat.h>

#include <thread>

#include "fs/base/sys_file.h"
#include "fuse/union_impl.h"

namespace snap::fuse {

/// One end of a rename.
struct UnionFs::Impl::RenameEnd {
  NodeRef directory;
  std::string name;
  NodeRef node;            ///< what has the name; nullptr: nothing
  bool below = false;      ///< the layers below have the name
  UpperLayer::Name upper;  ///< what the upper has
  DirFds::Pin pin;
};

namespace {

bool HasLowerPart(const NodeRef& node) { return node->IsDirectory() && !node->directory->lowers.empty(); }

bool NeedsCopy(const NodeRef& node) { return !node->upper.load(std::memory_order_acquire) || node->metacopy; }

}  // namespace

SysResult<void> UnionFs::Impl::FillEnd(RenameEnd& end) {
  SNAP_TRY(const std::optional<DirectoryView::Found> below, FindLower(end.directory, end.name));
  end.below = below.has_value();
  SNAP_TRY(end.upper, LookUpper(end.directory, end.name));
  SNAP_TRY(end.pin, UpperPin(end.directory));
  return {};
}

SysResult<void> UnionFs::Impl::PrepareArrival(const NodeRef& node, const RenameEnd& from, const RenameEnd& to) {
  if (node->has_origin) SNAP_TRY_VOID(MarkImpure(to.directory));
  if (!node->IsDirectory()) return {};
  // Nothing of what is below the new name may show in it.
  const bool hides = to.below || to.upper.kind == UpperLayer::Name::Kind::kWhiteout;
  return hides ? upper_->MarkOpaque(UpperFile(from.pin, from.name)) : SysResult<void>();
}

// Both nodes and both directories' names are locked.
SysResult<void> UnionFs::Impl::Exchange(RenameEnd& from, RenameEnd& to) {
  SNAP_TRY_VOID(PrepareArrival(from.node, from, to));
  SNAP_TRY_VOID(PrepareArrival(to.node, to, from));
  const TreeLock tree(tree_mutex_);
  SNAP_TRY_VOID(sys::RenameAt(*from.pin, from.name.c_str(), *to.pin, to.name.c_str(), RENAME_EXCHANGE));
  MovePlace(tree, from.node, from.directory, from.name, to.directory, to.name);
  MovePlace(tree, to.node, to.directory, to.name, from.directory, from.name);
  return {};
}

SysResult<void> UnionFs::Impl::MoveOver(RenameEnd& from, RenameEnd& to) {
  const bool is_directory = from.node->IsDirectory();
  const bool device_form = upper_->whiteouts() == WhiteoutForm::kDevice;
  SNAP_TRY_VOID(PrepareArrival(from.node, from, to));
  UniqueFd held;
  if (to.node != nullptr) {
    SNAP_TRY(held, HoldBeforeRemoval(to.node));
    if (is_directory && to.upper.kind == UpperLayer::Name::Kind::kPresent) {
      SNAP_TRY(const std::vector<sys::DirEntry> entries, sys::ListDir(held));
      if (!entries.empty()) SNAP_TRY_VOID(upper_->ClearDirectory(*to.pin, to.name, to.upper.stat));
    }
  }
  // With ".wh." files the name that goes is hidden first: as long as it is there it is seen.
  if (from.below && !device_form) SNAP_TRY_VOID(upper_->MakeWhiteout(*from.pin, from.name));
  const bool over_device = to.upper.kind == UpperLayer::Name::Kind::kWhiteout &&
                           sys::StatAt(*to.pin, to.name.c_str()).ok();

  const TreeLock tree(tree_mutex_);
  if (is_directory && over_device) {
    // A directory cannot replace a device: they change places, and the whiteout is where it may be needed.
    SNAP_TRY_VOID(sys::RenameAt(*from.pin, from.name.c_str(), *to.pin, to.name.c_str(), RENAME_EXCHANGE));
    if (!from.below || !device_form) SNAP_TRY_VOID(sys::UnlinkAt(*from.pin, from.name.c_str()));
  } else {
    const bool leave = from.below && device_form;
    SysResult<void> moved =
        sys::RenameAt(*from.pin, from.name.c_str(), *to.pin, to.name.c_str(), leave ? RENAME_WHITEOUT : 0U);
    if (!moved.ok() && leave && (moved.error() == EINVAL || moved.error() == EPERM)) {
      // FALLBACK: file systems without RENAME_WHITEOUT. A crash between the two shows the file under both names.
      moved = sys::RenameAt(*from.pin, from.name.c_str(), *to.pin, to.name.c_str());
      if (moved.ok()) moved = upper_->MakeWhiteout(*from.pin, from.name);
    }
    if (!moved.ok()) return moved;
    if (to.upper.kind == UpperLayer::Name::Kind::kWhiteout && !over_device) {
      SNAP_TRY_VOID(upper_->RemoveFileWhiteout(*to.pin, to.name));
    }
  }
  if (to.node != nullptr) RemovePlace(tree, to.directory, to.name, to.node, std::move(held));
  MovePlace(tree, from.node, from.directory, from.name, to.directory, to.name);
  return {};
}

SysResult<void> UnionFs::Rename(NodeId old_id, std::string_view old_name, NodeId new_id, std::string_view new_name,
                                unsigned flags) {
  Impl& impl = *impl_;
  const bool exchange = flags == RENAME_EXCHANGE;
  if (flags != 0 && flags != RENAME_NOREPLACE && !exchange) return Errno(EINVAL);
  Impl::RenameEnd from, to;
  SNAP_TRY(from.directory, impl.GetDirectory(old_id));
  SNAP_TRY(to.directory, impl.GetDirectory(new_id));
  from.name = old_name;
  to.name = new_name;
  if (!impl.writable()) return Errno(EROFS);
  if (new_name.size() > impl.traits_.name_max) return Errno(ENAMETOOLONG);
  if (IsReservedName(new_name)) return Errno(EPERM);
  SNAP_TRY_VOID(impl.EnsureUpper(from.directory));
  SNAP_TRY_VOID(impl.EnsureUpper(to.directory));

  // Again when something had to be copied up, or somebody works in the directory that is replaced: both without our locks.
  for (NodeRef to_copy;; std::this_thread::yield()) {
    if (to_copy != nullptr) {
      SNAP_TRY_VOID(impl.EnsureUpper(to_copy));
      to_copy = nullptr;
    }
    std::unique_lock from_names(from.directory->directory->names, std::defer_lock);
    std::unique_lock to_names(to.directory->directory->names, std::defer_lock);
    if (from.directory == to.directory) {
      from_names.lock();
    } else {
      std::lock(from_names, to_names);
    }
    if (to.directory->directory->removed.load(std::memory_order_acquire)) return Errno(ENOENT);
    SNAP_TRY(from.node, impl.FindExisting(from.directory, from.name));
    SNAP_TRY(to.node, impl.FindChild(to.directory, to.name));
    if (flags == RENAME_NOREPLACE && to.node != nullptr) return Errno(EEXIST);
    if (exchange && to.node == nullptr) return Errno(ENOENT);
    if (from.node == to.node) return {};  // two names of one file
    if (HasLowerPart(from.node) || (exchange && HasLowerPart(to.node))) return Errno(EXDEV);
    const bool replaces = to.node != nullptr && !exchange;
    if (replaces && from.node->IsDirectory() != to.node->IsDirectory()) {
      return Errno(from.node->IsDirectory() ? ENOTDIR : EISDIR);
    }
    if (NeedsCopy(from.node)) to_copy = from.node;
    if (exchange && NeedsCopy(to.node)) to_copy = to.node;
    if (to_copy != nullptr) continue;

    std::unique_lock<std::shared_mutex> replaced_names;
    if (replaces && to.node->IsDirectory()) {
      replaced_names = std::unique_lock(to.node->directory->names, std::try_to_lock);
      if (!replaced_names.owns_lock()) continue;
      SNAP_TRY_VOID(impl.CheckEmpty(to.node));
    }
    SNAP_TRY_VOID(impl.FillEnd(from));
    SNAP_TRY_VOID(impl.FillEnd(to));
    std::unique_lock from_lock(from.node->mutex, std::defer_lock);
    std::unique_lock<std::mutex> to_lock;
    if (to.node != nullptr) {
      to_lock = std::unique_lock(to.node->mutex, std::defer_lock);
      std::lock(from_lock, to_lock);
    } else {
      from_lock.lock();
    }
    SNAP_TRY_VOID(exchange ? impl.Exchange(from, to) : impl.MoveOver(from, to));
    impl.CountChange(from.directory);
    impl.CountChange(to.directory);
    return {};
  }
}

}  // namespace snap::fuse
