// What the parts of Snapshots share. Included by snapshots*.cc only.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "snapshotter/engine_lowers.h"
#include "snapshotter/layer_import.h"
#include "snapshotter/snapshot_chain.h"
#include "snapshotter/snapshots.h"
#include "snapshotter/store_state.h"

namespace snap {

namespace label {
// Source: containerd core/snapshots/snapshotter.go.
inline constexpr const char* kTarget = kSnapshotTargetLabel;
inline constexpr const char* kDiffId = "containerd.io/snapshot/diff-id";
/// The chain id it will be put on, when it is unpacked beside its parents.
inline constexpr const char* kParentChainId = "containerd.io/snapshot/parent-chain-id";
inline constexpr const char* kUidMapping = "containerd.io/snapshot/uidmapping";
inline constexpr const char* kGidMapping = "containerd.io/snapshot/gidmapping";
}  // namespace label

/// What the labels of a snapshot ask for; nullopt when they ask for none. Errors: kInvalidArgument.
Result<std::optional<IdMap>> IdMapOf(const Labels& labels);

class SnapshotsImpl final : public Snapshots {
 public:
  SnapshotsImpl(Store::State& state, Store& store, Options options, std::unique_ptr<EngineLowers> lowers)
      : state_(state), store_(store), options_(std::move(options)), lowers_(std::move(lowers)) {}
  ~SnapshotsImpl() override;
  Result<void> Start();

  Result<std::vector<EngineMount>> Prepare(const std::string& key, const std::string& parent,
                                           const Labels& labels) override;
  Result<std::vector<EngineMount>> View(const std::string& key, const std::string& parent,
                                        const Labels& labels) override;
  Result<std::vector<EngineMount>> Mounts(const std::string& key) override;
  Result<void> Commit(const std::string& name, const std::string& key, const Labels& labels,
                      const std::string& parent) override;
  Result<void> Remove(const std::string& key) override;
  Result<SnapshotInfo> Stat(const std::string& key) override;
  Result<SnapshotInfo> Update(const SnapshotInfo& info, const std::vector<std::string>& paths) override;
  Result<void> Walk(const Visitor& visit) override;
  Result<SnapshotUsage> Usage(const std::string& key) override;
  Result<void> Cleanup() override;
  std::optional<std::string> NameOfMounts(const std::vector<EngineMount>& mounts) override;
  Result<Applied> Apply(const std::string& key, const Blob& blob) override;
  Result<std::unique_ptr<ByteSource>> OpenAddition(const std::string& key) override;

 private:
  /// A layer that cannot be finished before its parent is known. `pins` keeps its objects.
  struct Pending {
    std::unique_ptr<LayerStage> pins;
    std::unique_ptr<ObjectStage> objects;
    ExtractedLayer extracted;
  };
  /// One that is about to get its row. While `pin` lives nobody discards it.
  struct Committed {
    LayerPin pin;
    std::vector<ObjectId> objects;  // when it was made here
    std::unique_ptr<LayerStage> pins;
    std::unique_ptr<ObjectStage> stage;
  };

  // --- snapshots.cc
  Result<std::vector<EngineMount>> Create(SnapshotKind kind, const std::string& key,
                                          const std::string& parent, const Labels& labels);
  Result<void> MakeUpper(const SnapshotRecord& record, const SnapshotChain& chain);
  Result<SnapshotChain> BelowOf(const SnapshotRecord& record, const SnapshotChain& parent) const;
  /// Without `publish`: only what they are.
  Result<std::vector<EngineMount>> MountsOf(const SnapshotRecord& record, const SnapshotChain& parent,
                                            bool publish);
  struct Committing {
    SnapshotRecord record;  // as it will be
    SnapshotChain parent;
    bool rebased = false;
    std::optional<Committed> committed;  // a layer that this commit has finished
  };
  Result<Committing> BeginCommit(const std::string& name, const std::string& key, const std::string& parent);
  Result<void> PrepareCommit(Committing& commit);
  Result<void> RecordCommit(Committing& commit, const std::string& name, const Labels& labels);
  /// `number`: only if that is still its number.
  Result<void> RemoveIf(const std::string& key, std::optional<uint64_t> number);
  /// The row, and the chain of its parent, by one short read of the database.
  struct Found {
    SnapshotRecord record;
    SnapshotChain parent;
  };
  Result<Found> Find(const std::string& name);
  static Result<SnapshotRecord> Row(Metadata& metadata, const std::string& name);
  /// The chain that ends with a committed snapshot.
  Result<SnapshotChain> ChainOf(Metadata& metadata, uint64_t number);
  Result<std::shared_ptr<const SnapshotLink>> MakeLink(Metadata& metadata, const SnapshotRecord& record,
                                                       SnapshotChain below);
  /// Where the database stays open, calls that come together are made durable together, after the store's
  /// lock was given back.
  bool SyncsAtOnce() const { return state_.options.database == nullptr; }
  Result<void> SyncDatabase() const;
  Result<Attributes> RootOf(const SnapshotChain& chain);
  Result<bool> IsUntouched(const SnapshotRecord& record, const SnapshotChain& parent);

  // --- snapshot_apply.cc
  Result<std::optional<Applied>> ApplyKnown(const std::string& key, const Found& found, const Blob& blob);
  Result<LayerManifest> Finish(Pending pending, const SnapshotChain& parent, Committed& committed);
  Result<void> Settle(Pending& pending, const SnapshotChain& parent) const;
  /// Read-only. `upper`: of the snapshot above the chain, if it is to be seen too.
  Result<Mount> MountChain(const SnapshotChain& chain, std::optional<uint64_t> upper) const;
  Result<LayerAddition> RowOf(Metadata& metadata, const Committed& committed) const;
  /// False when the layer has lost its row meanwhile and is not `committed`.
  Result<bool> Attach(const std::string& key, uint64_t number, const LayerId& layer,
                      const Committed* committed);
  static bool Fits(const LayerManifest& layer, const SnapshotChain& parent);
  Result<bool> Adopt(const std::string& parent, const Labels& labels);
  void Discard(Committed committed);

  // --- snapshot_usage.cc
  Result<SnapshotUsage> MeasureUpper(uint64_t number);
  Result<SnapshotUsage> UsageOf(const SnapshotRecord& record);

  // --- background
  void Work();
  void CollectLayers();
  void MeasureCommitted();
  void Say(std::string_view type, const Labels& attributes) const {
    if (options_.on_event) options_.on_event(type, attributes);
  }

  Store::State& state_;  // own synchronisation, like the two below
  Store& store_;
  const Options options_;
  const std::unique_ptr<EngineLowers> lowers_;

  /// Names with a call that takes long and excludes others.
  class Busy;
  std::mutex busy_mutex_;
  std::condition_variable busy_changed_;
  std::set<std::string> busy_;  // guarded by busy_mutex_

  std::mutex mutex_;
  std::map<uint64_t, SnapshotChain> links_;  // of committed snapshots; guarded by mutex_
  std::map<uint64_t, Attributes> roots_;     // the merged root's, by the top's number; guarded by mutex_
  std::map<uint64_t, std::unique_ptr<Pending>> pending_;  // by snapshot; guarded by mutex_
  struct Measured {
    SnapshotUsage usage;
    std::chrono::steady_clock::time_point at;
    std::chrono::steady_clock::duration took;
  };
  std::map<uint64_t, Measured> measured_;  // active snapshots; guarded by mutex_

  std::mutex apply_mutex_;
  std::condition_variable apply_changed_;
  unsigned applying_ = 0;  // guarded by apply_mutex_

  std::mutex work_mutex_;
  std::condition_variable work_changed_;
  bool work_wanted_ = false, stopping_ = false;  // guarded by work_mutex_
  std::set<uint64_t> unmeasured_;                // committed snapshots; guarded by work_mutex_
  std::set<LayerId> dropped_layers_;             // by removed snapshots; guarded by work_mutex_
  std::thread worker_;
};

/// Keeps a name for one long call. Others wait for it, but not for ever.
class SnapshotsImpl::Busy {
 public:
  /// Errors: kUnavailable after ten seconds.
  static Result<Busy> Take(SnapshotsImpl& snapshots, const std::string& name);
  Busy(Busy&& other) noexcept
      : snapshots_(std::exchange(other.snapshots_, nullptr)), name_(std::move(other.name_)) {}
  Busy& operator=(Busy&&) = delete;
  ~Busy();

 private:
  Busy(SnapshotsImpl& snapshots, std::string name) : snapshots_(&snapshots), name_(std::move(name)) {}
  SnapshotsImpl* snapshots_;
  std::string name_;
};

}  // namespace snap
