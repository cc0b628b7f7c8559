// The end of a TreeWriter: what had to wait for the last entry. Directories get their attributes deepest
// first, so that no later creation changes a time, and no set-group-id bit or default ACL was there to be
// inherited.
#include <algorithm>
#include <unordered_set>
#include <utility>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/tree_writer.h"
#include "fs/whiteout.h"

namespace snap {
namespace {

constexpr uint64_t kStatBlockBytes = 512;

// Made of names that were parsed before.
Result<RelPath> RelPathOf(const TreeDirectory& directory, std::string_view name) {
  return RelPath::Parse(TreeDirectories::PathOf(directory, name));
}

// Counts everything below `directory` from what the file system says. Recursion: at most RelPath::kMaxDepth.
Result<void> Recount(TreeDirectories& directories, TreeDirectory& directory,
                     std::unordered_set<uint64_t>& linked, LayerUsage& usage) {
  SNAP_TRY(const FdRef dir, directories.Open(directory));
  SNAP_TRY_SYS(const auto entries, sys::ListDir(dir), "list {}", Quote(TreeDirectories::PathOf(directory)));
  for (const sys::DirEntry& entry : entries) {
    SNAP_TRY_SYS(const struct stat stat, sys::StatAt(dir, entry.name.c_str()), "stat {}", Quote(entry.name));
    ++usage.entries;
    const bool is_directory = S_ISDIR(stat.st_mode);
    if (!is_directory && stat.st_nlink > 1 && !linked.insert(stat.st_ino).second) continue;
    if (S_ISREG(stat.st_mode)) usage.data_bytes += static_cast<uint64_t>(stat.st_size);
    usage.disk_bytes += static_cast<uint64_t>(stat.st_blocks) * kStatBlockBytes;
  }
  for (auto& [name, record] : directory.names) {
    if (record.state == TreeName::State::kLowerLink) ++usage.entries;
    if (record.directory != nullptr) SNAP_TRY_VOID(Recount(directories, *record.directory, linked, usage));
  }
  return {};
}

}  // namespace

Result<LayerSummary> TreeWriter::Finish() {
  SNAP_TRY_VOID(Usable());
  finished_ = true;
  return Latch(FinishTree());
}

Result<LayerSummary> TreeWriter::FinishTree() {
  SNAP_TRY_VOID(engine_->Drain());
  TreeDirectory& root = directories_.root();
  LayerSummary summary;
  summary.root_named = root.named;
  if (recount_) {
    std::unordered_set<uint64_t> linked;
    SNAP_TRY_VOID(Recount(directories_, root, linked, summary.usage));
  } else {
    summary.usage = usage_;
  }
  SNAP_TRY_VOID(FinishBelow(root, root.HidesLower(), summary));
  SNAP_TRY(const FdRef fd, directories_.Open(root));
  SNAP_TRY_VOID(FinishDirectory(fd, ".", root, root_defaults_));
  return summary;
}

// Recursion: at most RelPath::kMaxDepth.
Result<void> TreeWriter::FinishBelow(TreeDirectory& directory, bool hides_lower, LayerSummary& summary) {
  for (auto& [name, record] : directory.names) {
    if (record.state == TreeName::State::kLowerLink) {
      SNAP_TRY(RelPath path, RelPathOf(directory, name));
      if (RemovesLower(*record.link_target)) {
        return MakeError(ErrorCode::kInvalidArgument, "hard link {} to {}, which this layer removes",
                         Quote(path.str()), Quote(record.link_target->str()));
      }
      summary.lower_links.push_back({std::move(path), std::move(*record.link_target)});
    }
    if (record.directory == nullptr) continue;
    TreeDirectory& child = *record.directory;
    if (!child.named && !child.replaces && !hides_lower) {
      SNAP_TRY(RelPath path, RelPathOf(directory, name));
      SNAP_TRY_VOID(Charge(path.str().size() + sizeof path));
      summary.implied_directories.push_back(std::move(path));
    }
    SNAP_TRY_VOID(FinishBelow(child, hides_lower || child.HidesLower(), summary));
    SNAP_TRY(const FdRef dir, directories_.Open(directory));
    SNAP_TRY_VOID(FinishDirectory(dir, child.c_name(), child, defaults_));
  }
  return {};
}

Result<void> TreeWriter::FinishDirectory(FdRef parent, const char* name, const TreeDirectory& directory,
                                         const NewFileDefaults& defaults) const {
  if (directory.HidesLower()) {
    const char* const xattr = options_.user_xattr ? whiteout::kUserOpaqueXattr : whiteout::kOpaqueXattr;
    SNAP_TRY_SYS_VOID(sys::SetXattrAt(parent, name, xattr, std::as_bytes(std::span(whiteout::kOpaqueValue))),
                      "mark directory {} opaque", Quote(TreeDirectories::PathOf(directory)));
  }
  const bool holds_whiteouts = std::any_of(directory.names.begin(), directory.names.end(), [](const auto& record) {
    return record.second.state == TreeName::State::kWhiteout;
  });
  if (holds_whiteouts) {
    const char* const xattr = options_.user_xattr ? whiteout::kUserOriginXattr : whiteout::kOriginXattr;
    SNAP_TRY_SYS_VOID(sys::SetXattrAt(parent, name, xattr, {}), "mark directory {} as holding whiteouts",
                      Quote(TreeDirectories::PathOf(directory)));
  }
  return ApplyAttributesAt(parent, name, FileType::kDirectory, directory.attributes, defaults,
                           directory.permissions_on_disk);
}

// Whether this layer hides the lower entry at `path`, whatever it puts in its place.
bool TreeWriter::RemovesLower(const RelPath& path) {
  TreeDirectory* at = &directories_.root();
  std::string_view rest = path.str();
  while (!rest.empty()) {
    if (at->HidesLower()) return true;
    const size_t slash = rest.find('/');
    const TreeName* record = TreeDirectories::Find(*at, rest.substr(0, slash));
    if (record == nullptr) return false;
    if (record->whited_out) return true;
    if (record->directory == nullptr || slash == std::string_view::npos) return false;
    at = record->directory.get();
    rest.remove_prefix(slash + 1);
  }
  return false;
}

}  // namespace snap
