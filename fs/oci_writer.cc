// Layers first, each once whatever the number of images, then configs and manifests, then the one document
// that makes it all an image. Compressed layers are made side by side in temporary files and added in order.
#include "fs/oci_writer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <future>
#include <mutex>
#include <unordered_map>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/compress.h"
#include "fs/oci_documents.h"
#include "fs/oci_target.h"
#include "fs/oci_writer_documents.h"

namespace snap::oci {
namespace {

using Clock = std::chrono::steady_clock;

class Reporter {
 public:
  explicit Reporter(const SaveOptions& options) : callback_(options.on_progress) {}
  void Add(const SavedLayer& layer) {
    layers_.push_back(
        {{.layer = layers_.size(), .label = layer.diff_id.digest.Short(), .total_bytes = layer.tar_bytes},
         {}});
    for (Layer& each : layers_) each.progress.layer_count = layers_.size();
  }
  void Report(size_t layer, uint64_t bytes, bool done) {
    constexpr auto kInterval = std::chrono::milliseconds(100);
    if (!callback_) return;
    const std::lock_guard guard(mutex_);
    Layer& l = layers_[layer];
    const Clock::time_point now = Clock::now();
    l.progress.bytes = bytes;
    l.progress.done = done;
    if (!done && now - l.reported < kInterval) return;
    l.reported = now;
    callback_(l.progress);
  }

 private:
  struct Layer {
    SaveOptions::Progress progress;
    Clock::time_point reported;
  };
  const std::function<void(const SaveOptions::Progress&)>& callback_;
  std::mutex mutex_;
  std::vector<Layer> layers_;  // guarded by mutex_ once there are threads
};

/// A layer's tar. At its end stands the verdict on its size and digest.
class VerifiedTar final : public ByteSource {
 public:
  VerifiedTar(std::unique_ptr<ByteSource> inner, const SavedLayer& layer, size_t number, Reporter& reporter,
              const std::atomic<bool>& cancelled)
      : inner_(std::move(inner)),
        layer_(layer),
        number_(number),
        reporter_(reporter),
        cancelled_(cancelled) {}

  Result<size_t> Read(std::span<std::byte> buffer) override {
    if (cancelled_.load(std::memory_order_relaxed))
      return MakeError(ErrorCode::kCancelled, "save: another layer failed");
    SNAP_TRY(const size_t got, inner_->Read(buffer));
    if (got == 0) {
      if (bytes_ != layer_.tar_bytes) return WrongSize();
      const Digest found = std::move(hasher_).Finish();
      if (found != layer_.diff_id.digest) {
        return MakeError(ErrorCode::kCorrupt, "save layer {}: its content is {} now",
                         layer_.diff_id.ToString(), found.ToString());
      }
      return size_t{0};
    }
    bytes_ += got;
    if (bytes_ > layer_.tar_bytes) return WrongSize();
    hasher_.Update(buffer.first(got));
    reporter_.Report(number_, bytes_, false);
    return got;
  }

 private:
  Error WrongSize() const {
    return MakeError(ErrorCode::kCorrupt, "save layer {}: it has {} bytes {}instead of {}",
                     layer_.diff_id.ToString(), bytes_, bytes_ > layer_.tar_bytes ? "or more " : "",
                     layer_.tar_bytes);
  }

  const std::unique_ptr<ByteSource> inner_;
  const SavedLayer& layer_;
  const size_t number_;
  Reporter& reporter_;
  const std::atomic<bool>& cancelled_;
  Sha256 hasher_;
  uint64_t bytes_ = 0;
};

struct SpooledBlob {
  OutputFile file;
  SavedBlob blob;
};

class Saver {
 public:
  Saver(Target& target, const SaveOptions& options)
      : target_(target),
        options_(options),
        is_docker_(options.format == SaveFormat::kDockerArchive),
        compression_(is_docker_ ? Compression::kNone : options.compression),
        reporter_(options) {}

  Result<SaveReport> Run(const std::vector<SavedImage>& images, const std::string& where) {
    SNAP_TRY_VOID(Collect(images));
    SNAP_TRY(const std::optional<std::string> existing, target_.ExistingIndex());
    if (options_.format == SaveFormat::kOciArchive) {
      SNAP_TRY_VOID(AddText("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
    }
    SNAP_TRY_VOID(compression_ == Compression::kNone ? AddPlainLayers() : AddCompressedLayers());
    report_.images = images_.size();
    report_.layers = layers_.size();
    for (const SavedBlob& blob : blobs_) report_.layer_bytes += blob.size_bytes;
    SNAP_TRY_VOID(is_docker_ ? FinishDocker() : FinishOci(existing, where));
    return std::move(report_);
  }

 private:
  struct Image {
    const SavedImage* image = nullptr;
    Platform platform;
    std::vector<std::string> names;
    std::vector<size_t> layers;  // positions in layers_
    SavedBlob config;
  };

  /// Images of one config become one with all their names; layers of one DiffId, one layer.
  Result<void> Collect(const std::vector<SavedImage>& images) {
    if (images.empty()) return Error(ErrorCode::kInvalidArgument, "save: no images were given");
    std::unordered_map<Digest, size_t> by_config;
    std::unordered_map<DiffId, size_t> by_diff_id;
    for (const SavedImage& saved : images) {
      const Digest id = Digest::Of(saved.config_json);
      const auto [place, is_new] = by_config.emplace(id, images_.size());
      if (is_new) {
        SNAP_TRY(const ImageConfig config,
                 ParseImageConfig(saved.config_json, "config of image " + id.ToString()));
        Image image{.image = &saved,
                    .platform = config.platform,
                    .names = {},
                    .layers = {},
                    .config = {.digest = id, .size_bytes = saved.config_json.size()}};
        const bool same = std::equal(config.diff_ids.begin(), config.diff_ids.end(), saved.layers.begin(),
                                     saved.layers.end(),
                                     [](const DiffId& a, const SavedLayer& b) { return a == b.diff_id; });
        if (!same) {
          return MakeError(ErrorCode::kCorrupt, "save image {}: its layers are not those of its config",
                           id.ToString());
        }
        for (const SavedLayer& layer : saved.layers) {
          const auto [at, is_new_layer] = by_diff_id.emplace(layer.diff_id, layers_.size());
          if (is_new_layer) {
            layers_.push_back(&layer);
            reporter_.Add(layer);
          }
          image.layers.push_back(at->second);
        }
        images_.push_back(std::move(image));
      }
      for (const std::string& name : saved.names) {
        std::vector<std::string>& names = images_[place->second].names;
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      }
    }
    return {};
  }

  Result<void> AddText(const std::string& name, std::string_view text) {
    const std::unique_ptr<ByteSource> bytes = MakeMemorySource(std::as_bytes(std::span(text)));
    return target_.Add(name, text.size(), *bytes);
  }
  static std::string BlobPath(const Digest& digest) { return "blobs/sha256/" + digest.Hex(); }
  std::string LayerPath(size_t layer) const {
    return is_docker_ ? layers_[layer]->diff_id.Hex() + ".tar" : BlobPath(blobs_[layer].digest);
  }

  Result<std::unique_ptr<VerifiedTar>> OpenTar(size_t number) {
    const SavedLayer& layer = *layers_[number];
    SNAP_TRY(std::unique_ptr<ByteSource> tar, layer.open());
    return std::make_unique<VerifiedTar>(std::move(tar), layer, number, reporter_, cancelled_);
  }

  /// Their names and sizes are known before: they stream.
  Result<void> AddPlainLayers() {
    for (size_t i = 0; i < layers_.size(); ++i) {
      blobs_.push_back({.digest = layers_[i]->diff_id.digest, .size_bytes = layers_[i]->tar_bytes});
      SNAP_TRY(const std::unique_ptr<VerifiedTar> tar, OpenTar(i));
      SNAP_TRY_VOID(target_.Add(LayerPath(i), layers_[i]->tar_bytes, *tar));
      reporter_.Report(i, layers_[i]->tar_bytes, true);
    }
    return {};
  }

  Result<SpooledBlob> Compress(size_t number) {
    SNAP_TRY(const std::unique_ptr<VerifiedTar> tar, OpenTar(number));
    const std::unique_ptr<ByteSource> compressed = MakeCompressor(*tar, compression_);
    DigestingSource digesting(*compressed);
    SNAP_TRY(OutputFile file, target_.Spool());
    std::vector<std::byte> buffer(size_t{256} << 10U);
    for (;;) {
      SNAP_TRY(const size_t got, digesting.Read(buffer));
      if (got == 0) break;
      SNAP_TRY_SYS_VOID(sys::WriteAll(file.fd(), std::span(buffer).first(got)), "write compressed layer {}",
                        layers_[number]->diff_id.ToString());
    }
    const uint64_t size = digesting.bytes();
    SNAP_TRY(const Digest digest, digesting.Finish());
    return SpooledBlob{.file = std::move(file), .blob = {.digest = digest, .size_bytes = size}};
  }

  /// A window of layers is being compressed while the first of them is waited for; they are added in order,
  /// so that the archive does not depend on who was faster.
  Result<void> AddCompressedLayers() {
    const size_t window = options_.parallel_layers != 0 ? options_.parallel_layers : sys::ProcessorCount();
    std::optional<Error> error;
    std::deque<std::future<Result<SpooledBlob>>> pending;
    for (size_t started = 0; !error && (started < layers_.size() || !pending.empty());) {
      while (started < layers_.size() && pending.size() < window) {
        // Where no thread can be had, the layer is compressed when it is waited for.
        pending.push_back(std::async(std::launch::async | std::launch::deferred, [this, number = started] {
          Result<SpooledBlob> blob = Compress(number);
          if (!blob.ok()) cancelled_ = true;
          return blob;
        }));
        ++started;
      }
      Result<SpooledBlob> done = pending.front().get();
      pending.pop_front();
      const size_t number = blobs_.size();
      if (!done.ok()) {
        error = std::move(done).error();
        break;
      }
      blobs_.push_back(done->blob);
      const Result<void> added =
          target_.AddSpooled(LayerPath(number), std::move(done->file), done->blob.size_bytes);
      if (!added.ok()) error = added.error();
      reporter_.Report(number, layers_[number]->tar_bytes, true);
    }
    if (!error) return {};
    cancelled_ = true;
    for (auto& layer : pending) {
      Result<SpooledBlob> other = layer.get();
      // The one that failed first made the others give up; it is the one to tell about.
      if (!other.ok() && error->code() == ErrorCode::kCancelled) error = std::move(other).error();
    }
    return std::move(*error);
  }

  Result<void> FinishDocker() {
    std::vector<DockerImage> images;
    for (const Image& image : images_) {
      DockerImage out{
          .config_path = image.config.digest.Hex() + ".json", .names = image.names, .layer_paths = {}};
      for (const size_t layer : image.layers) out.layer_paths.push_back(LayerPath(layer));
      SNAP_TRY_VOID(AddText(out.config_path, image.image->config_json));
      images.push_back(std::move(out));
    }
    return target_.Commit("manifest.json", MakeDockerManifestJson(images));
  }

  Result<void> FinishOci(const std::optional<std::string>& existing, const std::string& where) {
    std::vector<Json> descriptors;
    for (const Image& image : images_) {
      std::vector<SavedBlob> layers;
      for (const size_t layer : image.layers) layers.push_back(blobs_[layer]);
      const std::string manifest_json = MakeManifestJson(image.config, layers, compression_);
      const SavedBlob manifest{.digest = Digest::Of(manifest_json), .size_bytes = manifest_json.size()};
      SNAP_TRY_VOID(AddText(BlobPath(image.config.digest), image.image->config_json));
      SNAP_TRY_VOID(AddText(BlobPath(manifest.digest), manifest_json));
      for (Json& descriptor : MakeIndexDescriptors(manifest, image.platform, image.names)) {
        descriptors.push_back(std::move(descriptor));
      }
      report_.manifest_digests.push_back(manifest.digest);
    }
    SNAP_TRY(const std::string index, MakeIndexJson(descriptors, existing, where + " index.json"));
    return target_.Commit("index.json", index);
  }

  Target& target_;
  const SaveOptions& options_;
  const bool is_docker_;
  const Compression compression_;
  Reporter reporter_;
  std::atomic<bool> cancelled_ = false;
  std::vector<const SavedLayer*> layers_;  // different ones
  std::vector<SavedBlob> blobs_;           // of those that are written
  std::vector<Image> images_;
  SaveReport report_;
};

}  // namespace

Result<SaveReport> SaveImages(const std::vector<SavedImage>& images, const std::string& path,
                              const SaveOptions& options) {
  const bool is_layout = options.format == SaveFormat::kOciLayout;
  SNAP_TRY(const std::unique_ptr<Target> target,
           is_layout ? MakeLayoutTarget(path) : MakeArchiveFileTarget(path, options.replace));
  return Saver(*target, options).Run(images, EscapeUnprintable(path));
}

Result<SaveReport> SaveImages(const std::vector<SavedImage>& images, FdRef stream, const std::string& name,
                              const SaveOptions& options) {
  if (options.format == SaveFormat::kOciLayout) {
    return Error(ErrorCode::kInvalidArgument, "save: an OCI layout is a directory, not a stream");
  }
  SNAP_TRY(const std::unique_ptr<Target> target, MakeArchiveStreamTarget(stream, name));
  return Saver(*target, options).Run(images, name);
}

}  // namespace snap::oci
