// MountsRegistry: what `snap mount` attached and nobody has unmounted yet: <run>/mounts/<id>.json, one file
// per mount. A mount outlives the process that made it, so something must remember which layers it uses, what
// was made for it and what goes when it goes. Invariant: the record is written before the mount is attached
// and removed after it is gone, both under the lock; a record without a mount is only a reason to clean up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/sys_mount.h"
#include "fs/base/unique_fd.h"

namespace snap::cli {

struct MountRecord {
  std::string id;  ///< 12 hex digits
  std::string boot_id;
  std::string target;      ///< absolute, no symlinks
  std::string image;       ///< "sha256:..."
  std::string image_name;  ///< as the user wrote it
  std::string container;   ///< id, when a container's tree is mounted
  std::string selection;   ///< "all", "upto 3", "only 2", "layer 2"
  std::string upper;       ///< name of a throw-away upper; "" when there is none
  std::string created;     ///< RFC 3339, UTC
  bool read_write = false;
  bool made_target = false;     ///< the directory was made for this mount and goes with it
  std::string mount_namespace;  ///< "mnt:[4026531841]"
  uint64_t mount_id = 0;        ///< in /proc/self/mountinfo; 0 until attached
};
std::string MountRecordJson(const MountRecord& record);
Result<MountRecord> ParseMountRecord(std::string_view json, std::string_view what);

/// Threads: one at a time; processes: every change needs the lock.
class MountsRegistry {
 public:
  /// Makes <run_dir>/mounts when missing (mode 0700).
  static Result<MountsRegistry> Open(const std::string& run_dir);

  /// While held no other process mounts, unmounts or removes images and containers that mounts could use.
  /// Waits.
  class Lock {
   public:
    explicit Lock(UniqueFd fd) : fd_(std::move(fd)) {}

   private:
    UniqueFd fd_;
  };
  Result<Lock> Acquire();

  /// All records, by time of creation. Unreadable files are reported in the log and skipped. Cost O(records).
  Result<std::vector<MountRecord>> List() const;
  /// Makes or replaces a record; never seen half-written.
  Result<void> Put(const Lock& lock, const MountRecord& record);
  Result<void> Remove(const Lock& lock, std::string_view id);

  /// A directory of the registry's own to mount on: <run_dir>/mnt/<id>.
  Result<std::string> MakeTarget(const std::string& id);

  enum class State {
    kMounted,    ///< visible to this process
    kElsewhere,  ///< in another mount namespace that still has processes
    kGone,       ///< of another boot, or nothing of ours is mounted there now
  };
  /// What became of each record, in their order. Cost O(mounts), and O(processes) when some are of another
  /// namespace.
  Result<std::vector<State>> StatesOf(const std::vector<MountRecord>& records) const;

  const std::string& run_dir() const { return run_dir_; }

 private:
  MountsRegistry(std::string run_dir, UniqueFd mounts)
      : run_dir_(std::move(run_dir)), mounts_(std::move(mounts)) {}
  std::string run_dir_;
  UniqueFd mounts_;
};

/// Makes the run directory and what is missing above it (mode 0700).
Result<void> MakeRunDirectory(const std::string& run_dir);
/// "mnt:[...]" of this process.
Result<std::string> OwnMountNamespace();

}  // namespace snap::cli
