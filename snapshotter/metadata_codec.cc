// Each value starts with its version. Fields follow in a fixed order; numbers are LEB128, strings and lists
// carry their length in front. Nothing is optional on disk: absent things are empty.
#include "snapshotter/metadata_codec.h"

#include <cstring>

namespace snap::codec {
namespace {

constexpr uint8_t kImageVersion = 1;
constexpr uint8_t kContainerVersion = 1;
constexpr uint8_t kLayerVersion = 1;

class Encoder {
 public:
  explicit Encoder(uint8_t version) { out_.push_back(static_cast<char>(version)); }
  void Number(uint64_t value) {
    while (value >= 0x80) {
      out_.push_back(static_cast<char>((value & 0x7fU) | 0x80U));
      value >>= 7U;
    }
    out_.push_back(static_cast<char>(value));
  }
  void Text(std::string_view text) {
    Number(text.size());
    out_.append(text);
  }
  void Raw(const Digest& digest) { out_.append(AsKey(digest)); }
  std::string Take() && { return std::move(out_); }

 private:
  std::string out_;
};

/// Keeps the first failure; after it every read gives an empty value, so that callers check once.
class Decoder {
 public:
  Decoder(std::string_view value, uint8_t version) : rest_(value) {
    if (rest_.empty() || static_cast<uint8_t>(rest_.front()) != version) {
      Fail();
    } else {
      rest_.remove_prefix(1);
    }
  }
  uint64_t Number() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7fU) << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    Fail();
    return 0;
  }
  std::string Text() {
    const uint64_t size = Number();
    return std::string(Bytes(size));
  }
  Digest Raw() {
    const std::string_view bytes = Bytes(Digest::kBytes);
    Digest::Bytes out{};
    if (bytes.size() == out.size()) std::memcpy(out.data(), bytes.data(), out.size());
    return Digest(out);
  }
  /// A list's length; every element takes at least one byte, so a longer list than bytes is corrupt.
  uint64_t Count() {
    const uint64_t count = Number();
    if (count > rest_.size()) Fail();
    return failed_ ? 0 : count;
  }
  bool CompleteAndValid() const { return !failed_ && rest_.empty(); }

 private:
  void Fail() {
    failed_ = true;
    rest_ = {};
  }
  std::string_view Bytes(uint64_t size) {
    if (size > rest_.size()) {
      Fail();
      return {};
    }
    const std::string_view bytes = rest_.substr(0, static_cast<size_t>(size));
    rest_.remove_prefix(static_cast<size_t>(size));
    return bytes;
  }

  std::string_view rest_;
  bool failed_ = false;
};

Error Corrupt(std::string_view what) {
  return MakeError(ErrorCode::kCorrupt,
                   "read {} from the database: malformed record; run `snap system check --repair`", what);
}

// Signed numbers that are never negative in practice but are int64 in the records.
uint64_t Unsigned(int64_t value) { return static_cast<uint64_t>(value); }

}  // namespace

std::string_view AsKey(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes().data()), digest.bytes().size()};
}

Result<Digest> DigestFromKey(std::string_view bytes, std::string_view what) {
  Digest::Bytes out;
  if (bytes.size() != out.size()) return Corrupt(what);
  std::memcpy(out.data(), bytes.data(), out.size());
  return Digest(out);
}

std::string EncodeImage(const ImageRecord& image) {
  Encoder out(kImageVersion);
  out.Text(image.config_json);
  out.Text(image.manifest_json);
  out.Number(image.manifest_digest ? 1 : 0);
  if (image.manifest_digest) out.Raw(*image.manifest_digest);
  out.Number(image.layers.size());
  for (const LayerId& layer : image.layers) out.Raw(layer.digest);
  out.Number(image.diff_ids.size());
  for (const DiffId& diff_id : image.diff_ids) out.Raw(diff_id.digest);
  out.Text(image.imported);
  out.Text(image.source);
  return std::move(out).Take();
}

Result<ImageRecord> DecodeImage(const ImageId& id, std::string_view value) {
  Decoder in(value, kImageVersion);
  ImageRecord image;
  image.id = id;
  image.config_json = in.Text();
  image.manifest_json = in.Text();
  if (in.Number() != 0) image.manifest_digest = in.Raw();
  for (uint64_t left = in.Count(); left > 0; --left) image.layers.push_back(LayerId{in.Raw()});
  for (uint64_t left = in.Count(); left > 0; --left) image.diff_ids.push_back(DiffId{in.Raw()});
  image.imported = in.Text();
  image.source = in.Text();
  if (!in.CompleteAndValid()) return Corrupt("image " + id.ToString());
  return image;
}

std::string EncodeContainer(const ContainerRecord& container) {
  Encoder out(kContainerVersion);
  out.Text(container.name);
  out.Raw(container.image.digest);
  out.Text(container.image_name);
  out.Number(container.args.size());
  for (const std::string& arg : container.args) out.Text(arg);
  out.Text(container.created);
  out.Text(container.finished);
  out.Number(static_cast<uint32_t>(container.exit_code));
  out.Number(container.remove_at_exit ? 1 : 0);
  out.Text(container.boot_id);
  out.Number(Unsigned(container.launcher_pid));
  out.Number(container.launcher_start_time);
  out.Number(Unsigned(container.init_pid));
  out.Number(container.init_start_time);
  return std::move(out).Take();
}

Result<ContainerRecord> DecodeContainer(std::string_view id, std::string_view value) {
  Decoder in(value, kContainerVersion);
  ContainerRecord container;
  container.id = id;
  container.name = in.Text();
  container.image = ImageId{in.Raw()};
  container.image_name = in.Text();
  for (uint64_t left = in.Count(); left > 0; --left) container.args.push_back(in.Text());
  container.created = in.Text();
  container.finished = in.Text();
  container.exit_code = static_cast<int>(static_cast<uint32_t>(in.Number()));
  container.remove_at_exit = in.Number() != 0;
  container.boot_id = in.Text();
  container.launcher_pid = static_cast<int64_t>(in.Number());
  container.launcher_start_time = in.Number();
  container.init_pid = static_cast<int64_t>(in.Number());
  container.init_start_time = in.Number();
  if (!in.CompleteAndValid()) return Corrupt("container " + container.id);
  return container;
}

std::string EncodeLayer(const LayerManifest& manifest) {
  Encoder out(kLayerVersion);
  out.Text(LayerManifestJson(manifest));
  return std::move(out).Take();
}

Result<LayerManifest> DecodeLayer(const LayerId& id, std::string_view value) {
  Decoder in(value, kLayerVersion);
  const std::string json = in.Text();
  if (!in.CompleteAndValid()) return Corrupt("layer " + id.ToString());
  SNAP_TRY(LayerManifest manifest, ParseLayerManifest(json, "database row of layer " + id.ToString()));
  if (manifest.id != id) return Corrupt("layer " + id.ToString());
  return manifest;
}

namespace {

constexpr size_t kObjectKeyBytes = 28;

template <typename T>
void AppendBigEndian(std::string& out, T value) {
  for (size_t shift = 8 * sizeof(T); shift > 0; shift -= 8) out += static_cast<char>((value >> (shift - 8)) & 0xFFU);
}
template <typename T>
T TakeBigEndian(std::string_view bytes) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>((value << 8U) | static_cast<uint8_t>(bytes[i]));
  return value;
}

}  // namespace

std::string ObjectKey(const ObjectId& object) {
  std::string key(reinterpret_cast<const char*>(object.hash.data()), object.hash.size());
  AppendBigEndian(key, object.size);
  AppendBigEndian(key, object.variant);
  return key;
}

Result<ObjectId> ObjectFromKey(std::string_view bytes) {
  if (bytes.size() < kObjectKeyBytes) return MakeError(ErrorCode::kCorrupt, "read database: the id of an object is too short");
  ObjectId object;
  std::copy_n(bytes.begin(), object.hash.size(), object.hash.begin());
  object.size = TakeBigEndian<uint64_t>(bytes.substr(16));
  object.variant = TakeBigEndian<uint32_t>(bytes.substr(24));
  return object;
}

std::string EncodeObjects(const std::vector<ObjectId>& objects) {
  std::string value;
  for (const ObjectId& object : objects) value += ObjectKey(object);
  return value;
}

Result<std::vector<ObjectId>> DecodeObjects(std::string_view value) {
  if (value.size() % kObjectKeyBytes != 0) return MakeError(ErrorCode::kCorrupt, "read database: the objects of a layer are cut off");
  std::vector<ObjectId> objects;
  for (; !value.empty(); value.remove_prefix(kObjectKeyBytes)) {
    SNAP_TRY(const ObjectId object, ObjectFromKey(value));
    objects.push_back(object);
  }
  return objects;
}

}  // namespace snap::codec
