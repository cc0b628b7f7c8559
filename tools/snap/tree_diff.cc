#include "tools/snap/tree_diff.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/layer_entry.h"
#include "fs/whiteout.h"

namespace snap::cli {
namespace {

// Two descriptors are open for every level.
constexpr size_t kMaxDepth = 2048;
constexpr size_t kChunk = size_t{128} << 10U;

using Entries = std::vector<std::string>;  // sorted names

/// Where the launcher mounts something in every container; made, empty, when the image has no such place.
constexpr std::array<std::string_view, 3> kMountedDirectories = {"/dev", "/proc", "/sys"};
constexpr std::array<std::string_view, 3> kMountedFiles = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"};

bool Contains(std::span<const std::string_view> list, std::string_view path) {
  return std::find(list.begin(), list.end(), path) != list.end();
}

Error Failed(Errno error, std::string_view action, const std::string& path) {
  return Error(error, fmt::format("{} {}", action, Quote(path)));
}

std::string Below(const std::string& path, const std::string& name) {
  std::string out;
  out.reserve(path.size() + 1 + name.size());
  out += path;
  out += '/';
  out += name;
  return out;
}

Result<UniqueFd> OpenDirectory(FdRef parent, const std::string& name, const std::string& path) {
  auto fd = sys::OpenAt(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!fd.ok()) return Failed(fd.error(), "open", path);
  return *std::move(fd);
}

Result<Entries> SortedNames(FdRef dir, const std::string& path) {
  auto list = sys::ListDir(dir);
  if (!list.ok()) return Failed(list.error(), "list", path);
  Entries names;
  names.reserve(list->size());
  for (sys::DirEntry& entry : *list) names.push_back(std::move(entry.name));
  std::sort(names.begin(), names.end());
  return names;
}

/// nullopt when there is no such entry.
Result<std::optional<struct stat>> Stat(FdRef dir, const std::string& name, const std::string& path) {
  const auto st = sys::StatAt(dir, name.c_str());
  if (st.ok()) return std::optional(*st);
  if (st.error() == ENOENT) return std::optional<struct stat>();
  return Failed(st.error(), "read attributes of", path);
}

bool IsDirectory(const struct stat& st) { return S_ISDIR(st.st_mode); }

/// Names and values of all xattrs but overlayfs' own, sorted.
Result<std::vector<Xattr>> ReadXattrs(FdRef dir, const std::string& name, const std::string& path) {
  const auto names = sys::ListXattrAt(dir, name.c_str());
  if (!names.ok()) {
    if (names.error() == EOPNOTSUPP) return std::vector<Xattr>();
    return Failed(names.error(), "list xattrs of", path);
  }
  std::vector<Xattr> xattrs;
  for (const std::string& xattr : *names) {
    if (whiteout::IsOverlayXattr(xattr)) continue;
    auto value = sys::GetXattrAt(dir, name.c_str(), xattr.c_str());
    if (!value.ok()) return Failed(value.error(), "read xattr of", path);
    xattrs.push_back({xattr, *std::move(value)});
  }
  std::sort(xattrs.begin(), xattrs.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
  return xattrs;
}

/// Reads until the buffer is full or the file ends.
Result<size_t> Fill(FdRef file, std::span<std::byte> buffer, const std::string& path) {
  size_t filled = 0;
  while (filled < buffer.size()) {
    const auto got = sys::Read(file, buffer.subspan(filled));
    if (!got.ok()) return Failed(got.error(), "read", path);
    if (*got == 0) break;
    filled += *got;
  }
  return filled;
}

class Comparison {
 public:
  Result<std::vector<Change>> Run(FdRef old_root, FdRef new_root) && {
    SNAP_TRY(const UniqueFd old_dir, OpenDirectory(old_root, ".", "/"));
    SNAP_TRY(const UniqueFd new_dir, OpenDirectory(new_root, ".", "/"));
    SNAP_TRY_VOID(Directories(old_dir, new_dir, "", 0));
    return std::move(changes_);
  }

 private:
  Result<void> Directories(FdRef old_dir, FdRef new_dir, const std::string& path, size_t depth) {
    if (depth > kMaxDepth)
      return MakeError(ErrorCode::kLimitExceeded, "{} is too deep to compare", Quote(path));
    SNAP_TRY(const Entries old_names, SortedNames(old_dir, path + "/"));
    SNAP_TRY(const Entries new_names, SortedNames(new_dir, path + "/"));
    auto old_name = old_names.begin();
    auto new_name = new_names.begin();
    while (old_name != old_names.end() || new_name != new_names.end()) {
      if (new_name == new_names.end() || (old_name != old_names.end() && *old_name < *new_name)) {
        changes_.push_back({Change::Kind::kDeleted, Below(path, *old_name++)});
      } else if (old_name == old_names.end() || *new_name < *old_name) {
        SNAP_TRY_VOID(Added(new_dir, *new_name, Below(path, *new_name), depth));
        ++new_name;
      } else {
        SNAP_TRY_VOID(Both(old_dir, new_dir, *new_name, Below(path, *new_name), depth));
        ++old_name;
        ++new_name;
      }
    }
    return {};
  }

  Result<void> Added(FdRef dir, const std::string& name, const std::string& path, size_t depth) {
    changes_.push_back({Change::Kind::kAdded, path});
    SNAP_TRY(const std::optional<struct stat> st, Stat(dir, name, path));
    if (!st || !IsDirectory(*st)) return {};
    return AddedBelow(dir, name, path, depth);
  }

  Result<void> AddedBelow(FdRef dir, const std::string& name, const std::string& path, size_t depth) {
    if (depth > kMaxDepth)
      return MakeError(ErrorCode::kLimitExceeded, "{} is too deep to compare", Quote(path));
    SNAP_TRY(const UniqueFd sub, OpenDirectory(dir, name, path));
    SNAP_TRY(const Entries names, SortedNames(sub, path));
    for (const std::string& entry : names) SNAP_TRY_VOID(Added(sub, entry, Below(path, entry), depth + 1));
    return {};
  }

  Result<void> Both(FdRef old_dir, FdRef new_dir, const std::string& name, const std::string& path,
                    size_t depth) {
    SNAP_TRY(const std::optional<struct stat> old_st, Stat(old_dir, name, path));
    SNAP_TRY(const std::optional<struct stat> new_st, Stat(new_dir, name, path));
    if (!old_st || !new_st) return {};  // nothing removes entries of a mounted image; gone is gone
    if (!IsDirectory(*old_st) || !IsDirectory(*new_st)) {
      SNAP_TRY(const bool same, SameEntry(old_dir, *old_st, new_dir, *new_st, name, path));
      if (!same) changes_.push_back({Change::Kind::kChanged, path});
      if (!same && IsDirectory(*new_st)) return AddedBelow(new_dir, name, path, depth);
      return {};
    }
    // The directory's own line comes first but depends on what is found below.
    const size_t mark = changes_.size();
    changes_.push_back({Change::Kind::kChanged, path});
    SNAP_TRY(const UniqueFd old_sub, OpenDirectory(old_dir, name, path));
    SNAP_TRY(const UniqueFd new_sub, OpenDirectory(new_dir, name, path));
    SNAP_TRY_VOID(Directories(old_sub, new_sub, path, depth + 1));
    if (changes_.size() > mark + 1) return {};
    SNAP_TRY(const bool same, SameAttributes(old_dir, *old_st, new_dir, *new_st, name, path));
    if (same) changes_.pop_back();
    return {};
  }

  static Result<bool> SameAttributes(FdRef old_dir, const struct stat& old_st, FdRef new_dir,
                                     const struct stat& new_st, const std::string& name,
                                     const std::string& path) {
    if (old_st.st_mode != new_st.st_mode || old_st.st_uid != new_st.st_uid || old_st.st_gid != new_st.st_gid)
      return false;
    SNAP_TRY(const std::vector<Xattr> old_xattrs, ReadXattrs(old_dir, name, path));
    SNAP_TRY(const std::vector<Xattr> new_xattrs, ReadXattrs(new_dir, name, path));
    return old_xattrs == new_xattrs;
  }

  Result<bool> SameEntry(FdRef old_dir, const struct stat& old_st, FdRef new_dir, const struct stat& new_st,
                         const std::string& name, const std::string& path) {
    // Two overlay mounts have different st_dev but show the layer's own inode number and change time.
    if (old_st.st_ino == new_st.st_ino && old_st.st_ctim.tv_sec == new_st.st_ctim.tv_sec &&
        old_st.st_ctim.tv_nsec == new_st.st_ctim.tv_nsec && old_st.st_mode == new_st.st_mode &&
        old_st.st_size == new_st.st_size) {
      return true;
    }
    SNAP_TRY(const bool same, SameAttributes(old_dir, old_st, new_dir, new_st, name, path));
    if (!same) return false;
    if (S_ISREG(new_st.st_mode)) {
      if (old_st.st_size != new_st.st_size) return false;
      return SameContent(old_dir, new_dir, name, path);
    }
    if (S_ISLNK(new_st.st_mode)) {
      const auto old_target = sys::ReadLinkAt(old_dir, name.c_str());
      const auto new_target = sys::ReadLinkAt(new_dir, name.c_str());
      if (!old_target.ok()) return Failed(old_target.error(), "read link", path);
      if (!new_target.ok()) return Failed(new_target.error(), "read link", path);
      return *old_target == *new_target;
    }
    return old_st.st_rdev == new_st.st_rdev;
  }

  Result<bool> SameContent(FdRef old_dir, FdRef new_dir, const std::string& name, const std::string& path) {
    const auto old_file = sys::OpenAt(old_dir, name.c_str(), O_RDONLY | O_NOFOLLOW);
    if (!old_file.ok()) return Failed(old_file.error(), "open", path);
    const auto new_file = sys::OpenAt(new_dir, name.c_str(), O_RDONLY | O_NOFOLLOW);
    if (!new_file.ok()) return Failed(new_file.error(), "open", path);
    if (!buffers_) buffers_ = std::make_unique<std::byte[]>(2 * kChunk);
    const std::span<std::byte> old_buffer(buffers_.get(), kChunk);
    const std::span<std::byte> new_buffer(buffers_.get() + kChunk, kChunk);
    for (;;) {
      SNAP_TRY(const size_t old_bytes, Fill(*old_file, old_buffer, path));
      SNAP_TRY(const size_t new_bytes, Fill(*new_file, new_buffer, path));
      if (old_bytes != new_bytes) return false;
      if (old_bytes == 0) return true;
      if (!std::equal(old_buffer.begin(), old_buffer.begin() + static_cast<std::ptrdiff_t>(old_bytes),
                      new_buffer.begin())) {
        return false;
      }
    }
  }

  std::vector<Change> changes_;
  std::unique_ptr<std::byte[]> buffers_;
};

class UpperReader {
 public:
  explicit UpperReader(FdRef merged_root) : merged_root_(merged_root) {}
  Result<std::vector<Change>> Run(FdRef upper_root, FdRef lower_root) && {
    SNAP_TRY(const UniqueFd upper, OpenDirectory(upper_root, ".", "/"));
    SNAP_TRY(const UniqueFd lower, OpenDirectory(lower_root, ".", "/"));
    SNAP_TRY_VOID(Directory(upper, lower.ref(), "", 0));
    return std::move(changes_);
  }

 private:
  static Result<bool> IsOpaque(FdRef parent, const std::string& name, const std::string& path) {
    const auto value = sys::GetXattrAt(parent, name.c_str(), whiteout::kOpaqueXattr);
    if (value.ok()) return *value == whiteout::kOpaqueValue;
    if (value.error() == ENODATA || value.error() == EOPNOTSUPP) return false;
    return Failed(value.error(), "read xattr of", path);
  }

  static Result<bool> IsRedirected(FdRef parent, const std::string& name, const std::string& path) {
    const auto value = sys::GetXattrAt(parent, name.c_str(), whiteout::kRedirectXattr);
    if (value.ok()) return true;
    if (value.error() == ENODATA || value.error() == EOPNOTSUPP) return false;
    return Failed(value.error(), "read xattr of", path);
  }

  /// All that a renamed directory shows in its new place, and what of the lower's directory there it hides.
  Result<void> Renamed(FdRef merged, std::optional<FdRef> lower, const std::string& path, size_t depth) {
    if (depth > kMaxDepth)
      return MakeError(ErrorCode::kLimitExceeded, "{} is too deep to compare", Quote(path));
    SNAP_TRY(const Entries names, SortedNames(merged, path));
    for (const std::string& name : names) {
      const std::string entry_path = Below(path, name);
      SNAP_TRY(const std::optional<struct stat> st, Stat(merged, name, entry_path));
      if (!st) continue;
      std::optional<struct stat> lower_st;
      if (lower) {
        SNAP_TRY(lower_st, Stat(*lower, name, entry_path));
      }
      changes_.push_back({lower_st ? Change::Kind::kChanged : Change::Kind::kAdded, entry_path});
      if (!IsDirectory(*st)) continue;
      SNAP_TRY(const UniqueFd sub, OpenDirectory(merged, name, entry_path));
      UniqueFd lower_sub;
      if (lower_st && IsDirectory(*lower_st)) {
        SNAP_TRY(lower_sub, OpenDirectory(*lower, name, entry_path));
      }
      SNAP_TRY_VOID(
          Renamed(sub, lower_sub ? std::optional(lower_sub.ref()) : std::nullopt, entry_path, depth + 1));
    }
    if (!lower) return {};
    return DeletedByOpaque(merged, *lower, path);
  }

  static Result<bool> IsMountPoint(FdRef upper, const std::string& name, const std::string& path,
                                   const struct stat& st) {
    if (S_ISREG(st.st_mode)) return st.st_size == 0 && Contains(kMountedFiles, path);
    if (!IsDirectory(st) || !Contains(kMountedDirectories, path)) return false;
    SNAP_TRY(const UniqueFd dir, OpenDirectory(upper, name, path));
    SNAP_TRY(const Entries names, SortedNames(dir, path));
    return names.empty();
  }

  /// `lower` is absent below what only the upper has.
  Result<void> Directory(FdRef upper, std::optional<FdRef> lower, const std::string& path, size_t depth) {
    if (depth > kMaxDepth)
      return MakeError(ErrorCode::kLimitExceeded, "{} is too deep to compare", Quote(path));
    SNAP_TRY(const Entries names, SortedNames(upper, path + "/"));
    for (const std::string& name : names) {
      const std::string entry_path = Below(path, name);
      SNAP_TRY(const std::optional<struct stat> st, Stat(upper, name, entry_path));
      if (!st) continue;  // a running container may remove what was listed
      std::optional<struct stat> lower_st;
      if (lower) {
        SNAP_TRY(lower_st, Stat(*lower, name, entry_path));
      }
      if (whiteout::IsOverlayWhiteout(st->st_mode, st->st_rdev)) {
        if (lower_st) changes_.push_back({Change::Kind::kDeleted, entry_path});
        continue;
      }
      if (!lower_st) {
        SNAP_TRY(const bool mount_point, IsMountPoint(upper, name, entry_path, *st));
        if (mount_point) {
          ++mount_points_;
          continue;
        }
      }
      const size_t mark = changes_.size();
      const size_t mount_points_before = mount_points_;
      changes_.push_back({lower_st ? Change::Kind::kChanged : Change::Kind::kAdded, entry_path});
      if (!IsDirectory(*st)) continue;
      SNAP_TRY(const UniqueFd sub, OpenDirectory(upper, name, entry_path));
      UniqueFd lower_sub;
      if (lower_st && IsDirectory(*lower_st)) {
        SNAP_TRY(lower_sub, OpenDirectory(*lower, name, entry_path));
      }
      SNAP_TRY(const bool redirected, IsRedirected(upper, name, entry_path));
      if (redirected) {
        SNAP_TRY_SYS(const UniqueFd merged,
                     sys::OpenBeneath(merged_root_, entry_path.substr(1).c_str(), O_RDONLY | O_DIRECTORY),
                     "open {} in the container", Quote(entry_path));
        SNAP_TRY_VOID(Renamed(merged, lower_sub ? std::optional(lower_sub.ref()) : std::nullopt, entry_path,
                              depth + 1));
        continue;
      }
      if (lower_sub) {
        SNAP_TRY(const bool opaque, IsOpaque(upper, name, entry_path));
        if (opaque) SNAP_TRY_VOID(DeletedByOpaque(sub, lower_sub, entry_path));
      }
      SNAP_TRY_VOID(
          Directory(sub, lower_sub ? std::optional(lower_sub.ref()) : std::nullopt, entry_path, depth + 1));
      // Copied up, or made, only for mount points: no change either.
      const bool nothing_else = changes_.size() == mark + 1 && mount_points_ > mount_points_before;
      if (nothing_else && (!lower_st || lower_st->st_mode == st->st_mode)) changes_.pop_back();
    }
    return {};
  }

  Result<void> DeletedByOpaque(FdRef upper, FdRef lower, const std::string& path) {
    SNAP_TRY(const Entries names, SortedNames(lower, path));
    for (const std::string& name : names) {
      SNAP_TRY(const std::optional<struct stat> st, Stat(upper, name, Below(path, name)));
      if (!st) changes_.push_back({Change::Kind::kDeleted, Below(path, name)});
    }
    return {};
  }

  const FdRef merged_root_;
  std::vector<Change> changes_;
  size_t mount_points_ = 0;  // skipped so far
};

}  // namespace

Result<std::vector<Change>> CompareTrees(FdRef old_root, FdRef new_root) {
  return Comparison().Run(old_root, new_root);
}

Result<std::vector<Change>> ReadUpper(FdRef upper_root, FdRef lower_root, FdRef merged_root) {
  return UpperReader(merged_root).Run(upper_root, lower_root);
}

}  // namespace snap::cli
