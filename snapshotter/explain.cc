// One search for each kind of thing, all over one reading of the database. Invariant: what is called an
// orphan here is what Store::CollectGarbage takes; the tests hold the two against each other.
#include "snapshotter/explain.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "fs/base/quote.h"
#include "snapshotter/store_state.h"

namespace snap {
namespace {

constexpr size_t kShortestPrefix = 4;
constexpr const char* kByGc = "'snap system gc'";

/// What must be in the database for a search, read once.
struct Facts {
  std::vector<LayerRecord> layers;
  std::vector<ImageRecord> images;
  std::vector<ContainerRecord> containers;
  std::vector<SnapshotRecord> snapshots;
};

std::string ImageLine(const ImageRecord& image) {
  return fmt::format("image {}", image.names.empty() ? image.id.ToString() : Quote(image.names.front()));
}
std::string SnapshotLine(const SnapshotRecord& record) {
  return fmt::format("snapshot {} (number {})", Quote(record.info.name), record.number);
}
std::string_view KindName(SnapshotKind kind) {
  switch (kind) {
    case SnapshotKind::kView:
      return "view";
    case SnapshotKind::kActive:
      return "active";
    case SnapshotKind::kCommitted:
      return "committed";
  }
  return "";
}

class Search {
 public:
  Search(Store& store, std::string_view id) : state_(store.state()), id_(id), hex_(id) {
    if (hex_.starts_with("sha256:")) hex_.remove_prefix(7);
  }

  Result<std::vector<Explanation>> Run() {
    SNAP_TRY(Metadata metadata, state_.Read());
    metadata_ = &metadata;
    SNAP_TRY(facts_.layers, metadata.Layers());
    SNAP_TRY(facts_.images, metadata.Images());
    SNAP_TRY(facts_.containers, metadata.Containers());
    SNAP_TRY_VOID(metadata.ScanSnapshots("", [&](const SnapshotRecord& record) -> Result<bool> {
      facts_.snapshots.push_back(record);
      return true;
    }));
    FindContainers();
    FindImages();
    SNAP_TRY_VOID(FindLayers());
    FindSnapshots();
    SNAP_TRY_VOID(FindUppers());
    SNAP_TRY_VOID(FindMerged());
    SNAP_TRY_VOID(FindObjects());
    if (found_.empty()) {
      return MakeError(ErrorCode::kNotFound, "nothing in the store is called {}", Quote(id_));
    }
    return std::move(found_);
  }

 private:
  bool Begins(std::string_view hex) const { return hex_.size() >= kShortestPrefix && hex.starts_with(hex_); }

  Explanation& Add(std::string type, std::string id) {
    Explanation& explanation = found_.emplace_back();
    explanation.type = std::move(type);
    explanation.id = std::move(id);
    return explanation;
  }
  static void MakeOrphan(Explanation& explanation) {
    explanation.orphan = true;
    explanation.removal = kByGc;
  }

  std::optional<uint64_t> UpperBytes(const std::string& upper) const {
    const Result<uint64_t> bytes = TreeBytes(state_.layers.root(), "snapshots/" + upper);
    return bytes.ok() ? std::optional(*bytes) : std::nullopt;
  }

  void FindContainers() {
    for (const ContainerRecord& container : facts_.containers) {
      if (container.name != id_ && !Begins(container.id)) continue;
      const bool running = Store::IsRunning(container);
      Explanation& it = Add("container", container.id);
      it.bytes = UpperBytes(container.id);
      it.facts = {{"name", container.name}, {"image", container.image_name}, {"created", container.created}};
      if (running) {
        it.kept_by.emplace_back("its processes: it is running");
      } else if (container.remove_at_exit) {
        MakeOrphan(it);
        continue;
      } else {
        it.kept_by.emplace_back("its record: containers stay until they are removed");
      }
      it.removal = fmt::format("'snap rm {}'{}", container.name, running ? " after its end" : "");
    }
  }

  static std::vector<std::string> UsersOf(const ImageRecord& image,
                                          const std::vector<ContainerRecord>& containers) {
    std::vector<std::string> lines;
    for (const std::string& name : image.names) lines.push_back("its name " + Quote(name));
    for (const ContainerRecord& container : containers) {
      if (container.image == image.id) lines.push_back(fmt::format("container {}", Quote(container.name)));
    }
    return lines;
  }

  void FindImages() {
    const Result<std::string> normal = NormalizeImageName(id_);
    for (const ImageRecord& image : facts_.images) {
      const bool named =
          normal.ok() && std::find(image.names.begin(), image.names.end(), *normal) != image.names.end();
      if (!named && !Begins(image.id.Hex())) continue;
      Explanation& it = Add("image", image.id.ToString());
      it.images = {image.id};
      uint64_t bytes = 0;
      for (const LayerRecord& layer : facts_.layers) {
        if (std::find(image.layers.begin(), image.layers.end(), layer.manifest.id) != image.layers.end()) {
          bytes += layer.manifest.usage.disk_bytes;
        }
      }
      it.bytes = bytes;
      it.facts = {{"imported", image.imported},
                  {"source", image.source},
                  {"layers", std::to_string(image.layers.size())}};
      it.kept_by = UsersOf(image, facts_.containers);
      if (image.names.empty())
        it.kept_by.emplace_back("its record: images without a name stay until they are removed");
      it.removal =
          fmt::format("'snap rmi {}'", image.names.empty() ? image.id.digest.Short() : image.names.front());
    }
  }

  Result<void> FindLayers() {
    std::set<LayerId> known;
    for (const LayerRecord& record : facts_.layers) {
      const LayerManifest& manifest = record.manifest;
      known.insert(manifest.id);
      if (!Begins(manifest.id.Hex()) && !Begins(manifest.diff_id.Hex())) continue;
      Explanation& it = Add("layer", manifest.id.ToString());
      DescribeLayer(manifest, it);
      for (const ImageRecord& image : facts_.images) {
        if (std::find(image.layers.begin(), image.layers.end(), manifest.id) == image.layers.end()) continue;
        it.images.push_back(image.id);
        it.kept_by.push_back(ImageLine(image));
      }
      for (const SnapshotRecord& snapshot : facts_.snapshots) {
        if (snapshot.layer == manifest.id) it.kept_by.push_back(SnapshotLine(snapshot));
      }
      const bool in_use = AddPin(manifest.id, it);
      it.removal = "removing all that keep it";
      if (record.references != 0 || in_use) continue;
      MakeOrphan(it);
    }
    SNAP_TRY(const std::vector<LayerId> present, state_.layers.List());
    for (const LayerId& id : present) {
      if (known.contains(id) || !Begins(id.Hex())) continue;
      Explanation& it = Add("layer", id.ToString());
      const Result<LayerManifest> manifest = state_.layers.Find(id);
      if (manifest.ok()) DescribeLayer(*manifest, it);
      it.facts.emplace_back("database", "does not know it");
      if (!AddPin(id, it)) MakeOrphan(it);
    }
    return {};
  }

  static void DescribeLayer(const LayerManifest& manifest, Explanation& it) {
    it.bytes = manifest.usage.disk_bytes;
    it.facts = {{"diff id", manifest.diff_id.ToString()},
                {"format", std::string(LayerFormatName(manifest.format))},
                {"entries", std::to_string(manifest.usage.entries)},
                {"created", manifest.created}};
  }
  bool AddPin(const LayerId& id, Explanation& it) const {
    const Result<bool> pinned = state_.layers.IsPinned(id);
    if (!pinned.ok() || !*pinned) return false;
    it.kept_by.emplace_back("a process that uses it at this moment");
    it.removal = "nothing while that process uses it";
    return true;
  }

  void FindSnapshots() {
    uint64_t number = 0;
    const auto parsed = std::from_chars(id_.data(), id_.data() + id_.size(), number);
    const bool is_number = parsed.ec == std::errc() && parsed.ptr == id_.data() + id_.size();
    for (const SnapshotRecord& record : facts_.snapshots) {
      // containerd calls it "namespace/number/key" and shows users the key.
      const std::string& name = record.info.name;
      const bool named = name == id_ || (name.size() > id_.size() && !id_.empty() && name.ends_with(id_) &&
                                         name[name.size() - id_.size() - 1] == '/');
      if (named || (is_number && record.number == number)) DescribeSnapshot(record);
    }
  }

  void DescribeSnapshot(const SnapshotRecord& record) {
    Explanation& it = Add("snapshot", record.info.name);
    if (record.usage) {
      it.bytes = record.usage->bytes;
    } else if (record.has_upper) {
      it.bytes = UpperBytes(SnapshotUpperName(record.number));
    }
    it.facts = {{"number", std::to_string(record.number)}, {"kind", std::string(KindName(record.info.kind))}};
    if (!record.info.parent.empty()) it.facts.emplace_back("parent", record.info.parent);
    if (record.layer) it.facts.emplace_back("layer", record.layer->ToString());
    if (record.has_upper) it.facts.emplace_back("upper", SnapshotUpperName(record.number));
    for (const auto& [key, value] : record.info.labels) it.facts.emplace_back("label " + key, value);
    it.kept_by.emplace_back("the engine that made it, until it removes it");
    bool parent = false;
    for (const SnapshotRecord& child : facts_.snapshots) {
      if (child.parent != record.number) continue;
      parent = true;
      it.kept_by.push_back("its child, " + SnapshotLine(child));
    }
    it.removal = parent ? "its engine, after all its children"
                        : "its engine: when no image, container or lease of it needs it";
  }

  Result<void> FindUppers() {
    SNAP_TRY(const std::vector<std::string> uppers, state_.layers.ListUppers());
    if (std::find(uppers.begin(), uppers.end(), id_) == uppers.end()) return {};
    const std::string upper(id_);
    const auto container = std::find_if(facts_.containers.begin(), facts_.containers.end(),
                                        [&](const ContainerRecord& c) { return c.id == upper; });
    Explanation it;
    it.type = "upper";
    it.id = upper;
    it.bytes = UpperBytes(upper);
    if (container != facts_.containers.end()) {
      if (container->remove_at_exit && !Store::IsRunning(*container)) {
        MakeOrphan(it);
      } else {
        it.kept_by.push_back("container " + Quote(container->name));
        it.removal = fmt::format("'snap rm {}'", container->name);
      }
    }
    for (const SnapshotRecord& record : facts_.snapshots) {
      if (!record.has_upper || SnapshotUpperName(record.number) != upper) continue;
      it.kept_by.push_back(SnapshotLine(record));
      it.removal = "its engine, with the snapshot";
    }
    if (upper.starts_with(Store::kMountUpperPrefix)) {
      it.kept_by.emplace_back("a mount of 'snap mount --rw'");
      it.removal = "'snap umount'; 'snap system gc' when the mount is gone";
    }
    if (it.kept_by.empty()) MakeOrphan(it);
    found_.push_back(std::move(it));
    return {};
  }

  Result<void> FindMerged() {
    SNAP_TRY(const std::vector<std::string> merged, state_.layers.ListMerged());
    for (const std::string& name : merged) {
      if (!Begins(name)) continue;
      Explanation& it = Add("merged image", name);
      it.facts.emplace_back("purpose",
                            "the metadata of a stack of layers in one, made again when it is missing");
      for (const ImageRecord& image : facts_.images) {
        SNAP_TRY(const std::string key, Store::State::MergedKeyOf(image, *metadata_));
        if (key != name) continue;
        it.images.push_back(image.id);
        it.kept_by.push_back(ImageLine(image));
      }
      SNAP_TRY(const auto of_snapshots, Store::State::MergedOfSnapshots(*metadata_));
      if (of_snapshots.contains(name)) it.kept_by.emplace_back("snapshots that are mounted through it");
      it.removal = "removing all that keep it";
      if (it.kept_by.empty()) MakeOrphan(it);
    }
    return {};
  }

  Result<void> FindObjects() {
    std::string prefix(id_.starts_with('/') ? id_.substr(1) : id_);
    if (prefix.size() > 2 && prefix[2] != '/') prefix.insert(2, "/");
    if (prefix.size() <= kShortestPrefix) return {};
    std::vector<ObjectId> objects;
    SNAP_TRY_VOID(state_.layers.objects().ForEach(
        [&](const std::optional<ObjectId>& id, const std::string&) -> Result<void> {
          if (id && id->Path().starts_with(prefix)) objects.push_back(*id);
          return {};
        }));
    if (objects.empty()) return {};
    const size_t first = found_.size();
    for (const ObjectId& object : objects) Add("object", object.Path()).bytes = object.size;
    for (const LayerRecord& record : facts_.layers) {
      SNAP_TRY(const std::vector<ObjectId> held, metadata_->ObjectsOfLayer(record.manifest.id));
      for (size_t i = 0; i < objects.size(); ++i) {
        if (!std::binary_search(held.begin(), held.end(), objects[i])) continue;
        found_[first + i].kept_by.push_back("layer " + record.manifest.id.ToString());
      }
    }
    for (size_t i = first; i < found_.size(); ++i) {
      found_[i].removal = "removing all layers that hold it";
      if (found_[i].kept_by.empty()) MakeOrphan(found_[i]);
    }
    return {};
  }

  Store::State& state_;
  Metadata* metadata_ = nullptr;  // while Run is in progress
  const std::string_view id_;
  std::string_view hex_;  // without "sha256:"
  Facts facts_;
  std::vector<Explanation> found_;
};

}  // namespace

Result<std::vector<Explanation>> Explain(Store& store, std::string_view id) {
  return Search(store, id).Run();
}

}  // namespace snap
