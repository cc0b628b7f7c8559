// Apply: a blob becomes a layer of the store and the layer what a snapshot adds. Most layers are finished at
// once; one that needs what lies below it and is unpacked beside its parents waits, in memory, for the commit
// that says what that is.
#include <fcntl.h>

#include <algorithm>
#include <iterator>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/tree_editor.h"
#include "snapshotter/layer_settle.h"
#include "snapshotter/layer_stack.h"
#include "snapshotter/snapshots_impl.h"

namespace snap {
namespace {

/// Where the stack that ends with `diff_id` above `parent` has its name; it is one only for chains of nothing
/// but layers.
Digest StackId(const SnapshotChain& parent, const DiffId& diff_id) {
  if (parent == nullptr) return diff_id.digest;
  if (parent->chain_id) return Digest::Of(parent->chain_id->ToString() + " " + diff_id.ToString());
  return Digest::Of(fmt::format("snapshot {} {}", parent->number, diff_id.ToString()));
}

/// As what is below it a layer sees the root: nullptr for nothing.
const LayerManifest* RootBelow(const SnapshotChain& parent) {
  static const LayerManifest kNamed;  // implied_root is false
  if (parent == nullptr) return nullptr;
  const LayerManifest* const top = TopLayer(parent);
  return top != nullptr ? top : &kNamed;
}

/// One of few at a time: each takes two threads.
class Slot {
 public:
  Slot(std::mutex& mutex, std::condition_variable& changed, unsigned& used)
      : mutex_(mutex), changed_(changed), used_(used) {}
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  ~Slot() {
    if (!taken_) return;
    const std::lock_guard guard(mutex_);
    --used_;
    changed_.notify_all();
  }
  /// False when nobody waits for the result any more.
  bool Take(unsigned limit, const std::function<bool()>& gone) {
    constexpr auto kLook = std::chrono::milliseconds(100);
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, kLook, [&] { return used_ < limit; })) {
      if (gone && gone()) return false;
    }
    ++used_;
    taken_ = true;
    return true;
  }

 private:
  std::mutex& mutex_;
  std::condition_variable& changed_;
  unsigned& used_;
  bool taken_ = false;
};

/// Whether a snapshot without parent may get one at its commit: it is unpacked for a stack that is not this
/// layer alone.
bool MayBeRebased(const SnapshotRecord& record, const DiffId& diff_id) {
  const auto target = record.info.labels.find(label::kTarget);
  return record.parent == 0 && target != record.info.labels.end() && target->second != diff_id.ToString();
}

}  // namespace

bool SnapshotsImpl::Fits(const LayerManifest& layer, const SnapshotChain& parent) {
  if (layer.settled) return layer.id.digest == StackId(parent, layer.diff_id);
  const LayerManifest* const below = RootBelow(parent);
  return !layer.implied_root || below == nullptr || below->implied_root;
}

Result<bool> SnapshotsImpl::Attach(const std::string& key, uint64_t number, const LayerId& layer,
                                   const Committed* committed) {
  SNAP_TRY(Metadata metadata, state_.Write());
  SNAP_TRY(SnapshotRecord record, Row(metadata, key));
  if (record.number != number || record.info.kind != SnapshotKind::kActive) {
    return MakeError(ErrorCode::kNotFound, "apply to snapshot {}: it was removed meanwhile", Quote(key));
  }
  std::optional<LayerAddition> addition;
  if (committed != nullptr) {
    SNAP_TRY(addition, RowOf(metadata, *committed));
  } else {
    SNAP_TRY(const std::optional<LayerRecord> row, metadata.Layer(layer));
    if (!row) return false;
  }
  record.layer = layer;
  record.unfinished = false;
  SNAP_FAULT_POINT("snapshots.apply.before_database");
  SNAP_TRY_VOID(metadata.PutSnapshot(record, addition));
  SNAP_FAULT_POINT("snapshots.apply.after_database");
  return true;
}

/// When a layer of the store was made of this very blob, nothing needs to be read.
Result<std::optional<Snapshots::Applied>> SnapshotsImpl::ApplyKnown(const std::string& key,
                                                                    const Found& found, const Blob& blob) {
  std::vector<LayerId> candidates;
  {
    SNAP_TRY(Metadata metadata, state_.Read());
    SNAP_TRY(candidates, metadata.LayersByBlob(BlobId{blob.digest}));
  }
  for (const LayerId& candidate : candidates) {
    Result<LayerPin> pin = state_.layers.Pin(candidate);
    if (!pin.ok()) continue;  // going, or damaged: it is made again
    if (!Fits(pin->manifest, found.parent)) continue;
    // Settled on nothing, which is not where it goes.
    if (pin->manifest.settled && MayBeRebased(found.record, pin->manifest.diff_id)) continue;
    if (options_.durability == Durability::kFull) SNAP_TRY_VOID(state_.layers.MakeDurable(*pin));
    SNAP_TRY(const bool attached, Attach(key, found.record.number, candidate, nullptr));
    if (attached) return std::optional(Applied{pin->manifest.diff_id, pin->manifest.tar_bytes, true});
  }
  return std::optional<Applied>();
}

Result<Snapshots::Applied> SnapshotsImpl::Apply(const std::string& key, const Blob& blob) {
  SNAP_TRY(const Busy busy, Busy::Take(*this, key));
  SNAP_TRY(const Found found, Find(key));
  const SnapshotRecord& record = found.record;
  if (record.info.kind != SnapshotKind::kActive) {
    return MakeError(ErrorCode::kBusy, "apply to snapshot {}: it is not active", Quote(key));
  }
  if (record.layer) {
    SNAP_TRY(const LayerManifest manifest, state_.layers.Find(*record.layer));
    if (manifest.blob_id && manifest.blob_id->digest == blob.digest)
      return Applied{manifest.diff_id, manifest.tar_bytes, true};
    return MakeError(ErrorCode::kUnsupported, "apply to snapshot {}: it has a layer already", Quote(key));
  }
  SNAP_TRY(const bool untouched, IsUntouched(record, found.parent));
  if (!untouched)
    return MakeError(ErrorCode::kUnsupported, "apply to snapshot {}: it has been written to", Quote(key));
  SNAP_TRY(const std::optional<Applied> known, ApplyKnown(key, found, blob));
  if (known) {
    Say("layer.adopt", {{"snapshot", key}, {"diff_id", known->diff_id.ToString()}});
    return *known;
  }

  const unsigned limit =
      options_.parallel_applies != 0 ? options_.parallel_applies : std::max(1U, sys::ProcessorCount());
  Slot slot(apply_mutex_, apply_changed_, applying_);
  if (!slot.Take(limit, blob.gone))
    return MakeError(ErrorCode::kCancelled, "apply to snapshot {}: nobody waits for it", Quote(key));
  SNAP_TRY(LayerStage busy_stage, state_.MarkBusy());
  auto pins = std::make_unique<LayerStage>(std::move(busy_stage));
  auto objects = std::make_unique<ObjectStage>(state_.layers.objects(), pins->tree());
  LayerImportOptions import;
  import.format = LayerFormat::kTree;
  if (options_.format != LayerFormatChoice::kTree) {
    const Result<void> packed = state_.backend->CanMountPacked();
    if (packed.ok()) import.format = LayerFormat::kPacked;
    if (!packed.ok() && options_.format == LayerFormatChoice::kPacked) return packed.error();
  }
  import.engine = options_.io_engine;
  import.tar_limits = options_.tar_limits;
  import.inflate_limits = options_.inflate_limits;
  oci::LayerBlob layer;
  layer.blob_id = BlobId{blob.digest};
  layer.size_bytes = blob.bytes;
  const auto& labels = record.info.labels;
  if (const auto wanted = labels.find(label::kDiffId); wanted != labels.end()) {
    SNAP_TRY(const Digest digest, Digest::Parse(wanted->second));
    layer.diff_id = DiffId{digest};
  }
  const auto extract = [&]() -> Result<ExtractedLayer> {
    SNAP_TRY(const std::unique_ptr<ByteSource> stored, blob.open());
    const std::atomic<bool> cancelled{false};  // the source says when the caller has gone
    return ExtractLayer(*stored, layer, state_.layers, *objects, import, cancelled);
  };
  SNAP_TRY(ExtractedLayer extracted, extract());
  Pending pending{std::move(pins), std::move(objects), std::move(extracted)};
  const Applied applied{pending.extracted.diff_id, pending.extracted.tar_bytes, false};

  LayerManifest described;
  DescribeLayer(pending.extracted, RootBelow(found.parent), described);
  if (described.settled && MayBeRebased(record, applied.diff_id)) {
    auto kept = std::make_unique<Pending>(std::move(pending));
    {
      SNAP_TRY(Metadata metadata, state_.Write());
      SNAP_TRY(SnapshotRecord now, Row(metadata, key));
      if (now.number != record.number)
        return MakeError(ErrorCode::kNotFound, "apply to snapshot {}: it was removed", Quote(key));
      now.unfinished = true;
      SNAP_TRY_VOID(metadata.PutSnapshot(now));
    }
    const std::lock_guard guard(mutex_);
    pending_[record.number].swap(kept);  // one from before goes after the lock does
    return applied;
  }
  Committed committed;
  SNAP_TRY(const LayerManifest manifest, Finish(std::move(pending), found.parent, committed));
  const Result<bool> attached = Attach(key, record.number, manifest.id, &committed);
  if (!attached.ok()) {
    Discard(std::move(committed));
    return attached.error();
  }
  Say("layer.apply",
      {{"snapshot", key}, {"diff_id", applied.diff_id.ToString()}, {"blob", blob.digest.ToString()}});
  return applied;
}

// --- from the stream to a committed layer

Result<void> SnapshotsImpl::Settle(Pending& pending, const SnapshotChain& parent) const {
  LayerSummary& summary = pending.extracted.summary;
  if (parent == nullptr) {
    if (summary.lower_links.empty()) return {};
    const LowerLink& link = summary.lower_links.front();
    return MakeError(ErrorCode::kInvalidArgument, "hard link {} to {}: the target does not exist",
                     Quote(link.path.str()), Quote(link.target.str()));
  }
  SNAP_TRY(const Mount lowers, MountChain(parent, std::nullopt));
  std::optional<TreeEditor> tree;
  LayerEditor* editor =
      pending.extracted.packed != nullptr ? pending.extracted.packed->writer.get() : nullptr;
  if (editor == nullptr) editor = &tree.emplace(pending.extracted.stage.tree());
  return SettleLayer(*editor, lowers.root(), summary);
}

Result<Mount> SnapshotsImpl::MountChain(const SnapshotChain& chain, std::optional<uint64_t> upper) const {
  MountStack stack;
  std::vector<OpenedLayer> layers;
  std::vector<UniqueFd> uppers;
  for (const ChainElement& element : ElementsOf(chain)) {
    if (element.layer == nullptr) {
      SNAP_TRY(LayerStore::Upper below, state_.layers.OpenUpper(SnapshotUpperName(element.upper)));
      uppers.push_back(std::move(below.fs));
      stack.lowers_top_first.emplace_back(uppers.back());
      continue;
    }
    SNAP_TRY(OpenedLayer layer, OpenLayer(state_.layers, element.layer->id));
    layers.push_back(std::move(layer));
    const StackedLayer stacked = layers.back().Stacked();
    const MountStack one = StackLayers(state_.layers, {stacked});
    stack.lowers_top_first.push_back(one.lowers_top_first.front());
    if (one.objects) stack.objects = one.objects;
  }
  MountOptions options;
  if (upper) {
    SNAP_TRY(LayerStore::Upper own, state_.layers.OpenUpper(SnapshotUpperName(*upper)));
    uppers.push_back(std::move(own.fs));
    const FdRef fs = uppers.back();
    uppers.push_back(std::move(own.work));
    stack.upper = MountStack::Upper{fs, uppers.back()};
    options.read_only = true;
  }
  return state_.backend->MountStacked(stack, options);
}

Result<LayerManifest> SnapshotsImpl::Finish(Pending pending, const SnapshotChain& parent,
                                            Committed& committed) {
  ExtractedLayer& extracted = pending.extracted;
  LayerManifest manifest;
  DescribeLayer(extracted, RootBelow(parent), manifest);
  if (manifest.settled) SNAP_TRY_VOID(Settle(pending, parent));
  if (extracted.packed != nullptr) {
    SNAP_TRY(SealedLayer sealed, extracted.packed->Seal());
    manifest.checksums = sealed.checksums;
    manifest.exact_tar = true;
    extracted.summary.usage = sealed.usage;
    committed.objects = std::move(sealed.objects);
    extracted.packed.reset();
  }
  manifest.id = LayerId{manifest.settled ? StackId(parent, extracted.diff_id) : extracted.diff_id.digest};
  manifest.diff_id = extracted.diff_id;
  manifest.blob_id = extracted.blob_id;
  manifest.blob_bytes = extracted.blob_bytes;
  manifest.tar_bytes = extracted.tar_bytes;
  manifest.usage = extracted.summary.usage;
  SNAP_TRY_VOID(pending.objects->Publish(false));
  std::vector<StagedLayer> staged;
  staged.push_back({std::move(extracted.stage), manifest});
  SNAP_TRY(std::vector<LayerPin> made, state_.layers.CommitAll(std::move(staged), options_.durability));
  committed.pin = std::move(made.front());
  committed.stage = std::move(pending.objects);
  committed.pins = std::move(pending.pins);
  return committed.pin.manifest;
}

/// What is to be recorded. Under the database's lock; from here on nobody takes away what the row will refer
/// to.
Result<LayerAddition> SnapshotsImpl::RowOf(Metadata& metadata, const Committed& committed) const {
  SNAP_TRY_VOID(committed.stage->Publish(options_.durability == Durability::kFull));
  const LayerManifest& manifest = committed.pin.manifest;
  if (committed.pin.created) return LayerAddition(manifest, committed.objects);
  SNAP_TRY(const std::optional<LayerRecord> known, metadata.Layer(manifest.id));
  if (known) return LayerAddition(manifest);
  SNAP_TRY(std::vector<ObjectId> objects, state_.ObjectsOnDisk(manifest));
  for (const ObjectId& object : objects) {
    SNAP_TRY(const bool exists, state_.layers.objects().Exists(object));
    if (exists) continue;
    return MakeError(ErrorCode::kUnavailable, "use layer {}: it is being removed; try again",
                     manifest.id.ToString());
  }
  return LayerAddition(manifest, std::move(objects));
}

/// Takes back what got no row. When even that fails, garbage collection does it.
void SnapshotsImpl::Discard(Committed committed) {
  const LayerId id = committed.pin.manifest.id;
  const std::vector<ObjectId> objects = committed.stage->Ids();
  Result<Metadata> metadata = state_.Write();
  if (!metadata.ok()) return;
  Metadata::Orphans orphans;
  committed.pin = LayerPin();
  const Result<std::optional<LayerRecord>> row = metadata->Layer(id);
  if (row.ok() && !row->has_value()) orphans.layers.push_back(id);
  const Result<std::set<ObjectId>> referenced = metadata->ReferencedObjects();
  if (referenced.ok()) {
    std::copy_if(objects.begin(), objects.end(), std::back_inserter(orphans.objects),
                 [&](const ObjectId& object) { return !referenced->contains(object); });
  }
  (void)state_.DiscardOrphans(orphans);
}

// --- layers that are there already

/// Where the snapshot that is to be unpacked can be made of a layer of the store, makes it, committed. Its
/// name is its chain id, so that the namespaces of an engine share it. Source: containerd
/// docs/snapshotters/remote-snapshotter.md.
Result<bool> SnapshotsImpl::Adopt(const std::string& parent, const Labels& labels) {
  const std::string& target = labels.at(label::kTarget);
  // Beside its parents: what it will be put on is not there to say.
  if (parent.empty() && labels.contains(label::kParentChainId)) return false;

  SnapshotChain chain;
  std::vector<LayerId> candidates;
  const Result<Digest> wanted = Digest::Parse(target);
  if (wanted.ok()) candidates.push_back(LayerId{*wanted});
  {
    SNAP_TRY(Metadata metadata, state_.Read());
    uint64_t parent_number = 0;
    if (!parent.empty()) {
      const Result<SnapshotRecord> below = Row(metadata, parent);
      if (!below.ok() || below->info.kind != SnapshotKind::kCommitted)
        return false;  // Prepare says what is wrong
      parent_number = below->number;
    }
    // Another namespace, or an earlier attempt, may have unpacked it.
    SNAP_TRY(const std::vector<uint64_t> made, metadata.SnapshotsMadeFor(target));
    for (const uint64_t number : made) {
      SNAP_TRY(const std::optional<SnapshotRecord> same, metadata.SnapshotByNumber(number));
      if (same && same->parent == parent_number) return true;
    }
    SNAP_TRY(chain, ChainOf(metadata, parent_number));
    if (!wanted.ok() || (chain != nullptr && !chain->chain_id))
      return false;  // nothing that layers could be found by
    if (chain != nullptr) {
      SNAP_TRY(const std::vector<DiffId> diff_ids, metadata.DiffIds());
      const auto found = std::find_if(diff_ids.begin(), diff_ids.end(), [&](const DiffId& diff_id) {
        return StackId(chain, diff_id) == *wanted;
      });
      if (found != diff_ids.end()) candidates.push_back(LayerId{found->digest});
    }
  }
  for (const LayerId& candidate : candidates) {
    Result<LayerPin> pin = state_.layers.Pin(candidate);
    if (!pin.ok()) continue;
    const LayerManifest& manifest = pin->manifest;
    if (StackId(chain, manifest.diff_id) != *wanted || !Fits(manifest, chain)) continue;
    if (options_.durability == Durability::kFull) SNAP_TRY_VOID(state_.layers.MakeDurable(*pin));
    SNAP_TRY(Metadata metadata, state_.Write());
    SNAP_TRY(const std::optional<LayerRecord> row, metadata.Layer(candidate));
    if (!row) continue;
    SnapshotRecord record;
    if (chain != nullptr) {
      SNAP_TRY(const std::optional<SnapshotRecord> below, metadata.SnapshotByNumber(chain->number));
      if (!below) return false;
      record.parent = below->number;
      record.info.parent = below->info.name;
    }
    record.info.name = target;
    SNAP_TRY(const std::optional<SnapshotRecord> taken, metadata.Snapshot(target));
    if (taken && taken->parent == record.parent && taken->info.kind == SnapshotKind::kCommitted &&
        taken->info.labels.contains(label::kTarget)) {
      return true;
    }
    if (taken) record.info.name = target + "@" + std::to_string(record.parent);
    SNAP_TRY(const std::optional<SnapshotRecord> second, metadata.Snapshot(record.info.name));
    if (second) return second->parent == record.parent && second->info.kind == SnapshotKind::kCommitted;
    SNAP_TRY(record.number, metadata.NextSnapshotNumber());
    record.info.kind = SnapshotKind::kCommitted;
    record.info.created_ns = record.info.updated_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
                                                          std::chrono::system_clock::now().time_since_epoch())
                                                          .count();
    record.info.labels = labels;
    record.layer = candidate;
    record.usage =
        SnapshotUsage{manifest.usage.disk_bytes + manifest.usage.object_bytes, manifest.usage.entries};
    SNAP_TRY_VOID(metadata.PutSnapshot(record));
    Say("layer.adopt", {{"snapshot", record.info.name}, {"diff_id", manifest.diff_id.ToString()}});
    return true;
  }
  return false;
}

}  // namespace snap
