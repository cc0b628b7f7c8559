// Finding and making nodes. A name is decided once per lookup: what the kernel knows already, else the upper's word (present,
// whiteout), else the layers'. Concurrent lookups may decide twice; Adopt lets one of them win.
#include <fcntl.h>

#include <algorithm>

#include "fs/base/check.h"
#include "fs/base/sys_file.h"
#include "fs/whiteout.h"
#include "fuse/override_stat.h"
#include "fuse/union_impl.h"

namespace snap::fuse {
Node::~Node() {
  for (const NamePlace& place : places) {
    DirectoryState& parent = *place.directory->directory;
    const std::lock_guard lock(parent.children_mutex);
    const auto found = parent.children.find(place.name);
    if (found != parent.children.end() && found->second.expired()) parent.children.erase(found);
  }
}

SysResult<NodeRef> UnionFs::Impl::Get(NodeId id) const {
  NodeRef node = table_.Find(id);
  if (node == nullptr) return Errno(ESTALE);
  return node;
}

SysResult<NodeRef> UnionFs::Impl::GetDirectory(NodeId id) const {
  SNAP_TRY(NodeRef node, Get(id));
  if (!node->IsDirectory()) return Errno(ENOTDIR);
  return node;
}

NodeRef UnionFs::Impl::NewNode(mode_t type, uint64_t inode) {
  NodeRef node = std::make_shared<Node>(table_.NewId(), type, inode);
  if (node->IsDirectory()) node->directory = std::make_unique<DirectoryState>(*fds_);
  return node;
}

NodeRef UnionFs::Impl::Adopt(const NodeRef& directory, const std::string& name, const NodeRef& node) {
  NodeRef known;  // outlives the lock: letting go of a node takes it
  DirectoryState& state = *directory->directory;
  const std::lock_guard lock(state.children_mutex);
  std::weak_ptr<Node>& child = state.children[name];
  known = child.lock();
  if (known != nullptr) return known;
  child = node;
  return node;
}

SysResult<std::shared_ptr<const DirectoryView>> UnionFs::Impl::ViewOf(const NodeRef& directory) {
  DirectoryState& state = *directory->directory;
  const std::lock_guard lock(state.view_mutex);
  if (state.view == nullptr) {
    SNAP_TRY(state.view, DirectoryView::Build(state.lowers));
  }
  return state.view;
}

SysResult<std::optional<DirectoryView::Found>> UnionFs::Impl::FindLower(const NodeRef& directory, const std::string& name) {
  if (directory->directory->lowers.empty()) return std::optional<DirectoryView::Found>();
  SNAP_TRY(const std::shared_ptr<const DirectoryView> view, ViewOf(directory));
  return view->Find(name);
}

SysResult<UpperLayer::Forms> UnionFs::Impl::FormsOf(const NodeRef& directory, const DirFds::Pin& pin) {
  DirectoryState& state = *directory->directory;
  // Whiteouts only matter where something is below.
  if (!state.forms_known.load(std::memory_order_acquire) && !state.lowers.empty()) {
    SNAP_TRY(const UpperLayer::Forms forms, upper_->FindForms(*pin));
    state.has_file_whiteouts.store(forms.files, std::memory_order_relaxed);
    state.has_xattr_whiteouts.store(forms.xattrs, std::memory_order_relaxed);
    state.forms_known.store(true, std::memory_order_release);
  }
  return UpperLayer::Forms{state.has_file_whiteouts.load(std::memory_order_relaxed),
                           state.has_xattr_whiteouts.load(std::memory_order_relaxed)};
}

SysResult<UpperLayer::Name> UnionFs::Impl::LookUpper(const NodeRef& directory, const std::string& name) {
  if (!directory->upper.load(std::memory_order_acquire)) return UpperLayer::Name{};
  SNAP_TRY(const DirFds::Pin pin, UpperPin(directory));
  SNAP_TRY(const UpperLayer::Forms forms, FormsOf(directory, pin));
  return upper_->Look(pin, name, forms);
}

SysResult<NodeRef> UnionFs::Impl::FindChild(const NodeRef& directory, const std::string& name) {
  {
    DirectoryState& state = *directory->directory;
    const std::lock_guard lock(state.children_mutex);
    const auto found = state.children.find(name);
    if (found != state.children.end()) {
      if (NodeRef known = found->second.lock()) return known;
    }
  }
  if (directory->directory->removed.load(std::memory_order_acquire)) return NodeRef();
  SNAP_TRY(const UpperLayer::Name upper, LookUpper(directory, name));
  if (upper.kind == UpperLayer::Name::Kind::kWhiteout) return NodeRef();
  if (upper.kind == UpperLayer::Name::Kind::kPresent) return MakeUpperNode(directory, name, upper.stat);
  SNAP_TRY(const std::optional<DirectoryView::Found> found, FindLower(directory, name));
  if (!found) return NodeRef();
  return MakeLowerNode(directory, name, *found);
}

SysResult<NodeRef> UnionFs::Impl::MakeUpperNode(const NodeRef& directory, const std::string& name, const FileStat& stat) {
  SNAP_TRY(DirFds::Pin pin, UpperPin(directory));
  const UpperFile file(pin, name);
  mode_t type = stat.st.st_mode & S_IFMT;
  if (UsesOverride() && type == S_IFREG) {
    SNAP_TRY(const std::optional<OverrideStat> shown, LoadOverride(
        options_.xattr_permissions, [&](const std::string& xattr) { return file.GetXattr(xattr); }));
    if (shown && shown->type) type = *shown->type;
  }
  NodeRef node = NewNode(type, NumberOf(stat.st.st_dev, stat.st.st_ino));
  node->upper.store(true, std::memory_order_relaxed);
  node->places.push_back({directory, name});

  // What is below it, and whose number it has.
  SNAP_TRY(const std::optional<DirectoryView::Found> below, FindLower(directory, name));
  if (node->IsDirectory()) {
    SNAP_TRY(const std::optional<std::string> redirect, RedirectOf(file));
    if (redirect) {
      SNAP_TRY(const std::optional<LowerPlace> place, FollowRedirect(directory, *redirect));
      if (place && place->found.name.type == FileType::kDirectory) {
        SNAP_TRY(node->directory->lowers, DirectoryView::ResolveDirectory(place->found, place->parents));
      }
    } else if (below && below->name.type == FileType::kDirectory) {
      SNAP_TRY(const bool opaque, upper_->IsOpaque(pin, name));
      if (!opaque) {
        SNAP_TRY(node->directory->lowers, DirectoryView::ResolveDirectory(*below, directory->directory->lowers));
      }
    }
    if (!node->directory->lowers.empty()) {
      SNAP_TRY(const FileStat lower, node->directory->lowers.front()->StatSelf());
      node->inode = NumberOf(node->directory->lowers.front()->file_system(), lower.st.st_ino);
    }
    SNAP_TRY(const bool impure, upper_->IsImpure(file));
    node->directory->impure.store(impure, std::memory_order_relaxed);
  }
  if (directory->directory->impure.load(std::memory_order_relaxed) && (!node->IsDirectory() || node->directory->lowers.empty())) {
    SNAP_TRY(uint64_t number, upper_->LoadNumber(file));
    if (number == 0 && below && below->name.type != FileType::kDirectory && S_ISREG(type)) {
      // Copied up by the kernel's overlayfs: the same file below tells the number.
      const std::shared_ptr<LayerDir>& lower = directory->directory->lowers[below->layer];
      const SysResult<std::string> origin = file.GetXattr(upper_->MarkName("origin"));
      const SysResult<std::string> ours = lower->OriginOf(below->name);
      if (origin.ok() && ours.ok() && *origin == *ours) number = NumberOf(lower->file_system(), below->name.inode);
    }
    if (number != 0) {
      node->inode = number;
      node->has_origin = true;
    }
  }
  if (S_ISREG(type) && !layers_.empty() && file.GetXattr(upper_->MarkName("metacopy")).ok()) {
    SNAP_TRY(const std::optional<std::string> redirect, RedirectOf(file));
    std::optional<LowerPlace> place;
    if (redirect) {
      SNAP_TRY(place, FollowRedirect(directory, *redirect));
    } else if (below) {
      place = LowerPlace{directory->directory->lowers, nullptr, *below};
    }
    // Without its data the file would read as zeros.
    if (!place || place->found.name.type != FileType::kRegular) return Errno(EIO);
    node->metacopy = true;
    node->lower_directory = place->parents[place->found.layer];
    node->lower_name = place->found.name;
  }

  if (!node->IsDirectory() && stat.st.st_nlink > 1) {
    const NodeRef shared = table_.ShareLinked({stat.st.st_dev, stat.st.st_ino}, node);
    if (shared != node) {
      {
        const std::lock_guard lock(shared->mutex);
        const bool known = std::any_of(shared->places.begin(), shared->places.end(), [&](const NamePlace& place) {
          return place.directory == directory && place.name == name;
        });
        if (!known) shared->places.push_back({directory, name});
      }
      node->places.clear();
      return Adopt(directory, name, shared);
    }
  }
  NodeRef adopted = Adopt(directory, name, node);
  if (adopted != node) node->places.clear();
  return adopted;
}

SysResult<NodeRef> UnionFs::Impl::MakeLowerNode(const NodeRef& directory, const std::string& name,
                                                const DirectoryView::Found& found) {
  const std::vector<std::shared_ptr<LayerDir>>& dirs = directory->directory->lowers;
  const std::shared_ptr<LayerDir>& layer = dirs[found.layer];
  mode_t type = TypeBits(found.name.type);
  if (UsesOverride() && type == S_IFREG) {
    SNAP_TRY(const std::optional<OverrideStat> shown, LoadOverride(
        options_.xattr_permissions, [&](const std::string& xattr) { return layer->GetXattr(found.name, xattr); }));
    if (shown && shown->type) type = *shown->type;
  }
  NodeRef node = NewNode(type, NumberOf(layer->file_system(), found.name.inode));
  node->places.push_back({directory, name});
  if (node->IsDirectory()) {
    SNAP_TRY(const std::shared_ptr<const DirectoryView> view, ViewOf(directory));
    SNAP_TRY(node->directory->lowers, view->ResolveDirectory(found, dirs));
    if (node->directory->lowers.empty()) return Errno(EIO);
  } else {
    node->lower_directory = layer;
    node->lower_name = found.name;
  }
  NodeRef adopted = Adopt(directory, name, node);
  if (adopted != node) node->places.clear();
  return adopted;
}

SysResult<Entry> UnionFs::Impl::EntryOf(const NodeRef& node) {
  SNAP_TRY(const FileStat stat, Stat(node));
  table_.CountLookup(node);
  return Entry{node->id, stat};
}

SysResult<DirFds::Pin> UnionFs::Impl::UpperPin(const NodeRef& directory) {
  if (directory == root_) return root_pin_;
  const std::shared_lock tree(tree_mutex_);
  // From the directory up to one whose descriptor is open; the lock keeps all of them where they are.
  struct Opener {
    Impl& self;
    SysResult<DirFds::Pin> operator()(const NodeRef& node) {
      if (node == self.root_) return self.root_pin_;
      return self.fds_->Get(node->directory->upper_fd, [&]() -> SysResult<UniqueFd> {
        if (node->places.empty()) {
          if (node->detached == nullptr) return Errno(ENOENT);
          return sys::Dup(*node->detached);
        }
        const NamePlace& place = node->places.front();
        SNAP_TRY(const DirFds::Pin parent, (*this)(place.directory));
        return sys::OpenAt(*parent, place.name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW);
      });
    }
  };
  return Opener{*this}(directory);
}

SysResult<UpperFile> UnionFs::Impl::UpperOf(const NodeRef& node) {
  if (node == root_) return UpperFile(root_pin_, ".");
  if (node->places.empty()) {
    if (node->detached == nullptr) return Errno(ENOENT);
    return UpperFile(node->detached);
  }
  const NamePlace& place = node->places.front();
  SNAP_TRY(DirFds::Pin pin, UpperPin(place.directory));
  return UpperFile(std::move(pin), place.name);
}

void UnionFs::Impl::Detach(const NodeRef& node, UniqueFd file) {
  node->detached = std::make_shared<const UniqueFd>(std::move(file));
  detached_.fetch_add(1, std::memory_order_relaxed);
}

void UnionFs::Impl::RemovePlace(const TreeLock&, const NodeRef& directory, const std::string& name, const NodeRef& node,
                                UniqueFd held) {
  std::vector<NamePlace> gone;  // outlives the lock
  auto& places = node->places;
  for (auto place = places.begin(); place != places.end(); ++place) {
    if (place->directory == directory && place->name == name) {
      gone.push_back(std::move(*place));
      places.erase(place);
      break;
    }
  }
  if (places.empty() && held.valid()) Detach(node, std::move(held));
  if (places.empty() && node->IsDirectory()) node->directory->removed.store(true, std::memory_order_release);
  const std::lock_guard lock(directory->directory->children_mutex);
  directory->directory->children.erase(name);
}

void UnionFs::Impl::MovePlace(const TreeLock&, const NodeRef& node, const NodeRef& from, const std::string& old_name,
                              const NodeRef& to, const std::string& new_name) {
  NodeRef previous;  // outlives the lock
  for (NamePlace& place : node->places) {
    if (place.directory == from && place.name == old_name) {
      previous = std::exchange(place.directory, to);
      place.name = new_name;
      break;
    }
  }
  {
    const std::lock_guard lock(from->directory->children_mutex);
    const auto child = from->directory->children.find(old_name);
    const auto is_node = [&](const std::weak_ptr<Node>& other) { return !other.owner_before(node) && !node.owner_before(other); };
    if (child != from->directory->children.end() && is_node(child->second)) from->directory->children.erase(child);
  }
  const std::lock_guard lock(to->directory->children_mutex);
  to->directory->children[new_name] = node;
}

void UnionFs::Impl::CountChange(const NodeRef& directory) {
  const std::lock_guard lock(directory->directory->children_mutex);
  ++directory->directory->changes;
}

// --- operations

SysResult<Entry> UnionFs::Lookup(NodeId directory_id, std::string_view name) {
  SNAP_TRY(const NodeRef directory, impl_->GetDirectory(directory_id));
  if (name.size() > 255) return Errno(ENAMETOOLONG);
  const std::string name_string(name);
  NodeRef node;
  {
    const std::shared_lock names(directory->directory->names);
    SNAP_TRY(node, impl_->FindChild(directory, name_string));
  }
  if (node == nullptr) return Entry{};
  return impl_->EntryOf(node);
}

void UnionFs::Forget(NodeId id, uint64_t lookups) {
  const NodeRef node = impl_->table_.Find(id);
  if (node == nullptr || !impl_->table_.Forget(node, lookups)) return;
  if (node->detached != nullptr) impl_->detached_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace snap::fuse
