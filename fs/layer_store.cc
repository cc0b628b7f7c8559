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
#include "fs/layer_store_state.h"

namespace snap {

// --- shared with the other parts

SysResult<UniqueFd> OpenDir(FdRef dir, const char* name) {
  return sys::OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

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

Result<void> WriteNewFile(FdRef dir, const char* name, std::string_view content, mode_t mode) {
  SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode),
               "create '{}'", name);
  SNAP_TRY_SYS_VOID(sys::PWriteAll(file, std::as_bytes(std::span(content)), 0), "write '{}'", name);
  return {};
}

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

namespace {

constexpr int kStoreVersion = 1;
constexpr const char* kStoreFile = "store.json";
constexpr const char* kStoreFileNew = ".store.json.new";
constexpr size_t kMaxManifestBytes = size_t{64} << 10U;

SysResult<void> MakeDir(FdRef dir, const char* name, mode_t mode = kPrivate) {
  const SysResult<void> made = sys::MkdirAt(dir, name, mode);
  if (!made.ok() && !(made.error() == EEXIST)) return made.error();
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
  SNAP_TRY_SYS_VOID(sys::FChmod(root, 0700), "make store {} private", Quote(path));  // whoever made the directory
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
  auto directories = std::make_shared<LayerDirectories>();
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
  const LayerDirectories& store = *state_->directories;
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
  const LayerDirectories& store = *state_->directories;
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
  const LayerDirectories& store = *state_->directories;
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
  const LayerDirectories& store = *state_->directories;
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
  const LayerDirectories& store = *state_->directories;
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
  const LayerDirectories& store = *state_->directories;
  SNAP_TRY_SYS(const std::string trashed,
               store.MoveToTrash(place == Place::kLayers      ? store.layers.ref()
                                 : place == Place::kSnapshots ? store.snapshots.ref()
                                                              : store.objects->directory(),
                                 entry.c_str()),
               "discard {}", Quote(entry));
  return {};
}

}  // namespace snap
