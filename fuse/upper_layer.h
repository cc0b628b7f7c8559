// UpperLayer: the two directories that the union writes, and the marks in them: whiteouts, opaque directories, origins. The spellings
// are the kernel's overlayfs' (Documentation/filesystems/overlayfs.rst), or ".wh." files where devices cannot be made.
// Invariant: what is prepared lies in work/work, under a name of its own or none, and appears in the upper by one rename or link.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fuse/layer.h"
#include "fuse/union_options.h"
#include "fuse/upper_file.h"

namespace snap::fuse {

/// Threads: safe.
class UpperLayer {
 public:
  /// Takes the work directory for itself (flock) and empties work/work. Finds out which marks can be written.
  /// Errors: kBusy (another union uses it), kInvalidArgument (not on one file system), kUnsupported (no whiteouts can be made), kIo.
  static Result<std::unique_ptr<UpperLayer>> Open(UniqueFd upper, UniqueFd work, const UnionOptions& options);

  FdRef root() const { return upper_; }
  FdRef work() const { return *work_; }
  const DirFds::Pin& work_pin() const { return work_; }
  uint64_t device() const { return device_; }
  bool user_xattr() const { return user_xattr_; }
  WhiteoutForm whiteouts() const { return whiteouts_; }
  /// "trusted.overlay.MARK", or "user.overlay.MARK".
  std::string MarkName(std::string_view mark) const { return prefix_ + std::string(mark); }

  /// How a directory of the upper spells whiteouts beside devices 0:0: found by listing it.
  struct Forms {
    bool files = false;   ///< ".wh.NAME"
    bool xattrs = false;  ///< empty files with overlay.whiteout
  };
  SysResult<Forms> FindForms(FdRef directory) const;

  /// What a directory of the upper says about a name.
  struct Name {
    enum class Kind { kAbsent, kWhiteout, kPresent } kind = Kind::kAbsent;
    FileStat stat;  ///< of kPresent
  };
  SysResult<Name> Look(const DirFds::Pin& directory, const std::string& name, Forms forms) const;

  /// A name for work().
  std::string NewName();

  /// Hides the name, which the directory does not have.
  SysResult<void> MakeWhiteout(FdRef directory, const std::string& name);
  /// Takes a ".wh." file away, of a name that is there again.
  SysResult<void> RemoveFileWhiteout(FdRef directory, const std::string& name);
  /// Removes the name and hides what is below it, in one step.
  SysResult<void> ReplaceByWhiteout(FdRef directory, const std::string& name, bool is_directory);
  /// Removes a directory that shows nothing (there may be whiteouts in it).
  SysResult<void> RemoveEmptyDirectory(FdRef directory, const std::string& name);
  /// Makes a directory that shows nothing really empty, in one step; for a rename over it. It becomes opaque.
  SysResult<void> ClearDirectory(FdRef directory, const std::string& name, const FileStat& stat);

  /// Moves what is called `prepared` in `from` (work() or a directory in it) to where it is seen. `over_whiteout`: the name is
  /// hidden there now.
  SysResult<void> Place(FdRef from, const std::string& prepared, bool is_directory, FdRef directory, const std::string& name,
                        bool over_whiteout);
  /// The same for a file without a name (O_TMPFILE).
  SysResult<void> PlaceUnnamed(FdRef file, FdRef directory, const std::string& name, bool over_whiteout);

  /// Nothing of the layers below shows in the directory.
  SysResult<void> MarkOpaque(const UpperFile& directory) const;
  SysResult<bool> IsOpaque(const DirFds::Pin& parent, const std::string& name) const;
  /// Copied-up files are in the directory.
  SysResult<void> MarkImpure(const UpperFile& directory) const;
  SysResult<bool> IsImpure(const UpperFile& directory) const;
  /// Remembers the number that is shown for a copied-up file.
  SysResult<void> StoreNumber(const UpperFile& file, uint64_t number) const;
  /// 0: none is stored.
  SysResult<uint64_t> LoadNumber(const UpperFile& file) const;

 private:
  UpperLayer(UniqueFd upper, UniqueFd lock) : upper_(std::move(upper)), lock_(std::move(lock)) {}
  Result<void> Prepare(const UnionOptions& options);
  void UseMarks(bool user_xattr);
  SysResult<void> LinkWhiteout(FdRef directory, const std::string& name);

  UniqueFd upper_;
  UniqueFd lock_;  // the work directory itself, locked
  DirFds::Pin work_;  // work/work
  uint64_t device_ = 0;
  bool user_xattr_ = false;
  std::string prefix_;
  WhiteoutForm whiteouts_ = WhiteoutForm::kDevice;
  std::atomic<uint64_t> next_name_{0};
  std::mutex whiteout_mutex_;
  std::string whiteout_;  // in work(): one that is linked to where it is needed; guarded by whiteout_mutex_
};

/// ".wh.NAME" and the like: never shown.
bool IsReservedName(std::string_view name);

}  // namespace snap::fuse
