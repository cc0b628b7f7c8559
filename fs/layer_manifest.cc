// layer.json: what a layer directory says about itself, beside the content and never inside the mounted tree.
// Invariant: the database row of a layer can be rebuilt from this document alone. Specified in
// docs/disk-layout.md.
#include "fs/base/json.h"
#include "fs/base/quote.h"
#include "fs/layer_store.h"

namespace snap {
namespace {

template <typename Role>
Result<DigestId<Role>> ReadId(const Json& document, const char* key, std::string_view what) {
  SNAP_TRY(const std::string text, JsonString(document, key, what));
  Result<Digest> digest = Digest::Parse(text);
  if (!digest.ok())
    return MakeError(ErrorCode::kCorrupt, "{}: field '{}' is not a digest: {}", what, key, Quote(text));
  return DigestId<Role>{*digest};
}

/// The document as text, with the checksum of what it is without it: damage must not read as another, valid document.
std::string Sealed(Json document) {
  Xxh3Hasher hasher;
  const std::string unsealed = DumpJson(document);
  hasher.Update(std::as_bytes(std::span(unsealed)));
  document["checksum"] = HexOf(hasher.Finish());
  return DumpJson(document) + "\n";
}

Result<Xxh128> ReadHash(const Json& parent, const char* key, std::string_view what) {
  SNAP_TRY(const std::string text, JsonString(parent, key, what));
  const std::optional<Xxh128> hash = Xxh128FromHex(text);
  if (!hash) return MakeError(ErrorCode::kCorrupt, "{}: field '{}' is not a hash: {}", what, key, Quote(text));
  return *hash;
}

}  // namespace

std::string_view LayerFormatName(LayerFormat format) { return format == LayerFormat::kTree ? "tree" : "packed"; }

Result<Durability> ParseDurability(std::string_view text) {
  if (text == "full") return Durability::kFull;
  if (text == "none") return Durability::kNone;
  return MakeError(ErrorCode::kInvalidArgument, "durability {} is neither 'full' nor 'none'", Quote(text));
}

std::string_view DurabilityName(Durability durability) {
  return durability == Durability::kFull ? "full" : "none";
}

std::string LayerManifestJson(const LayerManifest& manifest) {
  Json document = {
      {"version", LayerManifest::kVersion},
      {"id", manifest.id.ToString()},
      {"diffId", manifest.diff_id.ToString()},
      {"blobBytes", manifest.blob_bytes},
      {"tarBytes", manifest.tar_bytes},
      {"format", LayerFormatName(manifest.format)},
      {"entries", manifest.usage.entries},
      {"dataBytes", manifest.usage.data_bytes},
      {"diskBytes", manifest.usage.disk_bytes},
      {"bootId", manifest.boot_id},
      {"durable", manifest.durable},
      {"settled", manifest.settled},
      {"impliedRoot", manifest.implied_root},
      {"created", manifest.created},
  };
  if (manifest.blob_id) document["blobId"] = manifest.blob_id->ToString();
  if (manifest.format == LayerFormat::kPacked) {
    document["objectBytes"] = manifest.usage.object_bytes;
    document["exactTar"] = manifest.exact_tar;
    document["image"] = {
        {"dataBegin", manifest.checksums.data_begin},
        {"dataEnd", manifest.checksums.data_end},
        {"dataHash", HexOf(manifest.checksums.data)},
        {"restHash", HexOf(manifest.checksums.rest)},
    };
  }
  return Sealed(std::move(document));
}

Result<LayerManifest> ParseLayerManifest(std::string_view json, std::string_view what) {
  constexpr JsonLimits kLimits{.max_bytes = size_t{64} << 10U, .max_depth = 8, .max_values = 1000};
  SNAP_TRY(const Json document, ParseJson(json, what, kLimits));
  SNAP_TRY(const uint64_t version, JsonUnsigned(document, "version", what));
  if (version > LayerManifest::kVersion) {
    return MakeError(ErrorCode::kUnsupported, "{}: version {} is newer than this program's {}", what, version,
                     LayerManifest::kVersion);
  }
  Json unsealed = document;
  unsealed.erase("checksum");
  if (Sealed(std::move(unsealed)) != json) return MakeError(ErrorCode::kCorrupt, "{}: its checksum does not fit", what);
  LayerManifest manifest;
  SNAP_TRY(manifest.id, ReadId<LayerRole>(document, "id", what));
  SNAP_TRY(manifest.diff_id, ReadId<DiffRole>(document, "diffId", what));
  SNAP_TRY(const std::string blob_id, JsonStringOr(document, "blobId", "", what));
  if (!blob_id.empty()) {
    SNAP_TRY(manifest.blob_id, ReadId<BlobRole>(document, "blobId", what));
  }
  SNAP_TRY(manifest.blob_bytes, JsonUnsigned(document, "blobBytes", what));
  SNAP_TRY(manifest.tar_bytes, JsonUnsigned(document, "tarBytes", what));
  SNAP_TRY(const std::string format, JsonString(document, "format", what));
  if (format == LayerFormatName(LayerFormat::kPacked)) {
    manifest.format = LayerFormat::kPacked;
    SNAP_TRY(manifest.usage.object_bytes, JsonUnsigned(document, "objectBytes", what));
    SNAP_TRY(manifest.exact_tar, JsonBoolOr(document, "exactTar", false, what));
    SNAP_TRY(const Json* const image, JsonObject(document, "image", what));
    SNAP_TRY(manifest.checksums.data_begin, JsonUnsigned(*image, "dataBegin", what));
    SNAP_TRY(manifest.checksums.data_end, JsonUnsigned(*image, "dataEnd", what));
    SNAP_TRY(manifest.checksums.data, ReadHash(*image, "dataHash", what));
    SNAP_TRY(manifest.checksums.rest, ReadHash(*image, "restHash", what));
  } else if (format != LayerFormatName(LayerFormat::kTree)) {
    return MakeError(ErrorCode::kUnsupported, "{}: layer format {} is not known to this program", what, Quote(format));
  }
  SNAP_TRY(manifest.usage.entries, JsonUnsigned(document, "entries", what));
  SNAP_TRY(manifest.usage.data_bytes, JsonUnsigned(document, "dataBytes", what));
  SNAP_TRY(manifest.usage.disk_bytes, JsonUnsigned(document, "diskBytes", what));
  SNAP_TRY(manifest.boot_id, JsonString(document, "bootId", what));
  // Absent must never read as flushed, nor as independent of the layers below.
  SNAP_TRY(manifest.durable, JsonBoolOr(document, "durable", false, what));
  SNAP_TRY(manifest.settled, JsonBoolOr(document, "settled", true, what));
  SNAP_TRY(manifest.implied_root, JsonBoolOr(document, "impliedRoot", true, what));
  SNAP_TRY(manifest.created, JsonString(document, "created", what));
  return manifest;
}

}  // namespace snap
