// LayerStore: committed layers as directories on disk, and the protocol that makes them appear and vanish whole.
//   <root>/layers/<hex>/            committed: layer.json + tree/
//   <root>/staging/<boot_id>/<r>/   being made; its flock is held by the maker; of another boot = garbage
//   <root>/trash/<r>/               being deleted
// Commit: content and layer.json written -> flush by policy -> fsync(stage) -> renameat2(NOREPLACE) into layers/ ->
// fsync(layers/). The caller then writes its database and only then answers. Removal: database first, then Discard.
// Invariant: a directory in layers/ is complete and never changes; everything else may be deleted at any time by
// whoever gets its lock. docs/disk-layout.md and docs/durability.md are the specification.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_writer.h"

namespace snap {

/// Name of a committed layer. Normally its DiffId. A layer whose tree depends on the layers below it (implied
/// directories, hard links into lower layers) is the ChainId of the stack that ends with it.
using LayerId = DigestId<struct LayerRole>;

enum class Durability {
  kFull,  ///< everything flushed before the commit returns (default)
  kNone,  ///< nothing flushed: for machines that are thrown away. After a crash of the machine such layers are discarded
};
Result<Durability> ParseDurability(std::string_view text);
std::string_view DurabilityName(Durability durability);

/// The content of layer.json: enough to rebuild the database row.
struct LayerManifest {
  static constexpr int kVersion = 1;
  LayerId id;
  DiffId diff_id;
  std::optional<BlobId> blob_id;        ///< the compressed blob it came from, if there was one
  uint64_t blob_bytes = 0;
  uint64_t tar_bytes = 0;               ///< uncompressed
  std::string format = "tree";
  LayerUsage usage;
  std::string boot_id;                  ///< of the boot that committed it
  bool durable = true;                  ///< false: committed with Durability::kNone
  std::string created;                  ///< RFC 3339, UTC
};
std::string LayerManifestJson(const LayerManifest& manifest);
Result<LayerManifest> ParseLayerManifest(std::string_view json, std::string_view what);

/// A layer being made. Dropping it deletes the directory.
class LayerStage {
 public:
  LayerStage(LayerStage&&) noexcept;
  LayerStage& operator=(LayerStage&&) noexcept;
  ~LayerStage();
  /// The empty directory that becomes tree/.
  FdRef tree() const;
  /// Gives up early and reports why deletion failed, if it did.
  Result<void> Discard() &&;

 private:
  friend class LayerStore;
  struct State;
  explicit LayerStage(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Threads: all calls are safe against each other and against other processes on the same store.
class LayerStore {
 public:
  /// Opens a store directory, making what is missing (modes 0700) when `create`. `root` must be absolute.
  /// Errors: kNotFound, kPermission, kUnsupported (made by a newer version), kInvalidArgument (not a store, not empty).
  static Result<LayerStore> Open(const std::string& root, bool create);
  LayerStore(LayerStore&&) noexcept;
  LayerStore& operator=(LayerStore&&) noexcept;
  ~LayerStore();

  const std::string& root_path() const;
  FdRef root() const;

  Result<LayerStage> Stage();
  /// Publishes the stage as `manifest.id`. When that layer is there already, the stage is discarded and the existing
  /// layer's manifest returned. Durability on return as `durability` says. Fault points: layer.commit.*.
  Result<LayerManifest> Commit(LayerStage stage, LayerManifest manifest, Durability durability);

  /// Errors: kNotFound; kCorrupt when layer.json is unreadable or names another layer.
  Result<LayerManifest> Find(const LayerId& id) const;
  /// O_PATH descriptor of layers/<id>/tree. Errors: kNotFound.
  Result<UniqueFd> OpenTree(const LayerId& id) const;
  /// Ids of all committed layers. Cost O(layers).
  Result<std::vector<LayerId>> List() const;
  /// Moves a committed layer to the trash. The caller has removed it from the database. kNotFound is an error.
  Result<void> Discard(const LayerId& id);

  /// A second directory protocol user: active uppers. Makes snapshots/<name>/{fs,work}; kExists.
  struct Upper {
    UniqueFd fs, work;
  };
  Result<Upper> CreateUpper(const std::string& name);
  Result<Upper> OpenUpper(const std::string& name) const;
  Result<std::vector<std::string>> ListUppers() const;
  Result<void> DiscardUpper(const std::string& name);

  struct Garbage {
    uint64_t stages = 0, trash = 0;  ///< directories
  };
  /// Deletes stages whose maker is gone and everything in the trash. `dry_run` only counts.
  Result<Garbage> CollectGarbage(bool dry_run);

 private:
  struct State;
  explicit LayerStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace snap
