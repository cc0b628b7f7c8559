// Snapshots: a row by name, found by number too, and edges to parents and layers.
#include "fs/base/quote.h"
#include "snapshotter/metadata_state.h"

namespace snap {
namespace {

constexpr size_t kNumberBytes = 8;
constexpr std::string_view kNextNumber = "next";

/// Big endian, so that keys sort as numbers do.
std::string NumberKey(uint64_t number) {
  std::string bytes(kNumberBytes, '\0');
  for (size_t i = 0; i < kNumberBytes; ++i)
    bytes[kNumberBytes - 1 - i] = static_cast<char>(number >> (8 * i));
  return bytes;
}

Result<uint64_t> NumberFromKey(std::string_view bytes) {
  if (bytes.size() != kNumberBytes)
    return MakeError(ErrorCode::kCorrupt, "database: a snapshot's number has {} bytes", bytes.size());
  uint64_t number = 0;
  for (const char byte : bytes) number = number << 8U | static_cast<uint8_t>(byte);
  return number;
}

/// Of the row, without its number, under which a committed snapshot is found by what it was unpacked for;
/// empty for others.
std::string TargetKey(const SnapshotRecord& record) {
  const auto target = record.info.labels.find(kSnapshotTargetLabel);
  if (record.info.kind != SnapshotKind::kCommitted || target == record.info.labels.end()) return {};
  return Key(Table::kSnapshotTarget, target->second, std::string_view("\0", 1));
}

void AddRows(DatabaseChanges& changes, const SnapshotRecord& record) {
  const std::string number = NumberKey(record.number);
  changes.Put(Key(Table::kSnapshot, record.info.name), codec::EncodeSnapshot(record));
  changes.Put(Key(Table::kSnapshotNumber, number), record.info.name);
  if (record.parent != 0) changes.Put(Key(Table::kSnapshotChild, NumberKey(record.parent), number), "");
  if (const std::string target = TargetKey(record); !target.empty()) changes.Put(target + number, "");
  if (record.layer) changes.Put(Key(Table::kReference, codec::AsKey(record.layer->digest), number), "");
}

void DeleteRows(DatabaseChanges& changes, const SnapshotRecord& record) {
  const std::string number = NumberKey(record.number);
  changes.Delete(Key(Table::kSnapshot, record.info.name));
  changes.Delete(Key(Table::kSnapshotNumber, number));
  if (record.parent != 0) changes.Delete(Key(Table::kSnapshotChild, NumberKey(record.parent), number));
  if (const std::string target = TargetKey(record); !target.empty()) changes.Delete(target + number);
  if (record.layer) changes.Delete(Key(Table::kReference, codec::AsKey(record.layer->digest), number));
}

}  // namespace

Result<uint64_t> Metadata::NextSnapshotNumber() {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kSnapshotNext, kNextNumber)));
  return value ? NumberFromKey(*value) : Result<uint64_t>(1);
}

Result<std::optional<SnapshotRecord>> Metadata::Snapshot(std::string_view name) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kSnapshot, name)));
  if (!value) return std::optional<SnapshotRecord>();
  SNAP_TRY(SnapshotRecord record, codec::DecodeSnapshot(name, *value));
  return std::optional(std::move(record));
}

Result<std::optional<SnapshotRecord>> Metadata::SnapshotByNumber(uint64_t number) {
  std::optional<std::string> name;
  {
    const std::lock_guard guard(state_->mutex);
    SNAP_TRY(name, state_->Get(Key(Table::kSnapshotNumber, NumberKey(number))));
  }
  return name ? Snapshot(*name) : Result<std::optional<SnapshotRecord>>(std::optional<SnapshotRecord>());
}

Result<void> Metadata::Sync() { return state_->Write({}, true); }

Result<std::vector<uint64_t>> Metadata::SnapshotsOfLayer(const LayerId& id, size_t limit) {
  const std::lock_guard guard(state_->mutex);
  std::vector<uint64_t> found;
  SNAP_TRY_VOID(state_->Scan(Key(Table::kReference, codec::AsKey(id.digest)),
                             [&](std::string_view user, std::string_view) -> Result<bool> {
                               if (user.size() != kNumberBytes) return true;  // an image
                               SNAP_TRY(const uint64_t number, NumberFromKey(user));
                               found.push_back(number);
                               return found.size() < limit;
                             }));
  return found;
}

Result<std::vector<uint64_t>> Metadata::SnapshotsMadeFor(std::string_view target) {
  const std::lock_guard guard(state_->mutex);
  std::vector<uint64_t> found;
  SNAP_TRY_VOID(state_->Scan(Key(Table::kSnapshotTarget, target, std::string_view("\0", 1)),
                             [&](std::string_view key, std::string_view) -> Result<bool> {
                               if (key.size() != kNumberBytes)
                                 return true;  // a longer label with a NUL in it
                               SNAP_TRY(const uint64_t number, NumberFromKey(key));
                               found.push_back(number);
                               return true;
                             }));
  return found;
}

Result<std::vector<uint64_t>> Metadata::SnapshotChildren(uint64_t number, size_t limit) {
  const std::lock_guard guard(state_->mutex);
  std::vector<uint64_t> children;
  SNAP_TRY_VOID(state_->Scan(Key(Table::kSnapshotChild, NumberKey(number)),
                             [&](std::string_view key, std::string_view) -> Result<bool> {
                               SNAP_TRY(const uint64_t child, NumberFromKey(key));
                               children.push_back(child);
                               return children.size() < limit;
                             }));
  return children;
}

Result<void> Metadata::PutSnapshot(const SnapshotRecord& record, const std::optional<LayerAddition>& layer,
                                   bool sync) {
  const std::lock_guard guard(state_->mutex);
  DatabaseChanges changes;
  const std::string number = NumberKey(record.number);
  SNAP_TRY(const std::optional<std::string> known, state_->Get(Key(Table::kSnapshotNumber, number)));
  if (known) {
    SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kSnapshot, *known)));
    if (value) {
      SNAP_TRY(const SnapshotRecord before, codec::DecodeSnapshot(*known, *value));
      DeleteRows(changes, before);
    }
  } else {
    changes.Put(Key(Table::kSnapshotNext, kNextNumber), NumberKey(record.number + 1));
  }
  if (!known || *known != record.info.name) {
    SNAP_TRY(const std::optional<std::string> taken, state_->Get(Key(Table::kSnapshot, record.info.name)));
    if (taken)
      return MakeError(ErrorCode::kExists, "snapshot {}: the name is taken", Quote(record.info.name));
  }
  if (layer) {
    SNAP_TRY(const std::optional<LayerManifest> row, state_->Layer(layer->manifest.id));
    if (!row) AddLayerRows(changes, *layer);
  }
  AddRows(changes, record);
  return state_->Write(changes, sync);
}

Result<void> Metadata::RemoveSnapshot(const SnapshotRecord& record, bool sync) {
  const std::lock_guard guard(state_->mutex);
  DatabaseChanges changes;
  DeleteRows(changes, record);
  return state_->Write(changes, sync);
}

Result<void> Metadata::ScanSnapshots(std::string_view from,
                                     const std::function<Result<bool>(const SnapshotRecord& record)>& visit) {
  const std::lock_guard guard(state_->mutex);
  return state_->db->Scan(Key(Table::kSnapshot), Key(Table::kSnapshot, from),
                          [&](std::string_view key, std::string_view value) -> Result<bool> {
                            SNAP_TRY(const SnapshotRecord record,
                                     codec::DecodeSnapshot(key.substr(1), value));
                            return visit(record);
                          });
}

}  // namespace snap
