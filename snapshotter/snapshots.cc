// The state machine. Each transition reads, decides and writes under the store's lock, which is held for no
// disk work but an upper's making; what takes longer comes before it and is looked at again under it.
#include "snapshotter/snapshots.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/file_attributes.h"
#include "fs/new_file.h"
#include "fs/whiteout.h"
#include "snapshotter/layer_stack.h"
#include "snapshotter/snapshots_impl.h"
#include "snapshotter/upper_tar.h"

namespace snap {
namespace {

constexpr auto kLongestWait = std::chrono::seconds(10);  // for another call on the same snapshot

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Labels WithoutEmpty(const Labels& labels) {
  Labels kept = labels;
  std::erase_if(kept, [](const auto& label) { return label.second.empty(); });
  return kept;
}

std::string Joined(const std::vector<std::string>& paths) {
  std::string joined;
  for (const std::string& path : paths) joined += (joined.empty() ? "" : ":") + path;
  return joined;
}

/// "<root>/snapshots/e12/fs" is 12's; 0 for anything else.
uint64_t NumberOfUpper(std::string_view path, const std::string& root) {
  const std::string prefix = root + "/snapshots/" + kSnapshotUpperPrefix;
  constexpr std::string_view kSuffix = "/fs";
  if (!path.starts_with(prefix) || !path.ends_with(kSuffix)) return 0;
  path.remove_prefix(prefix.size());
  path.remove_suffix(kSuffix.size());
  constexpr size_t kMaxDigits = 19;
  if (path.empty() || path.size() > kMaxDigits || path.front() == '0') return 0;
  uint64_t number = 0;
  for (const char c : path) {
    if (c < '0' || c > '9') return 0;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return number;
}

Result<bool> IsEmptyDirectory(FdRef directory) {
  SNAP_TRY_SYS(const UniqueFd fd, sys::OpenAt(directory, ".", O_RDONLY | O_DIRECTORY), "open the upper");
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(fd), "list the upper");
  return entries.empty();
}

/// Who unpacks layers one after another would have a merged image made for every one of them.
bool IsUnpacking(const SnapshotRecord& record) { return record.info.labels.contains(label::kTarget); }

/// What would not survive in the options of mount(2).
Result<void> CheckPath(const std::string& path) {
  constexpr size_t kMaxBytes = 200;
  if (path.find_first_of(",:\\\"\n") != std::string::npos || path.size() > kMaxBytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "serve {}: engines mount by options, where a path must not have ',', ':', '\\', '\"' or "
                     "more than {} bytes",
                     Quote(path), kMaxBytes);
  }
  return {};
}

bool SameMounts(const std::vector<EngineMount>& a, const std::vector<EngineMount>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const EngineMount& x, const EngineMount& y) {
    return x.type == y.type && x.source == y.source && x.options == y.options;
  });
}

}  // namespace

Result<std::optional<IdMap>> IdMapOf(const Labels& labels) {
  const auto uids = labels.find(label::kUidMapping);
  const auto gids = labels.find(label::kGidMapping);
  if (uids == labels.end() && gids == labels.end()) return std::optional<IdMap>();
  if (uids == labels.end() || gids == labels.end()) {
    return MakeError(ErrorCode::kInvalidArgument, "label {} needs {} too", label::kUidMapping,
                     label::kGidMapping);
  }
  SNAP_TRY(IdMap map, IdMap::Parse(uids->second, gids->second));
  return std::optional(std::move(map));
}

// --- one long call per name

Result<SnapshotsImpl::Busy> SnapshotsImpl::Busy::Take(SnapshotsImpl& snapshots, const std::string& name) {
  std::unique_lock lock(snapshots.busy_mutex_);
  if (!snapshots.busy_changed_.wait_for(lock, kLongestWait,
                                        [&] { return !snapshots.busy_.contains(name); })) {
    return MakeError(ErrorCode::kUnavailable, "snapshot {}: another call is still at work on it",
                     Quote(name));
  }
  snapshots.busy_.insert(name);
  return Busy(snapshots, name);
}

SnapshotsImpl::Busy::~Busy() {
  if (snapshots_ == nullptr) return;
  const std::lock_guard guard(snapshots_->busy_mutex_);
  snapshots_->busy_.erase(name_);
  snapshots_->busy_changed_.notify_all();
}

// --- rows and chains

Result<SnapshotRecord> SnapshotsImpl::Row(Metadata& metadata, const std::string& name) {
  SNAP_TRY(std::optional<SnapshotRecord> record, metadata.Snapshot(name));
  if (!record) return MakeError(ErrorCode::kNotFound, "snapshot {}: not found", Quote(name));
  return std::move(*record);
}

Result<std::shared_ptr<const SnapshotLink>> SnapshotsImpl::MakeLink(Metadata& metadata,
                                                                    const SnapshotRecord& record,
                                                                    SnapshotChain below) {
  auto link = std::make_shared<SnapshotLink>();
  link->number = record.number;
  link->has_upper = record.has_upper;
  if (record.layer) {
    SNAP_TRY(std::optional<LayerRecord> layer, metadata.Layer(*record.layer));
    if (!layer) {
      return MakeError(ErrorCode::kCorrupt, "snapshot {}: its layer {} is gone", Quote(record.info.name),
                       record.layer->ToString());
    }
    link->layer = std::move(layer->manifest);
    if (!record.has_upper && below == nullptr) link->chain_id = ChainId{link->layer->diff_id.digest};
    if (!record.has_upper && below != nullptr && below->chain_id) {
      link->chain_id =
          ChainId{Digest::Of(below->chain_id->ToString() + " " + link->layer->diff_id.ToString())};
    }
  }
  link->below = std::move(below);
  return std::shared_ptr<const SnapshotLink>(std::move(link));
}

Result<SnapshotChain> SnapshotsImpl::ChainOf(Metadata& metadata, uint64_t number) {
  std::vector<SnapshotRecord> missing;  // top first
  SnapshotChain chain;
  while (number != 0) {
    {
      const std::lock_guard guard(mutex_);
      if (const auto known = links_.find(number); known != links_.end()) {
        chain = known->second;
        break;
      }
    }
    SNAP_TRY(std::optional<SnapshotRecord> record, metadata.SnapshotByNumber(number));
    if (!record || record->info.kind != SnapshotKind::kCommitted) {
      return MakeError(ErrorCode::kCorrupt, "database: snapshot number {} is a parent and not there", number);
    }
    number = record->parent;
    missing.push_back(std::move(*record));
  }
  for (auto record = missing.rbegin(); record != missing.rend(); ++record) {
    SNAP_TRY(chain, MakeLink(metadata, *record, std::move(chain)));
    const std::lock_guard guard(mutex_);
    links_.emplace(record->number, chain);
  }
  return chain;
}

Result<SnapshotsImpl::Found> SnapshotsImpl::Find(const std::string& name) {
  SNAP_TRY(Metadata metadata, state_.Read());
  Found found;
  SNAP_TRY(found.record, Row(metadata, name));
  SNAP_TRY(found.parent, ChainOf(metadata, found.record.parent));
  return found;
}

Result<void> SnapshotsImpl::SyncDatabase() const {
  return SyncsAtOnce() ? Result<void>() : state_.options.database->Write({}, true);
}

// --- uppers

Result<Attributes> SnapshotsImpl::RootOf(const SnapshotChain& chain) {
  Attributes attributes;
  attributes.permissions = 0755;
  if (chain == nullptr) return attributes;
  {
    const std::lock_guard guard(mutex_);
    if (const auto known = roots_.find(chain->number); known != roots_.end()) return known->second;
  }
  if (chain->has_upper) {
    SNAP_TRY(const LayerStore::Upper upper, state_.layers.OpenUpper(SnapshotUpperName(chain->number)));
    SNAP_TRY(attributes, ReadAttributesAt(upper.fs, "."));
    std::erase_if(attributes.xattrs, [](const Xattr& xattr) { return whiteout::IsOverlayXattr(xattr.name); });
  } else if (chain->layer) {
    SNAP_TRY(const OpenedLayer layer, OpenLayer(state_.layers, chain->layer->id));
    SNAP_TRY(attributes, RootAttributes(layer.manifest.format, layer.content));
  }
  const std::lock_guard guard(mutex_);
  roots_.emplace(chain->number, attributes);
  return attributes;
}

/// A mounted root shows the upper's own attributes: they must be the parent's.
Result<void> SnapshotsImpl::MakeUpper(const SnapshotRecord& record, const SnapshotChain& chain) {
  SNAP_TRY(Attributes attributes, RootOf(chain));
  SNAP_TRY(const std::optional<IdMap> map, IdMapOf(record.info.labels));
  if (map) {
    const std::optional<uint32_t> uid = IdMap::Outside(map->uids, attributes.uid);
    const std::optional<uint32_t> gid = IdMap::Outside(map->gids, attributes.gid);
    if (!uid || !gid) {
      return MakeError(ErrorCode::kInvalidArgument, "snapshot {}: the owner {}:{} of its root is not mapped",
                       Quote(record.info.name), attributes.uid, attributes.gid);
    }
    attributes.uid = *uid;
    attributes.gid = *gid;
  }
  const std::string name = SnapshotUpperName(record.number);
  SNAP_TRY(const LayerStore::Upper upper, state_.layers.CreateUpper(name, false));
  SNAP_TRY_SYS(const struct stat made, sys::FStat(upper.fs), "look at the upper");
  return ApplyAttributesAt(upper.fs, ".", FileType::kDirectory, attributes, {made.st_uid, made.st_gid, 0},
                           made.st_mode & 07777U);
}

/// Whether nothing was written to a snapshot's upper since it was made.
Result<bool> SnapshotsImpl::IsUntouched(const SnapshotRecord& record, const SnapshotChain& parent) {
  SNAP_TRY(const LayerStore::Upper upper, state_.layers.OpenUpper(SnapshotUpperName(record.number)));
  SNAP_TRY(const bool is_empty, IsEmptyDirectory(upper.fs));
  if (!is_empty) return false;
  SNAP_TRY(const Attributes wanted, RootOf(parent));
  SNAP_TRY(const Attributes found, ReadAttributesAt(upper.fs, "."));
  return found.permissions == wanted.permissions && found.uid == wanted.uid && found.gid == wanted.gid;
}

// --- Prepare, View, Mounts

/// What is below the upper of an active snapshot or a view.
Result<SnapshotChain> SnapshotsImpl::BelowOf(const SnapshotRecord& record,
                                             const SnapshotChain& parent) const {
  if (!record.layer) return parent;
  auto own = std::make_shared<SnapshotLink>();
  SNAP_TRY(own->layer, state_.layers.Find(*record.layer));
  own->number = record.number;
  own->below = parent;
  return SnapshotChain(std::move(own));
}

Result<std::vector<EngineMount>> SnapshotsImpl::MountsOf(const SnapshotRecord& record,
                                                         const SnapshotChain& parent, bool publish) {
  const bool is_unpacking = IsUnpacking(record);
  SNAP_TRY(const SnapshotChain below, BelowOf(record, parent));
  EngineLowers::Published lowers;
  if (below != nullptr) {
    SNAP_TRY(const std::optional<IdMap> map, IdMapOf(record.info.labels));
    const IdMap* const mapped = map ? &*map : nullptr;
    if (publish) {
      SNAP_TRY(lowers, lowers_->Publish(below, !is_unpacking, mapped, record.number));
    } else {
      lowers = lowers_->Planned(below, !is_unpacking, mapped);
    }
  }

  const std::string upper = state_.layers.root_path() + "/snapshots/" + SnapshotUpperName(record.number);
  const bool writable = record.info.kind == SnapshotKind::kActive;
  const auto bind = [](const std::string& source, const char* mode) {
    return std::vector<EngineMount>{{"bind", source, "", {mode, "rbind"}}};
  };
  if (writable && lowers.paths.empty()) {
    // A whiteout in a layer means something only to who knows that this is an overlay's upper.
    if (!is_unpacking) return bind(upper + "/fs", "rw");
    lowers.paths.push_back(lowers_->empty());
  }
  if (!writable && lowers.paths.empty()) return bind(lowers_->empty(), "ro");
  if (!writable && lowers.paths.size() == 1 && !lowers.packed) return bind(lowers.paths.front(), "ro");

  EngineMount mount{"overlay", "overlay", "", {"index=off", "redirect_dir=on"}};
  if (lowers.packed) mount.options.push_back("metacopy=on");
  if (writable) {
    mount.options.push_back("workdir=" + upper + "/work");
    mount.options.push_back("upperdir=" + upper + "/fs");
  } else {
    mount.options.push_back("ro");
  }
  mount.options.push_back("lowerdir=" + Joined(lowers.paths) +
                          (lowers.packed ? "::" + state_.layers.root_path() + "/objects" : ""));
  return std::vector<EngineMount>{std::move(mount)};
}

Result<std::vector<EngineMount>> SnapshotsImpl::Create(SnapshotKind kind, const std::string& key,
                                                       const std::string& parent, const Labels& labels) {
  if (key.empty()) return MakeError(ErrorCode::kInvalidArgument, "make a snapshot: it has no name");
  {
    SNAP_TRY(const std::optional<IdMap> map, IdMapOf(labels));
    (void)map;  // early: nothing was made yet
  }
  SnapshotRecord record;
  SnapshotChain chain;
  {
    SNAP_TRY(Metadata metadata, state_.Write());
    SNAP_TRY(const std::optional<SnapshotRecord> taken, metadata.Snapshot(key));
    if (taken) return MakeError(ErrorCode::kExists, "snapshot {}: already exists", Quote(key));
    if (!parent.empty()) {
      SNAP_TRY(const SnapshotRecord below, Row(metadata, parent));
      if (below.info.kind != SnapshotKind::kCommitted) {
        return MakeError(ErrorCode::kInvalidArgument, "snapshot {}: its parent {} is not committed",
                         Quote(key), Quote(parent));
      }
      record.parent = below.number;
      SNAP_TRY(chain, ChainOf(metadata, below.number));
    }
    SNAP_TRY(record.number, metadata.NextSnapshotNumber());
    record.info = {.name = key,
                   .parent = parent,
                   .kind = kind,
                   .created_ns = NowNs(),
                   .updated_ns = 0,
                   .labels = WithoutEmpty(labels)};
    record.info.updated_ns = record.info.created_ns;
    record.has_upper = kind == SnapshotKind::kActive;
    const Result<void> made = [&]() -> Result<void> {
      if (record.has_upper) SNAP_TRY_VOID(MakeUpper(record, chain));
      SNAP_FAULT_POINT("snapshots.create.before_database");
      return metadata.PutSnapshot(record, std::nullopt, SyncsAtOnce());
    }();
    if (!made.ok()) {
      if (record.has_upper)
        (void)state_.layers.DiscardUpper(SnapshotUpperName(record.number));  // garbage without a row
      return made.error();
    }
  }
  SNAP_FAULT_POINT("snapshots.create.after_database");
  if (record.has_upper && options_.durability == Durability::kFull) SNAP_TRY_VOID(state_.layers.SyncUppers());
  SNAP_TRY_VOID(SyncDatabase());
  Result<std::vector<EngineMount>> mounts = MountsOf(record, chain, true);
  if (!mounts.ok())
    (void)RemoveIf(key,
                   record.number);  // who cannot mount it has no use for it; the first error is what counts
  return mounts;
}

Result<std::vector<EngineMount>> SnapshotsImpl::Prepare(const std::string& key, const std::string& parent,
                                                        const Labels& labels) {
  if (labels.contains(label::kTarget)) {
    SNAP_TRY(const bool adopted, Adopt(parent, labels));
    if (adopted) {
      return MakeError(ErrorCode::kExists, "snapshot {}: {} is there already", Quote(key),
                       labels.at(label::kTarget));
    }
  }
  return Create(SnapshotKind::kActive, key, parent, labels);
}

Result<std::vector<EngineMount>> SnapshotsImpl::View(const std::string& key, const std::string& parent,
                                                     const Labels& labels) {
  return Create(SnapshotKind::kView, key, parent, labels);
}

Result<std::vector<EngineMount>> SnapshotsImpl::Mounts(const std::string& key) {
  SNAP_TRY(const Found found, Find(key));
  if (found.record.info.kind == SnapshotKind::kCommitted) {
    return MakeError(ErrorCode::kBusy, "snapshot {}: is not active or a view", Quote(key));
  }
  SNAP_TRY(std::vector<EngineMount> mounts, MountsOf(found.record, found.parent, true));
  // Whoever removed it meanwhile has forgotten what it needed before this call entered it again.
  SNAP_TRY(Metadata metadata, state_.Read());
  SNAP_TRY(const std::optional<SnapshotRecord> now, metadata.SnapshotByNumber(found.record.number));
  if (now && now->info.kind != SnapshotKind::kCommitted) return mounts;
  lowers_->Forget(found.record.number);
  return MakeError(ErrorCode::kNotFound, "snapshot {}: not found", Quote(key));
}

// --- Commit, Remove

/// What is read before the disk work of a commit, and found again after it.
Result<SnapshotsImpl::Committing> SnapshotsImpl::BeginCommit(const std::string& name, const std::string& key,
                                                             const std::string& parent) {
  Committing commit;
  SnapshotRecord& record = commit.record;
  SNAP_TRY(Metadata metadata, state_.Read());
  SNAP_TRY(const std::optional<SnapshotRecord> taken, metadata.Snapshot(name));
  if (taken)
    return MakeError(ErrorCode::kExists, "commit snapshot {}: {} already exists", Quote(key), Quote(name));
  SNAP_TRY(record, Row(metadata, key));
  if (record.info.kind != SnapshotKind::kActive) {
    return MakeError(ErrorCode::kBusy, "commit snapshot {}: it is not active", Quote(key));
  }
  if (!parent.empty() && parent != record.info.parent) {
    if (record.parent != 0) {
      return MakeError(ErrorCode::kInvalidArgument, "commit snapshot {}: its parent is {}, not {}",
                       Quote(key), Quote(record.info.parent), Quote(parent));
    }
    SNAP_TRY(const SnapshotRecord below, Row(metadata, parent));
    if (below.info.kind != SnapshotKind::kCommitted) {
      return MakeError(ErrorCode::kBusy, "commit snapshot {}: its parent {} is not committed", Quote(key),
                       Quote(parent));
    }
    record.parent = below.number;
    record.info.parent = parent;
    commit.rebased = true;
  }
  SNAP_TRY(commit.parent, ChainOf(metadata, record.parent));
  return commit;
}

/// The disk work: finishes the layer, decides what stays of the upper, and flushes that.
Result<void> SnapshotsImpl::PrepareCommit(Committing& commit) {
  SnapshotRecord& record = commit.record;
  const auto lost = [&](std::string_view how) {
    return MakeError(ErrorCode::kUnavailable, "commit snapshot {}: {}; apply its layer again",
                     Quote(record.info.name), how);
  };
  std::unique_ptr<Pending> pending;
  {
    const std::lock_guard guard(mutex_);
    if (const auto found = pending_.find(record.number); found != pending_.end()) {
      pending = std::move(found->second);
      pending_.erase(found);
    }
  }
  std::optional<LayerManifest> layer;
  if (pending != nullptr) {
    commit.committed.emplace();
    SNAP_TRY(layer, Finish(std::move(*pending), commit.parent, *commit.committed));
    record.layer = layer->id;
    record.unfinished = false;
  } else if (record.unfinished) {
    return lost("what was applied to it waited for its parent and was lost in a restart or an error");
  } else if (record.layer) {
    SNAP_TRY(layer, state_.layers.Find(*record.layer));
    if (commit.rebased && layer->settled) return lost("its layer was finished for a stack without parent");
  }

  SNAP_TRY(const LayerStore::Upper upper, state_.layers.OpenUpper(SnapshotUpperName(record.number)));
  if (layer) {
    SNAP_TRY(const bool untouched, IsUntouched(record, commit.rebased ? nullptr : commit.parent));
    record.has_upper = !untouched;
    // A layer that does not name its root, put on others whose root is not the default one: the upper says
    // what it is.
    const LayerManifest* const below = TopLayer(commit.parent);
    if (untouched && layer->implied_root && commit.parent != nullptr &&
        (below == nullptr || !below->implied_root)) {
      SNAP_TRY(const Attributes root, RootOf(commit.parent));
      SNAP_TRY_SYS(const struct stat stat, sys::FStat(upper.fs), "look at the upper");
      SNAP_TRY_VOID(ApplyAttributesAt(upper.fs, ".", FileType::kDirectory, root,
                                      {stat.st_uid, stat.st_gid, 0}, stat.st_mode & 07777U));
      record.has_upper = true;
    }
    if (!record.has_upper)
      record.usage = SnapshotUsage{layer->usage.disk_bytes + layer->usage.object_bytes, layer->usage.entries};
  }
  if (!record.has_upper || options_.durability != Durability::kFull) return {};
  SNAP_TRY(const bool is_empty, IsEmptyDirectory(upper.fs));
  if (!is_empty) {
    SNAP_TRY_SYS_VOID(sys::SyncFs(upper.fs), "flush snapshot {}", Quote(record.info.name));
    return {};
  }
  SNAP_TRY_SYS(const UniqueFd root, sys::OpenAt(upper.fs, ".", O_RDONLY | O_DIRECTORY), "open the upper");
  SNAP_TRY_SYS_VOID(sys::Fsync(root), "flush snapshot {}", Quote(record.info.name));
  return {};
}

Result<void> SnapshotsImpl::RecordCommit(Committing& commit, const std::string& name, const Labels& labels) {
  SnapshotRecord& record = commit.record;
  const std::string key = record.info.name;
  SNAP_TRY(Metadata metadata, state_.Write());
  SNAP_TRY(const SnapshotRecord now, Row(metadata, key));
  if (now.number != record.number || now.info.kind != SnapshotKind::kActive) {
    return MakeError(ErrorCode::kNotFound, "commit snapshot {}: it was removed meanwhile", Quote(key));
  }
  SNAP_TRY(const std::optional<SnapshotRecord> taken, metadata.Snapshot(name));
  if (taken)
    return MakeError(ErrorCode::kExists, "commit snapshot {}: {} already exists", Quote(key), Quote(name));
  if (record.parent != 0) {
    SNAP_TRY(const std::optional<SnapshotRecord> below, metadata.SnapshotByNumber(record.parent));
    if (!below)
      return MakeError(ErrorCode::kNotFound, "commit snapshot {}: its parent was removed meanwhile",
                       Quote(key));
  }
  record.info.name = name;
  record.info.kind = SnapshotKind::kCommitted;
  record.info.labels = WithoutEmpty(labels);
  record.info.created_ns = record.info.updated_ns = NowNs();
  std::optional<LayerAddition> addition;
  if (commit.committed) {
    SNAP_TRY(addition, RowOf(metadata, *commit.committed));
  }
  SNAP_FAULT_POINT("snapshots.commit.before_database");
  return metadata.PutSnapshot(record, addition, SyncsAtOnce());
}

Result<void> SnapshotsImpl::Commit(const std::string& name, const std::string& key, const Labels& labels,
                                   const std::string& parent) {
  if (name.empty()) return MakeError(ErrorCode::kInvalidArgument, "commit snapshot {}: no name", Quote(key));
  SNAP_TRY(const Busy busy, Busy::Take(*this, key));
  SNAP_TRY(Committing commit, BeginCommit(name, key, parent));
  const Result<void> recorded = [&]() -> Result<void> {
    SNAP_TRY_VOID(PrepareCommit(commit));
    return RecordCommit(commit, name, labels);
  }();
  if (!recorded.ok()) {
    if (commit.committed) Discard(std::move(*commit.committed));
    return recorded.error();
  }
  SNAP_FAULT_POINT("snapshots.commit.after_database");
  SNAP_TRY_VOID(SyncDatabase());
  const SnapshotRecord& record = commit.record;
  if (!record.has_upper)
    (void)state_.layers.DiscardUpper(SnapshotUpperName(record.number));  // garbage now, whoever deletes it
  lowers_->Forget(record.number);
  {
    const std::lock_guard guard(mutex_);
    measured_.erase(record.number);
  }
  if (!record.usage) {
    const std::lock_guard guard(work_mutex_);
    unmeasured_.insert(record.number);
    work_changed_.notify_one();
  }
  Say("snapshot.commit", {{"name", name}, {"key", key}});
  return {};
}

Result<void> SnapshotsImpl::Remove(const std::string& key) { return RemoveIf(key, std::nullopt); }

Result<void> SnapshotsImpl::RemoveIf(const std::string& key, std::optional<uint64_t> number) {
  Result<Busy> busy = Busy::Take(*this, key);
  // An engine's garbage collection goes on only after this kind of error.
  if (!busy.ok())
    return MakeError(ErrorCode::kBusy, "cannot remove snapshot {}: another call is at work on it",
                     Quote(key));
  SnapshotRecord record;
  {
    SNAP_TRY(Metadata metadata, state_.Write());
    SNAP_TRY(record, Row(metadata, key));
    if (number && record.number != *number) return {};  // somebody else's by now
    SNAP_TRY(const std::vector<uint64_t> children, metadata.SnapshotChildren(record.number, 1));
    if (!children.empty())
      return MakeError(ErrorCode::kBusy, "cannot remove snapshot {}: it has children", Quote(key));
    SNAP_TRY_VOID(metadata.RemoveSnapshot(record, SyncsAtOnce()));
  }
  SNAP_FAULT_POINT("snapshots.remove.after_database");
  SNAP_TRY_VOID(SyncDatabase());
  if (record.has_upper)
    (void)state_.layers.DiscardUpper(SnapshotUpperName(record.number));  // garbage now, whoever deletes it
  lowers_->Forget(record.number);
  std::unique_ptr<Pending> pending;  // goes after the mutex: it may be a tree to delete
  {
    const std::lock_guard guard(mutex_);
    links_.erase(record.number);
    roots_.erase(record.number);
    measured_.erase(record.number);
    if (const auto found = pending_.find(record.number); found != pending_.end()) {
      pending = std::move(found->second);
      pending_.erase(found);
    }
  }
  {
    const std::lock_guard guard(work_mutex_);
    unmeasured_.erase(record.number);
    if (record.layer) dropped_layers_.insert(*record.layer);
  }
  Say("snapshot.remove", {{"name", key}});
  return {};
}

// --- Stat, Update, Walk

Result<SnapshotInfo> SnapshotsImpl::Stat(const std::string& key) {
  SNAP_TRY(Metadata metadata, state_.Read());
  SNAP_TRY(SnapshotRecord record, Row(metadata, key));
  return std::move(record.info);
}

Result<SnapshotInfo> SnapshotsImpl::Update(const SnapshotInfo& info, const std::vector<std::string>& paths) {
  constexpr std::string_view kOne = "labels.";
  SNAP_TRY(Metadata metadata, state_.Write());
  SNAP_TRY(SnapshotRecord record, Row(metadata, info.name));
  Labels& labels = record.info.labels;
  if (paths.empty()) labels = info.labels;
  for (const std::string& path : paths) {
    if (path == "labels") {
      labels = info.labels;
    } else if (path.starts_with(kOne)) {
      const std::string key = path.substr(kOne.size());
      const auto value = info.labels.find(key);
      labels[key] = value == info.labels.end() ? "" : value->second;
    } else {
      return MakeError(ErrorCode::kInvalidArgument, "update snapshot {}: field {} cannot be changed",
                       Quote(info.name), Quote(path));
    }
  }
  labels = WithoutEmpty(labels);
  record.info.updated_ns = NowNs();
  SNAP_TRY_VOID(metadata.PutSnapshot(record));
  return std::move(record.info);
}

Result<void> SnapshotsImpl::Walk(const Visitor& visit) {
  constexpr size_t kPage = 512;
  std::string from;
  for (;;) {
    std::vector<SnapshotInfo> page;
    {
      SNAP_TRY(Metadata metadata, state_.Read());
      SNAP_TRY_VOID(metadata.ScanSnapshots(from, [&](const SnapshotRecord& record) -> Result<bool> {
        page.push_back(record.info);
        return page.size() < kPage;
      }));
    }
    for (const SnapshotInfo& info : page) {
      SNAP_TRY(const bool more, visit(info));
      if (!more) return {};
    }
    if (page.size() < kPage) return {};
    from = page.back().name + '\0';
  }
}

// --- what mounts belong to

std::optional<std::string> SnapshotsImpl::NameOfMounts(const std::vector<EngineMount>& mounts) {
  if (mounts.size() != 1) return std::nullopt;
  const EngineMount& mount = mounts.front();
  constexpr std::string_view kUpperDir = "upperdir=";
  uint64_t number = 0;
  for (const std::string& option : mount.options) {
    if (option.starts_with(kUpperDir))
      number = NumberOfUpper(option.substr(kUpperDir.size()), state_.layers.root_path());
  }
  const bool is_bind = mount.type == "bind";
  const bool read_only = std::find(mount.options.begin(), mount.options.end(), "ro") != mount.options.end();
  if (is_bind && !read_only) number = NumberOfUpper(mount.source, state_.layers.root_path());
  if (number == 0 && mount.type != "overlay" && !is_bind) return std::nullopt;
  std::vector<Found> views;
  {
    Result<Metadata> metadata = state_.Read();
    if (!metadata.ok()) return std::nullopt;
    if (number != 0) {
      const Result<std::optional<SnapshotRecord>> record = metadata->SnapshotByNumber(number);
      if (!record.ok() || !*record) return std::nullopt;
      return (*record)->info.name;
    }
    const auto is_ours = [&](std::string_view text) {
      return text.find(state_.layers.root_path() + "/") != std::string_view::npos ||
             text.find(options_.mounts_directory + "/") != std::string_view::npos;
    };
    if (!is_ours(mount.source) && std::none_of(mount.options.begin(), mount.options.end(), is_ours))
      return std::nullopt;
    const Result<void> scanned =
        metadata->ScanSnapshots("", [&](const SnapshotRecord& record) -> Result<bool> {
          if (record.info.kind == SnapshotKind::kView) views.push_back({record, nullptr});
          return true;
        });
    if (!scanned.ok()) return std::nullopt;
    for (Found& view : views) {
      Result<SnapshotChain> chain = ChainOf(*metadata, view.record.parent);
      if (chain.ok()) view.parent = std::move(chain).value();
    }
  }
  // Views of one parent have the same mounts, and the same content.
  for (const Found& view : views) {
    const Result<std::vector<EngineMount>> own = MountsOf(view.record, view.parent, false);
    if (own.ok() && SameMounts(*own, mounts)) return view.record.info.name;
  }
  return std::nullopt;
}

Result<std::unique_ptr<ByteSource>> SnapshotsImpl::OpenAddition(const std::string& key) {
  SNAP_TRY(const Found found, Find(key));
  const SnapshotRecord& record = found.record;
  if (record.layer) {
    SNAP_TRY(const LayerManifest layer, state_.layers.Find(*record.layer));
    bool untouched = !record.has_upper;
    if (!untouched) {
      SNAP_TRY(untouched, IsUntouched(record, found.parent));
    }
    if (!untouched)
      return MakeError(ErrorCode::kUnsupported, "diff of snapshot {}: it was written to above its layer",
                       Quote(key));
    return store_.LayerTar(layer);
  }
  if (!record.has_upper)
    return MakeError(ErrorCode::kUnsupported, "diff of snapshot {}: a view adds nothing", Quote(key));
  SNAP_TRY(const LayerStore::Upper upper, state_.layers.OpenUpper(SnapshotUpperName(record.number)));
  UpperTarOptions options;
  options.name = "snapshot " + Quote(key);
  SNAP_TRY(options.unchanged_root, RootOf(found.parent));
  if (found.parent == nullptr) return MakeUpperTarSource(upper.fs, std::nullopt, options);
  SNAP_TRY(const Mount merged, MountChain(found.parent, record.number));
  return MakeUpperTarSource(upper.fs, merged.root(), options);
}

// --- start and end

Result<std::unique_ptr<Snapshots>> Snapshots::Open(Store& store, Options options) {
  SNAP_TRY_VOID(CheckPath(store.layers().root_path()));
  SNAP_TRY_VOID(CheckPath(options.mounts_directory));
  SNAP_TRY(std::unique_ptr<EngineLowers> lowers,
           EngineLowers::Open(store.layers(), store.backend(), options.mounts_directory));
  auto snapshots =
      std::make_unique<SnapshotsImpl>(store.state(), store, std::move(options), std::move(lowers));
  SNAP_TRY_VOID(snapshots->Start());
  return std::unique_ptr<Snapshots>(std::move(snapshots));
}

Result<void> SnapshotsImpl::Start() {
  {
    SNAP_TRY(Metadata metadata, state_.Read());
    std::vector<SnapshotRecord> records;
    SNAP_TRY_VOID(metadata.ScanSnapshots("", [&](const SnapshotRecord& record) -> Result<bool> {
      if (record.info.kind == SnapshotKind::kCommitted) {
        if (!record.usage) unmeasured_.insert(record.number);
      } else {
        records.push_back(record);
      }
      return true;
    }));
    for (const SnapshotRecord& record : records) {
      const Result<SnapshotChain> chain = ChainOf(metadata, record.parent);
      const Result<std::optional<IdMap>> map = IdMapOf(record.info.labels);
      if (!chain.ok() || !map.ok()) continue;
      const Result<SnapshotChain> below = BelowOf(record, *chain);
      if (!below.ok() || *below == nullptr) continue;
      lowers_->Enter(*below, !IsUnpacking(record), *map ? &**map : nullptr, record.number);
    }
  }
  SNAP_TRY_VOID(lowers_->RemoveUnused());
  try {
    worker_ = std::thread([this] { Work(); });
  } catch (const std::system_error& e) {
    return MakeError(ErrorCode::kUnavailable, "start a thread: {}", e.what());
  }
  return {};
}

SnapshotsImpl::~SnapshotsImpl() {
  if (!worker_.joinable()) return;
  {
    const std::lock_guard guard(work_mutex_);
    stopping_ = true;
    work_changed_.notify_all();
  }
  worker_.join();
}

}  // namespace snap
