// What a union is told beside its layers. Parsed from the command line by mount_options, filled in by UnionBackend users.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace snap::fuse {

/// Ids on disk to ids shown and back: `on_disk`..+size are shown as `shown`..+size. No ranges: the identity.
/// What no range covers is shown as the overflow id, and cannot be given to a file (EINVAL for chown, EOVERFLOW for creation, unless by the
/// mounting user, whose files are its own on disk).
class IdRanges {
 public:
  struct Range {
    uint32_t on_disk = 0, shown = 0, size = 0;
  };
  IdRanges() = default;
  explicit IdRanges(std::vector<Range> ranges, uint32_t overflow = 65534)
      : ranges_(std::move(ranges)), overflow_(overflow) {}
  bool identity() const { return ranges_.empty(); }
  uint32_t Shown(uint32_t on_disk) const {
    if (ranges_.empty()) return on_disk;
    for (const Range& range : ranges_) {
      if (on_disk - range.on_disk < range.size) return range.shown + (on_disk - range.on_disk);
    }
    return overflow_;
  }
  std::optional<uint32_t> OnDisk(uint32_t shown) const {
    if (ranges_.empty()) return shown;
    for (const Range& range : ranges_) {
      if (shown - range.shown < range.size) return range.on_disk + (shown - range.shown);
    }
    return std::nullopt;
  }

 private:
  std::vector<Range> ranges_;
  uint32_t overflow_ = 65534;
};

/// Where owner, group and mode of a file are kept when the mounting user cannot set them ("xattr_permissions").
enum class XattrPermissions {
  kOff,        ///< 0: in the inode
  kPrivileged, ///< 1: security.fuseoverlayfs.override_stat
  kUser,       ///< 2: user.containers.override_stat (and user.fuseoverlayfs.override_stat is read)
};

/// How a removed lower name is written.
enum class WhiteoutForm {
  kDevice,  ///< character device 0:0: what the kernel's overlayfs reads
  kFile,    ///< an empty ".wh.NAME": where devices cannot be made
};

struct UnionOptions {
  IdRanges uids, gids;
  std::optional<uint32_t> squash_uid, squash_gid;  ///< every file is shown as this owner; owners are never changed
  XattrPermissions xattr_permissions = XattrPermissions::kOff;
  bool read_only = false;     ///< also when there is an upper
  bool is_volatile = false;   ///< nothing is flushed; the upper is thrown away after use
  bool no_xattrs = false;     ///< EOPNOTSUPP for all of them
  bool no_acl = false;        ///< POSIX ACLs are plain xattrs that nobody checks
  bool static_nlink = false;  ///< directories have one link
  /// nullopt: the best that can be written here, found out when the union is opened.
  std::optional<WhiteoutForm> whiteouts;
  /// Marks in "user.overlay." instead of "trusted.overlay."; nullopt: as the process may.
  std::optional<bool> user_xattr;
  /// Descriptors that may be kept open for directories; 0: a quarter of RLIMIT_NOFILE.
  size_t directory_descriptors = 0;
};

}  // namespace snap::fuse
