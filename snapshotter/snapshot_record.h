// What the database knows of a snapshot. docs/metadata-schema.md specifies the rows.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "fs/layer_store.h"

namespace snap {

enum class SnapshotKind : uint8_t { kView = 1, kActive = 2, kCommitted = 3 };  // containerd's numbers
using Labels = std::map<std::string, std::string>;

/// Label: the chain id that a snapshot is unpacked for. Source: containerd core/snapshots/snapshotter.go.
inline constexpr const char* kSnapshotTargetLabel = "containerd.io/snapshot.ref";

struct SnapshotInfo {
  std::string name, parent;  ///< parent: "" for none
  SnapshotKind kind = SnapshotKind::kActive;
  int64_t created_ns = 0, updated_ns = 0;  ///< since 1970, UTC
  Labels labels;
  friend bool operator==(const SnapshotInfo&, const SnapshotInfo&) = default;
};

/// Of what a snapshot adds to its parent.
struct SnapshotUsage {
  uint64_t bytes = 0, inodes = 0;
  friend bool operator==(const SnapshotUsage&, const SnapshotUsage&) = default;
};

struct SnapshotRecord {
  uint64_t number = 0;           ///< from 1, never used again; names its upper
  uint64_t parent = 0;           ///< its number; 0: none
  SnapshotInfo info;             ///< with the parent's name, which never changes
  std::optional<LayerId> layer;  ///< what it adds, below its upper
  bool has_upper = false;        ///< snapshots/<SnapshotUpperName(number)>
  bool unfinished =
      false;  ///< a layer was applied that only its commit can finish; who was to do so may be gone
  std::optional<SnapshotUsage> usage;  ///< committed: once it is known
  friend bool operator==(const SnapshotRecord&, const SnapshotRecord&) = default;
};

/// Uppers of this prefix belong to snapshots.
inline constexpr const char* kSnapshotUpperPrefix = "e";
inline std::string SnapshotUpperName(uint64_t number) {
  return kSnapshotUpperPrefix + std::to_string(number);
}

}  // namespace snap
