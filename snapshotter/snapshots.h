// Snapshots: containerd's state machine over the layer store. A snapshot is a name over a chain of parents;
// what it adds is a layer of the store (put there by Apply), an upper directory (written by whoever mounted
// it), or both, the upper above.
//   Prepare -> Active -> Commit -> Committed -> Prepare ...          View: read-only, never committed
// Names of all kinds share one space. Invariant: every call is one batch of the database; a committed
// snapshot and what it is made of never change, so neither do the mounts above it. Source: containerd
// core/snapshots/snapshotter.go and storage/bolt.go (semantics), testsuite/testsuite.go (what is checked).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/result.h"
#include "fs/byte_source.h"
#include "fs/oci_image.h"
#include "snapshotter/snapshot_record.h"
#include "snapshotter/store.h"

namespace snap {

/// For mount(2), as engines call it: sources and paths are absolute and valid until the snapshot is removed
/// or the machine starts again; who wants to mount later asks again.
struct EngineMount {
  std::string type, source, target;  ///< target: below the container's root; always ""
  std::vector<std::string> options;
};

/// Threads: safe; calls for different snapshots do not wait for each other's disk work. Every change is
/// durable on return. Errors: kBusy is what the snapshot's state does not allow (containerd's
/// FailedPrecondition). Of all calls: kUnavailable when the store cannot be locked in time, kIo, kNoSpace,
/// kCorrupt.
class Snapshots {
 public:
  struct Options {
    std::string mounts_directory = "/run/snap-store/l";  ///< short: it is in every mount option; where lowers
                                                         ///< are mounted for engines to find
    Durability durability = Durability::kFull;
    LayerFormatChoice format = LayerFormatChoice::kAuto;
    IoEngineKind io_engine = IoEngineKind::kAuto;
    TarLimits tar_limits;
    InflateLimits inflate_limits;
    unsigned parallel_applies = 0;  ///< 0: as many as processors
    /// "snapshot.commit", "layer.apply", ... with what it is about. Called on the thread of the call; must be
    /// quick.
    std::function<void(std::string_view type, const Labels& attributes)> on_event;
  };
  /// `store` must outlive this. Adopts what a daemon before it left.
  static Result<std::unique_ptr<Snapshots>> Open(Store& store, Options options);
  virtual ~Snapshots() = default;

  /// Errors: kExists (the name; or, for a snapshot that says with label containerd.io/snapshot.ref which
  /// committed one it is for, that one is there now and `key` is not), kNotFound (parent), kInvalidArgument
  /// (parent not committed, labels).
  virtual Result<std::vector<EngineMount>> Prepare(const std::string& key, const std::string& parent,
                                                   const Labels& labels) = 0;
  virtual Result<std::vector<EngineMount>> View(const std::string& key, const std::string& parent,
                                                const Labels& labels) = 0;
  /// Errors: kNotFound, kBusy (committed).
  virtual Result<std::vector<EngineMount>> Mounts(const std::string& key) = 0;
  /// `parent`: puts an active snapshot without parent on that one (containerd's "rebase"). Errors: kExists
  /// (name), kNotFound (key, parent), kBusy (not active, parent not committed), kInvalidArgument (another
  /// parent than it has).
  virtual Result<void> Commit(const std::string& name, const std::string& key, const Labels& labels,
                              const std::string& parent) = 0;
  /// Errors: kNotFound, kBusy ("remove ...: it has children").
  virtual Result<void> Remove(const std::string& key) = 0;
  virtual Result<SnapshotInfo> Stat(const std::string& key) = 0;
  /// `paths`: "labels", "labels.<key>"; empty: all labels. Anything else is kInvalidArgument.
  virtual Result<SnapshotInfo> Update(const SnapshotInfo& info, const std::vector<std::string>& paths) = 0;
  /// In order of names, without a lock between visits; the visitor may call back. Ends when it returns false.
  using Visitor = std::function<Result<bool>(const SnapshotInfo& info)>;
  virtual Result<void> Walk(const Visitor& visit) = 0;
  virtual Result<SnapshotUsage> Usage(const std::string& key) = 0;
  /// Deletes what removed snapshots took on disk. Returns soon: the rest goes on in the background.
  virtual Result<void> Cleanup() = 0;

  // --- layers

  /// The snapshot that these mounts, returned by one of the calls above, belong to. nullopt: not ours.
  virtual std::optional<std::string> NameOfMounts(const std::vector<EngineMount>& mounts) = 0;
  struct Blob {
    Digest digest;  ///< of the stored bytes
    uint64_t bytes = 0;
    Compression compression = Compression::kNone;
    std::function<Result<std::unique_ptr<ByteSource>>()> open;  ///< called at most once
    std::function<bool()> gone;  ///< whether nobody waits any more; may be empty
  };
  struct Applied {
    DiffId diff_id;
    uint64_t tar_bytes = 0;
    bool adopted = false;  ///< the layer was there already
  };
  /// Makes the blob the layer of an active, empty snapshot. Errors: kBusy (not active, not empty), kNotFound,
  /// kCorrupt (blob does not match its digest), those of reading and extracting; the snapshot is as before
  /// then.
  virtual Result<Applied> Apply(const std::string& key, const Blob& blob) = 0;

  /// The archive of what a snapshot, active or committed, adds to its parent; its layer's own bytes where it
  /// is nothing else. Errors: kNotFound; kUnsupported for one that was written to above its layer, and for
  /// layers that do not keep their tar.
  virtual Result<std::unique_ptr<ByteSource>> OpenAddition(const std::string& key) = 0;
};

}  // namespace snap
