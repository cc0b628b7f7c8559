// What a layer was made from, put together again. Nothing is pinned: files that are open stay readable when
// the image is removed meanwhile, and an object that is gone by then is an error that says so.
#include "fs/base/quote.h"
#include "fs/file_ranges.h"
#include "fs/tar_index.h"
#include "snapshotter/store_state.h"

namespace snap {
namespace {

Result<void> ReadFrom(FdRef file, uint64_t offset, std::span<std::byte> buffer, const std::string& name) {
  Result<void> read = ReadExactly(file, offset, buffer);
  return read.ok() ? read : std::move(read).error().Wrap(name);
}

/// A packed layer's image, and the objects of the store. Consecutive pieces of one object open it once.
class PackedContent final : public TarContentReader {
 public:
  PackedContent(UniqueFd image, std::string name, const ObjectStore& objects)
      : image_(std::move(image)), name_(std::move(name)), objects_(objects) {}

  Result<void> ReadImage(uint64_t offset, std::span<std::byte> buffer) override {
    return ReadFrom(image_, offset, buffer, name_);
  }
  Result<void> ReadObject(const ObjectId& object, uint64_t offset, std::span<std::byte> buffer) override {
    if (!last_ || last_->id != object) {
      Result<UniqueFd> file = objects_.Open(object);
      if (!file.ok()) {
        if (file.error().code() != ErrorCode::kNotFound) return std::move(file).error();
        return MakeError(
            ErrorCode::kCorrupt,
            "read object {}: it is gone; unless the image was removed meanwhile, run `snap system check`",
            Quote(object.Path()));
      }
      last_ = Open{object, *std::move(file)};
    }
    return ReadFrom(last_->file, offset, buffer, "object " + object.Path());
  }

 private:
  struct Open {
    ObjectId id;
    UniqueFd file;
  };
  const UniqueFd image_;
  const std::string name_;
  const ObjectStore& objects_;
  std::optional<Open> last_;
};

/// The tar and what it is read from.
class LayerTarSource final : public ByteSource {
 public:
  static Result<std::unique_ptr<ByteSource>> Open(UniqueFd index, std::unique_ptr<TarContentReader> content,
                                                  std::string name) {
    SNAP_TRY(std::unique_ptr<ByteSource> tar, MakeTarSource(index, *content, std::move(name)));
    return std::unique_ptr<ByteSource>(
        new LayerTarSource(std::move(index), std::move(content), std::move(tar)));
  }
  Result<size_t> Read(std::span<std::byte> buffer) override { return tar_->Read(buffer); }

 private:
  LayerTarSource(UniqueFd index, std::unique_ptr<TarContentReader> content, std::unique_ptr<ByteSource> tar)
      : index_(std::move(index)), content_(std::move(content)), tar_(std::move(tar)) {}
  const UniqueFd index_;
  const std::unique_ptr<TarContentReader> content_;
  const std::unique_ptr<ByteSource> tar_;
};

}  // namespace

Result<std::unique_ptr<ByteSource>> Store::LayerTar(const LayerManifest& layer) {
  SNAP_TRY(const LayerManifest found, state_->layers.Find(layer.id));  // refuses what must not be served
  const std::string name = "layer " + found.id.digest.Short();
  const auto unsupported = [&](std::string_view why) {
    return MakeError(ErrorCode::kUnsupported, "write the tar of {}: {}; import the image again", name, why);
  };
  if (found.format != LayerFormat::kPacked) {
    return unsupported("it is stored as a tree, which does not keep its exact tar");
  }
  if (!found.exact_tar) return unsupported("it was made from a tree, which does not keep its exact tar");
  Result<UniqueFd> index = state_->layers.OpenTarIndex(found.id);
  if (!index.ok()) {
    if (index.error().code() != ErrorCode::kNotFound) return std::move(index).error();
    return unsupported("it was stored without its tar index");
  }
  SNAP_TRY(UniqueFd image, state_->layers.OpenImage(found.id));
  auto content = std::make_unique<PackedContent>(std::move(image), name + " image", state_->layers.objects());
  return LayerTarSource::Open(*std::move(index), std::move(content), name);
}

}  // namespace snap
