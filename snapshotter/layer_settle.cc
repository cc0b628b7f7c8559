// Works on a stage that nobody else sees. Directory times are put right last: every entry made or moved on
// the way changes the time of the directory it is in, whether the layer named that directory or not.
#include "snapshotter/layer_settle.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "fs/whiteout.h"
#include "snapshotter/tree_attributes.h"

namespace snap {
namespace {

constexpr uint64_t kStatBlock = 512;  // the unit of st_blocks

bool IsMissing(Errno e) { return e == ENOENT || e == ENOTDIR || e == ELOOP; }

SysResult<UniqueFd> OpenDirBelow(FdRef root, const RelPath& path) {
  return sys::OpenBeneath(root, path.c_str(), O_RDONLY | O_DIRECTORY);
}

/// The directory that `path` means in a root, symlinks followed as a process in that root would; none when
/// there is no such directory. The kernel could follow them too, but would not say where it came out.
Result<std::optional<RelPath>> ResolveDirectory(FdRef root, const RelPath& path) {
  constexpr int kMaxLinks = 40;  // as the kernel's MAXSYMLINKS
  std::deque<std::string> todo;
  const auto push_front = [&](std::string_view text) {
    std::vector<std::string> parts;
    while (!text.empty()) {
      const size_t slash = text.find('/');
      if (slash != 0) parts.emplace_back(text.substr(0, slash));
      text.remove_prefix(slash == std::string_view::npos ? text.size() : slash + 1);
    }
    todo.insert(todo.begin(), parts.begin(), parts.end());
  };
  push_front(path.str());
  RelPath at;
  int links = 0;
  while (!todo.empty()) {
    const std::string name = std::move(todo.front());
    todo.pop_front();
    if (name == ".") continue;
    if (name == "..") {
      at = at.Parent();
      continue;
    }
    if (!IsValidName(name) || at.Depth() >= RelPath::kMaxDepth ||
        at.str().size() + name.size() + 1 > RelPath::kMaxPath) {
      return std::optional<RelPath>();
    }
    const SysResult<UniqueFd> dir = sys::OpenBeneath(root, at.c_str(), O_PATH | O_DIRECTORY);
    if (!dir.ok()) return Error(dir.error(), "open " + Quote(at.str()));
    const SysResult<struct stat> stat = sys::StatAt(*dir, name.c_str());
    if (!stat.ok()) {
      if (IsMissing(stat.error())) return std::optional<RelPath>();
      return Error(stat.error(), "look at " + Quote(name));
    }
    if (S_ISDIR(stat->st_mode)) {
      at = at.Child(name);
    } else if (S_ISLNK(stat->st_mode) && ++links <= kMaxLinks) {
      SNAP_TRY_SYS(const std::string target, sys::ReadLinkAt(*dir, name.c_str()), "read link {}",
                   Quote(name));
      if (target.starts_with('/')) at = RelPath();
      push_front(target);
    } else {
      return std::optional<RelPath>();
    }
  }
  return std::optional(at);
}

class Settler {
 public:
  Settler(FdRef tree, FdRef lowers, LayerSummary& summary)
      : tree_(tree), lowers_(lowers), summary_(summary) {}

  Result<void> Run() {
    // Parents first, so that a moved directory takes the implied ones below it along.
    std::vector<RelPath> implied = summary_.implied_directories;
    std::sort(implied.begin(), implied.end());
    for (const RelPath& written : implied) {
      SNAP_TRY(const RelPath path, Moved(written));
      SNAP_TRY(const bool moved, FollowLowerSymlink(path));
      if (!moved) implied_.insert(path);
    }
    for (const LowerLink& link : summary_.lower_links) {
      SNAP_TRY(const RelPath path, Moved(link.path));
      SNAP_TRY(const RelPath target, Moved(link.target));
      Result<void> made = MakeLowerLink(path, target);
      if (!made.ok()) {
        return std::move(made).error().Wrap(
            fmt::format("hard link {} to {}", Quote(link.path.str()), Quote(link.target.str())));
      }
    }
    return ApplyDirectoryAttributes();
  }

 private:
  // --- symlinks in the place of implied directories

  /// Where a path of the stream is now.
  Result<RelPath> Moved(const RelPath& path) const {
    RelPath at = path;
    for (const auto& [from, to] : moves_) {
      if (at == from) {
        at = to;
      } else if (at.str().starts_with(from.str() + "/")) {
        SNAP_TRY(at, RelPath::Parse(to.str() + at.str().substr(from.str().size())));
      }
    }
    return at;
  }

  /// Moves the entries of an implied directory to where the lower symlink of its name leads. False when the
  /// directory stays where it is.
  Result<bool> FollowLowerSymlink(const RelPath& path) {
    const SysResult<UniqueFd> lower_parent =
        sys::OpenBeneath(lowers_, path.Parent().c_str(), O_PATH | O_DIRECTORY);
    if (!lower_parent.ok()) {
      if (IsMissing(lower_parent.error())) return false;
      return Error(lower_parent.error(), "open lower " + Quote(path.Parent().str()));
    }
    const std::string name(path.Name());
    const SysResult<struct stat> stat = sys::StatAt(*lower_parent, name.c_str());
    if (!stat.ok() || !S_ISLNK(stat->st_mode)) return false;
    SNAP_TRY(const std::optional<RelPath> target, ResolveDirectory(lowers_, path));
    // Into itself: a link like "a -> a/b" was no directory anyway.
    if (!target || target->IsRoot() || *target == path || target->str().starts_with(path.str() + "/"))
      return false;
    SNAP_TRY(const bool prepared, MakeDirectories(*target));
    if (!prepared) return false;
    SNAP_TRY(const bool merged, MoveEntries(path, *target));
    if (!merged) return false;
    SNAP_TRY_VOID(Touch(path.Parent()));
    SNAP_TRY_SYS(const UniqueFd parent, OpenDirBelow(tree_, path.Parent()), "open {}",
                 Quote(path.Parent().str()));
    SNAP_TRY_SYS_VOID(sys::UnlinkAt(parent, name.c_str(), AT_REMOVEDIR), "remove {}", Quote(path.str()));
    moves_.emplace_back(path, *target);
    return true;
  }

  /// Moves all entries, or none when one of them is in the way of another.
  Result<bool> MoveEntries(const RelPath& from, const RelPath& to) {
    SNAP_TRY_SYS(const UniqueFd source, OpenDirBelow(tree_, from), "open {}", Quote(from.str()));
    SNAP_TRY_SYS(const UniqueFd target, OpenDirBelow(tree_, to), "open {}", Quote(to.str()));
    SNAP_TRY_SYS(std::vector<std::string> xattrs, sys::FListXattr(source), "list xattrs");
    const bool holds_whiteouts = std::erase(xattrs, whiteout::kOriginXattr) != 0;
    if (!xattrs.empty()) return false;  // opaque: it means to hide what is behind the link
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(source), "list {}",
                 Quote(from.str()));
    for (const sys::DirEntry& entry : entries) {
      if (sys::StatAt(target, entry.name.c_str()).ok()) return false;
    }
    SNAP_TRY_VOID(Touch(to));
    for (const sys::DirEntry& entry : entries) {
      SNAP_TRY_SYS_VOID(
          sys::RenameAt(source, entry.name.c_str(), target, entry.name.c_str(), RENAME_NOREPLACE), "move {}",
          Quote(from.str() + "/" + entry.name));
    }
    if (holds_whiteouts) {
      SNAP_TRY_SYS_VOID(sys::FSetXattr(target, whiteout::kOriginXattr, {}),
                        "mark directory {} as holding whiteouts", Quote(to.str()));
    }
    return true;
  }

  // --- hard links to lower files

  Result<void> MakeLowerLink(const RelPath& path, const RelPath& target) {
    const std::string name(path.Name());
    SNAP_TRY_VOID(Touch(path.Parent()));
    SNAP_TRY_SYS(const UniqueFd parent, OpenDirBelow(tree_, path.Parent()), "open {}",
                 Quote(path.Parent().str()));
    auto copy = copies_.find(target);
    if (copy == copies_.end()) {
      // Under the target's own name, unless this layer has something in the way: then only under the link's.
      RelPath place = path;
      SNAP_TRY(const bool possible, MakeDirectories(target.Parent()));
      if (possible) {
        SNAP_TRY_SYS(const UniqueFd dir, OpenDirBelow(tree_, target.Parent()), "open {}",
                     Quote(target.Parent().str()));
        if (!sys::StatAt(dir, std::string(target.Name()).c_str()).ok()) place = target;
      }
      SNAP_TRY_VOID(CopyUp(target, place));
      copy = copies_.emplace(target, place).first;
    }
    if (copy->second == path) return {};
    SNAP_TRY_SYS(const UniqueFd dir, OpenDirBelow(tree_, copy->second.Parent()), "open {}",
                 Quote(copy->second.Parent().str()));
    SNAP_TRY_SYS_VOID(sys::LinkAt(dir, std::string(copy->second.Name()).c_str(), parent, name.c_str()),
                      "link");
    return {};
  }

  /// Copies a lower file of any type but directories to a free name in this layer.
  Result<void> CopyUp(const RelPath& lower, const RelPath& place) {
    const std::string source(lower.Name());
    const std::string target(place.Name());
    const SysResult<UniqueFd> source_dir =
        sys::OpenBeneath(lowers_, lower.Parent().c_str(), O_PATH | O_DIRECTORY);
    const SysResult<struct stat> stat = source_dir.ok() ? sys::StatAt(*source_dir, source.c_str())
                                                        : SysResult<struct stat>(source_dir.error());
    if (!stat.ok()) {
      if (IsMissing(stat.error())) {
        return MakeError(ErrorCode::kInvalidArgument,
                         "the target is neither in this layer nor in those below");
      }
      return Error(stat.error(), "look at the target");
    }
    if (S_ISDIR(stat->st_mode)) return MakeError(ErrorCode::kInvalidArgument, "the target is a directory");
    SNAP_TRY_VOID(Touch(place.Parent()));
    SNAP_TRY_SYS(const UniqueFd target_dir, OpenDirBelow(tree_, place.Parent()), "open {}",
                 Quote(place.Parent().str()));
    ++summary_.usage.entries;
    if (S_ISREG(stat->st_mode)) {
      SNAP_TRY_SYS(const UniqueFd in,
                   sys::OpenAt(*source_dir, source.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK),
                   "open lower {}", Quote(lower.str()));
      SNAP_TRY_SYS(const UniqueFd out,
                   sys::OpenAt(target_dir, target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600),
                   "create {}", Quote(place.str()));
      SNAP_TRY_VOID(CopyData(in, out, static_cast<uint64_t>(stat->st_size)));
      SNAP_TRY_VOID(CopyAttributes(in, out));
      summary_.usage.data_bytes += static_cast<uint64_t>(stat->st_size);
      summary_.usage.disk_bytes += static_cast<uint64_t>(stat->st_blocks) * kStatBlock;
      return {};
    }
    if (S_ISLNK(stat->st_mode)) {
      SNAP_TRY_SYS(const std::string link, sys::ReadLinkAt(*source_dir, source.c_str()), "read lower {}",
                   Quote(lower.str()));
      SNAP_TRY_SYS_VOID(sys::SymlinkAt(link.c_str(), target_dir, target.c_str()), "create {}",
                        Quote(place.str()));
    } else {
      SNAP_TRY_SYS_VOID(sys::MknodAt(target_dir, target.c_str(), stat->st_mode, stat->st_rdev), "create {}",
                        Quote(place.str()));
    }
    return CopyAttributesAt(*source_dir, source.c_str(), target_dir, target.c_str());
  }

  /// Holes stay holes.
  static Result<void> CopyData(FdRef in, FdRef out, uint64_t size) {
    SNAP_TRY_SYS_VOID(sys::Truncate(out, size), "set size");
    const auto buffer = std::make_unique<std::byte[]>(kCopyBytes);
    for (uint64_t at = 0; at < size;) {
      const SysResult<uint64_t> data = sys::Seek(in, static_cast<int64_t>(at), SEEK_DATA);
      if (!data.ok()) {
        if (data.error() == ENXIO) break;  // only a hole is left
        return Error(data.error(), "find data");
      }
      SNAP_TRY_SYS(const uint64_t end, sys::Seek(in, static_cast<int64_t>(*data), SEEK_HOLE), "find hole");
      for (at = *data; at < end;) {
        const size_t wanted = static_cast<size_t>(std::min<uint64_t>(kCopyBytes, end - at));
        SNAP_TRY_SYS(const size_t got, sys::PRead(in, std::span(buffer.get(), wanted), at), "read");
        if (got == 0) return MakeError(ErrorCode::kIo, "read: the file became shorter");
        SNAP_TRY_SYS_VOID(sys::PWriteAll(out, std::span<const std::byte>(buffer.get(), got), at), "write");
        at += got;
      }
    }
    return {};
  }

  // --- directories

  /// Makes the directories of a path in this layer, as implied ones. False when something else is in the way.
  Result<bool> MakeDirectories(const RelPath& path) {
    if (path.IsRoot()) return true;
    SNAP_TRY(const bool parent, MakeDirectories(path.Parent()));  // depth: at most RelPath::kMaxDepth
    if (!parent) return false;
    SNAP_TRY_SYS(const UniqueFd dir, OpenDirBelow(tree_, path.Parent()), "open {}",
                 Quote(path.Parent().str()));
    const std::string name(path.Name());
    const SysResult<struct stat> stat = sys::StatAt(dir, name.c_str());
    if (stat.ok()) return S_ISDIR(stat->st_mode);
    if (!(stat.error() == ENOENT)) return Error(stat.error(), "look at " + Quote(path.str()));
    SNAP_TRY_VOID(Touch(path.Parent()));
    SNAP_TRY_SYS_VOID(sys::MkdirAt(dir, name.c_str(), 0755), "make directory {}", Quote(path.str()));
    implied_.insert(path);
    ++summary_.usage.entries;
    return true;
  }

  /// To be called before a directory's entries change.
  Result<void> Touch(const RelPath& directory) {
    if (times_.contains(directory)) return {};
    SNAP_TRY_SYS(const UniqueFd fd, OpenDirBelow(tree_, directory), "open {}", Quote(directory.str()));
    SNAP_TRY_SYS(const struct stat stat, sys::FStat(fd), "look at {}", Quote(directory.str()));
    times_[directory] = {stat.st_mtim, stat.st_mtim};
    return {};
  }

  Result<void> ApplyDirectoryAttributes() {
    for (const auto& [path, times] : times_) {
      const SysResult<UniqueFd> fd = OpenDirBelow(tree_, path);
      if (!fd.ok() && fd.error() == ENOENT) continue;  // moved
      if (!fd.ok()) return Error(fd.error(), "open " + Quote(path.str()));
      SNAP_TRY_SYS_VOID(sys::FSetTimes(*fd, times), "set times of {}", Quote(path.str()));
    }
    if (!summary_.root_named) implied_.insert(RelPath());
    for (const RelPath& path : implied_) {
      const SysResult<UniqueFd> lower = OpenDirBelow(lowers_, path);
      if (!lower.ok() && IsMissing(lower.error())) continue;
      if (!lower.ok()) return Error(lower.error(), "open lower " + Quote(path.str()));
      SNAP_TRY_SYS(const UniqueFd own, OpenDirBelow(tree_, path), "open {}", Quote(path.str()));
      Result<void> copied = CopyAttributes(*lower, own);
      if (!copied.ok()) return std::move(copied).error().Wrap("directory " + Quote(path.str()));
    }
    return {};
  }

  static constexpr size_t kCopyBytes = size_t{1} << 20U;

  FdRef tree_;
  FdRef lowers_;
  LayerSummary& summary_;
  std::set<RelPath> implied_;                       // directories that take the lowers' attributes
  std::vector<std::pair<RelPath, RelPath>> moves_;  // in the order they were made
  std::map<RelPath, RelPath> copies_;               // lower file -> its copy in this layer
  std::map<RelPath, sys::Times> times_;             // of directories before they were changed here
};

}  // namespace

Result<void> SettleLayer(FdRef tree, FdRef lowers, LayerSummary& summary) {
  return Settler(tree, lowers, summary).Run();
}

}  // namespace snap
