// The walk keeps names, not descriptors: on the way back up a directory is opened again from the root and
// must still be the same inode. So depth costs memory only, and nothing moved away meanwhile is ever wandered
// into.
#include "fs/directory_tar.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "fs/tar_writer.h"
#include "fs/whiteout.h"

namespace snap {
namespace {

using InodeKey = std::pair<dev_t, ino_t>;
InodeKey KeyOf(const struct stat& stat) { return {stat.st_dev, stat.st_ino}; }

bool IsKeptXattr(std::string_view name, bool overlay_upper) {
  if (overlay_upper && whiteout::IsOverlayXattr(name)) return false;
  return !name.starts_with("security.") || name == "security.capability";
}

/// Both spellings of overlayfs: as root, and mounted with userxattr.
bool IsOpaqueXattr(const Xattr& xattr) {
  return (xattr.name == whiteout::kOpaqueXattr || xattr.name == "user.overlay.opaque") &&
         xattr.value == whiteout::kOpaqueValue;
}

class DirectoryTarSource final : public ByteSource {
 public:
  DirectoryTarSource(UniqueFd dir, std::string name, DirectoryTarOptions options)
      : root_(std::move(dir)), name_(std::move(name)), options_(options) {}

  Result<size_t> Read(std::span<std::byte> buffer) override {
    for (;;) {
      if (pending_offset_ < pending_.size()) return TakePending(buffer);
      pending_.clear();
      pending_offset_ = 0;
      if (file_.valid()) {
        SNAP_TRY(const size_t got, ReadFile(buffer));
        if (got != 0) return got;
        continue;
      }
      if (finished_) return size_t{0};
      SNAP_TRY_VOID(Step());
    }
  }

 private:
  struct Frame {
    RelPath path;
    InodeKey key{};
    std::vector<std::string> names;  ///< sorted
    size_t next = 0;
  };

  size_t TakePending(std::span<std::byte> buffer) {
    const size_t size = std::min(buffer.size(), pending_.size() - pending_offset_);
    std::memcpy(buffer.data(), pending_.data() + pending_offset_, size);
    pending_offset_ += size;
    return size;
  }

  std::string Describe(const RelPath& path) const {
    return Quote(path.IsRoot() ? name_ : name_ + "/" + path.str());
  }
  Error Changed(const RelPath& path, std::string_view how) const {
    return MakeError(ErrorCode::kBusy, "read {}: {} while it was being read", Describe(path), how);
  }

  /// Puts the next entry's header, or the end of the archive, into pending_; may put nothing.
  Result<void> Step() {
    if (!started_) {
      started_ = true;
      SNAP_TRY_SYS(const struct stat stat, sys::FStat(root_), "stat {}", Describe({}));
      SNAP_TRY_SYS(current_, sys::OpenBeneath(root_, ".", O_RDONLY | O_DIRECTORY), "open {}", Describe({}));
      return EnterDirectory(RelPath(), stat);
    }
    if (stack_.empty()) {
      pending_.assign(tar::kTrailerBytes, '\0');
      finished_ = true;
      return {};
    }
    Frame& frame = stack_.back();
    if (frame.next == frame.names.size()) return LeaveDirectory();
    const std::string name = frame.names[frame.next++];
    Result<RelPath> path = RelPath::Parse(frame.path.IsRoot() ? name : frame.path.str() + "/" + name);
    if (!path.ok()) return std::move(path).error().Wrap("read " + Quote(name_));
    return Visit(*path, name);
  }

  Result<void> LeaveDirectory() {
    stack_.pop_back();
    if (stack_.empty()) return {};
    const Frame& parent = stack_.back();
    if (parent.next == parent.names.size()) return {};  // nothing more to open in it
    SNAP_TRY_SYS(current_, sys::OpenBeneath(root_, parent.path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
                 "open {}", Describe(parent.path));
    SNAP_TRY_SYS(const struct stat stat, sys::FStat(current_), "stat {}", Describe(parent.path));
    if (KeyOf(stat) != parent.key) return Changed(parent.path, "was replaced");
    return {};
  }

  /// current_ is the directory itself.
  Result<void> EnterDirectory(const RelPath& path, const struct stat& stat) {
    TarEntry entry = EntryOf(path, stat, TarEntry::Kind::kDirectory);
    if (path.IsRoot()) entry.path = "./";
    SNAP_TRY_VOID(ReadXattrs(
        sys::FListXattr(current_), [&](const char* name) { return sys::FGetXattr(current_, name); }, path,
        entry));
    SNAP_TRY_VOID(tar::AppendHeader(entry, pending_));
    if (opaque_) SNAP_TRY_VOID(AppendMarker(whiteout::OpaqueTarName(path), stat));
    Frame frame{.path = path, .key = KeyOf(stat), .names = {}, .next = 0};
    SNAP_TRY_SYS(std::vector<sys::DirEntry> entries, sys::ListDir(current_), "list {}", Describe(path));
    frame.names.reserve(entries.size());
    for (sys::DirEntry& item : entries) frame.names.push_back(std::move(item.name));
    std::sort(frame.names.begin(), frame.names.end());
    stack_.push_back(std::move(frame));
    return {};
  }

  /// A container's file called ".wh.x" cannot be said in a layer: it would come back as the removal of "x".
  Result<void> RefuseMarkerName(const RelPath& path) const {
    if (!path.Name().starts_with(whiteout::kPrefix)) return {};
    return MakeError(ErrorCode::kInvalidArgument, "read {}: its name means a whiteout in a layer",
                     Describe(path));
  }

  Result<void> Visit(const RelPath& path, const std::string& name) {
    SNAP_TRY_SYS(const struct stat stat, sys::StatAt(current_, name.c_str()), "stat {}", Describe(path));
    if (options_.overlay_upper) SNAP_TRY_VOID(RefuseMarkerName(path));
    if (S_ISDIR(stat.st_mode)) {
      SNAP_TRY(UniqueFd dir, OpenSame(path, name, stat, O_DIRECTORY));
      current_ = std::move(dir);
      return EnterDirectory(path, stat);
    }
    if (S_ISSOCK(stat.st_mode)) return {};
    if (options_.overlay_upper && whiteout::IsOverlayWhiteout(stat.st_mode, stat.st_rdev)) {
      SNAP_TRY(const RelPath marker, whiteout::WhiteoutTarName(path));
      return AppendMarker(marker, stat);
    }
    if (stat.st_nlink > 1) {
      const auto [first, is_new] = first_names_.emplace(KeyOf(stat), path.str());
      if (!is_new) {
        TarEntry link = EntryOf(path, stat, TarEntry::Kind::kHardLink);
        link.link_target = first->second;
        return tar::AppendHeader(link, pending_);
      }
    }
    if (S_ISREG(stat.st_mode)) return BeginFile(path, name, stat);
    return AppendSpecial(path, name, stat);
  }

  Result<void> AppendSpecial(const RelPath& path, const std::string& name, const struct stat& stat) {
    TarEntry entry = EntryOf(path, stat, TarEntry::Kind::kFifo);
    if (S_ISLNK(stat.st_mode)) {
      entry.kind = TarEntry::Kind::kSymlink;
      SNAP_TRY_SYS(entry.link_target, sys::ReadLinkAt(current_, name.c_str()), "read the link {}",
                   Describe(path));
    } else if (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode)) {
      entry.kind = S_ISCHR(stat.st_mode) ? TarEntry::Kind::kCharDevice : TarEntry::Kind::kBlockDevice;
      entry.device_major = major(stat.st_rdev);
      entry.device_minor = minor(stat.st_rdev);
    }
    SNAP_TRY_VOID(ReadXattrs(
        sys::ListXattrAt(current_, name.c_str()),
        [&](const char* xattr) { return sys::GetXattrAt(current_, name.c_str(), xattr); }, path, entry));
    return tar::AppendHeader(entry, pending_);
  }

  /// Opens what was just looked at; a device or fifo put in its place is never opened for long enough to
  /// matter.
  Result<UniqueFd> OpenSame(const RelPath& path, const std::string& name, const struct stat& seen,
                            int flags) const {
    SNAP_TRY_SYS(UniqueFd fd,
                 sys::OpenAt(current_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | flags),
                 "open {}", Describe(path));
    SNAP_TRY_SYS(const struct stat stat, sys::FStat(fd), "stat {}", Describe(path));
    if (KeyOf(stat) != KeyOf(seen) || (stat.st_mode & S_IFMT) != (seen.st_mode & S_IFMT)) {
      return Changed(path, "was replaced");
    }
    return fd;
  }

  Result<void> BeginFile(const RelPath& path, const std::string& name, const struct stat& seen) {
    SNAP_TRY(UniqueFd file, OpenSame(path, name, seen, 0));
    SNAP_TRY_SYS(const struct stat stat, sys::FStat(file), "stat {}", Describe(path));
    TarEntry entry = EntryOf(path, stat, TarEntry::Kind::kRegular);
    entry.size = static_cast<uint64_t>(stat.st_size);
    SNAP_TRY_VOID(ReadXattrs(
        sys::FListXattr(file), [&](const char* xattr) { return sys::FGetXattr(file, xattr); }, path, entry));
    if (options_.keep_holes) SNAP_TRY_VOID(FindHoles(file, path, entry));
    SNAP_TRY_VOID(tar::AppendHeader(entry, pending_));
    padding_ = tar::Padding(tar::StoredBytes(entry));
    extents_ = entry.sparse ? std::move(entry.extents) : std::vector<DataExtent>{{0, entry.size}};
    next_extent_ = 0;
    in_extent_ = 0;
    file_size_ = entry.size;
    file_path_ = path;
    file_ = std::move(file);
    return {};
  }

  Result<void> FindHoles(FdRef file, const RelPath& path, TarEntry& entry) const {
    // More extents than a reader accepts (TarLimits) are not worth keeping: such a file is written out in
    // full.
    const size_t max_extents = TarLimits().max_sparse_extents - 1;
    std::vector<DataExtent> extents;
    uint64_t offset = 0;
    while (offset < entry.size) {
      const auto data = sys::Seek(file, static_cast<int64_t>(offset), SEEK_DATA);
      if (!data.ok() && data.error() == ENXIO) break;  // a hole up to the end
      if (!data.ok()) return Error(data.error(), "find the holes of " + Describe(path));
      if (*data >= entry.size) break;
      SNAP_TRY_SYS(const uint64_t hole, sys::Seek(file, static_cast<int64_t>(*data), SEEK_HOLE),
                   "find the holes of {}", Describe(path));
      const uint64_t end = std::min(hole, entry.size);
      if (end <= *data) return Changed(path, "changed");
      if (!extents.empty() && tar::Padding(extents.back().size) != 0) return {};
      extents.push_back({.offset = *data, .size = end - *data});
      if (extents.size() > max_extents) return {};
      offset = end;
    }
    uint64_t stored = 0;
    for (const DataExtent& extent : extents) stored += extent.size;
    if (stored == entry.size) return {};
    entry.sparse = true;
    entry.extents = std::move(extents);
    return {};
  }

  /// Data of the open file; 0 when it is done and its padding is pending.
  Result<size_t> ReadFile(std::span<std::byte> buffer) {
    while (next_extent_ < extents_.size() && in_extent_ == extents_[next_extent_].size) {
      ++next_extent_;
      in_extent_ = 0;
    }
    if (next_extent_ == extents_.size()) {
      std::byte probe[1];
      SNAP_TRY_SYS(const size_t more, sys::PRead(file_, probe, file_size_), "read {}", Describe(file_path_));
      if (more != 0) return Changed(file_path_, "grew");
      file_.Reset();
      pending_.assign(padding_, '\0');
      return size_t{0};
    }
    const DataExtent& extent = extents_[next_extent_];
    const auto wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), extent.size - in_extent_));
    SNAP_TRY_SYS(const size_t got, sys::PRead(file_, buffer.first(wanted), extent.offset + in_extent_),
                 "read {}", Describe(file_path_));
    if (got == 0) return Changed(file_path_, "shrank");
    in_extent_ += got;
    return got;
  }

  static TarEntry EntryOf(const RelPath& path, const struct stat& stat, TarEntry::Kind kind) {
    TarEntry entry;
    entry.kind = kind;
    entry.path = path.str();
    entry.attributes.permissions = stat.st_mode & 07777U;
    entry.attributes.uid = stat.st_uid;
    entry.attributes.gid = stat.st_gid;
    entry.attributes.mtime = stat.st_mtim;
    return entry;
  }

  /// An empty file whose name is the message.
  Result<void> AppendMarker(const RelPath& path, const struct stat& stat) {
    TarEntry entry = EntryOf(path, stat, TarEntry::Kind::kRegular);
    entry.attributes.permissions = 0;
    return tar::AppendHeader(entry, pending_);
  }

  /// Fills entry.attributes.xattrs, sorted; sets opaque_ for what an overlay upper says about a directory.
  template <typename Get>
  Result<void> ReadXattrs(const SysResult<std::vector<std::string>>& listed, Get get, const RelPath& path,
                          TarEntry& entry) {
    opaque_ = false;
    if (!listed.ok()) {
      if (listed.error() == EOPNOTSUPP) return {};
      return Error(listed.error(), "list the attributes of " + Describe(path));
    }
    for (const std::string& name : *listed) {
      SysResult<std::string> value = get(name.c_str());
      if (!value.ok()) {
        if (value.error() == ENODATA) continue;  // removed meanwhile
        return Error(value.error(), fmt::format("read the attribute {} of {}", Quote(name), Describe(path)));
      }
      Xattr xattr{.name = name, .value = std::move(*value)};
      if (options_.overlay_upper && IsOpaqueXattr(xattr)) opaque_ = true;
      if (IsKeptXattr(name, options_.overlay_upper)) entry.attributes.xattrs.push_back(std::move(xattr));
    }
    std::sort(entry.attributes.xattrs.begin(), entry.attributes.xattrs.end(),
              [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
    return {};
  }

  const UniqueFd root_;
  const std::string name_;
  const DirectoryTarOptions options_;
  bool started_ = false;
  bool finished_ = false;
  bool opaque_ = false;  ///< of the directory whose xattrs were read last
  UniqueFd current_;     ///< the directory on top of the stack
  std::vector<Frame> stack_;
  std::map<InodeKey, std::string> first_names_;  ///< of inodes with several names
  std::string pending_;                          ///< bytes to give before anything else
  size_t pending_offset_ = 0;
  // The regular file being read, when file_ is valid.
  UniqueFd file_;
  RelPath file_path_;
  uint64_t file_size_ = 0;
  std::vector<DataExtent> extents_;
  size_t next_extent_ = 0;
  uint64_t in_extent_ = 0;
  size_t padding_ = 0;
};

}  // namespace

std::unique_ptr<ByteSource> MakeDirectoryTarSource(UniqueFd dir, std::string name,
                                                   DirectoryTarOptions options) {
  return std::make_unique<DirectoryTarSource>(std::move(dir), std::move(name), options);
}

}  // namespace snap
