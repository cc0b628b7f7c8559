// Metadata: the store's database. One RocksDB with one column family; keys and values are specified in
// docs/metadata-schema.md. Layers can be rebuilt from layer.json, images and containers only live here.
// Invariant: every change is one WriteBatch with a synced write-ahead log; there is no half-done transition.
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
#include "fs/layer_store.h"

namespace snap {

/// The id of an image is the digest of its configuration, as in Docker and podman.
using ImageId = DigestId<struct ImageRole>;

struct ImageRecord {
  ImageId id;
  std::vector<std::string> names;  ///< "debian:12"; may be empty (dangling)
  std::string config_json;         ///< exact bytes; their digest is the id
  std::string manifest_json;       ///< exact bytes, may be empty
  std::optional<Digest> manifest_digest;
  std::vector<LayerId> layers;     ///< bottom first; one for each DiffId of the config
  std::vector<DiffId> diff_ids;
  std::string imported;            ///< RFC 3339, UTC
  std::string source;              ///< as the user wrote it
};

struct LayerRecord {
  LayerManifest manifest;
  uint32_t references = 0;  ///< images that use it
};

struct ContainerRecord {
  std::string id;           ///< 64 hex digits; snapshots/<id> is its upper
  std::string name;         ///< unique
  ImageId image;
  std::string image_name;   ///< as given to run
  std::vector<std::string> args;
  std::string created;      ///< RFC 3339, UTC
  std::string finished;     ///< empty while not finished
  int exit_code = 0;
  bool remove_at_exit = false;
  std::string boot_id;      ///< of the start
  int64_t launcher_pid = 0; ///< process that supervises it, 0 before start
  uint64_t launcher_start_time = 0;
  int64_t init_pid = 0;     ///< pid 1 of the container as the host sees it
  uint64_t init_start_time = 0;
};

/// One open database. RocksDB allows one process at a time: opening waits for the store's lock.
/// Threads: safe.
class Metadata {
 public:
  /// Opens <root>/db, creating it with the schema version. Waits for other processes; `on_wait` is called once after
  /// a second of waiting, with the pid that holds it when known.
  /// Errors: kUnsupported (newer schema), kCorrupt (says `snap system check --rebuild`), kNoSpace, kIo.
  static Result<Metadata> Open(FdRef store_root, const std::string& root_path,
                               const std::function<void(std::optional<int64_t> holder)>& on_wait);
  Metadata(Metadata&&) noexcept;
  Metadata& operator=(Metadata&&) noexcept;
  ~Metadata();

  // Images. Names are unique: putting a name that another image has moves it (the other keeps its other names).
  /// Writes the image, its names and the references of its layers in one batch; layers not yet known are added from
  /// `new_layers`. Replaces a record of the same id. Durable on return.
  Result<void> PutImage(const ImageRecord& image, const std::vector<LayerManifest>& new_layers);
  Result<std::vector<ImageRecord>> Images();
  Result<std::optional<ImageRecord>> ImageById(const ImageId& id);
  Result<std::optional<ImageId>> ImageByName(std::string_view name);
  Result<void> SetName(std::string_view name, const ImageId& id);
  Result<void> RemoveName(std::string_view name);
  /// Removes an image with all its names. Returns the layers that no image references now; their rows are gone and
  /// their directories are to be discarded by the caller.
  Result<std::vector<LayerId>> RemoveImage(const ImageId& id);

  Result<std::optional<LayerRecord>> Layer(const LayerId& id);
  Result<std::vector<LayerRecord>> Layers();
  /// A layer that is wanted under a DiffId: any layer id recorded for it whose tree depends on nothing below.
  Result<std::optional<LayerId>> LayerByDiffId(const DiffId& diff_id);
  Result<void> PutLayer(const LayerManifest& manifest);
  Result<void> RemoveLayer(const LayerId& id);

  Result<void> PutContainer(const ContainerRecord& container);
  Result<std::vector<ContainerRecord>> Containers();
  Result<std::optional<ContainerRecord>> Container(std::string_view id);
  Result<void> RemoveContainer(std::string_view id);

 private:
  struct State;
  explicit Metadata(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace snap
