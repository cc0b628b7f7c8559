// Each value starts with its version. Fields follow in a fixed order; numbers are LEB128, strings and lists
// carry their length in front. Nothing is optional on disk: absent things are empty.
#include "snapshotter/metadata_codec.h"

#include <cstring>

#include "fs/base/quote.h"
#include "snapshotter/record_coding.h"

namespace snap::codec {
namespace {

constexpr uint8_t kImageVersion = 1;
constexpr uint8_t kContainerVersion = 1;
constexpr uint8_t kLayerVersion = 1;
constexpr uint8_t kSnapshotVersion = 1;

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

std::string EncodeSnapshot(const SnapshotRecord& record) {
  Encoder encoder(kSnapshotVersion);
  encoder.Number(record.number);
  encoder.Number(record.parent);
  encoder.Text(record.info.parent);
  encoder.Number(static_cast<uint64_t>(record.info.kind));
  encoder.Number(static_cast<uint64_t>(record.info.created_ns));
  encoder.Number(static_cast<uint64_t>(record.info.updated_ns));
  encoder.Number(record.info.labels.size());
  for (const auto& [key, value] : record.info.labels) {
    encoder.Text(key);
    encoder.Text(value);
  }
  encoder.Number(record.layer ? 1 : 0);
  if (record.layer) encoder.Raw(record.layer->digest);
  encoder.Number(record.has_upper ? 1 : 0);
  encoder.Number(record.unfinished ? 1 : 0);
  encoder.Number(record.usage ? 1 : 0);
  if (record.usage) {
    encoder.Number(record.usage->bytes);
    encoder.Number(record.usage->inodes);
  }
  return std::move(encoder).Take();
}

Result<SnapshotRecord> DecodeSnapshot(std::string_view name, std::string_view value) {
  Decoder decoder(value, kSnapshotVersion);
  SnapshotRecord record;
  record.info.name = name;
  record.number = decoder.Number();
  record.parent = decoder.Number();
  record.info.parent = decoder.Text();
  const uint64_t kind = decoder.Number();
  record.info.kind = static_cast<SnapshotKind>(kind);
  record.info.created_ns = static_cast<int64_t>(decoder.Number());
  record.info.updated_ns = static_cast<int64_t>(decoder.Number());
  for (uint64_t count = decoder.Count(); count > 0; --count) {
    std::string key = decoder.Text();
    record.info.labels[std::move(key)] = decoder.Text();
  }
  if (decoder.Number() != 0) record.layer = LayerId{decoder.Raw()};
  record.has_upper = decoder.Number() != 0;
  record.unfinished = decoder.Number() != 0;
  if (decoder.Number() != 0) {
    record.usage.emplace();
    record.usage->bytes = decoder.Number();
    record.usage->inodes = decoder.Number();
  }
  const bool known_kind = kind >= static_cast<uint64_t>(SnapshotKind::kView) && kind <= static_cast<uint64_t>(SnapshotKind::kCommitted);
  if (!decoder.CompleteAndValid() || !known_kind || record.number == 0) {
    return MakeError(ErrorCode::kCorrupt, "database: the record of snapshot {} is damaged", Quote(name));
  }
  return record;
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

std::string NumberKey(uint64_t number) {
  std::string key;
  AppendBigEndian(key, number);
  return key;
}

Result<uint64_t> NumberFromKey(std::string_view bytes, std::string_view what) {
  if (bytes.size() != kNumberKeyBytes) return Corrupt(what);
  return TakeBigEndian<uint64_t>(bytes);
}

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
