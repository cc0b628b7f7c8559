// UnionBackend: turns a stack of layer directories into one mounted tree. Implementations: overlay/ (the kernel's).
// Invariant: nothing appears in any mount namespace before Attach; a Mount that is dropped leaves nothing behind.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap {

/// Layers by descriptor; they must be open until Mount returns, not longer.
struct MountStack {
  /// A directory (O_PATH is enough), or a packed layer: a readable EROFS image and the further images that it refers to.
  struct Lower {
    FdRef fd;
    bool packed = false;
    std::vector<FdRef> devices;
    /// Of a packed layer, under which containers share its mount (MountOptions::share_images): one file name, always the same
    /// for the same image. Empty: not shared.
    std::string name;
    // NOLINTBEGIN(google-explicit-constructor): most lowers are directories
    Lower(FdRef directory) : fd(directory) {}
    Lower(const UniqueFd& directory) : fd(directory) {}
    // NOLINTEND(google-explicit-constructor)
    Lower(FdRef image, std::vector<FdRef> further_images, std::string shared_name = {})
        : fd(image), packed(true), devices(std::move(further_images)), name(std::move(shared_name)) {}
  };
  std::vector<Lower> lowers_top_first;  ///< 1..500, `objects` counted as one more where it is used
  /// Where the redirects of packed lowers lead: a directory of objects, seen only through them. Only used with packed lowers.
  std::optional<FdRef> objects;
  struct Upper {
    FdRef upper;  ///< receives all changes
    FdRef work;   ///< empty directory on the same file system
  };
  std::optional<Upper> upper;  ///< none: the mount is read-only
};

struct MountOptions {
  bool read_only = false;       ///< with an upper: the mount is read-only but the upper's content is seen
  bool no_suid = false;
  bool no_dev = false;
  bool no_exec = false;
  /// The upper is thrown away after use: never flush it (overlayfs "volatile"). Ignored when unsupported.
  bool volatile_upper = false;
  /// Whiteouts and opaque marks in "user.overlay.*" instead of "trusted.overlay.*" (unprivileged mounts).
  bool user_xattr = false;
  /// Named packed lowers are mounted once for all that ask so, and share memory: page cache, inodes, names. See Mount::ReleaseHolds.
  /// Without it, and where sharing is not possible, every mount has its own.
  bool share_images = false;
};

/// What a backend keeps for others while a mount is used. Dropping it lets go.
class MountHolds {
 public:
  MountHolds() = default;
  MountHolds(const MountHolds&) = delete;
  MountHolds& operator=(const MountHolds&) = delete;
  virtual ~MountHolds() = default;
  /// Gives up letting go: see Mount::ReleaseHolds.
  virtual std::vector<UniqueFd> Release() = 0;
  /// The tree will outlive the Mount: it was attached or given away.
  virtual void Outlived() {}
};

/// A mounted tree held by descriptor. Dropping it unmounts unless it was attached.
class Mount {
 public:
  explicit Mount(UniqueFd fd, std::unique_ptr<MountHolds> holds = nullptr) : holds_(std::move(holds)), fd_(std::move(fd)) {}
  /// O_PATH descriptor of the tree's root: openat below it works before and after Attach.
  FdRef root() const { return fd_; }
  /// Shows the tree at a directory, from then on until somebody unmounts it there. At most once.
  /// Errors: kNotFound, kPermission, kInvalidArgument (not a directory; attached already).
  Result<void> AttachTo(FdRef directory);
  /// Gives the descriptor to somebody who attaches it later (the launcher).
  UniqueFd Release() && {
    if (holds_) holds_->Outlived();
    return std::move(fd_);
  }
  /// While these are open, shared images of this mount stay where the next mount finds them; they are for whoever outlives this
  /// object while the tree is used (the launcher). The tree itself does not need them. After closing them call
  /// UnionBackend::ReleaseUnusedImages, or leave it to the next one who does. Empty when nothing is shared.
  std::vector<UniqueFd> ReleaseHolds() {
    const std::unique_ptr<MountHolds> holds = std::move(holds_);
    return holds ? holds->Release() : std::vector<UniqueFd>();
  }

 private:
  std::unique_ptr<MountHolds> holds_;  // goes after the descriptor
  UniqueFd fd_;
  bool attached_ = false;
};

/// Threads: safe.
class UnionBackend {
 public:
  virtual ~UnionBackend() = default;
  virtual std::string_view name() const = 0;
  /// With read_only an upper is only read: it may be in use by another mount, and `work` is not touched.
  /// Errors: kInvalidArgument (no lower, too many lowers, work not on upper's file system), kUnsupported (says which
  /// feature is missing), kCorrupt (a packed lower that is no image), kIo with the kernel's own message.
  virtual Result<Mount> MountStacked(const MountStack& stack, const MountOptions& options) = 0;
  /// One packed layer alone, read-only, as it lies in its image: whiteouts are devices 0:0, files whose data is an object are
  /// holes. Errors: as MountStacked.
  virtual Result<Mount> MountPackedLayer(const MountStack::Lower& layer, const MountOptions& options) = 0;
  /// Whether packed lowers can be mounted here and now. Errors: kUnsupported, which says what is missing.
  virtual Result<void> CanMountPacked() = 0;
  /// Unmounts shared images that nobody holds any more: those whose users were killed or have released their holds.
  /// Cost O(shared images). Errors: of the first that could not be; the others are.
  virtual Result<void> ReleaseUnusedImages() { return {}; }
  /// "name: yes|no (why)" lines for `snap system info`.
  struct Feature {
    std::string name;
    bool available = false;
    std::string detail;
  };
  virtual std::vector<Feature> Features() = 0;
};

}  // namespace snap
