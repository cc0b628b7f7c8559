// Active uppers, and what is left by those who were killed: stages without a holder, trash.
#include "fs/layer_store.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>

#include <algorithm>

#include "fs/base/fault.h"
#include "fs/base/time.h"
#include "fs/layer_store_state.h"

namespace snap {

Result<LayerStore::Upper> LayerStore::CreateUpper(const std::string& name, bool durable) {
  const LayerDirectories& store = *state_->directories;
  if (!IsValidName(name)) {
    return MakeError(ErrorCode::kInvalidArgument, "make upper {}: not a file name", Quote(name));
  }
  SNAP_TRY(LayerStage stage, Stage());
  LayerStage::State& made = *stage.state_;
  SNAP_TRY_SYS_VOID(sys::RenameAt(made.directory, kTreeName, made.directory, "fs"), "make upper {}",
                    Quote(name));
  SNAP_TRY_SYS_VOID(sys::MkdirAt(made.directory, "work", kPrivate), "make upper {}", Quote(name));
  Upper upper;
  SNAP_TRY_SYS(upper.work, OpenDir(made.directory, "work"), "open upper {}", Quote(name));
  upper.fs = std::move(made.tree);
  SNAP_FAULT_POINT("upper.create.before_rename");
  SNAP_TRY_SYS_VOID(
      sys::RenameAt(made.boot, made.name.c_str(), store.snapshots, name.c_str(), RENAME_NOREPLACE),
      "make upper {}", Quote(name));
  stage.state_.reset();
  // The parent alone: a directory's new entry is only durable together with what it names.
  if (durable) SNAP_TRY_SYS_VOID(sys::Fsync(store.snapshots), "flush snapshots/");
  SNAP_FAULT_POINT("upper.create.after_rename");
  return upper;
}

Result<void> LayerStore::SyncUppers() const {
  SNAP_TRY_SYS_VOID(sys::Fsync(state_->directories->snapshots), "flush snapshots/");
  return {};
}

Result<LayerStore::Upper> LayerStore::OpenUpper(const std::string& name) const {
  if (!IsValidName(name)) {
    return MakeError(ErrorCode::kInvalidArgument, "open upper {}: not a file name", Quote(name));
  }
  SNAP_TRY_SYS(const UniqueFd directory, OpenDir(state_->directories->snapshots, name.c_str()),
               "open upper {}", Quote(name));
  Upper upper;
  SNAP_TRY_SYS(upper.fs, OpenDir(directory, "fs"), "open upper {}", Quote(name));
  SNAP_TRY_SYS(upper.work, OpenDir(directory, "work"), "open upper {}", Quote(name));
  return upper;
}

Result<std::vector<std::string>> LayerStore::ListUppers() const {
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(state_->directories->snapshots),
               "list snapshots");
  std::vector<std::string> names;
  for (const sys::DirEntry& entry : entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  return names;
}

Result<void> LayerStore::DiscardUpper(const std::string& name) {
  const LayerDirectories& store = *state_->directories;
  if (!IsValidName(name)) {
    return MakeError(ErrorCode::kInvalidArgument, "discard upper {}: not a file name", Quote(name));
  }
  SNAP_TRY_SYS(const std::string trashed, store.MoveToTrash(store.snapshots, name.c_str()),
               "discard upper {}", Quote(name));
  SNAP_FAULT_POINT("upper.discard.after_rename");
  return {};
}

namespace {

/// Renames abandoned stages to the trash; renames are quick, so makers are held up only for a moment.
Result<uint64_t> CollectStages(const LayerDirectories& store, bool dry_run) {
  uint64_t found = 0;
  SNAP_TRY_SYS(const UniqueFd staging, OpenDir(store.root, "staging"), "open staging");
  SNAP_TRY_SYS_VOID(sys::Flock(staging, LOCK_EX), "lock staging");
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> boots, sys::ListDir(staging), "list staging");
  for (const sys::DirEntry& boot : boots) {
    const SysResult<UniqueFd> boot_dir = OpenDir(staging, boot.name.c_str());
    if (!boot_dir.ok()) {
      ++found;
      if (dry_run) continue;
      SNAP_TRY_SYS(const std::string trashed, store.MoveToTrash(staging, boot.name.c_str()), "discard {}",
                   Quote(boot.name));
      continue;
    }
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> stages, sys::ListDir(*boot_dir), "list staging");
    for (const sys::DirEntry& stage : stages) {
      const SysResult<UniqueFd> stage_dir = OpenDir(*boot_dir, stage.name.c_str());
      if (!stage_dir.ok() && stage_dir.error() == ENOENT) continue;  // committed or discarded by its maker
      if (stage_dir.ok()) {
        SNAP_TRY_SYS(const bool locked, TryLockExclusive(*stage_dir), "lock stage {}", Quote(stage.name));
        if (!locked) continue;
        SNAP_TRY_SYS(const bool same, IsSameFile(*stage_dir, *boot_dir, stage.name.c_str()),
                     "look at stage {}", Quote(stage.name));
        if (!same) continue;
      }
      ++found;
      if (dry_run) continue;
      SNAP_TRY_SYS(const std::string trashed, store.MoveToTrash(*boot_dir, stage.name.c_str()),
                   "discard stage {}", Quote(stage.name));
    }
    if (!dry_run && boot.name != store.boot_id) {
      (void)sys::UnlinkAt(staging, boot.name.c_str(), AT_REMOVEDIR);  // not empty: somebody works there
    }
  }
  return found;
}

}  // namespace

Result<uint64_t> LayerStore::EmptyTrash(const std::function<bool()>& stop) {
  const LayerDirectories& store = *state_->directories;
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(store.trash), "list trash");
  uint64_t deleted = 0;
  for (const sys::DirEntry& entry : entries) {
    if (stop && stop()) break;
    const SysResult<UniqueFd> directory = OpenDir(store.trash, entry.name.c_str());
    if (!directory.ok() && directory.error() == ENOENT) continue;
    if (directory.ok()) {
      SNAP_TRY_SYS(const bool locked, TryLockExclusive(*directory), "lock trash {}", Quote(entry.name));
      if (!locked) continue;  // its deleter is at work
    }
    SNAP_FAULT_POINT("trash.before_delete");
    SNAP_TRY_SYS_VOID(sys::RemoveTree(store.trash, entry.name.c_str()), "delete trash {}", Quote(entry.name));
    ++deleted;
  }
  return deleted;
}

Result<LayerStore::Garbage> LayerStore::CollectGarbage(bool dry_run) {
  const LayerDirectories& store = *state_->directories;
  Garbage garbage;
  if (dry_run) {
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> trash, sys::ListDir(store.trash), "list trash");
    garbage.trash = trash.size();
    SNAP_TRY(garbage.stages, CollectStages(store, true));
    return garbage;
  }
  SNAP_TRY(garbage.trash, EmptyTrash());
  SNAP_TRY(garbage.stages, CollectStages(store, false));
  SNAP_TRY_VOID([&]() -> Result<void> {
    SNAP_TRY(const uint64_t deleted, EmptyTrash());
    (void)deleted;  // the stages counted above
    return {};
  }());
  return garbage;
}

}  // namespace snap
