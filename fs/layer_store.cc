// Directories are made aside, named once by a rename and removed by a rename; no state is ever inferred from
// half a directory. Every rename out of a visible place happens under the exclusive flock of what is renamed.
#include "fs/layer_store.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "fs/base/fault.h"
#include "fs/base/json.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/time.h"

namespace snap {
namespace {

constexpr int kStoreVersion = 1;
constexpr const char* kStoreFile = "store.json";
constexpr const char* kStoreFileNew = ".store.json.new";
constexpr const char* kManifestName = "layer.json";
constexpr const char* kTreeName = LayerStage::kTreeName;
constexpr size_t kMaxManifestBytes = size_t{64} << 10U;
constexpr mode_t kPrivate = 0700;
constexpr mode_t kManifestMode = 0600;

SysResult<UniqueFd> OpenDir(FdRef dir, const char* name) {
  return sys::OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

SysResult<void> MakeDir(FdRef dir, const char* name, mode_t mode = kPrivate) {
  const SysResult<void> made = sys::MkdirAt(dir, name, mode);
  if (!made.ok() && !(made.error() == EEXIST)) return made.error();
  return {};
}

/// Locks an open directory; false when somebody else holds it. (Directories that several parties may remove
/// are always locked through a descriptor opened for the purpose: flock belongs to the open file
/// description.)
SysResult<bool> TryLockExclusive(FdRef fd) {
  const SysResult<void> locked = sys::Flock(fd, LOCK_EX | LOCK_NB);
  if (locked.ok()) return true;
  if (locked.error() == EWOULDBLOCK) return false;
  return locked.error();
}

SysResult<bool> IsSameFile(FdRef open_file, FdRef dir, const char* name) {
  SNAP_TRY(const struct stat held, sys::FStat(open_file));
  const SysResult<struct stat> named = sys::StatAt(dir, name);
  if (!named.ok()) {
    if (named.error() == ENOENT) return false;
    return named.error();
  }
  return held.st_ino == named->st_ino && held.st_dev == named->st_dev;
}

/// Everything calls need, shared with the stages so that these may outlive a moved store object.
struct Directories {
  std::string path;
  UniqueFd root, layers, merged, staging, trash, snapshots;
  std::optional<ObjectStore> objects;  // always there once open
  std::string boot_id;
  std::atomic<uint64_t> next_stage{0};

  /// Gives a directory entry to the trash. The caller holds its exclusive lock, or owns it alone.
  SysResult<std::string> MoveToTrash(FdRef parent, const char* name) const {
    std::string trashed = sys::RandomHex128();
    SNAP_TRY_VOID(sys::RenameAt(parent, name, trash, trashed.c_str(), RENAME_NOREPLACE));
    return trashed;
  }
};

Result<void> WriteNewFile(FdRef dir, const char* name, std::string_view content, mode_t mode) {
  SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode),
               "create '{}'", name);
  SNAP_TRY_SYS_VOID(sys::PWriteAll(file, std::as_bytes(std::span(content)), 0), "write '{}'", name);
  return {};
}

/// Atomically and durably: new file, fsync, rename over, fsync of the directory.
Result<void> ReplaceFile(FdRef dir, const char* temporary, const char* name, std::string_view content,
                         mode_t mode) {
  SNAP_TRY_VOID(WriteNewFile(dir, temporary, content, mode));
  SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(dir, temporary, O_RDONLY | O_NOFOLLOW), "open '{}'",
               temporary);
  SNAP_TRY_SYS_VOID(sys::Fsync(file), "flush '{}'", temporary);
  SNAP_TRY_SYS_VOID(sys::RenameAt(dir, temporary, dir, name), "rename '{}' to '{}'", temporary, name);
  SNAP_TRY_SYS_VOID(sys::Fsync(dir), "flush the directory of '{}'", name);
  return {};
}

/// Checks the identification file, or writes it into a directory that holds nothing of anybody's. Returns the secret of its
/// objects' ids.
Result<std::string> Identify(FdRef root, const std::string& path, bool create) {
  const std::string what = Quote(path + "/" + kStoreFile);
  for (bool locked = false;; locked = true) {
    const SysResult<std::string> text = sys::ReadFileAt(root, kStoreFile, kMaxManifestBytes);
    if (text.ok()) {
      SNAP_TRY(const Json document, ParseJson(*text, what));
      SNAP_TRY(const uint64_t version, JsonUnsigned(document, "version", what));
      if (version > kStoreVersion) {
        return MakeError(ErrorCode::kUnsupported,
                         "open store {}: made by a newer version (layout {}, known {})", Quote(path), version,
                         kStoreVersion);
      }
      SNAP_TRY(std::string secret, JsonString(document, "objectSecret", what));
      if (locked) SNAP_TRY_SYS_VOID(sys::Flock(root, LOCK_UN), "unlock {}", Quote(path));
      return secret;
    }
    if (!(text.error() == ENOENT)) return Error(text.error(), "read " + what);
    if (!create) {
      return MakeError(ErrorCode::kNotFound, "open store {}: the directory holds no store", Quote(path));
    }
    if (locked) break;
    // Two first users: the second waits here and then finds the file.
    SNAP_TRY_SYS_VOID(sys::Flock(root, LOCK_EX), "lock {}", Quote(path));
  }
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(root), "list {}", Quote(path));
  for (const sys::DirEntry& entry : entries) {
    if (entry.name == kStoreFileNew || entry.name == "lost+found") continue;
    return MakeError(ErrorCode::kInvalidArgument,
                     "make store {}: the directory is not empty and not a store (it holds {})", Quote(path),
                     Quote(entry.name));
  }
  std::string secret = sys::RandomHex128();
  const Json document = {{"version", kStoreVersion}, {"objectSecret", secret}};
  SNAP_TRY_VOID(ReplaceFile(root, kStoreFileNew, kStoreFile, DumpJson(document) + "\n", 0600));
  SNAP_TRY_SYS_VOID(sys::Flock(root, LOCK_UN), "unlock {}", Quote(path));
  return secret;
}

Result<UniqueFd> OpenRoot(const std::string& path, bool create) {
  SysResult<UniqueFd> root = sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_DIRECTORY);
  if (!root.ok() && root.error() == ENOENT && create) {
    // Missing parents are ordinary directories; only the store itself is private.
    for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
      SNAP_TRY_SYS_VOID(MakeDir(FdRef::Cwd(), path.substr(0, at).c_str(), 0755), "make directory {}",
                        Quote(path.substr(0, at)));
    }
    SNAP_TRY_SYS_VOID(MakeDir(FdRef::Cwd(), path.c_str()), "make store {}", Quote(path));
    root = sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_DIRECTORY);
  }
  if (!root.ok()) return Error(root.error(), "open store " + Quote(path));
  return std::move(root).value();
}

Result<UniqueFd> OpenPart(FdRef root, const std::string& path, const char* name, bool create) {
  const std::string quoted = Quote(path + "/" + name);
  SysResult<UniqueFd> part = OpenDir(root, name);
  if (!part.ok() && part.error() == ENOENT && create) {
    SNAP_TRY_SYS_VOID(MakeDir(root, name), "make {}", quoted);
    part = OpenDir(root, name);
  }
  if (!part.ok()) return Error(part.error(), "open " + quoted);
  return std::move(part).value();
}

}  // namespace

// --- stages

struct LayerStage::State {
  std::shared_ptr<const Directories> directories;
  uint64_t sequence = 0;
  UniqueFd boot;       // staging/<boot_id>
  std::string name;    // in it
  UniqueFd directory;  // holds the shared flock
  UniqueFd tree;

  /// Where it is: whoever is killed meanwhile leaves a stage without a holder, which the next one finds.
  Result<void> Remove() {
    SNAP_TRY_SYS_VOID(sys::RemoveTree(boot, name.c_str()), "delete stage {}", Quote(name));
    return {};
  }
};

LayerStage::LayerStage(std::unique_ptr<State> state) : state_(std::move(state)) {}
LayerStage::LayerStage(LayerStage&&) noexcept = default;
LayerStage& LayerStage::operator=(LayerStage&& other) noexcept {
  std::swap(state_, other.state_);  // what this held goes with `other`
  return *this;
}
LayerStage::~LayerStage() {
  if (state_) (void)state_->Remove();  // garbage collection finds what could not be deleted
}
FdRef LayerStage::tree() const { return state_->tree; }
FdRef LayerStage::directory() const { return state_->directory; }
Result<void> LayerStage::Discard() && { return std::exchange(state_, nullptr)->Remove(); }

// --- the store

struct LayerStore::State {
  std::shared_ptr<Directories> directories;
};

LayerStore::LayerStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
LayerStore::LayerStore(LayerStore&&) noexcept = default;
LayerStore& LayerStore::operator=(LayerStore&&) noexcept = default;
LayerStore::~LayerStore() = default;

const std::string& LayerStore::root_path() const { return state_->directories->path; }
FdRef LayerStore::root() const { return state_->directories->root; }
const ObjectStore& LayerStore::objects() const { return *state_->directories->objects; }

Result<LayerStore> LayerStore::Open(const std::string& root, bool create) {
  std::string path = root;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (!path.starts_with('/') || path == "/") {
    return MakeError(ErrorCode::kInvalidArgument, "open store {}: not an absolute path below '/'",
                     Quote(root));
  }
  auto directories = std::make_shared<Directories>();
  SNAP_TRY(directories->root, OpenRoot(path, create));
  SNAP_TRY(const std::string secret, Identify(directories->root, path, create));
  SNAP_TRY(directories->layers, OpenPart(directories->root, path, "layers", create));
  SNAP_TRY(directories->merged, OpenPart(directories->root, path, "merged", create));
  SNAP_TRY(directories->staging, OpenPart(directories->root, path, "staging", create));
  SNAP_TRY(directories->trash, OpenPart(directories->root, path, "trash", create));
  SNAP_TRY(directories->snapshots, OpenPart(directories->root, path, "snapshots", create));
  SNAP_TRY(UniqueFd objects, OpenPart(directories->root, path, "objects", create));
  directories->objects.emplace(std::move(objects), secret);
  SNAP_TRY_SYS(directories->boot_id, sys::BootId(), "read the boot id");
  directories->path = std::move(path);
  return LayerStore(std::make_unique<State>(State{std::move(directories)}));
}

Result<LayerStage> LayerStore::Stage(LayerFormat format) {
  const Directories& store = *state_->directories;
  // Between mkdir and flock a stage looks abandoned. Collectors hold staging/ exclusively while they look.
  SNAP_TRY_SYS(const UniqueFd staging, OpenDir(store.root, "staging"), "open staging");
  SNAP_TRY_SYS_VOID(sys::Flock(staging, LOCK_SH), "lock staging");
  SNAP_TRY_SYS_VOID(MakeDir(staging, store.boot_id.c_str()), "make staging directory");
  auto state = std::make_unique<LayerStage::State>();
  state->directories = state_->directories;
  state->sequence = state_->directories->next_stage.fetch_add(1);
  state->name = sys::RandomHex128();
  SNAP_TRY_SYS(state->boot, OpenDir(staging, store.boot_id.c_str()), "open staging directory");
  // A hint, see docs/decisions/ext4-inode-reuse.md; where it is refused stages are placed as any directory.
  (void)sys::SpreadSubdirectories(state->boot);
  SNAP_TRY_SYS_VOID(sys::MkdirAt(state->boot, state->name.c_str(), kPrivate), "make stage {}",
                    Quote(state->name));
  LayerStage stage(std::move(state));  // removes it on the error paths below
  LayerStage::State& made = *stage.state_;
  SNAP_TRY_SYS(made.directory, OpenDir(made.boot, made.name.c_str()), "open stage");
  SNAP_TRY_SYS_VOID(sys::Flock(made.directory, LOCK_SH), "lock stage");
  if (format == LayerFormat::kTree) {
    SNAP_TRY_SYS_VOID(sys::MkdirAt(made.directory, kTreeName, 0755), "make stage's tree");
    SNAP_TRY_SYS(made.tree, OpenDir(made.directory, kTreeName), "open stage's tree");
  }
  SNAP_FAULT_POINT("layer.stage.made");
  return stage;
}

Result<LayerManifest> LayerStore::Find(const LayerId& id) const {
  const Directories& store = *state_->directories;
  const std::string path = id.Hex() + "/" + kManifestName;
  const SysResult<std::string> text = sys::ReadFileAt(store.layers, path.c_str(), kMaxManifestBytes);
  if (!text.ok()) {
    if (text.error() == ENOENT && !sys::StatAt(store.layers, id.Hex().c_str()).ok()) {
      return MakeError(ErrorCode::kNotFound, "find layer {}: it is not in the store", id.ToString());
    }
    return MakeError(ErrorCode::kCorrupt, "read layer.json of layer {}: {}", id.ToString(),
                     text.error().Message());
  }
  const std::string what = "layer.json of layer " + id.ToString();
  Result<LayerManifest> manifest = ParseLayerManifest(*text, what);
  if (!manifest.ok()) {
    if (manifest.error().code() == ErrorCode::kUnsupported) return manifest;
    return Error(ErrorCode::kCorrupt, manifest.error().message());
  }
  if (manifest->id != id) {
    return MakeError(ErrorCode::kCorrupt, "{}: it names layer {}", what, manifest->id.ToString());
  }
  if (!manifest->durable && manifest->boot_id != store.boot_id) {
    return MakeError(ErrorCode::kCorrupt,
                     "use layer {}: it was stored without flushing and the machine was started again since",
                     id.ToString());
  }
  return manifest;
}

Result<LayerPin> LayerStore::Pin(const LayerId& id) const {
  const Directories& store = *state_->directories;
  const std::string name = id.Hex();
  for (;;) {
    SysResult<UniqueFd> directory = OpenDir(store.layers, name.c_str());
    if (!directory.ok()) {
      if (directory.error() == ENOENT) {
        return MakeError(ErrorCode::kNotFound, "find layer {}: it is not in the store", id.ToString());
      }
      return Error(directory.error(), "open layer " + id.ToString());
    }
    SNAP_TRY_SYS_VOID(sys::Flock(*directory, LOCK_SH), "lock layer {}", id.ToString());
    // Whoever held it exclusively may have renamed it away, and another may have taken its name.
    SNAP_TRY_SYS(const bool same, IsSameFile(*directory, store.layers, name.c_str()), "look at layer {}",
                 id.ToString());
    if (!same) continue;
    SNAP_TRY(LayerManifest manifest, Find(id));
    return LayerPin{std::move(manifest), false, std::move(directory).value()};
  }
}

Result<bool> LayerStore::IsPinned(const LayerId& id) const {
  const SysResult<UniqueFd> directory = OpenDir(state_->directories->layers, id.Hex().c_str());
  if (!directory.ok()) return Error(directory.error(), "look at layer " + id.ToString());
  SNAP_TRY_SYS(const bool locked, TryLockExclusive(*directory), "lock layer {}", id.ToString());
  return !locked;
}

Result<UniqueFd> LayerStore::OpenTree(const LayerId& id) const {
  const std::string path = id.Hex() + "/" + kTreeName;
  SysResult<UniqueFd> tree =
      sys::OpenAt(state_->directories->layers, path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW);
  if (!tree.ok()) return Error(tree.error(), "open layer " + id.ToString());
  return std::move(tree).value();
}

namespace {

Result<UniqueFd> OpenFile(FdRef layers, const LayerId& id, const char* name) {
  const std::string path = id.Hex() + "/" + name;
  SNAP_TRY_SYS(UniqueFd file, sys::OpenAt(layers, path.c_str(), O_RDONLY | O_NOFOLLOW), "open {} of layer {}", name,
               id.ToString());
  return file;
}

}  // namespace

Result<UniqueFd> LayerStore::OpenImage(const LayerId& id) const {
  return OpenFile(state_->directories->layers, id, LayerStage::kImageName);
}
Result<UniqueFd> LayerStore::OpenTarIndex(const LayerId& id) const {
  return OpenFile(state_->directories->layers, id, LayerStage::kTarIndexName);
}

Result<UniqueFd> LayerStore::OpenMerged(const std::string& name) const {
  SNAP_TRY_SYS(UniqueFd image, sys::OpenAt(state_->directories->merged, name.c_str(), O_RDONLY | O_NOFOLLOW),
               "open merged image {}", Quote(name));
  return image;
}

Result<void> LayerStore::AddMerged(LayerStage stage, const std::string& name) {
  SNAP_TRY_SYS(const UniqueFd image, sys::OpenAt(stage.directory(), LayerStage::kImageName, O_RDONLY | O_NOFOLLOW),
               "open merged image {}", Quote(name));
  SNAP_TRY_SYS_VOID(sys::Fdatasync(image), "flush merged image {}", Quote(name));
  const SysResult<void> renamed = sys::RenameAt(stage.directory(), LayerStage::kImageName, state_->directories->merged,
                                                name.c_str(), RENAME_NOREPLACE);
  if (!renamed.ok() && !(renamed.error() == EEXIST)) return Error(renamed.error(), "name merged image " + Quote(name));
  return {};
}

Result<std::vector<std::string>> LayerStore::ListMerged() const {
  SNAP_TRY_SYS(const UniqueFd merged, sys::OpenAt(state_->directories->merged, ".", O_RDONLY | O_DIRECTORY), "open merged");
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(merged), "list merged");
  std::vector<std::string> names;
  for (const sys::DirEntry& entry : entries) names.push_back(entry.name);
  return names;
}

Result<void> LayerStore::RemoveMerged(const std::string& name) {
  const SysResult<void> removed = sys::UnlinkAt(state_->directories->merged, name.c_str());
  if (!removed.ok() && !(removed.error() == ENOENT)) return Error(removed.error(), "remove merged image " + Quote(name));
  return {};
}

Result<std::vector<LayerId>> LayerStore::List() const {
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(state_->directories->layers),
               "list layers");
  std::vector<LayerId> ids;
  for (const sys::DirEntry& entry : entries) {
    const Result<Digest> digest = Digest::ParseHex(entry.name);
    if (digest.ok()) ids.push_back(LayerId{*digest});  // foreign names are reported by the check
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

Result<void> LayerStore::Discard(const LayerId& id) {
  const Directories& store = *state_->directories;
  const std::string name = id.Hex();
  SNAP_TRY_SYS(const UniqueFd directory, OpenDir(store.layers, name.c_str()), "discard layer {}",
               id.ToString());
  SNAP_TRY_SYS(const bool locked, TryLockExclusive(directory), "lock layer {}", id.ToString());
  if (!locked) return MakeError(ErrorCode::kBusy, "discard layer {}: an import is using it", id.ToString());
  SNAP_TRY_SYS(const bool same, IsSameFile(directory, store.layers, name.c_str()), "look at layer {}",
               id.ToString());
  if (!same) return MakeError(ErrorCode::kNotFound, "discard layer {}: somebody else did", id.ToString());
  SNAP_TRY_SYS(const std::string trashed, store.MoveToTrash(store.layers, name.c_str()), "discard layer {}",
               id.ToString());
  SNAP_FAULT_POINT("layer.discard.after_rename");
  return {};
}

Result<void> LayerStore::DiscardObjects(const std::vector<ObjectId>& objects) {
  if (objects.empty()) return {};
  const Directories& store = *state_->directories;
  // Not straight into the trash, where others delete what nobody holds.
  SNAP_TRY(LayerStage stage, Stage(LayerFormat::kPacked));
  uint64_t number = 0;
  for (const ObjectId& object : objects) {
    const std::string path = object.Path();
    const SysResult<void> moved = sys::RenameAt(store.objects->directory(), path.c_str(), stage.directory(),
                                                std::to_string(number++).c_str(), RENAME_NOREPLACE);
    if (!moved.ok() && !(moved.error() == ENOENT)) return Error(moved.error(), "discard object " + Quote(path));
  }
  SNAP_TRY_SYS(const std::string trashed, store.MoveToTrash(stage.state_->boot, stage.state_->name.c_str()),
               "discard objects");
  stage.state_.reset();
  SNAP_FAULT_POINT("objects.discarded");
  return {};
}

Result<void> LayerStore::DiscardForeign(Place place, const std::string& entry) {
  const Directories& store = *state_->directories;
  SNAP_TRY_SYS(const std::string trashed,
               store.MoveToTrash(place == Place::kLayers      ? store.layers.ref()
                                 : place == Place::kSnapshots ? store.snapshots.ref()
                                                              : store.objects->directory(),
                                 entry.c_str()),
               "discard {}", Quote(entry));
  return {};
}

// --- commit

Result<void> LayerStore::MakeDurable(LayerPin& pin) const {
  if (pin.manifest.durable) return {};
  // An error that nobody has been told yet is reported to new descriptors too, so nothing gets lost here.
  SNAP_TRY_SYS_VOID(sys::SyncFs(pin.directory), "flush layer {}", pin.manifest.id.ToString());
  LayerManifest manifest = pin.manifest;
  manifest.durable = true;
  const std::string temporary = ".layer.json." + sys::RandomHex128();
  SNAP_TRY_VOID(ReplaceFile(pin.directory, temporary.c_str(), kManifestName, LayerManifestJson(manifest),
                            kManifestMode));
  pin.manifest = std::move(manifest);
  return {};
}

Result<LayerManifest> LayerStore::Commit(LayerStage stage, LayerManifest manifest, Durability durability) {
  std::vector<StagedLayer> layers;
  layers.push_back({std::move(stage), std::move(manifest)});
  SNAP_TRY(std::vector<LayerPin> pins, CommitAll(std::move(layers), durability));
  return std::move(pins.front().manifest);
}

Result<std::vector<LayerPin>> LayerStore::CommitAll(std::vector<StagedLayer> layers, Durability durability) {
  const Directories& store = *state_->directories;
  std::vector<LayerPin> pins;
  if (layers.empty()) return pins;

  for (StagedLayer& layer : layers) {
    layer.manifest.boot_id = store.boot_id;
    layer.manifest.durable = durability == Durability::kFull;
    if (layer.manifest.created.empty()) layer.manifest.created = NowRfc3339();
    SNAP_TRY_VOID(WriteNewFile(layer.stage.directory(), kManifestName, LayerManifestJson(layer.manifest),
                               kManifestMode));
  }
  SNAP_FAULT_POINT("layer.commit.before_flush");
  if (durability == Durability::kFull) {
    // One syncfs instead of an fsync per file and directory; docs/durability.md has the figures. It reports
    // the errors since its descriptor was opened, so it goes through the stage that was opened first. A
    // failed flush is never retried: returning here discards every stage.
    const auto first = std::min_element(layers.begin(), layers.end(), [](const auto& a, const auto& b) {
      return a.stage.state_->sequence < b.stage.state_->sequence;
    });
    SNAP_TRY_SYS_VOID(sys::SyncFs(first->stage.directory()), "flush layers");
  }
  SNAP_FAULT_POINT("layer.commit.after_flush");

  const auto publish = [&](StagedLayer& layer) -> Result<LayerPin> {
    LayerStage::State& stage = *layer.stage.state_;
    const LayerId id = layer.manifest.id;
    const std::string name = id.Hex();
    const auto rename = [&] {
      return sys::RenameAt(stage.boot, stage.name.c_str(), store.layers, name.c_str(), RENAME_NOREPLACE);
    };
    for (;;) {
      SysResult<void> renamed = rename();
      if (renamed.ok()) {
        LayerPin pin{std::move(layer.manifest), true, std::move(stage.directory)};
        layer.stage.state_.reset();  // it is no stage any more: nothing to remove
        return pin;
      }
      if (!(renamed.error() == EEXIST) && !(renamed.error() == ENOTEMPTY)) {
        return Error(renamed.error(), "commit layer " + id.ToString());
      }
      Result<LayerPin> existing = Pin(id);
      if (existing.ok()) {
        if (durability == Durability::kFull) SNAP_TRY_VOID(MakeDurable(*existing));
        return existing;  // the stage dies with `layers`
      }
      if (existing.error().code() == ErrorCode::kNotFound) continue;
      if (existing.error().code() != ErrorCode::kCorrupt) return existing;
      // Two processes may find the same bad layer: the second must look again, or it would throw away what
      // the first has just put there.
      SNAP_TRY_SYS(const UniqueFd parent, OpenDir(store.root, "layers"), "open layers");
      SNAP_TRY_SYS_VOID(sys::Flock(parent, LOCK_EX), "lock layers");
      const Result<LayerManifest> again = Find(id);
      if (!again.ok() && again.error().code() == ErrorCode::kCorrupt) SNAP_TRY_VOID(Discard(id));
    }
  };

  Result<void> outcome;
  for (StagedLayer& layer : layers) {
    Result<LayerPin> pin = publish(layer);
    if (!pin.ok()) {
      outcome = std::move(pin).error();
      break;
    }
    pins.push_back(std::move(pin).value());
  }
  const auto finish = [&]() -> Result<void> {
    SNAP_TRY_VOID(std::move(outcome));
    SNAP_FAULT_POINT("layer.commit.after_rename");
    if (durability == Durability::kFull) SNAP_TRY_SYS_VOID(sys::Fsync(store.layers), "flush layers/");
    SNAP_FAULT_POINT("layer.commit.after_parent_flush");
    return {};
  };
  if (Result<void> finished = finish(); !finished.ok()) {
    std::vector<LayerId> added;
    for (const LayerPin& pin : pins) {
      if (pin.created) added.push_back(pin.manifest.id);
    }
    pins.clear();  // several of them may hold the same layer
    for (const LayerId& id : added)
      (void)Discard(id);  // kBusy: another import has it by now and will record it
    return std::move(finished).error();
  }
  return pins;
}

Result<LayerManifest> LayerStore::Replace(LayerStage stage, LayerManifest manifest) {
  const Directories& store = *state_->directories;
  const LayerStage::State& made = *stage.state_;
  const std::string name = manifest.id.Hex();
  manifest.boot_id = store.boot_id;
  manifest.durable = true;
  SNAP_TRY_VOID(WriteNewFile(stage.directory(), kManifestName, LayerManifestJson(manifest), kManifestMode));
  SNAP_TRY_SYS_VOID(sys::SyncFs(stage.directory()), "flush layer {}", manifest.id.ToString());
  SNAP_TRY_SYS(const UniqueFd old, OpenDir(store.layers, name.c_str()), "replace layer {}", manifest.id.ToString());
  SNAP_TRY_SYS(const bool locked, TryLockExclusive(old), "lock layer {}", manifest.id.ToString());
  if (!locked) return MakeError(ErrorCode::kBusy, "replace layer {}: an import is using it", manifest.id.ToString());
  SNAP_TRY_SYS(const bool same, IsSameFile(old, store.layers, name.c_str()), "look at layer {}", manifest.id.ToString());
  if (!same) return MakeError(ErrorCode::kNotFound, "replace layer {}: somebody else did", manifest.id.ToString());
  SNAP_TRY_SYS_VOID(sys::RenameAt(made.boot, made.name.c_str(), store.layers, name.c_str(), RENAME_EXCHANGE),
                    "replace layer {}", manifest.id.ToString());
  SNAP_FAULT_POINT("layer.replace.after_exchange");
  SNAP_TRY_SYS_VOID(sys::Fsync(store.layers), "flush layers/");
  return manifest;  // the stage is the old layer now, and goes with its owner
}

// --- uppers

Result<LayerStore::Upper> LayerStore::CreateUpper(const std::string& name, bool durable) {
  const Directories& store = *state_->directories;
  if (!IsValidName(name)) {
    return MakeError(ErrorCode::kInvalidArgument, "make upper {}: not a file name", Quote(name));
  }
  SNAP_TRY(LayerStage stage, Stage());
  LayerStage::State& made = *stage.state_;
  SNAP_TRY_SYS_VOID(sys::RenameAt(made.directory, kTreeName, made.directory, "fs"), "make upper {}",
                    Quote(name));
  SNAP_TRY_SYS_VOID(sys::MkdirAt(made.directory, "work", kPrivate), "make upper {}", Quote(name));
  Upper upper;
  SNAP_TRY_SYS(upper.work, OpenDir(made.directory, "work"), "open upper {}", Quote(name));
  upper.fs = std::move(made.tree);
  SNAP_FAULT_POINT("upper.create.before_rename");
  SNAP_TRY_SYS_VOID(
      sys::RenameAt(made.boot, made.name.c_str(), store.snapshots, name.c_str(), RENAME_NOREPLACE),
      "make upper {}", Quote(name));
  stage.state_.reset();
  // The parent alone: a directory's new entry is only durable together with what it names.
  if (durable) SNAP_TRY_SYS_VOID(sys::Fsync(store.snapshots), "flush snapshots/");
  SNAP_FAULT_POINT("upper.create.after_rename");
  return upper;
}

Result<LayerStore::Upper> LayerStore::OpenUpper(const std::string& name) const {
  if (!IsValidName(name)) {
    return MakeError(ErrorCode::kInvalidArgument, "open upper {}: not a file name", Quote(name));
  }
  SNAP_TRY_SYS(const UniqueFd directory, OpenDir(state_->directories->snapshots, name.c_str()),
               "open upper {}", Quote(name));
  Upper upper;
  SNAP_TRY_SYS(upper.fs, OpenDir(directory, "fs"), "open upper {}", Quote(name));
  SNAP_TRY_SYS(upper.work, OpenDir(directory, "work"), "open upper {}", Quote(name));
  return upper;
}

Result<std::vector<std::string>> LayerStore::ListUppers() const {
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(state_->directories->snapshots),
               "list snapshots");
  std::vector<std::string> names;
  for (const sys::DirEntry& entry : entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  return names;
}

Result<void> LayerStore::DiscardUpper(const std::string& name) {
  const Directories& store = *state_->directories;
  if (!IsValidName(name)) {
    return MakeError(ErrorCode::kInvalidArgument, "discard upper {}: not a file name", Quote(name));
  }
  SNAP_TRY_SYS(const std::string trashed, store.MoveToTrash(store.snapshots, name.c_str()),
               "discard upper {}", Quote(name));
  SNAP_FAULT_POINT("upper.discard.after_rename");
  return {};
}

// --- garbage

namespace {

/// Renames abandoned stages to the trash; renames are quick, so makers are held up only for a moment.
Result<uint64_t> CollectStages(const Directories& store, bool dry_run) {
  uint64_t found = 0;
  SNAP_TRY_SYS(const UniqueFd staging, OpenDir(store.root, "staging"), "open staging");
  SNAP_TRY_SYS_VOID(sys::Flock(staging, LOCK_EX), "lock staging");
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> boots, sys::ListDir(staging), "list staging");
  for (const sys::DirEntry& boot : boots) {
    const SysResult<UniqueFd> boot_dir = OpenDir(staging, boot.name.c_str());
    if (!boot_dir.ok()) {
      ++found;
      if (dry_run) continue;
      SNAP_TRY_SYS(const std::string trashed, store.MoveToTrash(staging, boot.name.c_str()), "discard {}",
                   Quote(boot.name));
      continue;
    }
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> stages, sys::ListDir(*boot_dir), "list staging");
    for (const sys::DirEntry& stage : stages) {
      const SysResult<UniqueFd> stage_dir = OpenDir(*boot_dir, stage.name.c_str());
      if (!stage_dir.ok() && stage_dir.error() == ENOENT) continue;  // committed or discarded by its maker
      if (stage_dir.ok()) {
        SNAP_TRY_SYS(const bool locked, TryLockExclusive(*stage_dir), "lock stage {}", Quote(stage.name));
        if (!locked) continue;
        SNAP_TRY_SYS(const bool same, IsSameFile(*stage_dir, *boot_dir, stage.name.c_str()),
                     "look at stage {}", Quote(stage.name));
        if (!same) continue;
      }
      ++found;
      if (dry_run) continue;
      SNAP_TRY_SYS(const std::string trashed, store.MoveToTrash(*boot_dir, stage.name.c_str()),
                   "discard stage {}", Quote(stage.name));
    }
    if (!dry_run && boot.name != store.boot_id) {
      (void)sys::UnlinkAt(staging, boot.name.c_str(), AT_REMOVEDIR);  // not empty: somebody works there
    }
  }
  return found;
}

}  // namespace

Result<uint64_t> LayerStore::EmptyTrash() {
  const Directories& store = *state_->directories;
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(store.trash), "list trash");
  uint64_t deleted = 0;
  for (const sys::DirEntry& entry : entries) {
    const SysResult<UniqueFd> directory = OpenDir(store.trash, entry.name.c_str());
    if (!directory.ok() && directory.error() == ENOENT) continue;
    if (directory.ok()) {
      SNAP_TRY_SYS(const bool locked, TryLockExclusive(*directory), "lock trash {}", Quote(entry.name));
      if (!locked) continue;  // its deleter is at work
    }
    SNAP_FAULT_POINT("trash.before_delete");
    SNAP_TRY_SYS_VOID(sys::RemoveTree(store.trash, entry.name.c_str()), "delete trash {}", Quote(entry.name));
    ++deleted;
  }
  return deleted;
}

Result<LayerStore::Garbage> LayerStore::CollectGarbage(bool dry_run) {
  const Directories& store = *state_->directories;
  Garbage garbage;
  if (dry_run) {
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> trash, sys::ListDir(store.trash), "list trash");
    garbage.trash = trash.size();
    SNAP_TRY(garbage.stages, CollectStages(store, true));
    return garbage;
  }
  SNAP_TRY(garbage.trash, EmptyTrash());
  SNAP_TRY(garbage.stages, CollectStages(store, false));
  SNAP_TRY_VOID([&]() -> Result<void> {
    SNAP_TRY(const uint64_t deleted, EmptyTrash());
    (void)deleted;  // the stages counted above
    return {};
  }());
  return garbage;
}

}  // namespace snap
