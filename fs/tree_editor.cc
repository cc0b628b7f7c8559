#include "fs/tree_editor.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "fs/base/quote.h"
#include "fs/file_attributes.h"
#include "fs/file_ranges.h"
#include "fs/new_file.h"
#include "fs/whiteout.h"

namespace snap {

Result<UniqueFd> TreeEditor::OpenDirectory(const RelPath& path) const {
  SNAP_TRY_SYS(UniqueFd fd, sys::OpenBeneath(tree_, path.c_str(), O_RDONLY | O_DIRECTORY), "open {}", Quote(path.str()));
  return fd;
}

/// To be called before a directory's entries change.
Result<void> TreeEditor::Touch(const RelPath& directory) {
  if (times_.contains(directory)) return {};
  SNAP_TRY(const UniqueFd fd, OpenDirectory(directory));
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(fd), "look at {}", Quote(directory.str()));
  times_[directory] = {stat.st_mtim, stat.st_mtim};
  return {};
}

Result<LayerEditor::Found> TreeEditor::Look(const RelPath& path) {
  const SysResult<UniqueFd> fd = sys::OpenBeneath(tree_, path.c_str(), O_PATH | O_NOFOLLOW);
  if (!fd.ok()) {
    if (fd.error() == ENOENT || fd.error() == ENOTDIR) return Found::kNothing;
    return Error(fd.error(), "look at " + Quote(path.str()));
  }
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(*fd), "look at {}", Quote(path.str()));
  return S_ISDIR(stat.st_mode) ? Found::kDirectory : Found::kOther;
}

Result<void> TreeEditor::MakeDirectory(const RelPath& path) {
  SNAP_TRY_VOID(Touch(path.Parent()));
  SNAP_TRY(const UniqueFd parent, OpenDirectory(path.Parent()));
  const std::string name(path.Name());
  SNAP_TRY_SYS_VOID(sys::MkdirAt(parent, name.c_str(), 0755), "make directory {}", Quote(path.str()));
  times_[path] = {};  // 1970, whatever comes into it
  return {};
}

Result<bool> TreeEditor::MoveEntries(const RelPath& from, const RelPath& to) {
  SNAP_TRY(const UniqueFd source, OpenDirectory(from));
  SNAP_TRY(const UniqueFd target, OpenDirectory(to));
  SNAP_TRY_SYS(std::vector<std::string> xattrs, sys::FListXattr(source), "list xattrs");
  const bool holds_whiteouts = std::erase(xattrs, whiteout::kOriginXattr) != 0;
  if (!xattrs.empty()) return false;  // opaque: it means to hide what is behind the link
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(source), "list {}", Quote(from.str()));
  for (const sys::DirEntry& entry : entries) {
    if (sys::StatAt(target, entry.name.c_str()).ok()) return false;
  }
  SNAP_TRY_VOID(Touch(to));
  for (const sys::DirEntry& entry : entries) {
    SNAP_TRY_SYS_VOID(sys::RenameAt(source, entry.name.c_str(), target, entry.name.c_str(), RENAME_NOREPLACE), "move {}",
                      Quote(from.str() + "/" + entry.name));
  }
  if (holds_whiteouts) {
    SNAP_TRY_SYS_VOID(sys::FSetXattr(target, whiteout::kOriginXattr, {}), "mark directory {} as holding whiteouts",
                      Quote(to.str()));
  }
  SNAP_TRY_VOID(Touch(from.Parent()));
  SNAP_TRY(const UniqueFd parent, OpenDirectory(from.Parent()));
  SNAP_TRY_SYS_VOID(sys::UnlinkAt(parent, std::string(from.Name()).c_str(), AT_REMOVEDIR), "remove {}", Quote(from.str()));
  return true;
}

Result<void> TreeEditor::CopyIn(const RelPath& path, FdRef directory, const char* name) {
  SNAP_TRY_SYS(const struct stat stat, sys::StatAt(directory, name), "look at {}", Quote(name));
  SNAP_TRY_VOID(Touch(path.Parent()));
  SNAP_TRY(const UniqueFd parent, OpenDirectory(path.Parent()));
  const std::string target(path.Name());
  if (S_ISREG(stat.st_mode)) {
    SNAP_TRY_SYS(const UniqueFd in, sys::OpenAt(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK), "open {}", Quote(name));
    SNAP_TRY_SYS(const UniqueFd out, sys::OpenAt(parent, target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600),
                 "create {}", Quote(path.str()));
    const auto size = static_cast<uint64_t>(stat.st_size);
    SNAP_TRY_SYS_VOID(sys::Truncate(out, size), "set the size of {}", Quote(path.str()));
    const auto write = [&](uint64_t offset, std::span<const std::byte> bytes) -> Result<void> {
      SNAP_TRY_SYS_VOID(sys::PWriteAll(out, bytes, offset), "write {}", Quote(path.str()));
      return {};
    };
    SNAP_TRY_VOID(ForEachData(in, size, write));
    return CopyAttributes(in, out);
  }
  if (S_ISLNK(stat.st_mode)) {
    SNAP_TRY_SYS(const std::string link, sys::ReadLinkAt(directory, name), "read link {}", Quote(name));
    SNAP_TRY_SYS_VOID(sys::SymlinkAt(link.c_str(), parent, target.c_str()), "create {}", Quote(path.str()));
  } else {
    SNAP_TRY_SYS_VOID(sys::MknodAt(parent, target.c_str(), stat.st_mode, stat.st_rdev), "create {}", Quote(path.str()));
  }
  return CopyAttributesAt(directory, name, parent, target.c_str());
}

Result<void> TreeEditor::Link(const RelPath& path, const RelPath& target) {
  SNAP_TRY_VOID(Touch(path.Parent()));
  SNAP_TRY(const UniqueFd from, OpenDirectory(target.Parent()));
  SNAP_TRY(const UniqueFd to, OpenDirectory(path.Parent()));
  SNAP_TRY_SYS_VOID(
      sys::LinkAt(from, std::string(target.Name()).c_str(), to, std::string(path.Name()).c_str()), "create hard link {}",
      Quote(path.str()));
  return {};
}

Result<void> TreeEditor::SetAttributes(const RelPath& directory, const Attributes& attributes) {
  times_.erase(directory);
  const std::string name(directory.IsRoot() ? "." : directory.Name());
  SNAP_TRY(const UniqueFd own, OpenDirectory(directory));
  SNAP_TRY(const UniqueFd parent, OpenDirectory(directory.Parent()));
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(own), "look at {}", Quote(directory.str()));
  const NewFileDefaults current{stat.st_uid, stat.st_gid, 0};
  Result<void> applied =
      ApplyAttributesAt(parent, name.c_str(), FileType::kDirectory, attributes, current, stat.st_mode & 07777U);
  if (applied.ok()) return applied;
  return std::move(applied).error().Wrap("directory " + Quote(directory.str()));
}

Result<void> TreeEditor::Close() {
  for (const auto& [path, times] : times_) {
    const SysResult<UniqueFd> fd = sys::OpenBeneath(tree_, path.c_str(), O_RDONLY | O_DIRECTORY);
    if (!fd.ok() && fd.error() == ENOENT) continue;  // moved
    if (!fd.ok()) return Error(fd.error(), "open " + Quote(path.str()));
    SNAP_TRY_SYS_VOID(sys::FSetTimes(*fd, times), "set times of {}", Quote(path.str()));
  }
  return {};
}

}  // namespace snap
