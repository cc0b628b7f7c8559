// Copy-up: a lower file becomes an upper one with the same content, owner, times and xattrs. Everything is made aside; the last step
// is the link or rename that shows it. Only the node is locked: others that want the same file wait, nobody else does.
#include <fcntl.h>

#include "fs/base/sys_file.h"
#include "fuse/file_copy.h"
#include "fuse/file_stat.h"
#include "fuse/override_stat.h"
#include "fuse/union_impl.h"

namespace snap::fuse {
namespace {

XattrSource XattrsOf(const Node& node) {
  if (node.IsDirectory()) {
    const std::shared_ptr<LayerDir> lower = node.directory->lowers.front();
    return {[lower] { return lower->ListXattrSelf(); }, [lower](const std::string& name) { return lower->GetXattrSelf(name); }};
  }
  const std::shared_ptr<LayerDir> lower = node.lower_directory;
  const LayerName name = node.lower_name;
  return {[lower, name] { return lower->ListXattr(name); },
          [lower, name](const std::string& xattr) { return lower->GetXattr(name, xattr); }};
}

SysResult<FileStat> LowerStat(const Node& node) {
  return node.IsDirectory() ? node.directory->lowers.front()->StatSelf() : node.lower_directory->Stat(node.lower_name);
}

}  // namespace

SysResult<void> UnionFs::Impl::EnsureUpper(const NodeRef& node, uint64_t data) {
  if (node->upper.load(std::memory_order_acquire)) {
    if (!S_ISREG(node->type)) return {};
    const std::lock_guard lock(node->mutex);
    return EnsureUpperLocked(node, data);
  }
  if (!writable()) return Errno(EROFS);
  // Parents first, from the top, with no lock held. A file may get another parent meanwhile: that one is in the upper.
  std::vector<NodeRef> missing;
  NodeRef at = node;
  while (!at->upper.load(std::memory_order_acquire)) {
    missing.push_back(at);
    const std::lock_guard lock(at->mutex);
    if (at->places.empty()) break;
    at = at->places.front().directory;
  }
  for (auto next = missing.rbegin(); next != missing.rend(); ++next) {
    const std::lock_guard lock((*next)->mutex);
    SNAP_TRY_VOID(EnsureUpperLocked(*next, *next == node ? data : kWhole));
  }
  return {};
}

SysResult<void> UnionFs::Impl::EnsureUpperLocked(const NodeRef& node, uint64_t data) {
  if (node->upper.load(std::memory_order_acquire)) {
    if (!node->metacopy || data == kMetadata) return {};
    // The data follows its metadata: the mark goes when the data is there and safe.
    SNAP_TRY(const UpperFile file, UpperOf(node));
    SNAP_TRY(const UniqueFd target, file.Open(O_RDWR));
    SNAP_TRY(const FileStat stat, file.Stat());
    SNAP_TRY(const std::shared_ptr<LayerFile> source, node->lower_directory->OpenFile(node->lower_name));
    SNAP_TRY_VOID(CopyData(*source, static_cast<uint64_t>(stat.st.st_size), target));
    SNAP_TRY_VOID(sys::FSetTimes(target, {stat.st.st_atim, stat.st.st_mtim}));
    if (!options_.is_volatile) SNAP_TRY_VOID(sys::Fsync(target));
    SNAP_TRY_VOID(file.RemoveXattr(upper_->MarkName("metacopy")));
    node->metacopy = false;
    return {};
  }
  if (!writable()) return Errno(EROFS);

  SNAP_TRY(const FileStat stat, LowerStat(*node));
  const mode_t type = stat.st.st_mode & S_IFMT;  // on disk: override_stat may show another
  const bool has_name = !node->places.empty();
  const NamePlace place = has_name ? node->places.front() : NamePlace{};
  DirFds::Pin parent;
  if (has_name) {
    SNAP_TRY(parent, UpperPin(place.directory));
  }

  // The file aside: without a name where that is possible, so that a crash leaves nothing.
  std::string prepared;
  DirFds::Pin unnamed;
  if (type == S_IFREG) {
    SysResult<UniqueFd> made = sys::OpenAt(upper_->work(), ".", O_TMPFILE | O_RDWR, 0600);
    if (made.ok()) {
      unnamed = std::make_shared<const UniqueFd>(std::move(*made));
    } else if (!(made.error() == EOPNOTSUPP) && !(made.error() == EISDIR)) {
      return made.error();
    }
  }
  struct Discard {
    UpperLayer& upper;
    std::string& name;
    ~Discard() {
      if (!name.empty()) (void)sys::RemoveTree(upper.work(), name.c_str());  // else the next mount removes it
    }
  } discard{*upper_, prepared};
  UniqueFd data_fd;
  if (unnamed == nullptr) {
    const std::string name = upper_->NewName();
    if (type == S_IFREG) {
      SNAP_TRY(data_fd, sys::OpenAt(upper_->work(), name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, 0600));
    } else if (type == S_IFDIR) {
      SNAP_TRY_VOID(sys::MkdirAt(upper_->work(), name.c_str(), 0700));
    } else if (type == S_IFLNK) {
      SNAP_TRY(const std::string target, node->lower_directory->ReadLink(node->lower_name));
      SNAP_TRY_VOID(sys::SymlinkAt(target.c_str(), upper_->work(), name.c_str()));
    } else {
      SNAP_TRY_VOID(sys::MknodAt(upper_->work(), name.c_str(), type | 0600U, stat.st.st_rdev));
    }
    prepared = name;
  }
  const UpperFile file = unnamed != nullptr ? UpperFile(unnamed) : UpperFile(upper_->work_pin(), prepared);

  const uint64_t size = static_cast<uint64_t>(stat.st.st_size);
  const FdRef target = unnamed != nullptr ? unnamed->ref() : data_fd.ref();
  if (type == S_IFREG && size > 0 && data > 0) {
    SNAP_TRY(const std::shared_ptr<LayerFile> source, node->lower_directory->OpenFile(node->lower_name));
    SNAP_TRY_VOID(CopyData(*source, std::min(size, data), target));
  }
  SNAP_TRY_VOID(file.Chown(stat.st.st_uid, stat.st.st_gid));
  SNAP_TRY_VOID(CopyXattrs(XattrsOf(*node), file, [&](const std::string& name) {
    return xattrs_.IsInternal(name) && !IsOverrideXattr(name);
  }));
  if (type != S_IFLNK) SNAP_TRY_VOID(file.Chmod(stat.st.st_mode & 07777U));

  // Whose copy it is. A copy of one of several names is a file of its own, so its origin is not told; its number stays what it was, since
  // the kernel has it in its listings.
  const bool only_name = node->IsDirectory() || stat.st.st_nlink <= 1;
  bool marked = false;
  if (only_name) {  // refused on symlinks in the user namespace: then the number lasts as long as the node
    const SysResult<std::string> origin =
        node->IsDirectory() ? node->directory->lowers.front()->OriginSelf() : node->lower_directory->OriginOf(node->lower_name);
    // An empty origin says "copied up from somewhere", which makes overlayfs filter whiteouts out of a directory.
    if (origin.ok() || node->IsDirectory()) {
      marked = file.SetXattr(upper_->MarkName("origin"), origin.ok() ? *origin : std::string()).ok();
    }
  }
  if (!node->IsDirectory()) marked = upper_->StoreNumber(file, node->inode).ok() || marked;
  SNAP_TRY_VOID(file.SetTimes(stat.st.st_atim, stat.st.st_mtim));
  if (type == S_IFREG && !options_.is_volatile) SNAP_TRY_VOID(sys::Fsync(target));

  if (!has_name) {
    // Its name was removed while it was open: the copy never gets one.
    SNAP_TRY(UniqueFd held, file.OpenPath());
    Detach(node, std::move(held));
  } else {
    if (marked && !node->IsDirectory()) SNAP_TRY_VOID(MarkImpure(place.directory));
    SNAP_TRY(const FileStat before, StatOf(*parent, ""));
    if (unnamed != nullptr) {
      SNAP_TRY_VOID(upper_->PlaceUnnamed(*unnamed, *parent, place.name, false));
    } else {
      SNAP_TRY_VOID(upper_->Place(upper_->work(), prepared, node->IsDirectory(), *parent, place.name, false));
      prepared.clear();
    }
    // Nothing has changed in the directory as anybody sees it. Should this fail, its times are those of the copy.
    (void)UpperFile(parent, ".").SetTimes(before.st.st_atim, before.st.st_mtim);
  }
  node->has_origin = marked;
  node->upper.store(true, std::memory_order_release);
  return {};
}

SysResult<void> UnionFs::Impl::MarkImpure(const NodeRef& directory) {
  if (directory->directory->impure.load(std::memory_order_acquire)) return {};
  // Not the directory's mutex: it may be held by who moves something, and the mark is only ever set.
  SNAP_TRY(const DirFds::Pin pin, UpperPin(directory));
  const SysResult<void> marked = upper_->MarkImpure(UpperFile(pin, "."));
  if (!marked.ok() && !(marked.error() == EOPNOTSUPP)) return marked;
  directory->directory->impure.store(true, std::memory_order_release);
  return {};
}

}  // namespace snap::fuse
