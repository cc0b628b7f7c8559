// The walk keeps names, not descriptors: on the way back up a directory is opened again from the root and
// must still be the same inode. So depth costs memory only, and nothing moved away meanwhile is ever wandered
// into. A name is looked up once, as O_PATH, and opened through that: a device or a pipe put in a file's
// place is never opened.
#include "fs/tree_entries.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/layer_xattrs.h"

namespace snap {
namespace {

void SortXattrs(std::vector<Xattr>& xattrs) {
  std::sort(xattrs.begin(), xattrs.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
}

/// The root to compare with, as an entry would have it.
TreeEntriesOptions Normalized(TreeEntriesOptions options) {
  if (options.upper && options.upper->unchanged_root) {
    std::vector<Xattr>& xattrs = options.upper->unchanged_root->xattrs;
    std::erase_if(xattrs, [](const Xattr& xattr) {
      return JudgeXattr(xattr.name, TarEntry::Kind::kDirectory) != XattrVerdict::kKeep;
    });
    SortXattrs(xattrs);
  }
  return options;
}

uint64_t ResolveFlags(bool upper) {
  return RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | (upper ? RESOLVE_NO_XDEV : 0U);
}

std::pair<dev_t, ino_t> KeyOf(const struct stat& stat) { return {stat.st_dev, stat.st_ino}; }

}  // namespace

TreeEntries::TreeEntries(UniqueFd root, std::string name, TreeEntriesOptions options)
    : root_(std::move(root)),
      name_(std::move(name)),
      options_(Normalized(std::move(options))),
      resolve_(ResolveFlags(options_.upper.has_value())) {}

Result<const TarEntry*> TreeEntries::Next() {
  if (!started_) {
    started_ = true;
    SNAP_TRY(UniqueFd dir, OpenDirectory(root_, ".", RelPath()));
    SNAP_TRY(const bool shown, EnterDirectory(RelPath(), std::move(dir)));
    if (shown) return &entry_;
  }
  while (marker_ || !stack_.empty()) {
    if (marker_) {
      MakeMarker(*std::exchange(marker_, std::nullopt));
      return &entry_;
    }
    SNAP_TRY(const bool found, Step());
    if (found) return &entry_;
  }
  return nullptr;
}

Result<size_t> TreeEntries::Read(std::span<std::byte> buffer) {
  if (!file_.is_open()) return size_t{0};
  return file_.Read(buffer);
}

// --- walking ---------------------------------------------------------------------------------------------

std::string TreeEntries::Describe(const RelPath& path) const {
  return Quote(path.IsRoot() ? name_ : name_ + "/" + path.str());
}

Result<TreeEntries::Item> TreeEntries::LookUp(FdRef dir, const char* relative, const RelPath& path) const {
  Item item;
  SNAP_TRY_SYS(item.path_fd, sys::OpenAt2(dir, relative, O_PATH | O_NOFOLLOW, resolve_), "open {}",
               Describe(path));
  SNAP_TRY_SYS(item.stat, sys::FStat(item.path_fd), "stat {}", Describe(path));
  return item;
}

Result<UniqueFd> TreeEntries::OpenDirectory(FdRef dir, const char* relative, const RelPath& path) const {
  SNAP_TRY_SYS(UniqueFd fd, sys::OpenAt2(dir, relative, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, resolve_),
               "open {}", Describe(path));
  return fd;
}

/// Makes entry_ the next entry, if true.
Result<bool> TreeEntries::Step() {
  Frame& frame = stack_.back();
  if (frame.next == frame.names.size()) {
    SNAP_TRY_VOID(LeaveDirectory());
    return false;
  }
  const std::string name = std::move(frame.names[frame.next++]);
  Result<RelPath> path = RelPath::Parse(frame.path.IsRoot() ? name : frame.path.str() + "/" + name);
  if (!path.ok()) return std::move(path).error().Wrap("read " + Quote(name_));
  return Visit(*path, name);
}

Result<bool> TreeEntries::Visit(const RelPath& path, const std::string& name) {
  const bool upper = options_.upper.has_value();
  // A container's file called ".wh.x" cannot be said in a layer: it would come back as the removal of "x".
  if (upper && name.starts_with(whiteout::kPrefix)) {
    return MakeError(ErrorCode::kInvalidArgument, "read {}: its name means a whiteout in a layer",
                     Describe(path));
  }
  SNAP_TRY(Item item, LookUp(current_, name.c_str(), path));
  const struct stat& stat = item.stat;
  if (S_ISDIR(stat.st_mode)) {
    SNAP_TRY(UniqueFd dir, OpenDirectory(item.path_fd, ".", path));
    return EnterDirectory(path, std::move(dir));
  }
  const bool is_socket = S_ISSOCK(stat.st_mode);
  if (upper) {
    const Frame& frame = stack_.back();
    bool gone = is_socket && !frame.hides_lower;
    if (!gone && !frame.in_merged) {
      SNAP_TRY(gone, IsWhiteout(name, stat, path));
    }
    if (gone) {
      SNAP_TRY(const RelPath marker, whiteout::WhiteoutTarName(path));
      MakeMarker(marker);
      return true;
    }
  }
  if (is_socket) return false;
  if (stat.st_nlink > 1) {
    SNAP_TRY(const InodeKey key, IdentityOf(path, stat));
    const auto [first, is_new] = first_names_.emplace(key, path.str());
    if (!is_new) {
      BeginEntry(path, stat, TarEntry::Kind::kHardLink);
      entry_.link_target = first->second;
      return true;
    }
  }
  if (S_ISREG(stat.st_mode)) {
    SNAP_TRY_VOID(BeginFile(path, std::move(item)));
  } else {
    SNAP_TRY_VOID(FillSpecial(path, name, stat));
  }
  return true;
}

Result<void> TreeEntries::LeaveDirectory() {
  stack_.pop_back();
  if (stack_.empty()) return {};
  const Frame& parent = stack_.back();
  if (parent.next == parent.names.size()) return {};  // nothing more to open in it
  SNAP_TRY(current_, OpenDirectory(parent.in_merged ? options_.upper->merged : root_, parent.path.c_str(),
                                   parent.path));
  // The inode numbers of overlayfs' directories last only as long as the kernel's cache of them.
  if (parent.in_merged) return {};
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(current_), "stat {}", Describe(parent.path));
  if (KeyOf(stat) != parent.key) return ChangedWhileRead(Describe(parent.path), "was replaced");
  return {};
}

/// Puts the directory on the stack; false when it is a root to be left out.
Result<bool> TreeEntries::EnterDirectory(const RelPath& path, UniqueFd dir) {
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(dir), "stat {}", Describe(path));
  BeginEntry(path, stat, TarEntry::Kind::kDirectory);
  if (path.IsRoot()) entry_.path = "./";
  SNAP_TRY(const Marks marks,
           ReadXattrs(
               sys::FListXattr(dir), [&](const char* xattr) { return sys::FGetXattr(dir, xattr); }, path));
  Frame frame;
  frame.path = path;
  frame.key = KeyOf(stat);
  frame.in_merged = !stack_.empty() && stack_.back().in_merged;
  frame.xattr_whiteouts = marks.xattr_whiteouts;
  if (!frame.in_merged && marks.redirect) {
    if (!options_.upper->merged) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "read {}: it was renamed, and there is no mount to see its content in",
                       Describe(path));
    }
    SNAP_TRY(dir, OpenDirectory(options_.upper->merged, path.c_str(), path));
    frame.in_merged = true;
  }
  // `merged` shows no marks: what looks like one below a renamed directory is a container's own.
  const bool below_renamed = !stack_.empty() && stack_.back().in_merged;
  if (!below_renamed && (marks.opaque || frame.in_merged)) {
    marker_ = whiteout::OpaqueTarName(path);
    frame.hides_lower = true;
  } else {
    frame.hides_lower = !stack_.empty() && stack_.back().hides_lower;
  }
  SNAP_TRY_SYS(std::vector<sys::DirEntry> entries, sys::ListDir(dir), "list {}", Describe(path));
  frame.names.reserve(entries.size());
  for (sys::DirEntry& item : entries) frame.names.push_back(std::move(item.name));
  std::sort(frame.names.begin(), frame.names.end());
  stack_.push_back(std::move(frame));
  current_ = std::move(dir);
  return !(path.IsRoot() && IsUnchangedRoot());
}

// --- entries ---------------------------------------------------------------------------------------------

void TreeEntries::BeginEntry(const RelPath& path, const struct stat& stat, TarEntry::Kind kind) {
  entry_ = TarEntry();
  entry_.kind = kind;
  entry_.path = path.str();
  entry_.attributes.permissions = stat.st_mode & 07777U;
  entry_.attributes.uid = stat.st_uid;
  entry_.attributes.gid = stat.st_gid;
  entry_.attributes.mtime = stat.st_mtim;
}

/// An empty file whose name is the message. Who removed something, and when, is not part of it.
void TreeEntries::MakeMarker(const RelPath& path) {
  entry_ = TarEntry();
  entry_.kind = TarEntry::Kind::kRegular;
  entry_.path = path.str();
}

Result<void> TreeEntries::BeginFile(const RelPath& path, Item item) {
  SNAP_TRY_SYS(UniqueFd file, sys::Reopen(item.path_fd, O_RDONLY | O_NOCTTY), "open {}", Describe(path));
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(file), "stat {}", Describe(path));
  BeginEntry(path, stat, TarEntry::Kind::kRegular);
  entry_.size = static_cast<uint64_t>(stat.st_size);
  SNAP_TRY(const Marks marks,
           ReadXattrs(
               sys::FListXattr(file), [&](const char* xattr) { return sys::FGetXattr(file, xattr); }, path));
  if (marks.metacopy && !stack_.back().in_merged) {
    SNAP_TRY(file, OpenData(path, entry_.size));
  }
  std::vector<DataExtent> extents{{0, entry_.size}};
  if (options_.keep_holes) {
    SNAP_TRY(FoundHoles holes, FindHoles(file, entry_.size, Describe(path)));
    if (holes.sparse) {
      entry_.sparse = true;
      entry_.extents = holes.extents;
      extents = std::move(holes.extents);
    }
  }
  file_ = TreeFile(std::move(file), entry_.size, std::move(extents), Describe(path));
  return {};
}

/// The upper has the attributes of a file only; its data as the mount shows it.
Result<UniqueFd> TreeEntries::OpenData(const RelPath& path, uint64_t size) const {
  if (!options_.upper->merged) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "read {}: its data is in a lower layer, and there is no mount to see it in",
                     Describe(path));
  }
  SNAP_TRY(const Item shown, LookUp(options_.upper->merged, path.c_str(), path));
  if (!S_ISREG(shown.stat.st_mode) || static_cast<uint64_t>(shown.stat.st_size) != size) {
    return ChangedWhileRead(Describe(path), "changed");
  }
  SNAP_TRY_SYS(UniqueFd file, sys::Reopen(shown.path_fd, O_RDONLY | O_NOCTTY), "open {}", Describe(path));
  return file;
}

/// A symlink, device or fifo.
Result<void> TreeEntries::FillSpecial(const RelPath& path, const std::string& name, const struct stat& stat) {
  BeginEntry(path, stat, TarEntry::Kind::kFifo);
  if (S_ISLNK(stat.st_mode)) {
    entry_.kind = TarEntry::Kind::kSymlink;
    SNAP_TRY_SYS(entry_.link_target, sys::ReadLinkAt(current_, name.c_str()), "read the link {}",
                 Describe(path));
  } else if (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode)) {
    entry_.kind = S_ISCHR(stat.st_mode) ? TarEntry::Kind::kCharDevice : TarEntry::Kind::kBlockDevice;
    entry_.device_major = major(stat.st_rdev);
    entry_.device_minor = minor(stat.st_rdev);
  }
  SNAP_TRY_VOID(ReadXattrs(
      sys::ListXattrAt(current_, name.c_str()),
      [&](const char* xattr) { return sys::GetXattrAt(current_, name.c_str(), xattr); }, path));
  return {};
}

Result<bool> TreeEntries::IsWhiteout(const std::string& name, const struct stat& stat,
                                     const RelPath& path) const {
  if (whiteout::IsOverlayWhiteout(stat.st_mode, stat.st_rdev)) return true;
  if (!stack_.back().xattr_whiteouts || !S_ISREG(stat.st_mode) || stat.st_size != 0) return false;
  const auto listed = sys::ListXattrAt(current_, name.c_str());
  if (!listed.ok()) return Error(listed.error(), "list the attributes of " + Describe(path));
  return std::any_of(listed->begin(), listed->end(), [&](const std::string& xattr) {
    return whiteout::ReadMark(xattr, "", options_.upper->user_xattr) == whiteout::Mark::kWhiteout;
  });
}

/// What names of the same file have in common. In a renamed directory a file of the upper is seen through the
/// mount, which numbers it differently; it may have other names that are seen in the upper.
Result<TreeEntries::InodeKey> TreeEntries::IdentityOf(const RelPath& path, const struct stat& stat) const {
  if (!stack_.back().in_merged) return KeyOf(stat);
  const auto in_upper = sys::OpenAt2(root_, path.c_str(), O_PATH | O_NOFOLLOW, resolve_);
  if (!in_upper.ok()) {
    if (in_upper.error() == ENOENT || in_upper.error() == ENOTDIR || in_upper.error() == ELOOP)
      return KeyOf(stat);
    return Error(in_upper.error(), "open " + Describe(path));
  }
  SNAP_TRY_SYS(const struct stat there, sys::FStat(*in_upper), "stat {}", Describe(path));
  return (there.st_mode & S_IFMT) == (stat.st_mode & S_IFMT) ? KeyOf(there) : KeyOf(stat);
}

// --- attributes ------------------------------------------------------------------------------------------

bool TreeEntries::IsUnchangedRoot() const {
  if (!options_.upper || !options_.upper->unchanged_root) return false;
  const Attributes& before = *options_.upper->unchanged_root;
  const Attributes& now = entry_.attributes;
  return now.permissions == before.permissions && now.uid == before.uid && now.gid == before.gid &&
         now.xattrs == before.xattrs;
}

bool TreeEntries::IsKept(std::string_view xattr) const {
  if (options_.upper) return JudgeXattr(xattr, entry_.kind) == XattrVerdict::kKeep;
  return !xattr.starts_with("security.") || xattr == "security.capability";
}

/// Fills entry_.attributes.xattrs; gives what they say to overlayfs.
template <typename Get>
Result<TreeEntries::Marks> TreeEntries::ReadXattrs(const SysResult<std::vector<std::string>>& listed, Get get,
                                                   const RelPath& path) {
  Marks marks;
  if (!listed.ok()) {
    if (listed.error() == EOPNOTSUPP) return marks;
    return Error(listed.error(), "list the attributes of " + Describe(path));
  }
  for (const std::string& name : *listed) {
    const bool is_mark = options_.upper && whiteout::IsOverlayXattr(name);
    if (!is_mark && !IsKept(name)) continue;
    SysResult<std::string> value = get(name.c_str());
    if (!value.ok()) {
      if (value.error() == ENODATA) continue;  // removed meanwhile
      return Error(value.error(), fmt::format("read the attribute {} of {}", Quote(name), Describe(path)));
    }
    if (!is_mark) {
      entry_.attributes.xattrs.push_back({.name = name, .value = std::move(*value)});
      continue;
    }
    switch (whiteout::ReadMark(name, *value, options_.upper->user_xattr)) {
      case whiteout::Mark::kNone:
      case whiteout::Mark::kWhiteout:
        break;
      case whiteout::Mark::kOpaque:
        marks.opaque = true;
        break;
      case whiteout::Mark::kXattrWhiteouts:
        marks.xattr_whiteouts = true;
        break;
      case whiteout::Mark::kMetacopy:
        marks.metacopy = true;
        break;
      case whiteout::Mark::kRedirect:
        marks.redirect = true;
        break;
    }
  }
  SortXattrs(entry_.attributes.xattrs);
  return marks;
}

}  // namespace snap
