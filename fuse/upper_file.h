// UpperFile: a file of the upper layer as something to work on, whether it has a name or is only held by a descriptor since its last
// name was removed.
// Invariant: symlinks are never followed.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fuse/dir_fds.h"
#include "fuse/layer.h"

namespace snap::fuse {

/// Borrows nothing: the directory stays open while this lives. Threads: safe, like the calls.
class UpperFile {
 public:
  /// `name` in the directory; "." is the directory itself.
  UpperFile(DirFds::Pin directory, std::string name) : directory_(std::move(directory)), name_(std::move(name)) {}
  /// A file that is only held by a descriptor (O_PATH is enough).
  explicit UpperFile(DirFds::Pin file) : file_(std::move(file)) {}

  SysResult<FileStat> Stat() const;
  /// With O_NOFOLLOW; not for symlinks, devices or fifos.
  SysResult<UniqueFd> Open(int flags) const;
  SysResult<UniqueFd> OpenPath() const;
  SysResult<std::string> ReadLink() const;
  /// Not for symlinks.
  SysResult<void> Chmod(mode_t permissions) const;
  SysResult<void> Chown(uid_t uid, gid_t gid) const;
  SysResult<void> SetTimes(const timespec& access, const timespec& modify) const;
  SysResult<std::string> GetXattr(const std::string& xattr) const;
  SysResult<std::vector<std::string>> ListXattr() const;
  SysResult<void> SetXattr(const std::string& xattr, std::string_view value, int flags = 0) const;
  SysResult<void> RemoveXattr(const std::string& xattr) const;
  /// A further name. Errors: EEXIST, EMLINK, ENOENT (it has none any more, and was not made without one).
  SysResult<void> LinkTo(FdRef directory, const std::string& name) const;

  bool has_name() const { return directory_ != nullptr; }

 private:
  FdRef dir() const { return *directory_; }
  FdRef file() const { return *file_; }

  DirFds::Pin directory_;  // nullptr: file_ is it
  std::string name_;
  DirFds::Pin file_;
};

}  // namespace snap::fuse
