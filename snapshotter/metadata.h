// Metadata: the store's records in its database (database.h); keys and values are specified in
// docs/metadata-schema.md. Layers can be rebuilt from layer.json, images and containers only live here.
// Invariant: every change is one batch with a synced write-ahead log; there is no half-done transition.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/result.h"
#include "fs/layer_store.h"
#include "fs/object_id.h"
#include "snapshotter/database.h"
#include "snapshotter/snapshot_record.h"

namespace snap {

/// The id of an image is the digest of its configuration, as in Docker and podman.
using ImageId = DigestId<struct ImageRole>;

struct ImageRecord {
  ImageId id;
  std::vector<std::string> names;  ///< "debian:12"; may be empty (dangling)
  std::string config_json;         ///< exact bytes; their digest is the id
  std::string manifest_json;       ///< exact bytes, may be empty
  std::optional<Digest> manifest_digest;
  std::vector<LayerId> layers;  ///< bottom first; one for each DiffId of the config
  std::vector<DiffId> diff_ids;
  std::string imported;  ///< RFC 3339, UTC
  std::string source;    ///< as the user wrote it
};

/// A layer to be recorded, with the objects that it holds.
struct LayerAddition {
  LayerManifest manifest;
  std::optional<std::vector<ObjectId>> objects;  ///< each once, sorted; nullopt: those that are recorded
  LayerAddition(LayerManifest layer) : manifest(std::move(layer)) {}  // NOLINT(google-explicit-constructor): most say nothing
  LayerAddition(LayerManifest layer, std::vector<ObjectId> held) : manifest(std::move(layer)), objects(std::move(held)) {}
};

struct LayerRecord {
  LayerManifest manifest;
  uint32_t references = 0;  ///< images and snapshots that use it
};

struct ContainerRecord {
  std::string id;    ///< 64 hex digits; snapshots/<id> is its upper
  std::string name;  ///< unique
  ImageId image;
  std::string image_name;  ///< as given to run
  std::vector<std::string> args;
  std::string created;   ///< RFC 3339, UTC
  std::string finished;  ///< empty while not finished
  int exit_code = 0;
  bool remove_at_exit = false;
  std::string boot_id;       ///< of the start
  int64_t launcher_pid = 0;  ///< process that supervises it, 0 before start
  uint64_t launcher_start_time = 0;
  int64_t init_pid = 0;  ///< pid 1 of the container as the host sees it
  uint64_t init_start_time = 0;
};

/// One open database. The store's lock orders processes: one writer, or any number of readers.
/// Threads: safe.
class Metadata {
 public:
  /// kRead opens ten times faster (nothing is written) and lets other readers in; changing anything is our
  /// bug then.
  enum class Access { kRead, kWrite };
  using OnWait = std::function<void(std::optional<int64_t> holder)>;
  struct OpenOptions {
    Access access = Access::kWrite;
    OnWait on_wait = nullptr;
    /// How long to wait for other processes, kUnavailable then; nullopt: for ever.
    std::optional<std::chrono::milliseconds> patience = std::nullopt;
    /// In the process that serves the store: the database that it has open.
    std::shared_ptr<Database> database = nullptr;
  };
  /// Takes the store's lock and uses the database of the daemon that serves the store, or else opens <root>/db, creating it
  /// with the schema version; kWrite makes an older schema this program's. Waits for other processes; `on_wait` is called once
  /// after a second of waiting, with the pid that holds it when known.
  /// Errors: kUnsupported (newer schema), kCorrupt (says `snap system check --rebuild`; also when layers are there but
  /// the database is gone), kUnavailable (patience; the daemon does not answer), kNoSpace, kIo. All calls can fail with
  /// kUnavailable when the daemon dies meanwhile. Cost: about 0.5 ms to read, 5 ms to write, 0.1 ms with a daemon.
  static Result<Metadata> Open(FdRef store_root, const std::string& root_path, const OpenOptions& options);
  /// Replaces the database, whatever its state, by one that knows only these layers. The old one goes to the
  /// trash. Errors: kBusy while a daemon serves the store.
  static Result<void> Rebuild(FdRef store_root, const std::string& root_path, const OpenOptions& options,
                              const std::vector<LayerAddition>& layers);
  Metadata(Metadata&&) noexcept;
  Metadata& operator=(Metadata&&) noexcept;
  ~Metadata();

  // Images. Names are unique: putting a name that another image has moves it (the other keeps its other
  // names).
  /// Writes the image, its names and the references of its layers in one batch; layers not yet known are
  /// added from `new_layers`. Replaces a record of the same id with its names. Durable on return. Errors:
  /// kNotFound when a layer is neither known nor in `new_layers`.
  Result<void> PutImage(const ImageRecord& image, const std::vector<LayerAddition>& new_layers);
  Result<std::vector<ImageRecord>> Images();
  Result<std::optional<ImageRecord>> ImageById(const ImageId& id);
  Result<std::optional<ImageId>> ImageByName(std::string_view name);
  /// kNotFound when there is no such image.
  Result<void> SetName(std::string_view name, const ImageId& id);
  /// kNotFound when there is no such name.
  Result<void> RemoveName(std::string_view name);
  /// What nothing references any more: the rows are gone, directories and files are to be discarded by the caller, who
  /// still holds the lock.
  struct Orphans {
    std::vector<LayerId> layers;
    std::vector<ObjectId> objects;
  };
  /// kNotFound when there is none. Removes an image with all its names, and the layers that no other image references.
  Result<Orphans> RemoveImage(const ImageId& id);

  Result<std::optional<LayerRecord>> Layer(const LayerId& id);
  Result<std::vector<LayerRecord>> Layers();
  /// A layer that is wanted under a DiffId: one recorded for it whose tree depends on nothing below (see
  /// LayerManifest::settled; the caller looks at implied_root).
  Result<std::optional<LayerId>> LayerByDiffId(const DiffId& diff_id);
  /// All layers that were made of this blob, settled ones too.
  Result<std::vector<LayerId>> LayersByBlob(const BlobId& blob_id);
  /// Of layers that can be shared by DiffId. Cost O(layers).
  Result<std::vector<DiffId>> DiffIds();
  Result<void> PutLayer(const LayerAddition& layer);
  /// The same for a layer that holds other objects now. Returns those that nothing references any more.
  Result<std::vector<ObjectId>> ReplaceLayer(const LayerAddition& layer);
  /// kBusy while an image or a snapshot references it; a missing row is success. Returns the objects that nothing references any more.
  Result<std::vector<ObjectId>> RemoveLayer(const LayerId& id);
  Result<std::vector<ObjectId>> ObjectsOfLayer(const LayerId& id);
  /// All objects that a layer holds. Cost O(references).
  Result<std::set<ObjectId>> ReferencedObjects();
  /// References from images and snapshots that do not exist and index entries that name nothing, as text, for `snap system
  /// check`; `repair` removes them in one batch.
  Result<std::vector<std::string>> CheckReferences(bool repair);

  /// Adds or replaces; kExists when another container has the name. Durable on return, except that a record
  /// with `remove_at_exit` only survives the death of processes: after power loss nobody wants it.
  Result<void> PutContainer(const ContainerRecord& container);
  Result<std::vector<ContainerRecord>> Containers();
  Result<std::optional<ContainerRecord>> Container(std::string_view id);
  Result<std::optional<ContainerRecord>> ContainerByName(std::string_view name);
  /// A missing row is success.
  Result<void> RemoveContainer(std::string_view id);

  // Snapshots of engines. Names are unique.
  /// What the next new record is to be numbered.
  Result<uint64_t> NextSnapshotNumber();
  Result<std::optional<SnapshotRecord>> Snapshot(std::string_view name);
  Result<std::optional<SnapshotRecord>> SnapshotByNumber(uint64_t number);
  /// Makes durable what was written without sync.
  Result<void> Sync();
  /// Numbers of the snapshots that reference a layer, `limit` at most.
  Result<std::vector<uint64_t>> SnapshotsOfLayer(const LayerId& id, size_t limit);
  /// Numbers of the committed snapshots that have kSnapshotTargetLabel with this value.
  Result<std::vector<uint64_t>> SnapshotsMadeFor(std::string_view target);
  /// Numbers of the snapshots above one, `limit` at most.
  Result<std::vector<uint64_t>> SnapshotChildren(uint64_t number, size_t limit);
  /// Adds the record, or changes the one of its number, name included; with it the row of a layer that is not recorded yet.
  /// Errors: kExists when another has the name. Without `sync` the caller makes it durable later, when it does not hold the lock
  /// any more and others can do so with it: a later synced write makes all before it durable.
  Result<void> PutSnapshot(const SnapshotRecord& record, const std::optional<LayerAddition>& layer = std::nullopt,
                           bool sync = true);
  Result<void> RemoveSnapshot(const SnapshotRecord& record, bool sync = true);
  /// In order of names, from `from` on, until the visitor says false; it must not call back.
  Result<void> ScanSnapshots(std::string_view from, const std::function<Result<bool>(const SnapshotRecord& record)>& visit);

 private:
  struct State;
  explicit Metadata(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace snap
