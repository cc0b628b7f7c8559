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

/// Directories by descriptor (O_PATH is enough); they must be open until Mount returns, not longer.
struct MountStack {
  std::vector<FdRef> lowers_top_first;  ///< 1..500
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
};

/// A mounted tree held by descriptor. Dropping it unmounts unless it was attached.
class Mount {
 public:
  explicit Mount(UniqueFd fd) : fd_(std::move(fd)) {}
  /// O_PATH descriptor of the tree's root: openat below it works before and after Attach.
  FdRef root() const { return fd_; }
  /// Shows the tree at a directory, from then on until somebody unmounts it there. At most once.
  /// Errors: kNotFound, kPermission, kInvalidArgument (not a directory; attached already).
  Result<void> AttachTo(FdRef directory);
  /// Gives the descriptor to somebody who attaches it later (the launcher).
  UniqueFd Release() && { return std::move(fd_); }

 private:
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
  /// feature is missing), kIo with the kernel's own message.
  virtual Result<Mount> MountStacked(const MountStack& stack, const MountOptions& options) = 0;
  /// "name: yes|no (why)" lines for `snap system info`.
  struct Feature {
    std::string name;
    bool available = false;
    std::string detail;
  };
  virtual std::vector<Feature> Features() = 0;
};

}  // namespace snap
