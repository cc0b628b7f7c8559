// From a reference to an image: choose among the top-level descriptors by name, walk the indexes below them,
// choose among the manifests by platform. Documents are read through one budget, verified, and kept, so that
// a diamond of indexes costs no more than its distinct documents.
#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "fs/base/json.h"
#include "fs/base/quote.h"
#include "fs/oci_documents.h"
#include "fs/oci_transports.h"

namespace snap::oci {
namespace {

constexpr size_t kMaxDocumentBytes = size_t{64}
                                     << 20U;  ///< all indexes, manifests and configs of one Resolve

const std::string& DisplayName(const Descriptor& descriptor) {
  // Both may be one name, once as people write it; otherwise the reference may be a tag alone.
  const bool same = FullImageName(descriptor.ref_name) == descriptor.image_name;
  return descriptor.image_name.empty() || same ? descriptor.ref_name : descriptor.image_name;
}

std::string NameOrDigest(const Descriptor& descriptor) {
  const std::string& name = DisplayName(descriptor);
  return name.empty() ? descriptor.digest.ToString() : name;
}

class Resolver {
 public:
  Resolver(const BlobProvider& blobs, const Platform& platform, std::string_view where)
      : blobs_(blobs), wanted_(NormalizePlatform(platform)), where_(where) {}

  Result<Image> Resolve(std::string_view index_json, std::string_view ref) {
    const std::string what = fmt::format("{} index.json", where_);
    SNAP_TRY(Index index, ParseIndex(index_json, {}, what));
    SNAP_TRY(const std::vector<const Descriptor*> roots, ChooseByName(index, ref));
    for (const Descriptor* root : roots) SNAP_TRY_VOID(Collect(*root, root->digest, 1));
    SNAP_TRY(const Candidate chosen, ChooseByPlatform());
    SNAP_TRY(Image image, Load(chosen.descriptor));
    const auto root = std::find_if(roots.begin(), roots.end(),
                                   [&](const Descriptor* item) { return item->digest == chosen.root; });
    if (root != roots.end()) image.ref_name = DisplayName(**root);
    return image;
  }

 private:
  struct Candidate {
    Descriptor descriptor;
    Platform platform;  ///< empty when not even the config says
    Digest root;        ///< the top-level descriptor it was reached through
  };

  Result<std::vector<const Descriptor*>> ChooseByName(const Index& index, std::string_view ref) const {
    std::vector<const Descriptor*> images;
    std::vector<std::string> names;
    std::vector<std::string> other_types;
    for (const Descriptor& item : index.manifests) {
      if (item.attestation) continue;
      if (!IsIndexType(item.media_type) && !IsManifestType(item.media_type)) {
        other_types.push_back(item.media_type);
        continue;
      }
      images.push_back(&item);
      names.push_back(NameOrDigest(item));
    }
    if (images.empty() && !other_types.empty()) {
      return MakeError(ErrorCode::kUnsupported, "{} holds no image, only {}", where_,
                       ListChoices(other_types));
    }
    if (images.empty()) return MakeError(ErrorCode::kNotFound, "{} holds no image", where_);

    std::vector<const Descriptor*> chosen = images;
    if (!ref.empty()) {
      chosen = BestMatches(images, ref);
      if (chosen.empty()) {
        return MakeError(ErrorCode::kNotFound, "no image {} in {}; there are: {}", Quote(ref), where_,
                         ListChoices(names));
      }
    }
    // Several descriptors of one name are one image for several platforms; several names are several images,
    // unless they are names of the same thing.
    std::set<std::string> chosen_names;
    std::unordered_set<Digest> chosen_digests;
    for (const Descriptor* item : chosen) {
      chosen_names.insert(DisplayName(*item));
      chosen_digests.insert(item->digest);
    }
    if (chosen_names.size() > 1 && chosen_digests.size() > 1) {
      names.clear();
      for (const Descriptor* item : chosen) names.push_back(NameOrDigest(*item));
      if (ref.empty()) {
        return MakeError(ErrorCode::kInvalidArgument, "{} holds several images, name one of: {}", where_,
                         ListChoices(names));
      }
      return MakeError(ErrorCode::kInvalidArgument, "reference {} means several images in {}: {}", Quote(ref),
                       where_, ListChoices(names));
    }
    return chosen;
  }

  static std::vector<const Descriptor*> BestMatches(const std::vector<const Descriptor*>& images,
                                                    std::string_view ref) {
    std::vector<const Descriptor*> best;
    unsigned best_score = 0;
    const Result<Digest> digest = Digest::Parse(ref);
    for (const Descriptor* item : images) {
      unsigned score = std::max(ReferenceScore(ref, item->ref_name), ReferenceScore(ref, item->image_name));
      if (digest.ok() && *digest == item->digest) score = 2;
      if (score == 0 || score < best_score) continue;
      if (score > best_score) best.clear();
      best_score = score;
      best.push_back(item);
    }
    return best;
  }

  /// Adds the manifests at and below a descriptor. Depth-first, so that candidates are in the indexes' order.
  Result<void> Collect(const Descriptor& descriptor, const Digest& root,
                       size_t depth) {  // NOLINT(misc-no-recursion)
    if (++visited_ > kMaxManifests) {
      return MakeError(ErrorCode::kLimitExceeded, "{}: more than {} manifests", where_, kMaxManifests);
    }
    if (descriptor.attestation) return {};
    if (IsManifestType(descriptor.media_type)) return AddCandidate(descriptor, root);
    if (!IsIndexType(descriptor.media_type)) return {};  // image-spec: unknown types in an index are ignored
    if (depth >= kMaxIndexDepth) {
      return MakeError(ErrorCode::kLimitExceeded, "{}: indexes nested deeper than {}", where_,
                       kMaxIndexDepth);
    }
    if (!walked_.insert(descriptor.digest).second) return {};
    const std::string what = "index " + descriptor.digest.ToString();
    SNAP_TRY(const std::string* text, ReadDocument(descriptor, kMaxManifestBytes, what));
    SNAP_TRY(const Index index, ParseIndex(*text, descriptor.media_type, what));
    for (const Descriptor& item : index.manifests) SNAP_TRY_VOID(Collect(item, root, depth + 1));
    return {};
  }

  Result<void> AddCandidate(const Descriptor& descriptor, const Digest& root) {
    if (!seen_.insert(descriptor.digest).second) return {};
    Candidate candidate{.descriptor = descriptor, .platform = {}, .root = root};
    if (descriptor.platform) {
      candidate.platform = *descriptor.platform;
    } else {
      Result<Image> image = Load(descriptor);
      if (!image.ok()) {
        if (image.error().code() != ErrorCode::kUnsupported) return std::move(image).error();
        if (!unsupported_) unsupported_ = std::move(image).error();  // a chart or signature beside images
        return {};
      }
      candidate.platform = image->config.platform;
    }
    if (candidate.platform.os.empty() && !candidate.platform.architecture.empty())
      candidate.platform.os = "linux";
    candidates_.push_back(std::move(candidate));
    return {};
  }

  Result<Candidate> ChooseByPlatform() {
    if (candidates_.empty() && unsupported_) return std::move(*unsupported_);
    const Candidate* best = nullptr;
    bool tie = false;
    unsigned best_score = 0;
    std::vector<std::string> platforms;
    std::vector<std::string> tied;
    for (const Candidate& candidate : candidates_) {
      platforms.push_back(candidate.platform.ToString());
      // Old tools wrote configs without a platform: such an image is taken when it is the only one.
      const bool nameless = candidate.platform.architecture.empty() && candidates_.size() == 1;
      const auto score = nameless ? std::optional<unsigned>(0) : PlatformScore(wanted_, candidate.platform);
      if (!score || (best != nullptr && *score < best_score)) continue;
      if (best == nullptr || *score > best_score) {
        best = &candidate;
        best_score = *score;
        tie = false;
        tied = {candidate.root.ToString()};
      } else if (candidate.root != best->root) {
        tie = true;
        tied.push_back(candidate.root.ToString());
      }
    }
    if (best == nullptr) {
      return MakeError(ErrorCode::kNotFound, "no image for {} in {}; there are: {}",
                       Quote(wanted_.ToString()), where_, ListChoices(platforms));
    }
    if (tie) {
      return MakeError(ErrorCode::kInvalidArgument, "{} holds several images for {}, name one of: {}", where_,
                       Quote(wanted_.ToString()), ListChoices(tied));
    }
    return *best;
  }

  Result<Image> Load(const Descriptor& descriptor) {
    const std::string what = "manifest " + descriptor.digest.ToString();
    SNAP_TRY(const std::string* manifest_text, ReadDocument(descriptor, kMaxManifestBytes, what));
    SNAP_TRY(Manifest manifest, ParseManifest(*manifest_text, descriptor.media_type, what));
    const std::string config_what = "config " + manifest.config.digest.ToString();
    SNAP_TRY(const std::string* config_text, ReadDocument(manifest.config, kMaxConfigBytes, config_what));
    Image image;
    SNAP_TRY(image.config, ParseImageConfig(*config_text, config_what));
    if (manifest.layers.size() != image.config.diff_ids.size()) {
      return MakeError(ErrorCode::kCorrupt, "{}: {} layers, but its config has {} diff_ids", what,
                       manifest.layers.size(), image.config.diff_ids.size());
    }
    image.config_json = *config_text;
    image.config_digest = manifest.config.digest;
    image.manifest_json = *manifest_text;
    image.manifest_digest = descriptor.digest;
    for (size_t i = 0; i < manifest.layers.size(); ++i) {
      Descriptor& layer = manifest.layers[i];
      image.layers.push_back({.blob_id = BlobId{layer.digest},
                              .diff_id = image.config.diff_ids[i],
                              .size_bytes = layer.size_bytes,
                              .media_type = std::move(layer.media_type),
                              .index = i});
    }
    return image;
  }

  /// A document's verified bytes; they live as long as this object.
  Result<const std::string*> ReadDocument(const Descriptor& descriptor, size_t max_bytes,
                                          const std::string& what) {
    const auto known = documents_.find(descriptor.digest);
    if (known != documents_.end()) {
      if (known->second.size() != descriptor.size_bytes)
        return WrongSize(what, known->second.size(), descriptor);
      return &known->second;
    }
    if (descriptor.size_bytes > max_bytes) {
      return MakeError(ErrorCode::kLimitExceeded, "read {}: {} bytes, at most {} are accepted", what,
                       descriptor.size_bytes, max_bytes);
    }
    budget_used_ += static_cast<size_t>(descriptor.size_bytes);
    if (budget_used_ > kMaxDocumentBytes) {
      return MakeError(ErrorCode::kLimitExceeded, "read {}: the documents of {} have more than {} bytes",
                       what, where_, kMaxDocumentBytes);
    }
    Result<BlobProvider::Blob> blob = blobs_.OpenBlob(descriptor.digest);
    if (!blob.ok()) return std::move(blob).error().Wrap("read " + what);
    if (blob->size_bytes != descriptor.size_bytes) return WrongSize(what, blob->size_bytes, descriptor);
    SNAP_TRY(std::string text, ReadToEnd(*blob->bytes, max_bytes, what));
    if (Digest::Of(text) != descriptor.digest) {
      return MakeError(ErrorCode::kCorrupt, "read {}: its content has the digest {}", what,
                       Digest::Of(text).ToString());
    }
    if (text.size() != descriptor.size_bytes) return WrongSize(what, text.size(), descriptor);
    return &documents_.emplace(descriptor.digest, std::move(text)).first->second;
  }

  static Error WrongSize(const std::string& what, uint64_t size, const Descriptor& descriptor) {
    return MakeError(ErrorCode::kCorrupt, "read {}: {} bytes, but its descriptor says {}", what, size,
                     descriptor.size_bytes);
  }

  const BlobProvider& blobs_;
  const Platform wanted_;
  const std::string_view where_;
  std::unordered_map<Digest, std::string> documents_;
  size_t budget_used_ = 0;
  size_t visited_ = 0;
  std::unordered_set<Digest> walked_;  ///< indexes
  std::unordered_set<Digest> seen_;    ///< manifests
  std::vector<Candidate> candidates_;
  std::optional<Error> unsupported_;
};

class LayoutSource final : public ImageSource {
 public:
  LayoutSource(std::unique_ptr<BlobProvider> blobs, std::string index_json, std::string ref,
               std::string where)
      : blobs_(std::move(blobs)),
        index_json_(std::move(index_json)),
        ref_(std::move(ref)),
        where_(std::move(where)) {}

  Result<Image> Resolve(const Platform& platform) override {
    return ResolveImage(*blobs_, index_json_, ref_, platform, where_);
  }

  Result<std::unique_ptr<ByteSource>> OpenLayer(const LayerBlob& layer) override {
    if (!layer.blob_id) {
      return MakeError(ErrorCode::kInvalidArgument, "open layer {} of {}: it has no digest", layer.index + 1,
                       where_);
    }
    const std::string what = fmt::format("open layer {} ({})", layer.index + 1, layer.blob_id->ToString());
    Result<BlobProvider::Blob> blob = blobs_->OpenBlob(layer.blob_id->digest);
    if (!blob.ok()) {
      if (blob.error().code() == ErrorCode::kNotFound && IsForeignLayerType(layer.media_type)) {
        return MakeError(ErrorCode::kNotFound,
                         "{}: a foreign layer that is not in {}; its URLs are not fetched", what, where_);
      }
      return std::move(blob).error().Wrap(what);
    }
    if (blob->size_bytes != layer.size_bytes) {
      return MakeError(ErrorCode::kCorrupt, "{}: {} bytes, but its descriptor says {}", what,
                       blob->size_bytes, layer.size_bytes);
    }
    return std::move(blob->bytes);
  }

 private:
  const std::unique_ptr<BlobProvider> blobs_;
  const std::string index_json_, ref_, where_;
};

}  // namespace

Result<void> CheckLayoutVersion(std::string_view text, std::string_view what) {
  SNAP_TRY(const Json json, ParseJson(text, what, {.max_bytes = 4096}));
  SNAP_TRY(const std::string version, JsonString(json, "imageLayoutVersion", what));
  if (version != "1.0.0") {
    return MakeError(ErrorCode::kUnsupported, "{}: layout version {} is not supported, only 1.0.0 is", what,
                     Quote(version));
  }
  return {};
}

Result<Image> ResolveImage(const BlobProvider& blobs, std::string_view index_json, std::string_view ref,
                           const Platform& platform, std::string_view where) {
  return Resolver(blobs, platform, where).Resolve(index_json, ref);
}

std::unique_ptr<ImageSource> MakeLayoutSource(std::unique_ptr<BlobProvider> blobs, std::string index_json,
                                              std::string ref, std::string where) {
  return std::make_unique<LayoutSource>(std::move(blobs), std::move(index_json), std::move(ref),
                                        std::move(where));
}

}  // namespace snap::oci
