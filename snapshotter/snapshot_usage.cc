// What snapshots take on disk, and the thread that measures and deletes while nobody waits.
#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "snapshotter/snapshots_impl.h"

namespace snap {
namespace {

constexpr uint64_t kStatBlock = 512;  // the unit of st_blocks
/// An active upper is measured by walking it, for at most this part of the time.
constexpr int kMeasuringShare = 20;
constexpr auto kWorkInterval = std::chrono::seconds(30);

/// Everything below and including the directory that is on its file system, each file once.
Result<SnapshotUsage> MeasureTree(FdRef top) {
  SnapshotUsage usage;
  std::set<uint64_t> seen;  // inodes with several names
  SNAP_TRY_SYS(const struct stat root, sys::FStat(top), "look at the upper");
  const auto add = [&](const struct stat& stat) {
    if (!S_ISDIR(stat.st_mode) && stat.st_nlink > 1 && !seen.insert(stat.st_ino).second) return;
    usage.bytes += static_cast<uint64_t>(stat.st_blocks) * kStatBlock;
    ++usage.inodes;
  };
  add(root);
  std::vector<std::string> directories{"."};
  while (!directories.empty()) {
    const std::string path = std::move(directories.back());
    directories.pop_back();
    const SysResult<UniqueFd> directory =
        sys::OpenBeneath(top, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!directory.ok()) continue;  // gone meanwhile, or too deep to name
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(*directory), "list {}", Quote(path));
    for (const sys::DirEntry& entry : entries) {
      const SysResult<struct stat> stat = sys::StatAt(*directory, entry.name.c_str());
      if (!stat.ok() || stat->st_dev != root.st_dev) continue;
      add(*stat);
      if (S_ISDIR(stat->st_mode)) directories.push_back(path + "/" + entry.name);
    }
  }
  return usage;
}

}  // namespace

Result<SnapshotUsage> SnapshotsImpl::MeasureUpper(uint64_t number) {
  SNAP_TRY(const LayerStore::Upper upper, state_.layers.OpenUpper(SnapshotUpperName(number)));
  return MeasureTree(upper.fs);
}

Result<SnapshotUsage> SnapshotsImpl::UsageOf(const SnapshotRecord& record) {
  if (record.usage) return *record.usage;
  SnapshotUsage usage;
  if (record.has_upper) {
    SNAP_TRY(usage, MeasureUpper(record.number));
  }
  if (record.layer) {
    SNAP_TRY(const LayerManifest layer, state_.layers.Find(*record.layer));
    usage.bytes += layer.usage.disk_bytes + layer.usage.object_bytes;
    usage.inodes += layer.usage.entries;
  }
  return usage;
}

Result<SnapshotUsage> SnapshotsImpl::Usage(const std::string& key) {
  using Clock = std::chrono::steady_clock;
  SnapshotRecord record;
  {
    SNAP_TRY(Metadata metadata, state_.Read());
    SNAP_TRY(record, Row(metadata, key));
  }
  if (record.usage) return *record.usage;
  const Clock::time_point begin = Clock::now();
  if (record.info.kind != SnapshotKind::kCommitted) {
    const std::lock_guard guard(mutex_);
    const auto measured = measured_.find(record.number);
    if (measured != measured_.end() &&
        begin - measured->second.at < kMeasuringShare * measured->second.took) {
      return measured->second.usage;
    }
  }
  SNAP_TRY(const SnapshotUsage usage, UsageOf(record));
  if (record.info.kind == SnapshotKind::kCommitted) {
    SNAP_TRY(Metadata metadata, state_.Write());
    SNAP_TRY(SnapshotRecord now, Row(metadata, key));
    if (now.number == record.number && !now.usage) {
      now.usage = usage;
      SNAP_TRY_VOID(metadata.PutSnapshot(now));
    }
    return usage;
  }
  const std::lock_guard guard(mutex_);
  const Clock::time_point end = Clock::now();
  measured_[record.number] = {usage, end, end - begin};
  return usage;
}

// --- background

Result<void> SnapshotsImpl::Cleanup() {
  const std::lock_guard guard(work_mutex_);
  work_wanted_ = true;
  work_changed_.notify_one();
  return {};
}

void SnapshotsImpl::MeasureCommitted() {
  for (;;) {
    uint64_t number = 0;
    {
      const std::lock_guard guard(work_mutex_);
      if (unmeasured_.empty() || stopping_) return;
      number = *unmeasured_.begin();
      unmeasured_.erase(unmeasured_.begin());
    }
    std::string name;
    {
      Result<Metadata> metadata = state_.Read();
      if (!metadata.ok()) return;
      const Result<std::optional<SnapshotRecord>> record = metadata->SnapshotByNumber(number);
      if (!record.ok() || !*record) continue;
      name = (*record)->info.name;
    }
    (void)Usage(name);  // who asks measures again
  }
}

/// The layers of removed snapshots that nobody needs any more. What is missed, garbage collection finds.
void SnapshotsImpl::CollectLayers() {
  std::set<LayerId> dropped;
  {
    const std::lock_guard guard(work_mutex_);
    dropped.swap(dropped_layers_);
  }
  for (const LayerId& id : dropped) {
    Result<Metadata> metadata = state_.Write();
    if (!metadata.ok()) return;
    const Result<std::optional<LayerRecord>> row = metadata->Layer(id);
    if (!row.ok() || !*row || (*row)->references != 0) continue;
    const Result<bool> pinned = state_.layers.IsPinned(id);
    if (pinned.ok() && *pinned) continue;  // somebody is about to reference it
    const Result<std::vector<ObjectId>> objects = metadata->RemoveLayer(id);
    if (!objects.ok()) continue;
    (void)state_.DiscardOrphans({{id}, *objects});
    Say("layer.remove", {{"layer", id.ToString()}});
  }
  if (Result<Metadata> metadata = state_.Write(); metadata.ok()) (void)state_.RemoveUnownedMerged(*metadata);
}

void SnapshotsImpl::Work() {
  // A daemon before this one may have been killed in the middle of anything.
  (void)store_.CollectGarbage(false);
  for (bool first = true;; first = false) {
    bool wanted = false;
    {
      std::unique_lock lock(work_mutex_);
      if (!first)
        work_changed_.wait_for(lock, kWorkInterval,
                               [&] { return stopping_ || work_wanted_ || !unmeasured_.empty(); });
      if (stopping_) return;
      wanted = std::exchange(work_wanted_, false);
    }
    MeasureCommitted();
    if (!wanted) continue;
    CollectLayers();
    (void)state_.layers.EmptyTrash([this] {  // what cannot be deleted now is found again
      const std::lock_guard guard(work_mutex_);
      return stopping_;
    });
  }
}

}  // namespace snap
