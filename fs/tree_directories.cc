// Descriptors are a cache: consecutive entries of a tar are mostly in the same directory, so the last few
// suffice.
#include "fs/tree_directories.h"

#include <algorithm>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap {

TreeDirectories::TreeDirectories(UniqueFd root, size_t max_open) : max_open_(std::max<size_t>(max_open, 4)) {
  root_.fd_ = std::move(root);
}

// Subtrees are deleted recursively; RelPath::kMaxDepth bounds that.
TreeDirectories::~TreeDirectories() = default;

TreeName* TreeDirectories::Find(TreeDirectory& directory, std::string_view name) {
  const auto found = directory.names.find(name);
  return found == directory.names.end() ? nullptr : &found->second;
}

TreeName& TreeDirectories::Record(TreeDirectory& directory, std::string_view name) {
  const auto found = directory.names.lower_bound(name);
  if (found != directory.names.end() && found->first == name) return found->second;
  return directory.names.emplace_hint(found, name, TreeName{})->second;
}

TreeDirectory& TreeDirectories::Add(TreeDirectory& parent, std::string_view name) {
  TreeName& record = Record(parent, name);
  SNAP_CHECK(record.directory == nullptr);
  record.state = TreeName::State::kDirectory;
  record.directory = std::make_unique<TreeDirectory>();
  record.directory->parent = &parent;
  record.directory->name = parent.names.find(name)->first;
  return *record.directory;
}

void TreeDirectories::Forget(TreeName& name) {
  std::vector<TreeDirectory*> left = {name.directory.get()};
  while (!left.empty()) {
    TreeDirectory& directory = *left.back();
    left.pop_back();
    if (directory.fd_.valid()) open_.erase(directory.open_position_);
    for (auto& [child_name, child] : directory.names) {
      if (child.directory != nullptr) left.push_back(child.directory.get());
    }
  }
  name.directory.reset();
  name.state = TreeName::State::kFileOrNothing;
}

Result<FdRef> TreeDirectories::Open(TreeDirectory& directory) {
  if (directory.parent == nullptr) return directory.fd_.ref();
  if (directory.fd_.valid()) {
    open_.splice(open_.begin(), open_, directory.open_position_);
    return directory.fd_.ref();
  }
  const TreeDirectory* nearest = directory.parent;
  while (!nearest->fd_.valid()) nearest = nearest->parent;
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW;
  // One component needs no RESOLVE_BENEATH, and openat is the cheaper call.
  auto opened = nearest == directory.parent
                    ? sys::OpenAt(nearest->fd_, directory.c_name(), kFlags)
                    : sys::OpenBeneath(nearest->fd_, PathBetween(*nearest, directory).c_str(), kFlags);
  if (!opened.ok()) return Error(opened.error(), fmt::format("open directory {}", Quote(PathOf(directory))));
  if (open_.size() >= max_open_) {
    open_.back()->fd_.Reset();
    open_.pop_back();
  }
  directory.fd_ = std::move(*opened);
  open_.push_front(&directory);
  directory.open_position_ = open_.begin();
  return directory.fd_.ref();
}

std::string TreeDirectories::PathOf(const TreeDirectory& directory) {
  const TreeDirectory* top = &directory;
  while (top->parent != nullptr) top = top->parent;
  return PathBetween(*top, directory);
}

std::string TreeDirectories::PathOf(const TreeDirectory& directory, std::string_view name) {
  std::string path = PathOf(directory);
  if (!path.empty()) path += '/';
  return path += name;
}

std::string TreeDirectories::PathBetween(const TreeDirectory& ancestor, const TreeDirectory& directory) {
  size_t size = 0;
  for (const TreeDirectory* at = &directory; at != &ancestor; at = at->parent) size += at->name.size() + 1;
  if (size == 0) return {};
  std::string path(size - 1, '/');
  size_t end = path.size();
  for (const TreeDirectory* at = &directory; at != &ancestor; at = at->parent) {
    end -= at->name.size();
    at->name.copy(path.data() + end, at->name.size());
    if (end > 0) --end;  // the '/' in front is there already
  }
  return path;
}

}  // namespace snap
