// The database and the directories compared both ways. Repair only deletes what has no owner and drops rows
// whose content is gone; it never invents content.
#include <fcntl.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/erofs_reader.h"
#include "fs/tar_index.h"
#include "snapshotter/merged_image.h"
#include "snapshotter/store_state.h"

namespace snap {
namespace {

constexpr mode_t kPrivate = 0700;

class Checker {
 public:
  Checker(Store::State& state, Metadata& metadata, const CheckOptions& options, CheckReport& report)
      : state_(state), layers_(state.layers), metadata_(metadata), repair_(options.repair), scrub_(options.scrub), report_(report) {}

  Result<void> Run() {
    SNAP_TRY_VOID(CheckModes());
    SNAP_TRY(const std::vector<std::string> references, metadata_.CheckReferences(repair_));
    for (const std::string& problem : references) {
      report_.findings.push_back({"database", problem, "correct the index", repair_});
    }
    SNAP_TRY_VOID(ListObjects());
    SNAP_TRY_VOID(CheckLayerRows());
    SNAP_TRY_VOID(CheckMerged());
    SNAP_TRY_VOID(CheckImages());
    SNAP_TRY_VOID(DropBadLayers());
    SNAP_TRY_VOID(CheckLayerDirectories());
    SNAP_TRY_VOID(CheckObjects());
    if (repair_) {  // of images that were removed above
      SNAP_TRY(const uint64_t removed, state_.RemoveUnownedMerged(metadata_));
      (void)removed;
    }
    return CheckContainers();
  }

 private:
  /// Records a finding; with --repair runs what repairs it.
  template <typename Repair>
  Result<void> Find(std::string object, std::string problem, std::string repair, Repair apply) {
    if (repair_) SNAP_TRY_VOID(apply());
    report_.findings.push_back({std::move(object), std::move(problem), std::move(repair), repair_});
    return {};
  }

  Result<void> CheckMode(const std::string& path) {
    const SysResult<struct stat> stat = sys::StatAt(layers_.root(), path.c_str());
    if (!stat.ok()) return {};  // whoever opens it reports that
    if ((stat->st_mode & 07777U) == kPrivate) return {};
    return Find("directory " + Quote(path), fmt::format("has mode {:04o}", stat->st_mode & 07777U),
                "set mode 0700", [&]() -> Result<void> {
                  SNAP_TRY_SYS_VOID(sys::FChmodAt(layers_.root(), path.c_str(), kPrivate),
                                    "change mode of {}", Quote(path));
                  return {};
                });
  }

  Result<void> CheckModes() {
    for (const char* name : {".", "db", "layers", "merged", "objects", "staging", "trash", "snapshots"})
      SNAP_TRY_VOID(CheckMode(name));
    return {};
  }

  Result<void> CheckLayerRows() {
    SNAP_TRY(const std::vector<LayerRecord> records, metadata_.Layers());
    report_.layers = records.size();
    for (const LayerRecord& record : records) {
      const LayerId& id = record.manifest.id;
      rows_.insert(id);
      const Result<LayerManifest> manifest = layers_.Find(id);
      if (!manifest.ok()) {
        bad_.emplace(id, manifest.error().message());
        continue;
      }
      if (const Result<void> content = CheckContent(*manifest); !content.ok()) {
        bad_.emplace(id, content.error().message());
        continue;
      }
      SNAP_TRY_VOID(CheckMode("layers/" + id.Hex()));
      SNAP_TRY(const std::vector<ObjectId> recorded, metadata_.ObjectsOfLayer(id));
      SNAP_TRY(const std::vector<ObjectId> held, state_.ObjectsOnDisk(*manifest));
      if (recorded != held) {
        SNAP_TRY_VOID(Find("layer " + id.ToString(), "the database lists other objects than its tar.idx", "believe tar.idx",
                           [&] { return metadata_.PutLayer({*manifest, held}); }));
      }
      // An import flushes layers that it shares before it writes its rows, and may fail in between.
      LayerManifest row = record.manifest;
      row.durable = manifest->durable;
      if (LayerManifestJson(*manifest) == LayerManifestJson(row)) continue;
      SNAP_TRY_VOID(Find("layer " + id.ToString(), "the database differs from layer.json",
                         "believe layer.json", [&]() -> Result<void> {
                           SNAP_TRY(std::vector<ObjectId> objects, state_.ObjectsOnDisk(*manifest));
                           return metadata_.PutLayer({*manifest, std::move(objects)});
                         }));
    }
    return {};
  }

  // --- content

  Result<void> ListObjects() {
    return layers_.objects().ForEach([&](const std::optional<ObjectId>& id, const std::string& path) -> Result<void> {
      if (id) {
        objects_.insert(*id);
        return {};
      }
      foreign_objects_.push_back(path);
      return {};
    });
  }

  /// That a layer's files are there; with scrub, that they are what they were.
  Result<void> CheckContent(const LayerManifest& manifest) {
    if (manifest.format == LayerFormat::kTree) {
      SNAP_TRY(const UniqueFd tree, layers_.OpenTree(manifest.id));
      return {};
    }
    const std::string what = "layer " + manifest.id.ToString();
    SNAP_TRY(const UniqueFd image, layers_.OpenImage(manifest.id));
    SNAP_TRY(const UniqueFd index, layers_.OpenTarIndex(manifest.id));
    SNAP_TRY(const std::vector<ObjectId> objects, metadata_.ObjectsOfLayer(manifest.id));
    if (scrub_) {
      SNAP_TRY_VOID(VerifyImage(image, manifest.checksums));
      SNAP_TRY_VOID(CheckTarIndex(index, "tar.idx"));
      report_.scrubbed_bytes += manifest.usage.disk_bytes;
    } else {
      SNAP_TRY(const ErofsReader reader, ErofsReader::Open(image, what));
    }
    for (const ObjectId& object : objects) {
      SNAP_TRY_VOID(CheckObject(object));
    }
    return {};
  }

  Result<void> CheckObject(const ObjectId& object) {
    if (!objects_.contains(object)) {
      return MakeError(ErrorCode::kCorrupt, "object {} is gone", Quote(object.Path()));
    }
    if (!scrub_) return {};
    const auto [known, first] = verified_.try_emplace(object);
    if (first) known->second = layers_.objects().Verify(object, &report_.scrubbed_bytes);
    return known->second;
  }

  Result<void> CheckObjects() {
    report_.objects = objects_.size();
    for (const std::string& path : foreign_objects_) {
      SNAP_TRY_VOID(Find("file " + Quote("objects/" + path), "is not an object", "delete it",
                         [&] { return layers_.DiscardForeign(LayerStore::Place::kObjects, path); }));
    }
    SNAP_TRY(const std::set<ObjectId> referenced, metadata_.ReferencedObjects());
    std::vector<ObjectId> unneeded;
    std::set_difference(objects_.begin(), objects_.end(), referenced.begin(), referenced.end(), std::back_inserter(unneeded));
    for (const LayerId& id : unrecorded_) {
      const Result<LayerManifest> manifest = layers_.Find(id);
      if (!manifest.ok()) continue;
      SNAP_TRY(const std::vector<ObjectId> held, state_.ObjectsOnDisk(*manifest));
      for (const ObjectId& object : held) std::erase(unneeded, object);
    }
    if (unneeded.empty()) return {};
    SNAP_TRY(const bool importing, ImportIsRunning());
    if (importing) return {};  // they may be its own
    return Find("directory 'objects'", fmt::format("holds {} objects that no layer needs", unneeded.size()), "delete them",
                [&] { return layers_.DiscardObjects(unneeded); });
  }

  /// A cache: what is wrong with one is repaired by its removal, and it is made anew.
  Result<void> CheckMerged() {
    SNAP_TRY(const std::vector<ImageRecord> images, metadata_.Images());
    SNAP_TRY(auto owners, Store::State::MergedOfSnapshots(metadata_));
    for (const ImageRecord& image : images) {
      SNAP_TRY(const std::string key, Store::State::MergedKeyOf(image, metadata_));
      owners.emplace(key, image.layers);
    }
    SNAP_TRY(const std::vector<std::string> present, layers_.ListMerged());
    for (const std::string& name : present) {
      const auto owner = owners.find(name);
      if (owner == owners.end()) {
        SNAP_TRY(const bool importing, ImportIsRunning());
        if (importing) continue;  // its own, perhaps
      }
      std::string problem = owner == owners.end() ? "belongs to no image and no snapshot" : "";
      if (problem.empty()) {
        SNAP_TRY(const UniqueFd image, layers_.OpenMerged(name));
        const Result<ErofsReader> reader = ErofsReader::Open(image, "merged image");
        if (!reader.ok()) problem = reader.error().message();
      }
      if (problem.empty() && scrub_) problem = ScrubMerged(owner->second);
      if (problem.empty()) continue;
      SNAP_TRY_VOID(Find("merged image " + name.substr(0, 12), problem, "delete it; it is made again",
                         [&] { return layers_.RemoveMerged(name); }));
    }
    return {};
  }

  std::string ScrubMerged(const std::vector<LayerId>& layers_bottom_first) {
    std::vector<OpenedLayer> opened;
    std::vector<StackedLayer> stacked;
    for (auto id = layers_bottom_first.rbegin(); id != layers_bottom_first.rend(); ++id) {
      Result<OpenedLayer> layer = OpenLayer(layers_, *id);
      if (!layer.ok()) return "";  // the layer is what is wrong
      stacked.push_back(layer->Stacked());
      opened.push_back(std::move(layer).value());
    }
    if (MergedImageKey(stacked).empty()) return "";  // the rows are what is wrong
    const Result<bool> right = IsMergedImageRight(layers_, stacked);
    if (!right.ok()) return right.error().message();
    return *right ? "" : "differs from what its layers give";
  }

  /// Whether any stage is held.
  Result<bool> ImportIsRunning() {
    SNAP_TRY_SYS(const UniqueFd staging, sys::OpenAt(layers_.root(), "staging", O_RDONLY | O_DIRECTORY), "open staging");
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> boots, sys::ListDir(staging), "list staging");
    uint64_t stages = 0;
    for (const sys::DirEntry& boot : boots) {
      const SysResult<UniqueFd> directory = sys::OpenAt(staging, boot.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (!directory.ok()) continue;
      SNAP_TRY_SYS(const std::vector<sys::DirEntry> held, sys::ListDir(*directory), "list staging");
      stages += held.size();
    }
    SNAP_TRY(const LayerStore::Garbage abandoned, layers_.CollectGarbage(true));
    return stages > abandoned.stages;
  }

  // --- images and directories

  Result<void> CheckImages() {
    SNAP_TRY(const std::vector<ImageRecord> images, metadata_.Images());
    report_.images = images.size();
    for (const ImageRecord& image : images) {
      std::string problem;
      if (Digest::Of(image.config_json) != image.id.digest)
        problem = "its configuration does not match its id";
      for (const LayerId& layer : image.layers) {
        if (const auto bad = bad_.find(layer); bad != bad_.end()) problem = bad->second;
        if (!rows_.contains(layer)) problem = "layer " + layer.ToString() + " is not in the database";
      }
      if (problem.empty()) continue;
      SNAP_TRY_VOID(Find("image " + (image.names.empty() ? image.id.ToString() : image.names.front()),
                         problem, "remove the image; import it again", [&]() -> Result<void> {
                           SNAP_TRY(const Metadata::Orphans orphans, metadata_.RemoveImage(image.id));
                           for (const LayerId& id : orphans.layers) {
                             rows_.erase(id);
                             orphans_.insert(id);
                           }
                           return {};
                         }));
    }
    return {};
  }

  /// After the images that need them have gone.
  Result<void> DropBadLayers() {
    for (const auto& [id, problem] : bad_) {
      const auto drop = [&, &layer = id]() -> Result<void> {
        SNAP_TRY(const std::vector<ObjectId> objects, metadata_.RemoveLayer(layer));
        (void)objects;  // CheckObjects finds them
        rows_.erase(layer);
        orphans_.insert(layer);
        return {};
      };
      SNAP_TRY_VOID(Find("layer " + id.ToString(), problem, "remove the layer", drop));
    }
    return {};
  }

  Result<void> CheckLayerDirectories() {
    SNAP_TRY_SYS(const UniqueFd directory, sys::OpenAt(layers_.root(), "layers", O_RDONLY | O_DIRECTORY),
                 "open layers");
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(directory), "list layers");
    for (const sys::DirEntry& entry : entries) {
      const Result<Digest> digest = Digest::ParseHex(entry.name);
      const SysResult<struct stat> stat = sys::StatAt(directory, entry.name.c_str());
      if (!digest.ok() || (stat.ok() && !S_ISDIR(stat->st_mode))) {
        SNAP_TRY_VOID(Find("directory " + Quote("layers/" + entry.name), "is not a layer", "delete it",
                           [&] { return layers_.DiscardForeign(LayerStore::Place::kLayers, entry.name); }));
        continue;
      }
      const LayerId id{*digest};
      if (rows_.contains(id)) continue;
      SNAP_TRY(const bool pinned, layers_.IsPinned(id));
      if (pinned) {  // an import is about to record it
        unrecorded_.push_back(id);
        continue;
      }
      if (orphans_.contains(id)) {
        const Result<void> discarded = layers_.Discard(id);
        if (!discarded.ok() && discarded.error().code() != ErrorCode::kBusy) return discarded.error();  // busy: an import's now
        continue;
      }
      SNAP_TRY_VOID(Find("directory " + Quote("layers/" + entry.name),
                         "is a layer that the database does not know", "delete it",
                         [&] { return layers_.Discard(id); }));
    }
    return {};
  }

  Result<void> CheckContainers() {
    SNAP_TRY(const std::vector<ContainerRecord> containers, metadata_.Containers());
    report_.containers = containers.size();
    std::set<std::string> owned;
    for (const ContainerRecord& container : containers) {
      const Result<LayerStore::Upper> upper = layers_.OpenUpper(container.id);
      if (upper.ok()) {
        owned.insert(container.id);
        SNAP_TRY_VOID(CheckMode("snapshots/" + container.id));
        continue;
      }
      if (upper.error().code() != ErrorCode::kNotFound) return upper.error();
      SNAP_TRY_VOID(Find("container " + container.name, "its files are gone", "remove the container",
                         [&] { return metadata_.RemoveContainer(container.id); }));
    }
    SNAP_TRY_VOID(CheckSnapshots(owned));
    SNAP_TRY(const std::vector<std::string> uppers, layers_.ListUppers());
    for (const std::string& upper : uppers) {
      if (owned.contains(upper) || upper.starts_with(Store::kMountUpperPrefix)) continue;
      SNAP_TRY_VOID(Find("directory " + Quote("snapshots/" + upper), "belongs to no container and no snapshot", "delete it",
                         [&] { return layers_.DiscardForeign(LayerStore::Place::kSnapshots, upper); }));
    }
    return {};
  }

  /// Snapshots cannot be repaired: their engine has to remove them and make them again.
  Result<void> CheckSnapshots(std::set<std::string>& owned_uppers) {
    std::vector<SnapshotRecord> records;
    SNAP_TRY_VOID(metadata_.ScanSnapshots("", [&](const SnapshotRecord& record) -> Result<bool> {
      records.push_back(record);
      return true;
    }));
    report_.snapshots = records.size();
    for (const SnapshotRecord& record : records) {
      const auto damaged = [&](std::string problem) {
        report_.findings.push_back({"snapshot " + Quote(record.info.name), std::move(problem), "remove it through its engine", false});
      };
      if (record.has_upper) {
        const std::string name = SnapshotUpperName(record.number);
        owned_uppers.insert(name);
        const Result<LayerStore::Upper> upper = layers_.OpenUpper(name);
        if (!upper.ok() && upper.error().code() != ErrorCode::kNotFound) return upper.error();
        if (!upper.ok()) damaged("its files are gone");
      }
      if (record.layer) {
        SNAP_TRY(const std::optional<LayerRecord> layer, metadata_.Layer(*record.layer));
        if (!layer) damaged("its layer " + record.layer->ToString() + " is gone");
      }
      if (record.parent != 0) {
        SNAP_TRY(const std::optional<SnapshotRecord> parent, metadata_.SnapshotByNumber(record.parent));
        if (!parent) damaged("its parent " + Quote(record.info.parent) + " is gone");
      }
    }
    return {};
  }

  Store::State& state_;
  LayerStore& layers_;
  Metadata& metadata_;
  const bool repair_;
  const bool scrub_;
  CheckReport& report_;
  std::set<LayerId> rows_;
  std::map<LayerId, std::string> bad_;  // rows whose directory is gone or unusable, and why
  std::set<ObjectId> objects_;          // on disk
  std::vector<std::string> foreign_objects_;  // what else is there
  std::map<ObjectId, Result<void>> verified_;
  std::vector<LayerId> unrecorded_;     // directories that an import has not recorded yet
  std::set<LayerId> orphans_;           // directories whose row a repair has removed
};

}  // namespace

Result<CheckReport> Store::Check(const CheckOptions& options) {
  LayerStore& layers = state_->layers;
  CheckReport report;
  if (options.rebuild) {
    SNAP_TRY(const std::vector<LayerId> present, layers.List());
    std::vector<LayerAddition> manifests;
    for (const LayerId& id : present) {
      Result<LayerManifest> manifest = layers.Find(id);
      if (!manifest.ok()) continue;  // the check below reports it
      Result<std::vector<ObjectId>> objects = state_->ObjectsOnDisk(*manifest);
      if (!objects.ok()) continue;
      manifests.emplace_back(std::move(manifest).value(), std::move(objects).value());
    }
    SNAP_TRY_VOID(Metadata::Rebuild(layers.root(), layers.root_path(), state_->OpenOptions(Metadata::Access::kWrite), manifests));
    SNAP_TRY(const std::vector<std::string> merged, layers.ListMerged());
    for (const std::string& name : merged) SNAP_TRY_VOID(layers.RemoveMerged(name));  // no image is left that they belong to
    report.findings.push_back(
        {"database", "rebuilding was asked for",
         fmt::format("made anew from {} layers; import the images again, layers are reused",
                     manifests.size()),
         true});
  }
  {
    Result<Metadata> metadata = options.repair ? state_->Write() : state_->Read();
    if (!metadata.ok()) {
      if (metadata.error().code() != ErrorCode::kCorrupt) return metadata.error();
      report.findings.push_back(
          {"database", metadata.error().message(), "--rebuild makes it anew from layer.json files", false});
      return report;
    }
    SNAP_TRY_VOID(Checker(*state_, *metadata, options, report).Run());
  }
  SNAP_TRY(const LayerStore::Garbage garbage, layers.CollectGarbage(!options.repair));
  if (garbage.stages != 0) {
    report.findings.push_back({"directory 'staging'",
                               fmt::format("holds {} abandoned stages", garbage.stages), "delete them",
                               options.repair});
  }
  return report;
}

}  // namespace snap
