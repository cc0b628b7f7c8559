// Opening a store, and what it takes. The other parts: store_import, store_images, store_containers,
// store_check, store_gc.
#include "snapshotter/store.h"

#include <fcntl.h>

#include <map>
#include <set>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/tar_index.h"
#include "snapshotter/merged_image.h"
#include "snapshotter/store_state.h"

namespace snap {

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

LayerStore& Store::layers() { return state_->layers; }
UnionBackend& Store::backend() { return *state_->backend; }

Result<Store> Store::Open(StoreOptions options, std::shared_ptr<UnionBackend> backend) {
  SNAP_TRY(LayerStore layers, LayerStore::Open(options.root, options.create));
  SNAP_TRY(const LayerStore::Garbage garbage, layers.CollectGarbage(true));
  Store store(std::make_unique<State>(State{std::move(options), std::move(layers), std::move(backend)}));
  if (garbage.stages != 0) {
    // Somebody was killed: there may be directories without rows too. What cannot be cleaned now (a full
    // disk, a damaged database) must not keep anybody from looking at the store, so failure waits for `check`
    // and `gc`.
    (void)store.CollectGarbage(false);
  }
  return store;
}

Result<std::vector<ObjectId>> Store::State::ObjectsOnDisk(const LayerManifest& manifest) const {
  if (manifest.format == LayerFormat::kTree) return std::vector<ObjectId>();
  SNAP_TRY(const UniqueFd index, layers.OpenTarIndex(manifest.id));
  SNAP_TRY(const std::vector<ObjectId> objects, ReadTarIndexObjects(index, "tar index of layer " + manifest.id.ToString()));
  const std::set<ObjectId> once(objects.begin(), objects.end());
  return std::vector<ObjectId>(once.begin(), once.end());
}

Result<void> Store::State::BelieveDirectory(Metadata& metadata, const LayerManifest& row) const {
  const Result<LayerManifest> found = layers.Find(row.id);
  if (!found.ok()) return {};  // damage is the check's to judge
  LayerManifest same = row;
  same.durable = found->durable;  // an import flushes layers before it writes its rows
  if (LayerManifestJson(same) == LayerManifestJson(*found)) return {};
  const Result<std::vector<ObjectId>> objects = ObjectsOnDisk(*found);
  if (!objects.ok()) return {};
  SNAP_TRY(const std::vector<ObjectId> dropped, metadata.ReplaceLayer({*found, *objects}));
  (void)dropped;  // without references now: garbage like any other
  return {};
}

Result<void> Store::State::DiscardOrphans(const Metadata::Orphans& orphans) {
  std::set<ObjectId> objects(orphans.objects.begin(), orphans.objects.end());
  for (const LayerId& id : orphans.layers) {
    const Result<void> discarded = layers.Discard(id);
    if (discarded.ok()) continue;
    const ErrorCode code = discarded.error().code();
    if (code == ErrorCode::kNotFound) continue;  // it was damaged already
    if (code != ErrorCode::kBusy) return discarded.error();
    const Result<LayerManifest> manifest = layers.Find(id);
    if (!manifest.ok()) continue;
    SNAP_TRY(const std::vector<ObjectId> held, ObjectsOnDisk(*manifest));
    for (const ObjectId& object : held) objects.erase(object);
  }
  return layers.DiscardObjects({objects.begin(), objects.end()});
}

Result<std::string> Store::State::MergedKeyOf(const ImageRecord& image, Metadata& metadata) {
  std::vector<StackedLayer> layers;
  for (auto id = image.layers.rbegin(); id != image.layers.rend(); ++id) {
    SNAP_TRY(const std::optional<LayerRecord> layer, metadata.Layer(*id));
    if (!layer) return std::string();
    const LayerManifest& manifest = layer->manifest;
    layers.push_back({*id, manifest.format, FdRef(-1), manifest.checksums, manifest.usage.entries});
  }
  return MergedImageKey(layers);
}

Result<std::map<std::string, std::vector<LayerId>>> Store::State::MergedOfSnapshots(Metadata& metadata) {
  std::map<uint64_t, SnapshotRecord> records;
  SNAP_TRY_VOID(metadata.ScanSnapshots("", [&](const SnapshotRecord& record) -> Result<bool> {
    records.emplace(record.number, record);
    return true;
  }));
  std::set<uint64_t> parents;
  for (const auto& [number, record] : records) {
    if (record.info.kind != SnapshotKind::kCommitted) parents.insert(record.parent);
  }
  std::map<std::string, std::vector<LayerId>> merged;
  for (const uint64_t parent : parents) {
    std::vector<StackedLayer> run;  // packed, top first, since the last thing that is not
    for (auto it = records.find(parent); it != records.end(); it = records.find(it->second.parent)) {
      if (it->second.has_upper) run.clear();
      if (!it->second.layer) continue;
      SNAP_TRY(const std::optional<LayerRecord> layer, metadata.Layer(*it->second.layer));
      if (!layer) continue;
      const LayerManifest& m = layer->manifest;
      if (m.format != LayerFormat::kPacked) {
        run.clear();
      } else {
        run.push_back({m.id, m.format, FdRef(-1), m.checksums, m.usage.entries});
      }
    }
    std::vector<LayerId>& layers = merged[MergedImageKey(run)];
    layers.clear();
    for (auto layer = run.rbegin(); layer != run.rend(); ++layer) layers.push_back(layer->id);
  }
  return merged;
}

Result<std::vector<std::string>> Store::State::UnownedMerged(Metadata& metadata) const {
  SNAP_TRY(std::vector<std::string> present, layers.ListMerged());
  if (present.empty()) return present;
  SNAP_TRY(const std::vector<ImageRecord> images, metadata.Images());
  std::set<std::string> needed;
  for (const ImageRecord& image : images) {
    SNAP_TRY(std::string key, MergedKeyOf(image, metadata));
    needed.insert(std::move(key));
  }
  SNAP_TRY(const auto of_snapshots, MergedOfSnapshots(metadata));
  for (const auto& [key, needed_layers] : of_snapshots) needed.insert(key);
  std::erase_if(present, [&](const std::string& name) { return needed.contains(name); });
  return present;
}

Result<uint64_t> Store::State::RemoveUnownedMerged(Metadata& metadata) {
  SNAP_TRY(const std::vector<std::string> unowned, UnownedMerged(metadata));
  for (const std::string& name : unowned) SNAP_TRY_VOID(layers.RemoveMerged(name));
  return unowned.size();
}

Result<uint64_t> TreeBytes(FdRef parent, const std::string& name) {
  const SysResult<struct stat> top = sys::StatAt(parent, name.c_str());
  if (!top.ok()) {
    if (top.error() == ENOENT) return uint64_t{0};
    return Error(top.error(), "look at " + Quote(name));
  }
  constexpr uint64_t kBlock = 512;  // the unit of st_blocks
  uint64_t bytes = static_cast<uint64_t>(top->st_blocks) * kBlock;
  std::vector<std::string> directories;
  if (S_ISDIR(top->st_mode)) directories.push_back(name);
  while (!directories.empty()) {
    const std::string path = std::move(directories.back());
    directories.pop_back();
    const SysResult<UniqueFd> directory = sys::OpenBeneath(parent, path.c_str(), O_RDONLY | O_DIRECTORY);
    if (!directory.ok()) continue;  // gone meanwhile, or too deep to name: an estimate may miss it
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(*directory), "list {}", Quote(path));
    for (const sys::DirEntry& entry : entries) {
      const SysResult<struct stat> stat = sys::StatAt(*directory, entry.name.c_str());
      if (!stat.ok() || stat->st_dev != top->st_dev) continue;
      // A file with several names is counted in parts, so that the sum is right when all names are here.
      const uint64_t names = S_ISDIR(stat->st_mode) ? 1 : std::max<uint64_t>(1, stat->st_nlink);
      bytes += static_cast<uint64_t>(stat->st_blocks) * kBlock / names;
      if (S_ISDIR(stat->st_mode)) directories.push_back(path + "/" + entry.name);
    }
  }
  return bytes;
}

Result<DiskUsage> Store::Usage() {
  const FdRef root = state_->layers.root();
  DiskUsage usage;
  {
    SNAP_TRY(Metadata metadata, state_->Read());
    SNAP_TRY(const std::vector<LayerRecord> layers, metadata.Layers());
    DiskUsage::Row row{.kind = "layers"};
    for (const LayerRecord& layer : layers) {
      ++row.count;
      row.bytes += layer.manifest.usage.disk_bytes;
      if (layer.references == 0) row.reclaimable_bytes += layer.manifest.usage.disk_bytes;
    }
    usage.rows.push_back(std::move(row));
    row = {.kind = "objects"};
    SNAP_TRY(row.bytes, state_->layers.objects().AllocatedBytes(&row.count));
    usage.rows.push_back(std::move(row));
    SNAP_TRY(const std::vector<ContainerRecord> containers, metadata.Containers());
    row = {.kind = "containers"};
    for (const ContainerRecord& container : containers) {
      SNAP_TRY(const uint64_t bytes, TreeBytes(root, "snapshots/" + container.id));
      ++row.count;
      row.bytes += bytes;
      if (!IsRunning(container)) row.reclaimable_bytes += bytes;
    }
    usage.rows.push_back(std::move(row));
    SNAP_TRY(const std::vector<std::string> uppers, state_->layers.ListUppers());
    row = {.kind = "mounts"};
    for (const std::string& upper : uppers) {
      if (!upper.starts_with(kMountUpperPrefix)) continue;
      SNAP_TRY(const uint64_t bytes, TreeBytes(root, "snapshots/" + upper));
      ++row.count;
      row.bytes += bytes;
    }
    usage.rows.push_back(std::move(row));
  }
  SNAP_TRY(const LayerStore::Garbage garbage, state_->layers.CollectGarbage(true));
  for (const auto& [name, count] :
       {std::pair("staging", garbage.stages), std::pair("trash", garbage.trash)}) {
    SNAP_TRY(const uint64_t bytes, TreeBytes(root, name));
    usage.rows.push_back(
        {.kind = name, .count = count, .bytes = bytes, .reclaimable_bytes = count == 0 ? 0 : bytes});
  }
  SNAP_TRY(const uint64_t bytes, TreeBytes(root, "db"));
  usage.rows.push_back({.kind = "database", .count = 1, .bytes = bytes});
  return usage;
}

}  // namespace snap
