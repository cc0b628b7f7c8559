// Store: everything a user does with images, layers and containers, over LayerStore (directories), Metadata (database)
// and a UnionBackend (mounts).
// Invariant: transactions of the database are short, never while extracting or while a container runs, so several processes,
// a daemon that serves the store among them, share it; what they do at the same time is ordered by those transactions.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/io_engine.h"
#include "fs/layer_store.h"
#include "fs/oci_image.h"
#include "fs/tar_reader.h"
#include "fs/union_backend.h"
#include "snapshotter/metadata.h"

namespace snap {

struct StoreOptions {
  std::string root = "/var/lib/snap-store";
  bool create = true;
  /// Called once when the store is locked by another process for more than a second.
  std::function<void(std::optional<int64_t> holder)> on_wait;
  /// How long a call waits for that, kUnavailable then; nullopt: for ever.
  std::optional<std::chrono::milliseconds> lock_patience;
  /// In the daemon that serves the store: the database that it has open (DatabaseService).
  std::shared_ptr<Database> database;
};

enum class LayerFormatChoice { kAuto, kPacked, kTree };
/// "auto", "packed", "tree". Errors: kInvalidArgument.
Result<LayerFormatChoice> ParseLayerFormatChoice(std::string_view text);

struct ImportOptions {
  std::string name;          ///< "debian:12"; empty: the source's own name, or none
  oci::Platform platform = oci::Platform::Host();
  Durability durability = Durability::kFull;
  /// kAuto: packed where it can be mounted here, trees elsewhere. Layers that are there already are used as they are.
  LayerFormatChoice format = LayerFormatChoice::kAuto;
  IoEngineKind engine = IoEngineKind::kAuto;
  unsigned parallel_layers = 0;  ///< 0: as many as processors
  TarLimits tar_limits;
  InflateLimits inflate_limits;
  struct Progress {
    enum class Phase { kStarted, kExtracting, kFlushing, kDone, kExists, kSaving } phase = Phase::kStarted;
    size_t layer = 0, layer_count = 0;
    std::string label;            ///< short digest or file name
    uint64_t bytes = 0, total_bytes = 0;  ///< compressed bytes read so far and in all (0 = unknown)
    uint64_t entries = 0;
  };
  /// Called from several threads, one call at a time, at most about ten times a second per layer.
  std::function<void(const Progress&)> on_progress;
};

struct ImportResult {
  ImageRecord image;
  size_t layers_new = 0, layers_shared = 0;
  std::vector<std::string> replaced_names;  ///< names that belonged to another image before
};

/// A layer as one image sees it.
struct ImageLayer {
  LayerManifest manifest;
  ChainId chain_id;
  oci::HistoryEntry history;     ///< the non-empty history entry that made it
  uint32_t references = 0;
};

struct DiskUsage {
  struct Row { std::string kind; uint64_t count = 0, bytes = 0, reclaimable_bytes = 0; };
  std::vector<Row> rows;         ///< images' layers, containers' uppers, staging, trash, database
};

struct CheckFinding {
  std::string object;            ///< "layer sha256:...", "image ...", "directory ..."
  std::string problem;
  std::string repair;            ///< what --repair or --rebuild does about it
  bool repaired = false;
};
struct CheckOptions {
  bool repair = false;           ///< delete what has no owner, drop rows whose content is gone
  bool scrub = false;            ///< read all packed layers and objects and compare with their checksums. Cost O(bytes)
  bool rebuild = false;          ///< first: make a new database from layer.json files (images and containers are lost)
};
struct CheckReport {
  uint64_t layers = 0, images = 0, containers = 0, objects = 0, snapshots = 0;
  uint64_t scrubbed_bytes = 0;
  std::vector<CheckFinding> findings;
};
/// One thing that garbage collection takes, or would take.
struct GcFinding {
  std::string type;    ///< "layer", "object", "merged image", "upper" or "container"
  std::string id;      ///< as `snap why` takes it
  uint64_t bytes = 0;  ///< allocated; 0 where counting would mean reading
  std::string reason;
};
struct GcReport {
  uint64_t layers = 0, objects = 0, merged = 0, stages = 0, trash = 0, uppers = 0, containers = 0;
  uint64_t bytes = 0;
  /// The first of them, at most as many as were asked for; the totals are of all. Unfinished layers and trash have no names
  /// and are only counted.
  std::vector<GcFinding> findings;
};

/// Which part of an image is mounted; at most one of the two.
struct MountSelection {
  std::optional<size_t> upto;    ///< layers 1..N from the bottom
  std::optional<size_t> only;    ///< layer N alone
};

/// Threads: safe. Every call that changes something is durable on return.
class Store {
 public:
  static Result<Store> Open(StoreOptions options, std::shared_ptr<UnionBackend> backend);
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  LayerStore& layers();
  UnionBackend& backend();

  /// Reads, verifies, extracts and commits. On error nothing is left: no layer that was not there before, no name.
  Result<ImportResult> Import(oci::ImageSource& source, const std::string& source_name, const ImportOptions& options);

  Result<std::vector<ImageRecord>> Images();
  /// By name ("debian" means "debian:latest"), full id, or unique id prefix with or without "sha256:".
  /// Errors: kNotFound (with the closest name), kInvalidArgument (ambiguous prefix, lists the candidates).
  Result<ImageRecord> FindImage(std::string_view reference);
  Result<ImageRecord> Tag(std::string_view reference, std::string_view new_name);
  struct RemovedImage {
    std::vector<std::string> untagged;
    std::optional<ImageId> deleted;  ///< set when the image itself went
    std::vector<LayerId> layers;     ///< deleted with it
  };
  /// A name of several: only the name goes. The last name or an id: the image goes. kBusy when a container uses it,
  /// unless `force` and that container is not running; running is always kBusy.
  /// kLater: what it took on disk is in the trash; the caller empties that (LayerStore::EmptyTrash), or whoever comes next.
  enum class Deletion { kAtOnce, kLater };
  Result<RemovedImage> RemoveImage(std::string_view reference, bool force, Deletion deletion = Deletion::kAtOnce);
  Result<std::vector<ImageLayer>> ImageLayers(const ImageRecord& image);
  /// The exact tar that a layer was made from; that it is, the reader checks with its DiffId. The store must outlive it.
  /// Errors: kUnsupported when the layer was stored without a tar index (as a tree); on Read kCorrupt, also when the image is
  /// removed meanwhile.
  Result<std::unique_ptr<ByteSource>> LayerTar(const LayerManifest& layer);

  /// Uppers of this prefix belong to mounts that outlive the process that made them. Who made one discards it; check
  /// and garbage collection leave it alone, since the store cannot know whether it is still mounted.
  static constexpr std::string_view kMountUpperPrefix = "mount-";
  /// Makes an upper for a mount of the image's layers 1..`top` (0: all), its root like theirs. `name` has the prefix.
  Result<void> CreateMountUpper(const ImageRecord& image, size_t top, const std::string& name);

  /// Mounts an image's layers read-only, or read-write on the upper `upper_name` of snapshots/.
  Result<Mount> MountImage(const ImageRecord& image, const MountSelection& selection,
                           const std::optional<std::string>& upper_name, const MountOptions& options);

  /// One layer alone, as it lies in the store, read-only: whiteouts are devices, the data of large files is not there. For
  /// packed layers; kUnsupported for trees, which can be looked at as they are.
  Result<Mount> MountLayer(const LayerId& layer, const MountOptions& options);

  /// Makes the record and the upper, whose root gets the attributes of the image's. `record.id` and `record.name` are
  /// filled in when empty (names like "calm-heron"), and without a launcher this process is entered as it: a container
  /// with `remove_at_exit` is garbage as soon as its launcher is dead.
  /// Errors: kExists (name taken), kNotFound (image gone), kInvalidArgument (name).
  Result<ContainerRecord> CreateContainer(ContainerRecord record);
  Result<void> UpdateContainer(const ContainerRecord& record);
  Result<std::vector<ContainerRecord>> Containers();
  /// By name, id or unique id prefix.
  Result<ContainerRecord> FindContainer(std::string_view reference);
  /// kBusy when running. A launcher removes its own container after it has waited for its end.
  Result<void> RemoveContainer(std::string_view reference);
  /// True while its pid 1 (or, before that is known, its launcher) is alive on this boot.
  static bool IsRunning(const ContainerRecord& container);

  /// Stores a layer in another format, durably. False when it has that format. Nobody may have it mounted: kBusy for running
  /// containers, other mounts are the caller's to know. A tree does not keep its tar, so neither does what is made of one.
  /// Errors: kNotFound, kBusy, kUnsupported (packed layers cannot be mounted here). Cost: O(bytes).
  Result<bool> MigrateLayer(const LayerId& id, LayerFormat format);

  /// Layers from their rows; uppers, staging, trash and the database by walking them. Cost O(layers + files in uppers).
  Result<DiskUsage> Usage();
  /// Compares the database and the directories both ways. Cost O(layers + images + containers), not O(files).
  /// A database that cannot be opened is a finding, not an error.
  Result<CheckReport> Check(const CheckOptions& options);
  /// Also runs by itself: when Open finds that somebody was killed, and when CreateContainer finds a dead launcher.
  Result<GcReport> CollectGarbage(bool dry_run, size_t max_findings = 0);

  struct State;  ///< internal: snapshotter/store_state.h
  State& state() { return *state_; }

 private:
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// "debian" -> "debian:latest"; checks the grammar of OCI distribution names, hosts and ports included.
Result<std::string> NormalizeImageName(std::string_view name);

}  // namespace snap
