// Import: layers that are there are pinned, the others extracted side by side; then everything that depends
// on order (settling, committing, the database) happens bottom first, on one thread. Invariant: until the one
// database batch at the end nothing refers to what was made; every way out before it discards.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/time.h"
#include "fs/tree_editor.h"
#include "snapshotter/layer_import.h"
#include "snapshotter/layer_settle.h"
#include "snapshotter/layer_stack.h"
#include "snapshotter/merged_image.h"
#include "snapshotter/store_state.h"

namespace snap {
namespace {

constexpr size_t kMaxLayers = 500;  // what a mount can stack

using Progress = ImportOptions::Progress;
using Clock = std::chrono::steady_clock;

/// Calls the user's function for one layer at a time and not too often.
class Reporter {
 public:
  Reporter(const ImportOptions& options, const oci::Image& image) : callback_(options.on_progress) {
    for (const oci::LayerBlob& layer : image.layers) {
      Progress progress;
      progress.layer = layer.index;
      progress.layer_count = image.layers.size();
      progress.total_bytes = layer.size_bytes;
      if (layer.blob_id) {
        progress.label = layer.blob_id->digest.Short();
      } else if (layer.diff_id) {
        progress.label = layer.diff_id->digest.Short();
      } else {
        progress.label = "layer " + std::to_string(layer.index + 1);
      }
      layers_.push_back({std::move(progress), {}});
    }
  }

  void Phase(size_t layer, Progress::Phase phase) {
    if (!callback_) return;
    const std::lock_guard guard(mutex_);
    layers_[layer].progress.phase = phase;
    callback_(layers_[layer].progress);
  }
  void Bytes(size_t layer, uint64_t bytes) {
    constexpr auto kInterval = std::chrono::milliseconds(100);
    if (!callback_) return;
    const Clock::time_point now = Clock::now();
    const std::lock_guard guard(mutex_);
    layers_[layer].progress.bytes = bytes;
    if (now - layers_[layer].reported < kInterval) return;
    layers_[layer].reported = now;
    callback_(layers_[layer].progress);
  }
  void Entries(size_t layer, uint64_t entries) {
    const std::lock_guard guard(mutex_);
    layers_[layer].progress.entries = entries;
  }

 private:
  struct Layer {
    Progress progress;
    Clock::time_point reported;
  };
  const std::function<void(const Progress&)>& callback_;
  std::mutex mutex_;
  std::vector<Layer> layers_;  // guarded by mutex_
};

class Importer {
 public:
  /// `pins`: an empty stage that is held as long as the import lasts; it keeps the objects.
  Importer(Store::State& state, oci::ImageSource& source, const std::string& source_name,
           const ImportOptions& options, oci::Image image, LayerStage pins)
      : state_(state),
        source_(source),
        source_name_(source_name),
        options_(options),
        image_(std::move(image)),
        reporter_(options, image_),
        pins_(std::move(pins)),
        objects_(state.layers.objects(), pins_.tree()),
        layers_(image_.layers.size()) {}

  Result<ImportResult> Run() {
    // Says early that the database is damaged or locked for good, and makes it before the first layer
    // appears.
    { SNAP_TRY(const Metadata metadata, state_.Read()); }
    SNAP_TRY(format_, ChooseFormat());
    SNAP_TRY_VOID(PinShared());
    SNAP_TRY_VOID(ExtractMissing());
    Result<ImportResult> result = Finish();
    if (!result.ok()) DiscardUnrecorded();
    return result;
  }

 private:
  struct Layer {
    std::optional<LayerPin> pin;              // there already, or committed by this import
    bool created = false;                     // by this import
    std::optional<size_t> same_as;            // a lower layer of this image with the same DiffId
    std::optional<ExtractedLayer> extracted;  // until it is committed
    LayerManifest manifest;                   // from Complete on
    std::vector<ObjectId> objects;            // of one that this import made; each once
    UniqueFd image;                           // likewise, of a packed one
    std::unique_ptr<LayerTree> tree;          // likewise
  };

  Result<LayerFormat> ChooseFormat() const {
    if (options_.format == LayerFormatChoice::kTree) return LayerFormat::kTree;
    const Result<void> packed = state_.backend->CanMountPacked();
    if (packed.ok()) return LayerFormat::kPacked;
    if (options_.format == LayerFormatChoice::kAuto) return LayerFormat::kTree;
    return packed.error();
  }

  /// Everything from which a failure may leave names in the store.
  Result<ImportResult> Finish() {
    SNAP_TRY_VOID(Complete());
    SNAP_FAULT_POINT("store.import.before_commit");
    SNAP_TRY_VOID(objects_.Publish(false));
    // Beside the flush, during which the processors have nothing to do. Not having it is no failure: mounting makes it too.
    std::thread merging;
    try {
      merging = std::thread([stack = Stacked(), this] {
        try {
          MakeMerged(stack);
        } catch (const std::bad_alloc&) {  // many layers, little memory: they are stacked one by one
        }
      });
      merged_ = true;
    } catch (const std::system_error&) {  // a limit on processes
    }
    const Result<void> committed = CommitLayers();
    if (merging.joinable()) merging.join();
    SNAP_TRY_VOID(committed);
    return Record();
  }

  // --- what is there already

  /// Whether a stored layer is right at position `i`, above a layer like `below`.
  static bool Fits(const LayerManifest& stored, const DiffId& diff_id, const LayerId& chain_id,
                   const LayerManifest* below) {
    if (stored.diff_id != diff_id) return false;
    if (stored.settled) return stored.id == chain_id;
    return !stored.implied_root || below == nullptr || below->implied_root;
  }

  Result<void> PinShared() {
    std::map<DiffId, size_t> first;
    std::vector<DiffId> diff_ids;
    for (size_t i = 0; i < layers_.size(); ++i) {
      reporter_.Phase(i, Progress::Phase::kStarted);
      const std::optional<DiffId>& diff_id = image_.layers[i].diff_id;
      if (!diff_id) continue;  // not known before it is read; then this is the only layer
      diff_ids.push_back(*diff_id);
      const LayerId chain_id{ChainIdOf(diff_ids)};
      const LayerManifest* const below = i == 0 ? nullptr : &layers_[i - 1].manifest;
      const bool below_is_known = i == 0 || layers_[i - 1].pin.has_value();
      for (const LayerId& candidate : {chain_id, LayerId{diff_id->digest}}) {
        if (layers_[i].pin) break;
        Result<LayerPin> pin = state_.layers.Pin(candidate);
        if (!pin.ok()) {
          // A damaged one is extracted again, and the commit replaces it.
          if (pin.error().code() == ErrorCode::kNotFound || pin.error().code() == ErrorCode::kCorrupt)
            continue;
          return std::move(pin).error();
        }
        if (!below_is_known && pin->manifest.implied_root) continue;
        if (!Fits(pin->manifest, *diff_id, chain_id, below)) continue;
        if (options_.durability == Durability::kFull) SNAP_TRY_VOID(state_.layers.MakeDurable(*pin));
        layers_[i].manifest = pin->manifest;
        layers_[i].pin = std::move(pin).value();
        reporter_.Phase(i, Progress::Phase::kExists);
      }
      if (layers_[i].pin) continue;
      const auto [place, inserted] = first.emplace(*diff_id, i);
      if (!inserted) layers_[i].same_as = place->second;
    }
    return {};
  }

  Digest ChainIdOf(const std::vector<DiffId>& diff_ids) {
    const std::string text =
        diff_ids.size() == 1 ? "" : last_chain_id_.ToString() + " " + diff_ids.back().ToString();
    last_chain_id_ = diff_ids.size() == 1 ? diff_ids.front().digest : Digest::Of(text);
    return last_chain_id_;
  }

  // --- extraction

  Result<void> ExtractMissing() {
    std::vector<size_t> missing;
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (!layers_[i].pin && !layers_[i].same_as) missing.push_back(i);
    }
    return Extract(std::move(missing));
  }

  /// Extracts these layers, as many at once as was asked for, the largest first so that none is left over at
  /// the end.
  Result<void> Extract(std::vector<size_t> missing) {
    std::stable_sort(missing.begin(), missing.end(), [&](size_t a, size_t b) {
      return image_.layers[a].size_bytes > image_.layers[b].size_bytes;
    });
    const size_t wanted = options_.parallel_layers != 0 ? options_.parallel_layers : sys::ProcessorCount();
    std::atomic<size_t> next{0};
    std::atomic<bool> cancelled{false};
    std::mutex mutex;
    std::optional<Error> first_error;  // guarded by mutex
    const auto fail = [&](Error error) {
      const std::lock_guard guard(mutex);
      if (!first_error) first_error = std::move(error);  // the others only say that they were cancelled
      cancelled = true;
    };
    const auto work = [&] {
      for (size_t at = next++; at < missing.size() && !cancelled; at = next++) {
        const size_t i = missing[at];
        Result<ExtractedLayer> layer = ExtractOne(i, cancelled);
        if (layer.ok()) {
          layers_[i].extracted = std::move(layer).value();
        } else {
          fail(std::move(layer).error().Wrap(fmt::format("import layer {} of {}", i + 1, layers_.size())));
        }
      }
    };
    std::vector<std::thread> threads;
    for (size_t i = 1; i < std::min(wanted, missing.size()); ++i) {
      try {
        threads.emplace_back(work);
      } catch (const std::system_error&) {
        break;  // a limit on processes: fewer at once
      }
    }
    work();
    for (std::thread& thread : threads) thread.join();
    if (first_error) return std::move(*first_error);
    return {};
  }

  Result<ExtractedLayer> ExtractOne(size_t i, const std::atomic<bool>& cancelled) {
    reporter_.Phase(i, Progress::Phase::kExtracting);
    LayerImportOptions options;
    options.format = format_;
    options.engine = options_.engine;
    options.tar_limits = options_.tar_limits;
    options.inflate_limits = options_.inflate_limits;
    options.on_bytes = [this, i](uint64_t bytes) { reporter_.Bytes(i, bytes); };
    SNAP_TRY(const std::unique_ptr<ByteSource> stored, source_.OpenLayer(image_.layers[i]));
    SNAP_TRY(ExtractedLayer layer,
             ExtractLayer(*stored, image_.layers[i], state_.layers, objects_, options, cancelled));
    reporter_.Entries(i, layer.entries);
    return layer;
  }

  // --- what needs the layers below

  /// Settles what depends on lower layers and gives every layer its name, bottom first.
  Result<void> Complete() {
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      const size_t known = layer.same_as.value_or(i);
      diff_ids_.push_back(layers_[known].extracted ? layers_[known].extracted->diff_id
                                                   : *image_.layers[i].diff_id);
    }
    const std::vector<ChainId> chain = ChainIds(diff_ids_);
    for (size_t i = 0; i < layers_.size(); ++i) {
      Layer& layer = layers_[i];
      if (layer.pin) continue;
      const LayerManifest* const below = i == 0 ? nullptr : &layers_[i - 1].manifest;
      if (layer.same_as) {
        layer.manifest = layers_[*layer.same_as].manifest;
        if (Fits(layer.manifest, diff_ids_[i], LayerId{chain[i].digest}, below)) continue;
        layer.same_as.reset();
        SNAP_TRY_VOID(Extract({i}));  // it looks different here: it is needed once more
      }
      ExtractedLayer& extracted = *layer.extracted;
      LayerSummary& summary = extracted.summary;
      LayerManifest& manifest = layer.manifest;
      DescribeLayer(extracted, below, manifest);
      if (manifest.settled) SNAP_TRY_VOID(Settle(i));
      if (extracted.packed != nullptr) SNAP_TRY_VOID(Seal(layer));
      manifest.id = LayerId{manifest.settled ? chain[i].digest : diff_ids_[i].digest};
      manifest.diff_id = diff_ids_[i];
      manifest.blob_id = extracted.blob_id;
      manifest.blob_bytes = extracted.blob_bytes;
      manifest.tar_bytes = extracted.tar_bytes;
      manifest.usage = summary.usage;
    }
    return {};
  }

  Result<void> Settle(size_t i) {
    ExtractedLayer& extracted = *layers_[i].extracted;
    const auto wrap = [&](Error error) {
      return std::move(error).Wrap(fmt::format("import layer {} of {}", i + 1, layers_.size()));
    };
    if (i == 0) {
      if (extracted.summary.lower_links.empty()) return {};
      const LowerLink& link = extracted.summary.lower_links.front();
      return wrap(MakeError(ErrorCode::kInvalidArgument, "hard link {} to {}: the target does not exist",
                            Quote(link.path.str()), Quote(link.target.str())));
    }
    SNAP_TRY_VOID(objects_.Publish(false));  // the layers below may refer to some
    std::vector<OpenedLayer> opened;
    std::vector<StackedLayer> stacked;
    for (size_t below = i; below > 0; --below) {
      const Layer& layer = layers_[below - 1];
      const Layer& known = layer.same_as ? layers_[*layer.same_as] : layer;
      OpenedLayer lower{layer.manifest, UniqueFd()};
      if (known.pin) {
        SNAP_TRY(lower, OpenLayer(state_.layers, layer.manifest.id));
      } else {
        const LayerStage& stage = known.extracted->stage;
        const bool is_tree = layer.manifest.format == LayerFormat::kTree;
        SNAP_TRY_SYS(lower.content,
                     is_tree ? sys::OpenAt(stage.directory(), LayerStage::kTreeName, O_PATH | O_DIRECTORY | O_NOFOLLOW)
                             : sys::OpenAt(stage.directory(), LayerStage::kImageName, O_RDONLY | O_NOFOLLOW),
                     "open a layer below");
      }
      stacked.push_back(lower.Stacked());
      opened.push_back(std::move(lower));
    }
    SNAP_TRY(const Mount lowers, state_.backend->MountStacked(StackLayers(state_.layers, stacked), {}));
    std::optional<TreeEditor> tree;
    LayerEditor* editor = nullptr;
    if (extracted.format == LayerFormat::kTree) {
      editor = &tree.emplace(extracted.stage.tree());
    } else {
      editor = extracted.packed->writer.get();
    }
    Result<void> settled = SettleLayer(*editor, lowers.root(), extracted.summary);
    if (!settled.ok()) return wrap(std::move(settled).error());
    return {};
  }

  /// Writes the metadata of a packed layer, which needs nothing more then.
  static Result<void> Seal(Layer& layer) {
    ExtractedLayer& extracted = *layer.extracted;
    SNAP_TRY(SealedLayer sealed, extracted.packed->Seal());
    layer.manifest.checksums = sealed.checksums;
    layer.manifest.exact_tar = true;
    extracted.summary.usage = sealed.usage;
    layer.objects = std::move(sealed.objects);
    layer.image = std::move(extracted.packed->image);
    layer.tree = std::make_unique<LayerTree>(std::move(*extracted.packed->writer).TakeTree());
    extracted.packed.reset();
    return {};
  }

  struct Stack {
    std::vector<StackedLayer> layers_top_first;
    std::vector<const LayerTree*> trees;
    std::vector<std::shared_ptr<OpenedLayer>> opened;  // keep what the layers refer to
  };

  /// The image's layers; none unless all are packed.
  Stack Stacked() const {
    Stack stack;
    for (size_t i = layers_.size(); i > 0; --i) {
      const Layer& layer = layers_[i - 1];
      const Layer& known = layer.same_as ? layers_[*layer.same_as] : layer;
      FdRef content = known.image;
      if (!known.image.valid()) {
        Result<OpenedLayer> pinned = OpenLayer(state_.layers, known.manifest.id);
        if (!pinned.ok() || pinned->manifest.format != LayerFormat::kPacked) return {};
        stack.opened.push_back(std::make_shared<OpenedLayer>(std::move(pinned).value()));
        content = stack.opened.back()->content;
      }
      stack.layers_top_first.push_back({known.manifest.id, LayerFormat::kPacked, content, known.manifest.checksums,
                                        known.manifest.usage.entries});
      stack.trees.push_back(known.tree.get());
    }
    return stack;
  }

  void MakeMerged(const Stack& stack) {
    if (!stack.layers_top_first.empty()) (void)MakeMergedImage(state_.layers, stack.layers_top_first, stack.trees);
  }

  // --- commit

  Result<void> CommitLayers() {
    std::vector<StagedLayer> staged;
    std::vector<size_t> positions;
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (!layers_[i].extracted) continue;
      reporter_.Phase(i, Progress::Phase::kFlushing);
      staged.push_back({std::move(layers_[i].extracted->stage), layers_[i].manifest});
      positions.push_back(i);
      layers_[i].extracted.reset();
    }
    SNAP_TRY(std::vector<LayerPin> pins, state_.layers.CommitAll(std::move(staged), options_.durability));
    for (size_t at = 0; at < pins.size(); ++at) {
      Layer& layer = layers_[positions[at]];
      layer.manifest = pins[at].manifest;
      layer.created = pins[at].created;
      layer.pin = std::move(pins[at]);
    }
    return {};
  }

  Result<ImportResult> Record() {
    ImportResult result;
    ImageRecord& image = result.image;
    image.config_json = image_.config_json;
    if (image.config_json.empty()) {
      // No time and no path in it: importing the same tree twice gives the same image.
      image.config_json = oci::MakeConfigJson(image_.config.platform, diff_ids_, "", "snap import");
    }
    image.id = ImageId{Digest::Of(image.config_json)};
    image.manifest_json = image_.manifest_json;
    image.manifest_digest = image_.manifest_digest;
    image.diff_ids = diff_ids_;
    image.imported = NowRfc3339();
    image.source = source_name_;
    for (const Layer& layer : layers_) {
      image.layers.push_back(layer.manifest.id);
      ++(layer.created ? result.layers_new : result.layers_shared);
    }
    SNAP_FAULT_POINT("store.import.before_database");
    SNAP_TRY(Metadata metadata, state_.Write());
    SNAP_TRY(const std::optional<ImageRecord> before, metadata.ImageById(image.id));
    if (before) image.names = before->names;
    SNAP_TRY(const std::string name, Name());
    if (!name.empty() && std::find(image.names.begin(), image.names.end(), name) == image.names.end()) {
      SNAP_TRY(const std::optional<ImageId> owner, metadata.ImageByName(name));
      if (owner) result.replaced_names.push_back(name);
      image.names.push_back(name);
    }
    // From here on nobody takes away what the rows will refer to.
    SNAP_TRY_VOID(objects_.Publish(options_.durability == Durability::kFull));
    std::vector<LayerAddition> additions;
    for (const Layer& layer : layers_) {
      SNAP_TRY(LayerAddition addition, Addition(metadata, layer));
      additions.push_back(std::move(addition));
    }
    SNAP_TRY_VOID(metadata.PutImage(image, additions));
    SNAP_FAULT_POINT("store.import.after_database");
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (layers_[i].created) reporter_.Phase(i, Progress::Phase::kDone);
    }
    return result;
  }

  /// What is to be recorded of a layer.
  Result<LayerAddition> Addition(Metadata& metadata, const Layer& layer) const {
    if (layer.created) return LayerAddition(layer.manifest, layer.objects);
    SNAP_TRY(const std::optional<LayerRecord> known, metadata.Layer(layer.manifest.id));
    if (known) return LayerAddition(layer.manifest);
    // Another import made it, or its image was removed while this import used it: its objects may have gone.
    SNAP_TRY(std::vector<ObjectId> objects, state_.ObjectsOnDisk(layer.manifest));
    for (const ObjectId& object : objects) {
      SNAP_TRY(const bool exists, state_.layers.objects().Exists(object));
      if (exists) continue;
      return MakeError(ErrorCode::kBusy, "use layer {}: it is being removed; try again", layer.manifest.id.ToString());
    }
    return LayerAddition(layer.manifest, std::move(objects));
  }

  /// The user's name; the source's own, if it is one; none.
  Result<std::string> Name() const {
    if (!options_.name.empty()) return NormalizeImageName(options_.name);
    if (image_.ref_name.empty()) return std::string();
    Result<std::string> own = NormalizeImageName(image_.ref_name);
    return own.ok() ? std::move(own).value() : std::string();
  }

  /// Takes back what this import has given names and nobody else uses. Under the database's lock, so that it sees what others
  /// have recorded; when even that cannot be had, garbage collection does it later.
  void DiscardUnrecorded() {
    const std::vector<ObjectId> objects = objects_.Ids();
    Result<Metadata> metadata = state_.Write();
    if (!metadata.ok()) return;
    Metadata::Orphans orphans;
    for (Layer& layer : layers_) layer.pin.reset();
    // Not only those that this import made: one that it used may have lost its row meanwhile.
    for (const Layer& layer : layers_) {
      if (layer.manifest.created.empty()) continue;  // never committed
      const Result<std::optional<LayerRecord>> row = metadata->Layer(layer.manifest.id);
      if (row.ok() && !row->has_value()) orphans.layers.push_back(layer.manifest.id);
    }
    const Result<std::set<ObjectId>> referenced = metadata->ReferencedObjects();
    if (referenced.ok()) {
      std::copy_if(objects.begin(), objects.end(), std::back_inserter(orphans.objects),
                   [&](const ObjectId& object) { return !referenced->contains(object); });
    }
    (void)state_.DiscardOrphans(orphans);
    (void)state_.RemoveUnownedMerged(*metadata);
  }

  Store::State& state_;
  oci::ImageSource& source_;
  const std::string& source_name_;
  const ImportOptions& options_;
  const oci::Image image_;
  Reporter reporter_;
  const LayerStage pins_;
  ObjectStage objects_;
  LayerFormat format_ = LayerFormat::kTree;
  bool merged_ = false;  // a merged image may have been made
  std::vector<Layer> layers_;     // bottom first
  std::vector<DiffId> diff_ids_;  // from Complete on
  Digest last_chain_id_;
};

}  // namespace

Result<LayerFormatChoice> ParseLayerFormatChoice(std::string_view text) {
  if (text == "auto") return LayerFormatChoice::kAuto;
  if (text == "packed") return LayerFormatChoice::kPacked;
  if (text == "tree") return LayerFormatChoice::kTree;
  return MakeError(ErrorCode::kInvalidArgument, "layer format {} is not 'auto', 'packed' or 'tree'", Quote(text));
}

Result<ImportResult> Store::Import(oci::ImageSource& source, const std::string& source_name,
                                   const ImportOptions& options) {
  if (!options.name.empty()) {
    SNAP_TRY(const std::string name, NormalizeImageName(options.name));  // before the work, not after it
  }
  SNAP_TRY(oci::Image image, source.Resolve(options.platform));
  if (image.layers.empty() || image.layers.size() > kMaxLayers) {
    return MakeError(ErrorCode::kLimitExceeded, "import {}: it has {} layers; 1 to {} are possible",
                     Quote(source_name), image.layers.size(), kMaxLayers);
  }
  const bool has_config = !image.config_json.empty();
  if (has_config && image.config.diff_ids.size() != image.layers.size()) {
    return MakeError(ErrorCode::kCorrupt, "import {}: {} layers but {} DiffIds", Quote(source_name),
                     image.layers.size(), image.config.diff_ids.size());
  }
  if (!has_config && image.layers.size() != 1) {
    return MakeError(ErrorCode::kUnsupported, "import {}: several layers without a configuration",
                     Quote(source_name));
  }
  for (size_t i = 0; i < image.layers.size(); ++i) {
    image.layers[i].index = i;
    if (has_config) image.layers[i].diff_id = image.config.diff_ids[i];
  }
  Result<ImportResult> result = [&]() -> Result<ImportResult> {
    SNAP_TRY(LayerStage busy, state_->MarkBusy());
    return Importer(*state_, source, source_name, options, std::move(image), std::move(busy)).Run();
  }();
  if (!result.ok()) state_->EmptyTrash();
  return result;
}

}  // namespace snap
