// LayerStore: committed layers as directories on disk, and the protocol that makes them appear and vanish
// whole.
//   <root>/layers/<hex>/            committed: layer.json + tree/, or layer.json + layer.erofs + tar.idx
//   <root>/objects/xx/<id>          the large files of packed layers, see object_store.h
//   <root>/merged/<hex>             the metadata of a stack of packed layers in one image: a cache
//   <root>/staging/<boot_id>/<r>/   being made; its flock is held by the maker; of another boot = garbage
//   <root>/trash/<r>/               being deleted
//   <root>/snapshots/<name>/        active uppers: fs/ + work/
// Commit: content and layer.json written -> flush by policy -> renameat2(NOREPLACE) into layers/ ->
// fsync(layers/). The caller then writes its database and only then answers. Removal: database first, then
// Discard. Makers and users of a directory hold a shared flock on it; whoever removes one needs the exclusive
// flock. Invariant: a directory in layers/ is complete and never changes; everything else may be deleted at
// any time by whoever gets its lock. docs/disk-layout.md, docs/durability.md and docs/locking.md are the
// specification.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/image_checksums.h"
#include "fs/layer_writer.h"
#include "fs/object_store.h"

namespace snap {

/// Name of a committed layer. Normally its DiffId. A layer whose tree depends on the layers below it (implied
/// directories, hard links into lower layers) is the ChainId of the stack that ends with it. (For a bottom
/// layer the two are the same digest; LayerManifest::settled tells.)
using LayerId = DigestId<struct LayerRole>;

enum class Durability {
  kFull,  ///< everything flushed before the commit returns (default)
  kNone,  ///< nothing flushed: for machines that are thrown away. After a crash of the machine such layers
          ///< are discarded
};
Result<Durability> ParseDurability(std::string_view text);
std::string_view DurabilityName(Durability durability);

enum class LayerFormat {
  kTree,    ///< a directory, as overlayfs wants it
  kPacked,  ///< one EROFS image with metadata and small files; large files are objects
};
std::string_view LayerFormatName(LayerFormat format);  ///< "tree", "packed"

/// The content of layer.json: enough to rebuild the database row.
struct LayerManifest {
  static constexpr int kVersion = 1;
  LayerId id;
  DiffId diff_id;
  std::optional<BlobId> blob_id;  ///< the compressed blob it came from, if there was one
  uint64_t blob_bytes = 0;
  uint64_t tar_bytes = 0;  ///< uncompressed
  LayerFormat format = LayerFormat::kTree;
  LayerUsage usage;
  ImageChecksums checksums;  ///< packed
  bool exact_tar = false;    ///< packed: tar.idx gives the tar of the DiffId
  std::string boot_id;  ///< of the boot that committed it
  bool durable = true;  ///< false: committed with Durability::kNone
  /// The tree was completed from the layers below: it is only right on top of the stack that `id` (a ChainId)
  /// names.
  bool settled = false;
  /// The stream never named the root directory, so it has the default attributes (0755, root, 1970): the tree
  /// is only right at the bottom or above a layer whose root has them too.
  bool implied_root = false;
  std::string created;  ///< RFC 3339, UTC
};
std::string LayerManifestJson(const LayerManifest& manifest);
/// Unknown keys are ignored. Errors: kCorrupt, kUnsupported (newer version), kLimitExceeded.
Result<LayerManifest> ParseLayerManifest(std::string_view json, std::string_view what);

/// A layer being made. Dropping it deletes the directory.
class LayerStage {
 public:
  static constexpr const char* kTreeName = "tree";
  static constexpr const char* kImageName = "layer.erofs";
  static constexpr const char* kTarIndexName = "tar.idx";

  LayerStage(LayerStage&&) noexcept;
  LayerStage& operator=(LayerStage&&) noexcept;
  ~LayerStage();
  /// The empty directory that becomes tree/. A stage for a packed layer has none.
  FdRef tree() const;
  /// The stage itself: opened before anything was written below it, so that syncfs through it sees every
  /// error.
  FdRef directory() const;
  /// Gives up early and reports why deletion failed, if it did.
  Result<void> Discard() &&;

 private:
  friend class LayerStore;
  struct State;
  explicit LayerStage(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// A committed layer that nobody discards while this lives.
struct LayerPin {
  LayerManifest manifest;
  bool created = false;  ///< by the Commit that returned this; otherwise it was there before
  UniqueFd directory;    ///< holds the shared flock
};

/// What CommitAll takes: a stage and what it is to be called.
struct StagedLayer {
  LayerStage stage;
  LayerManifest manifest;  ///< boot_id, durable and created are filled in by the commit
};

/// Threads: all calls are safe against each other and against other processes on the same store.
class LayerStore {
 public:
  /// Opens a store directory, making what is missing (modes 0700) when `create`. `root` must be absolute.
  /// Errors: kNotFound, kPermission, kUnsupported (made by a newer version), kInvalidArgument (not a store,
  /// not empty).
  static Result<LayerStore> Open(const std::string& root, bool create);
  LayerStore(LayerStore&&) noexcept;
  LayerStore& operator=(LayerStore&&) noexcept;
  ~LayerStore();

  const std::string& root_path() const;
  FdRef root() const;

  /// In objects/. Threads: safe.
  const ObjectStore& objects() const;

  Result<LayerStage> Stage(LayerFormat format = LayerFormat::kTree);
  /// Publishes the stage as `manifest.id`. When that layer is there already, the stage is discarded and the
  /// existing layer's manifest returned. Durability on return as `durability` says. Fault points:
  /// layer.commit.*. An existing layer that must not be served (unreadable layer.json, unflushed by another
  /// boot) is replaced.
  Result<LayerManifest> Commit(LayerStage stage, LayerManifest manifest, Durability durability);
  /// The same for several layers with one flush, in the given order. On error none of them has been added,
  /// except where another process already uses one.
  Result<std::vector<LayerPin>> CommitAll(std::vector<StagedLayer> layers, Durability durability);

  /// Errors: kNotFound; kCorrupt when layer.json is unreadable or names another layer, or when the layer was
  /// committed without flushing and the machine has been started again since.
  Result<LayerManifest> Find(const LayerId& id) const;
  /// Puts the stage in the place of the committed layer `manifest.id`, whose content it has in another format. Durable on
  /// return. Errors: kNotFound; kBusy while somebody has the layer pinned.
  Result<LayerManifest> Replace(LayerStage stage, LayerManifest manifest);

  /// Find, and keeps it from being discarded. Waits while somebody is discarding it (a rename).
  Result<LayerPin> Pin(const LayerId& id) const;
  /// Flushes a pinned layer that was committed with Durability::kNone, and says so in layer.json; nothing to do
  /// otherwise.
  Result<void> MakeDurable(LayerPin& pin) const;
  /// Whether somebody has it pinned at this moment. kNotFound.
  Result<bool> IsPinned(const LayerId& id) const;
  /// O_PATH descriptor of layers/<id>/tree. Errors: kNotFound. Does not judge layer.json: that is Find's.
  Result<UniqueFd> OpenTree(const LayerId& id) const;
  /// The image of a packed layer, for reading. Errors: kNotFound.
  Result<UniqueFd> OpenImage(const LayerId& id) const;
  /// The index from which the layer's tar can be written again. Errors: kNotFound.
  Result<UniqueFd> OpenTarIndex(const LayerId& id) const;
  /// Merged images by name (64 hex digits). Whoever mounts one keeps it. Errors: kNotFound.
  Result<UniqueFd> OpenMerged(const std::string& name) const;
  /// Flushes the stage's image and gives it the name, unless that is taken.
  Result<void> AddMerged(LayerStage stage, const std::string& name);
  Result<std::vector<std::string>> ListMerged() const;
  /// A missing one is success.
  Result<void> RemoveMerged(const std::string& name);
  /// Ids of all committed layers. Cost O(layers).
  Result<std::vector<LayerId>> List() const;
  /// Moves a committed layer to the trash: one rename. The caller has removed it from the database and holds
  /// the lock that orders database changes. Errors: kNotFound; kBusy while somebody has it pinned.
  Result<void> Discard(const LayerId& id);

  /// Moves objects to the trash. The caller holds the database's lock and found no reference to them. Missing ones are
  /// success.
  Result<void> DiscardObjects(const std::vector<ObjectId>& objects);

  /// A second user of the protocol: active uppers. Makes snapshots/<name>/{fs,work} at once; kExists.
  struct Upper {
    UniqueFd fs, work;
  };
  /// `durable`: survives power loss on return (one fsync); otherwise only the death of processes.
  Result<Upper> CreateUpper(const std::string& name, bool durable = true);
  /// Makes those durable that were made without.
  Result<void> SyncUppers() const;
  Result<Upper> OpenUpper(const std::string& name) const;
  Result<std::vector<std::string>> ListUppers() const;
  /// Moves it to the trash: one rename.
  Result<void> DiscardUpper(const std::string& name);
  /// Moves any entry of layers/ or snapshots/ that is not what it should be to the trash (`snap system
  /// check`).
  enum class Place { kLayers, kSnapshots, kObjects };
  Result<void> DiscardForeign(Place place, const std::string& entry);
  /// Deletes what is in the trash and nobody else is deleting. Cost O(files). Returns the number of
  /// directories.
  /// `stop`, if given, is asked between directories.
  Result<uint64_t> EmptyTrash(const std::function<bool()>& stop = {});

  struct Garbage {
    uint64_t stages = 0, trash = 0;  ///< directories
  };
  /// Deletes stages whose maker is gone and everything in the trash. `dry_run` only counts. Cost O(files
  /// deleted).
  Result<Garbage> CollectGarbage(bool dry_run);

 private:
  struct State;
  explicit LayerStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace snap
