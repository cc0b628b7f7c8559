// oci-archive: and docker-archive: are tar archives whose members are read in place, by the index of their
// headers.
// Sources: OCI image-spec, image-layout.md; Docker image spec v1.2, "Combined Image JSON + Filesystem Changeset".
#include <algorithm>

#include "fs/archive_index.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/oci_documents.h"
#include "fs/oci_transports.h"

namespace snap::oci {
namespace {

constexpr std::string_view kBlobDirectory = "blobs/sha256/";

/// The archive and its index; what both transports read through.
class Archive {
 public:
  static Result<Archive> Open(const SourceName& name) {
    SNAP_TRY(SeekableArchive archive, OpenSeekableArchive(name.path));
    SNAP_TRY(ArchiveIndex index, ArchiveIndex::Read(archive.file, archive.size, name.path));
    return Archive(std::move(archive), std::move(index), name.path);
  }

  const ArchiveIndex& index() const { return index_; }
  Result<ArchiveIndex::File> Find(std::string_view member) const { return index_.Find(member); }
  std::unique_ptr<ByteSource> Bytes(const ArchiveIndex::File& file) const {
    return MakeRangeSource(archive_.file, file.offset, file.size, name_);
  }
  Result<Compression> CompressionOf(const ArchiveIndex::File& file) const {
    return DetectCompressionAt(archive_.file, file.offset, file.size, name_);
  }
  Result<std::string> ReadSmall(std::string_view member, size_t max_bytes) const {
    SNAP_TRY(const ArchiveIndex::File file, index_.Find(member));
    const std::string what = fmt::format("member {}", Quote(member.substr(0, 200)));
    if (file.size > max_bytes) {
      return MakeError(ErrorCode::kLimitExceeded, "read {}: {} bytes, at most {} are accepted", what,
                       file.size, max_bytes);
    }
    return ReadToEnd(*Bytes(file), max_bytes, what);
  }

 private:
  Archive(SeekableArchive archive, ArchiveIndex index, std::string name)
      : archive_(std::move(archive)), index_(std::move(index)), name_(std::move(name)) {}
  SeekableArchive archive_;
  ArchiveIndex index_;
  std::string name_;
};

class ArchiveBlobs final : public BlobProvider {
 public:
  explicit ArchiveBlobs(Archive archive) : archive_(std::move(archive)) {}
  Result<Blob> OpenBlob(const Digest& digest) const override {
    SNAP_TRY(const ArchiveIndex::File file, archive_.Find(std::string(kBlobDirectory) + digest.Hex()));
    return Blob{.bytes = archive_.Bytes(file), .size_bytes = file.size};
  }

 private:
  const Archive archive_;
};

/// The digest that a member's name claims: "<hex>.json", "sha256:<hex>", "blobs/sha256/<hex>".
std::optional<Digest> DigestInName(std::string_view name) {
  name = name.substr(name.rfind('/') + 1);
  if (name.starts_with("sha256:")) name.remove_prefix(7);
  if (name.ends_with(".json")) name.remove_suffix(5);
  const Result<Digest> digest = Digest::ParseHex(name);
  if (!digest.ok()) return std::nullopt;
  return *digest;
}

class DockerArchiveSource final : public ImageSource {
 public:
  DockerArchiveSource(Archive archive, std::vector<DockerEntry> entries, std::string ref, std::string where)
      : archive_(std::move(archive)),
        entries_(std::move(entries)),
        ref_(std::move(ref)),
        where_(std::move(where)) {}

  Result<Image> Resolve(const Platform& platform) override {
    SNAP_TRY(const DockerEntry* entry, Choose());
    Image image;
    const std::string what =
        fmt::format("{} config {}", where_, Quote(std::string_view(entry->config).substr(0, 200)));
    Result<std::string> text = archive_.ReadSmall(entry->config, kMaxConfigBytes);
    if (!text.ok()) return std::move(text).error().Wrap(where_);
    image.config_json = std::move(*text);
    image.config_digest = Digest::Of(image.config_json);
    const std::optional<Digest> promised = DigestInName(entry->config);
    if (promised && *promised != *image.config_digest) {
      return MakeError(ErrorCode::kCorrupt, "{}: its content has the digest {}", what,
                       image.config_digest->ToString());
    }
    SNAP_TRY(image.config, ParseImageConfig(image.config_json, what));
    if (entry->layers.size() != image.config.diff_ids.size()) {
      return MakeError(ErrorCode::kCorrupt, "{}: {} diff_ids, but manifest.json has {} layers", what,
                       image.config.diff_ids.size(), entry->layers.size());
    }
    const Platform& offered = image.config.platform;
    if (!offered.architecture.empty() && !PlatformScore(NormalizePlatform(platform), offered)) {
      return MakeError(ErrorCode::kNotFound, "no image for {} in {}; there are: {}",
                       Quote(NormalizePlatform(platform).ToString()), where_, Quote(offered.ToString()));
    }
    SNAP_TRY_VOID(FindLayers(*entry, image));
    image.ref_name = NameOf(*entry);
    return image;
  }

  Result<std::unique_ptr<ByteSource>> OpenLayer(const LayerBlob& layer) override {
    if (layer.index >= layers_.size()) {
      return MakeError(ErrorCode::kInvalidArgument, "open layer {} of {}: there are {}", layer.index + 1,
                       where_, layers_.size());
    }
    return archive_.Bytes(layers_[layer.index]);
  }

 private:
  Result<void> FindLayers(const DockerEntry& entry, Image& image) {
    std::vector<ArchiveIndex::File> found;
    for (const std::string& path : entry.layers) {
      Result<ArchiveIndex::File> file = archive_.Find(path);
      if (!file.ok())
        return std::move(file).error().Wrap(fmt::format("{} layer {}", where_, found.size() + 1));
      SNAP_TRY(const Compression compression, archive_.CompressionOf(*file));
      LayerBlob layer{.blob_id = std::nullopt,
                      .diff_id = image.config.diff_ids[found.size()],
                      .size_bytes = file->size,
                      .media_type = LayerMediaType(compression),
                      .index = found.size()};
      // Newer archives are image layouts as well: the member's name is the blob's digest.
      if (path.starts_with(kBlobDirectory)) {
        if (const auto digest = DigestInName(path)) layer.blob_id = BlobId{*digest};
      }
      image.layers.push_back(std::move(layer));
      found.push_back(*file);
    }
    layers_ = std::move(found);
    return {};
  }

  static std::string NameOf(const DockerEntry& entry) {
    return entry.repo_tags.empty() ? std::string() : entry.repo_tags.front();
  }

  Result<const DockerEntry*> Choose() {
    if (entries_.empty()) return MakeError(ErrorCode::kNotFound, "{} holds no image", where_);
    std::vector<std::string> names;
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].repo_tags.empty()) names.push_back(fmt::format("@{}", i));
      names.insert(names.end(), entries_[i].repo_tags.begin(), entries_[i].repo_tags.end());
    }
    if (ref_.empty()) {
      if (entries_.size() == 1) return &std::as_const(entries_.front());
      return MakeError(ErrorCode::kInvalidArgument, "{} holds several images, name one of: {}", where_,
                       ListChoices(names));
    }
    const DockerEntry* best = nullptr;
    unsigned best_score = 0;
    bool tie = false;
    for (size_t i = 0; i < entries_.size(); ++i) {
      unsigned score = ref_ == fmt::format("@{}", i) ? 2 : 0;
      for (const std::string& tag : entries_[i].repo_tags) score = std::max(score, ReferenceScore(ref_, tag));
      if (score > best_score) {
        best = &entries_[i];
        best_score = score;
        tie = false;
      } else if (score != 0 && score == best_score) {
        tie = true;
      }
    }
    if (best == nullptr) {
      return MakeError(ErrorCode::kNotFound, "no image {} in {}; there are: {}", Quote(ref_), where_,
                       ListChoices(names));
    }
    if (tie) {
      return MakeError(ErrorCode::kInvalidArgument, "reference {} means several images in {}: {}",
                       Quote(ref_), where_, ListChoices(names));
    }
    return best;
  }

  const Archive archive_;
  const std::vector<DockerEntry> entries_;
  const std::string ref_, where_;
  std::vector<ArchiveIndex::File> layers_;  ///< set by Resolve
};

/// For an archive of the other kind: what to write instead.
std::string OtherTransport(const Archive& archive, std::string_view member, std::string_view prefix,
                           const std::string& path) {
  if (!archive.index().Contains(member)) return {};
  return fmt::format("; try {}{}", prefix, EscapeUnprintable(path));
}

}  // namespace

Result<std::unique_ptr<ImageSource>> OpenOciArchive(const SourceName& name) {
  const std::string where = "oci-archive:" + EscapeUnprintable(name.path);
  SNAP_TRY(Archive archive, Archive::Open(name));
  if (!archive.index().Contains("oci-layout")) {
    return MakeError(
        ErrorCode::kNotFound, "open {}: not an archive of an OCI image layout, it has no file 'oci-layout'{}",
        Quote(name.path), OtherTransport(archive, "manifest.json", "docker-archive:", name.path));
  }
  Result<std::string> version = archive.ReadSmall("oci-layout", 4096);
  if (!version.ok()) return std::move(version).error().Wrap(where);
  SNAP_TRY_VOID(CheckLayoutVersion(*version, where + " oci-layout"));
  Result<std::string> index = archive.ReadSmall("index.json", kMaxManifestBytes);
  if (!index.ok()) return std::move(index).error().Wrap(where);
  return MakeLayoutSource(std::make_unique<ArchiveBlobs>(std::move(archive)), std::move(*index), name.ref,
                          where);
}

Result<std::unique_ptr<ImageSource>> OpenDockerArchive(const SourceName& name) {
  const std::string where = "docker-archive:" + EscapeUnprintable(name.path);
  SNAP_TRY(Archive archive, Archive::Open(name));
  if (!archive.index().Contains("manifest.json")) {
    return MakeError(ErrorCode::kNotFound, "open {}: not a docker archive, it has no file 'manifest.json'{}",
                     Quote(name.path), OtherTransport(archive, "oci-layout", "oci-archive:", name.path));
  }
  Result<std::string> manifest = archive.ReadSmall("manifest.json", kMaxManifestBytes);
  if (!manifest.ok()) return std::move(manifest).error().Wrap(where);
  SNAP_TRY(std::vector<DockerEntry> entries, ParseDockerManifest(*manifest, where + " manifest.json"));
  return std::unique_ptr<ImageSource>(
      std::make_unique<DockerArchiveSource>(std::move(archive), std::move(entries), name.ref, where));
}

}  // namespace snap::oci
