// What the parts of LayerStore share. Included by layer_store*.cc only.
#pragma once

#include <linux/fs.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/layer_store.h"

namespace snap {

inline constexpr const char* kManifestName = "layer.json";
inline constexpr const char* kTreeName = LayerStage::kTreeName;
inline constexpr mode_t kPrivate = 0700;
inline constexpr mode_t kManifestMode = 0600;

SysResult<UniqueFd> OpenDir(FdRef dir, const char* name);
/// Locks an open directory; false when somebody else holds it. (Directories that several parties may remove are always locked
/// through a descriptor opened for the purpose: flock belongs to the open file description.)
SysResult<bool> TryLockExclusive(FdRef fd);
/// Whether a name still means the file that is open.
SysResult<bool> IsSameFile(FdRef open_file, FdRef dir, const char* name);
Result<void> WriteNewFile(FdRef dir, const char* name, std::string_view content, mode_t mode);
/// Atomically and durably: new file, fsync, rename over, fsync of the directory.
Result<void> ReplaceFile(FdRef dir, const char* temporary, const char* name, std::string_view content, mode_t mode);

/// Everything calls need, shared with the stages so that these may outlive a moved store object.
struct LayerDirectories {
  std::string path;
  UniqueFd root, layers, merged, staging, trash, snapshots;
  std::optional<ObjectStore> objects;  // always there once open
  std::string boot_id;
  std::atomic<uint64_t> next_stage{0};

  /// Gives a directory entry to the trash. The caller holds its exclusive lock, or owns it alone.
  SysResult<std::string> MoveToTrash(FdRef parent, const char* name) const {
    std::string trashed = sys::RandomHex128();
    SNAP_TRY_VOID(sys::RenameAt(parent, name, trash, trashed.c_str(), RENAME_NOREPLACE));
    return trashed;
  }
};

struct LayerStage::State {
  std::shared_ptr<const LayerDirectories> directories;
  uint64_t sequence = 0;
  UniqueFd boot;       // staging/<boot_id>
  std::string name;    // in it
  UniqueFd directory;  // holds the shared flock
  UniqueFd tree;

  /// Where it is: whoever is killed meanwhile leaves a stage without a holder, which the next one finds.
  Result<void> Remove() {
    SNAP_TRY_SYS_VOID(sys::RemoveTree(boot, name.c_str()), "delete stage {}", Quote(name));
    return {};
  }
};

struct LayerStore::State {
  std::shared_ptr<LayerDirectories> directories;
};

}  // namespace snap
