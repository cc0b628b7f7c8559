// Images by name and id, and their trees. Removing keeps the order of docs/durability.md: database first,
// then the directories, both under the database's lock so that no import in between takes a layer that is
// about to go.
#include <fcntl.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "snapshotter/layer_stack.h"
#include "snapshotter/merged_image.h"
#include "snapshotter/store_state.h"

namespace snap {
namespace {

bool IsHex(std::string_view text) {
  return !text.empty() && text.size() <= 2 * Digest::kBytes &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// Levenshtein's distance: what a typing error costs.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

std::optional<std::string> ClosestName(const std::vector<ImageRecord>& images, std::string_view wanted) {
  constexpr size_t kFarthest = 3;
  std::optional<std::string> closest;
  size_t best = kFarthest + 1;
  for (const ImageRecord& image : images) {
    for (const std::string& name : image.names) {
      const size_t distance = EditDistance(name, wanted);
      if (distance < best) {
        best = distance;
        closest = name;
      }
    }
  }
  return closest;
}

struct Found {
  ImageRecord image;
  std::optional<std::string> by_name;  // normalized; none: found by id
};

Result<Found> Find(Metadata& metadata, std::string_view reference) {
  const Result<std::string> name = NormalizeImageName(reference);
  if (name.ok()) {
    SNAP_TRY(const std::optional<ImageId> id, metadata.ImageByName(*name));
    if (id) {
      SNAP_TRY(std::optional<ImageRecord> image, metadata.ImageById(*id));
      if (image) return Found{std::move(*image), *name};
    }
  }
  std::string_view prefix = reference;
  if (prefix.starts_with("sha256:")) prefix.remove_prefix(7);
  SNAP_TRY(std::vector<ImageRecord> images, metadata.Images());
  if (IsHex(prefix)) {
    std::erase_if(images, [&](const ImageRecord& image) { return !image.id.Hex().starts_with(prefix); });
    if (images.size() == 1) return Found{std::move(images.front()), std::nullopt};
    if (images.size() > 1) {
      std::string candidates;
      for (const ImageRecord& image : images) {
        candidates += fmt::format("{}{}{}", candidates.empty() ? "" : ", ", image.id.digest.Short(),
                                  image.names.empty() ? "" : " (" + image.names.front() + ")");
      }
      return MakeError(ErrorCode::kInvalidArgument, "find image {}: {} images have an id that starts so: {}",
                       Quote(reference), images.size(), candidates);
    }
    SNAP_TRY(images, metadata.Images());
  } else if (!name.ok()) {
    return name.error();
  }
  const std::optional<std::string> closest = ClosestName(images, name.ok() ? *name : std::string(reference));
  if (closest) {
    return MakeError(ErrorCode::kNotFound, "find image {}: there is none; is {} meant", Quote(reference),
                     Quote(*closest));
  }
  return MakeError(ErrorCode::kNotFound, "find image {}: there is none", Quote(reference));
}

}  // namespace

Result<std::vector<ImageRecord>> Store::Images() {
  SNAP_TRY(Metadata metadata, state_->Read());
  return metadata.Images();
}

Result<ImageRecord> Store::FindImage(std::string_view reference) {
  SNAP_TRY(Metadata metadata, state_->Read());
  SNAP_TRY(Found found, Find(metadata, reference));
  return std::move(found.image);
}

Result<ImageRecord> Store::Tag(std::string_view reference, std::string_view new_name) {
  SNAP_TRY(const std::string name, NormalizeImageName(new_name));
  SNAP_TRY(Metadata metadata, state_->Write());
  SNAP_TRY(const Found found, Find(metadata, reference));
  SNAP_TRY_VOID(metadata.SetName(name, found.image.id));
  SNAP_TRY(std::optional<ImageRecord> image, metadata.ImageById(found.image.id));
  SNAP_CHECK(image.has_value());  // the lock is ours
  return std::move(*image);
}

Result<Store::RemovedImage> Store::RemoveImage(std::string_view reference, bool force, Deletion deletion) {
  SNAP_TRY(const LayerStage busy, state_->MarkBusy());
  RemovedImage removed;
  {
    SNAP_TRY(Metadata metadata, state_->Write());
    SNAP_TRY(const Found found, Find(metadata, reference));
    if (found.by_name && found.image.names.size() > 1) {
      SNAP_TRY_VOID(metadata.RemoveName(*found.by_name));
      removed.untagged.push_back(*found.by_name);
      return removed;
    }
    SNAP_TRY(const std::vector<ContainerRecord> containers, metadata.Containers());
    for (const ContainerRecord& container : containers) {
      if (container.image != found.image.id) continue;
      const bool running = IsRunning(container);
      if (!running && force) continue;
      return MakeError(ErrorCode::kBusy, "remove image {}: {} container {} uses it", Quote(reference),
                       running ? "running" : "stopped", Quote(container.name));
    }
    SNAP_TRY(const Metadata::Orphans orphans, metadata.RemoveImage(found.image.id));
    removed.layers = orphans.layers;
    removed.untagged = found.image.names;
    removed.deleted = found.image.id;
    SNAP_FAULT_POINT("store.remove_image.after_database");
    SNAP_TRY_VOID(state_->DiscardOrphans(orphans));
    SNAP_TRY(const uint64_t merged, state_->RemoveUnownedMerged(metadata));
    (void)merged;
  }
  if (deletion == Deletion::kAtOnce) state_->EmptyTrash();
  return removed;
}

Result<std::vector<ImageLayer>> Store::ImageLayers(const ImageRecord& image) {
  SNAP_TRY(const oci::ImageConfig config,
           oci::ParseImageConfig(image.config_json, "config of image " + image.id.ToString()));
  std::vector<oci::HistoryEntry> history;
  for (const oci::HistoryEntry& entry : config.history) {
    if (!entry.empty_layer) history.push_back(entry);
  }
  const std::vector<ChainId> chain = ChainIds(image.diff_ids);
  SNAP_TRY(Metadata metadata, state_->Read());
  std::vector<ImageLayer> layers;
  for (size_t i = 0; i < image.layers.size(); ++i) {
    SNAP_TRY(std::optional<LayerRecord> record, metadata.Layer(image.layers[i]));
    if (!record) {
      return MakeError(ErrorCode::kCorrupt,
                       "list layers of image {}: layer {} is gone; run `snap system check`",
                       image.id.ToString(), image.layers[i].ToString());
    }
    ImageLayer layer;
    layer.manifest = std::move(record->manifest);
    layer.references = record->references;
    if (i < chain.size()) layer.chain_id = chain[i];
    if (i < history.size()) layer.history = std::move(history[i]);
    layers.push_back(std::move(layer));
  }
  return layers;
}

Result<Mount> Store::MountImage(const ImageRecord& image, const MountSelection& selection,
                                const std::optional<std::string>& upper_name, const MountOptions& options) {
  const size_t count = image.layers.size();
  const auto in_range = [&](const std::optional<size_t>& number) {
    return !number || (*number >= 1 && *number <= count);
  };
  if ((selection.upto && selection.only) || !in_range(selection.upto) || !in_range(selection.only)) {
    return MakeError(ErrorCode::kInvalidArgument, "mount image {}: it has layers 1 to {}",
                     image.id.digest.Short(), count);
  }
  const size_t first = selection.only ? *selection.only - 1 : 0;
  const size_t last = selection.only ? *selection.only : selection.upto.value_or(count);
  std::vector<OpenedLayer> opened;
  std::vector<StackedLayer> stacked;
  for (size_t i = last; i > first; --i) {
    SNAP_TRY(OpenedLayer layer, OpenLayer(state_->layers, image.layers[i - 1]));
    stacked.push_back(layer.Stacked());
    opened.push_back(std::move(layer));
  }
  std::optional<MergedStack> merged;
  if (!selection.only && last == count) {
    SNAP_TRY(merged, StackMerged(state_->layers, stacked));
    // Made by the import as a rule. Where it cannot be made (a full disk) the layers are stacked one by one.
    if (!merged && MakeMergedImage(state_->layers, stacked, {}).ok()) {
      SNAP_TRY(merged, StackMerged(state_->layers, stacked));
    }
  }
  MountStack stack = merged ? merged->stack : StackLayers(state_->layers, stacked);
  LayerStore::Upper upper;
  if (upper_name) {
    SNAP_TRY(upper, state_->layers.OpenUpper(*upper_name));
    stack.upper = MountStack::Upper{.upper = upper.fs, .work = upper.work};
  }
  return state_->backend->MountStacked(stack, options);
}

Result<Mount> Store::MountLayer(const LayerId& layer, const MountOptions& options) {
  SNAP_TRY(const OpenedLayer opened, OpenLayer(state_->layers, layer));
  if (opened.manifest.format == LayerFormat::kTree) {
    return MakeError(ErrorCode::kUnsupported, "mount layer {}: it is a directory", layer.ToString());
  }
  return state_->backend->MountPackedLayer({opened.content, {}}, options);
}

}  // namespace snap
