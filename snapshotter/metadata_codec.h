// How records are written into the database. docs/metadata-schema.md specifies every byte.
// Invariant: decoding reads exactly what encoding wrote, or fails with kCorrupt; it never reads past the
// value.
#pragma once

#include <string>
#include <string_view>

#include "snapshotter/metadata.h"

namespace snap::codec {

/// Names are not part of the value: they are keys of their own.
std::string EncodeImage(const ImageRecord& image);
Result<ImageRecord> DecodeImage(const ImageId& id, std::string_view value);

std::string EncodeContainer(const ContainerRecord& container);
Result<ContainerRecord> DecodeContainer(std::string_view id, std::string_view value);

std::string EncodeSnapshot(const SnapshotRecord& record);
Result<SnapshotRecord> DecodeSnapshot(std::string_view name, std::string_view value);

std::string EncodeLayer(const LayerManifest& manifest);
Result<LayerManifest> DecodeLayer(const LayerId& id, std::string_view value);

std::string EncodeObjects(const std::vector<ObjectId>& objects);
Result<std::vector<ObjectId>> DecodeObjects(std::string_view value);
/// 28 raw bytes: hash, size and variant, big endian, so that keys sort as ids do.
std::string ObjectKey(const ObjectId& object);
/// From the front of a key.
Result<ObjectId> ObjectFromKey(std::string_view bytes);

/// Big endian, so that keys sort as numbers do.
inline constexpr size_t kNumberKeyBytes = 8;
std::string NumberKey(uint64_t number);
Result<uint64_t> NumberFromKey(std::string_view bytes, std::string_view what);

/// 32 raw bytes, as they stand in keys.
std::string_view AsKey(const Digest& digest);
Result<Digest> DigestFromKey(std::string_view bytes, std::string_view what);

}  // namespace snap::codec
