// Everything is decided by what the lower layers' mount shows; what the layer itself holds is asked and changed through its
// editor, so that this is the same for every format.
#include "snapshotter/layer_settle.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "fs/file_attributes.h"
#include "fs/object_id.h"

namespace snap {
namespace {

bool IsMissing(Errno e) { return e == ENOENT || e == ENOTDIR || e == ELOOP; }

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
  Settler(LayerEditor& layer, FdRef lowers, LayerSummary& summary) : layer_(layer), lowers_(lowers), summary_(summary) {}

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
    SNAP_TRY_VOID(TakeAttributes());
    return layer_.Close();
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

  /// Moves the entries of an implied directory to where the lower symlink of its name leads. False when the directory stays
  /// where it is.
  Result<bool> FollowLowerSymlink(const RelPath& path) {
    const SysResult<UniqueFd> lower_parent = sys::OpenBeneath(lowers_, path.Parent().c_str(), O_PATH | O_DIRECTORY);
    if (!lower_parent.ok()) {
      if (IsMissing(lower_parent.error())) return false;
      return Error(lower_parent.error(), "open lower " + Quote(path.Parent().str()));
    }
    const SysResult<struct stat> stat = sys::StatAt(*lower_parent, std::string(path.Name()).c_str());
    if (!stat.ok() || !S_ISLNK(stat->st_mode)) return false;
    SNAP_TRY(const std::optional<RelPath> target, ResolveDirectory(lowers_, path));
    // Into itself: a link like "a -> a/b" was no directory anyway.
    if (!target || target->IsRoot() || *target == path || target->str().starts_with(path.str() + "/")) return false;
    // No name may become one that overlayfs could take for an object's (see layer_apply).
    if (ObjectId::IsShard(target->str())) return false;
    SNAP_TRY(const bool prepared, MakeDirectories(*target));
    if (!prepared) return false;
    SNAP_TRY(const bool moved, layer_.MoveEntries(path, *target));
    if (moved) moves_.emplace_back(path, *target);
    return moved;
  }

  // --- hard links to lower files

  Result<void> MakeLowerLink(const RelPath& path, const RelPath& target) {
    auto copy = copies_.find(target);
    if (copy == copies_.end()) {
      // Under the target's own name, unless this layer has something in the way: then only under the link's.
      RelPath place = path;
      SNAP_TRY(const bool possible, MakeDirectories(target.Parent()));
      if (possible) {
        SNAP_TRY(const LayerEditor::Found found, layer_.Look(target));
        if (found == LayerEditor::Found::kNothing) place = target;
      }
      SNAP_TRY_VOID(CopyUp(target, place));
      copy = copies_.emplace(target, place).first;
    }
    if (copy->second == path) return {};
    return layer_.Link(path, copy->second);
  }

  /// Copies a lower file of any type but directories to a free name in this layer.
  Result<void> CopyUp(const RelPath& lower, const RelPath& place) {
    constexpr uint64_t kStatBlock = 512;  // the unit of st_blocks
    const std::string source(lower.Name());
    const SysResult<UniqueFd> source_dir = sys::OpenBeneath(lowers_, lower.Parent().c_str(), O_PATH | O_DIRECTORY);
    const SysResult<struct stat> stat =
        source_dir.ok() ? sys::StatAt(*source_dir, source.c_str()) : SysResult<struct stat>(source_dir.error());
    if (!stat.ok()) {
      if (IsMissing(stat.error())) {
        return MakeError(ErrorCode::kInvalidArgument, "the target is neither in this layer nor in those below");
      }
      return Error(stat.error(), "look at the target");
    }
    if (S_ISDIR(stat->st_mode)) return MakeError(ErrorCode::kInvalidArgument, "the target is a directory");
    ++summary_.usage.entries;
    if (S_ISREG(stat->st_mode)) {
      summary_.usage.data_bytes += static_cast<uint64_t>(stat->st_size);
      summary_.usage.disk_bytes += static_cast<uint64_t>(stat->st_blocks) * kStatBlock;
    }
    return layer_.CopyIn(place, *source_dir, source.c_str());
  }

  // --- directories

  /// Makes the directories of a path in this layer, as implied ones. False when something else is in the way.
  Result<bool> MakeDirectories(const RelPath& path) {
    if (path.IsRoot()) return true;
    SNAP_TRY(const bool parent, MakeDirectories(path.Parent()));  // depth: at most RelPath::kMaxDepth
    if (!parent) return false;
    SNAP_TRY(const LayerEditor::Found found, layer_.Look(path));
    if (found != LayerEditor::Found::kNothing) return found == LayerEditor::Found::kDirectory;
    SNAP_TRY_VOID(layer_.MakeDirectory(path));
    implied_.insert(path);
    ++summary_.usage.entries;
    return true;
  }

  /// Implied directories get those of the lower directories of their names.
  Result<void> TakeAttributes() {
    if (!summary_.root_named) implied_.insert(RelPath());
    for (const RelPath& path : implied_) {
      const SysResult<UniqueFd> lower = sys::OpenBeneath(lowers_, path.c_str(), O_PATH | O_DIRECTORY);
      if (!lower.ok() && IsMissing(lower.error())) continue;
      if (!lower.ok()) return Error(lower.error(), "open lower " + Quote(path.str()));
      Result<Attributes> attributes = ReadAttributesAt(*lower, ".");
      if (!attributes.ok()) return std::move(attributes).error().Wrap("directory " + Quote(path.str()));
      SNAP_TRY_VOID(layer_.SetAttributes(path, *attributes));
    }
    return {};
  }

  LayerEditor& layer_;
  FdRef lowers_;
  LayerSummary& summary_;
  std::set<RelPath> implied_;                       // directories that take the lowers' attributes
  std::vector<std::pair<RelPath, RelPath>> moves_;  // in the order they were made
  std::map<RelPath, RelPath> copies_;               // lower file -> its copy in this layer
};

}  // namespace

Result<void> SettleLayer(LayerEditor& layer, FdRef lowers, LayerSummary& summary) {
  return Settler(layer, lowers, summary).Run();
}

}  // namespace snap
