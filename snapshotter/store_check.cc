// The database and the directories compared both ways. Repair only deletes what has no owner and drops rows
// whose content is gone; it never invents content.
#include <fcntl.h>

#include <map>
#include <set>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "snapshotter/store_state.h"

namespace snap {
namespace {

constexpr mode_t kPrivate = 0700;

class Checker {
 public:
  Checker(LayerStore& layers, Metadata& metadata, bool repair, CheckReport& report)
      : layers_(layers), metadata_(metadata), repair_(repair), report_(report) {}

  Result<void> Run() {
    SNAP_TRY_VOID(CheckModes());
    SNAP_TRY(const std::vector<std::string> references, metadata_.CheckReferences(repair_));
    for (const std::string& problem : references) {
      report_.findings.push_back({"database", problem, "correct the index", repair_});
    }
    SNAP_TRY_VOID(CheckLayerRows());
    SNAP_TRY_VOID(CheckImages());
    SNAP_TRY_VOID(DropBadLayers());
    SNAP_TRY_VOID(CheckLayerDirectories());
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
    for (const char* name : {".", "db", "layers", "staging", "trash", "snapshots"})
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
      const Result<UniqueFd> tree = layers_.OpenTree(id);
      if (!manifest.ok() || !tree.ok()) {
        bad_.emplace(id, !manifest.ok() ? manifest.error().message() : tree.error().message());
        continue;
      }
      SNAP_TRY_VOID(CheckMode("layers/" + id.Hex()));
      // An import flushes layers that it shares before it writes its rows, and may fail in between.
      LayerManifest row = record.manifest;
      row.durable = manifest->durable;
      if (LayerManifestJson(*manifest) == LayerManifestJson(row)) continue;
      SNAP_TRY_VOID(Find("layer " + id.ToString(), "the database differs from layer.json",
                         "believe layer.json", [&] { return metadata_.PutLayer(*manifest); }));
    }
    return {};
  }

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
                           SNAP_TRY(const std::vector<LayerId> orphans, metadata_.RemoveImage(image.id));
                           for (const LayerId& id : orphans) {
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
        SNAP_TRY_VOID(metadata_.RemoveLayer(layer));
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
      if (pinned) continue;  // an import is about to record it
      if (orphans_.contains(id)) {
        SNAP_TRY_VOID(layers_.Discard(id));
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
    SNAP_TRY(const std::vector<std::string> uppers, layers_.ListUppers());
    for (const std::string& upper : uppers) {
      if (owned.contains(upper) || upper.starts_with(Store::kMountUpperPrefix)) continue;
      SNAP_TRY_VOID(Find("directory " + Quote("snapshots/" + upper), "belongs to no container", "delete it",
                         [&] { return layers_.DiscardForeign(LayerStore::Place::kSnapshots, upper); }));
    }
    return {};
  }

  LayerStore& layers_;
  Metadata& metadata_;
  const bool repair_;
  CheckReport& report_;
  std::set<LayerId> rows_;
  std::map<LayerId, std::string> bad_;  // rows whose directory is gone or unusable, and why
  std::set<LayerId> orphans_;           // directories whose row a repair has removed
};

}  // namespace

Result<CheckReport> Store::Check(const CheckOptions& options) {
  LayerStore& layers = state_->layers;
  CheckReport report;
  if (options.rebuild) {
    SNAP_TRY(const std::vector<LayerId> present, layers.List());
    std::vector<LayerManifest> manifests;
    for (const LayerId& id : present) {
      Result<LayerManifest> manifest = layers.Find(id);
      if (manifest.ok())
        manifests.push_back(std::move(manifest).value());  // the check below reports the others
    }
    SNAP_TRY_VOID(Metadata::Rebuild(layers.root(), layers.root_path(), state_->options.on_wait, manifests));
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
    SNAP_TRY_VOID(Checker(layers, *metadata, options.repair, report).Run());
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
