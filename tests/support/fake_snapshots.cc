#include "tests/support/fake_snapshots.h"

#include <algorithm>
#include <array>

#include "fs/base/quote.h"

namespace snap::test {
namespace {

constexpr std::string_view kSource = "/fake/";
/// A time with nanoseconds that a float would lose.
constexpr int64_t kNow = 1'763'712'345'123'456'789;

Error Missing(const std::string& key) {
  return MakeError(ErrorCode::kNotFound, "find snapshot {}", Quote(key));
}

std::vector<EngineMount> MountsOf(const SnapshotInfo& info) {
  const bool writable = info.kind == SnapshotKind::kActive;
  return {{"bind", std::string(kSource) + info.name, "", {"rbind", writable ? "rw" : "ro"}}};
}

}  // namespace

Result<void> FakeSnapshots::Called(std::string_view call) const {
  if (on_call) return on_call(call);
  return {};
}

void FakeSnapshots::Put(SnapshotInfo info) {
  auto table = table_.Lock();
  (*table)[info.name] = std::move(info);
}

Result<std::vector<EngineMount>> FakeSnapshots::Make(const std::string& key, const std::string& parent,
                                                     const Labels& labels, SnapshotKind kind) {
  auto table = table_.Lock();
  if (table->contains(key)) return MakeError(ErrorCode::kExists, "make snapshot {}", Quote(key));
  if (!parent.empty()) {
    const auto it = table->find(parent);
    if (it == table->end()) return Missing(parent);
    if (it->second.kind != SnapshotKind::kCommitted) {
      return MakeError(ErrorCode::kInvalidArgument, "parent {} is not committed", Quote(parent));
    }
  }
  const SnapshotInfo info{key, parent, kind, kNow, kNow, labels};
  table->emplace(key, info);
  return MountsOf(info);
}

Result<std::vector<EngineMount>> FakeSnapshots::Prepare(const std::string& key, const std::string& parent,
                                                        const Labels& labels) {
  SNAP_TRY_VOID(Called("Prepare"));
  return Make(key, parent, labels, SnapshotKind::kActive);
}

Result<std::vector<EngineMount>> FakeSnapshots::View(const std::string& key, const std::string& parent,
                                                     const Labels& labels) {
  SNAP_TRY_VOID(Called("View"));
  return Make(key, parent, labels, SnapshotKind::kView);
}

Result<std::vector<EngineMount>> FakeSnapshots::Mounts(const std::string& key) {
  SNAP_TRY_VOID(Called("Mounts"));
  auto table = table_.Lock();
  const auto it = table->find(key);
  if (it == table->end()) return Missing(key);
  if (it->second.kind == SnapshotKind::kCommitted)
    return MakeError(ErrorCode::kBusy, "{} is committed", Quote(key));
  return MountsOf(it->second);
}

Result<void> FakeSnapshots::Commit(const std::string& name, const std::string& key, const Labels& labels,
                                   const std::string& parent) {
  SNAP_TRY_VOID(Called("Commit"));
  auto table = table_.Lock();
  if (table->contains(name)) return MakeError(ErrorCode::kExists, "commit {}", Quote(name));
  const auto it = table->find(key);
  if (it == table->end()) return Missing(key);
  if (it->second.kind != SnapshotKind::kActive)
    return MakeError(ErrorCode::kBusy, "{} is not active", Quote(key));
  SnapshotInfo info{name, it->second.parent, SnapshotKind::kCommitted, kNow, kNow, labels};
  if (!parent.empty() && !info.parent.empty() && info.parent != parent) {
    return MakeError(ErrorCode::kInvalidArgument, "{} has another parent", Quote(key));
  }
  if (!parent.empty()) info.parent = parent;
  table->erase(it);
  table->emplace(name, std::move(info));
  return {};
}

Result<void> FakeSnapshots::Remove(const std::string& key) {
  SNAP_TRY_VOID(Called("Remove"));
  auto table = table_.Lock();
  if (!table->contains(key)) return Missing(key);
  if (std::any_of(table->begin(), table->end(), [&](const auto& row) { return row.second.parent == key; })) {
    return MakeError(ErrorCode::kBusy, "remove {}: it has children", Quote(key));
  }
  table->erase(key);
  return {};
}

Result<SnapshotInfo> FakeSnapshots::Stat(const std::string& key) {
  SNAP_TRY_VOID(Called("Stat"));
  auto table = table_.Lock();
  const auto it = table->find(key);
  if (it == table->end()) return Missing(key);
  return it->second;
}

Result<SnapshotInfo> FakeSnapshots::Update(const SnapshotInfo& info, const std::vector<std::string>& paths) {
  SNAP_TRY_VOID(Called("Update"));
  auto table = table_.Lock();
  const auto it = table->find(info.name);
  if (it == table->end()) return Missing(info.name);
  if (paths.empty()) it->second.labels = info.labels;
  for (const std::string& path : paths) {
    if (path == "labels") {
      it->second.labels = info.labels;
      continue;
    }
    const std::string key = path.substr(std::string_view("labels.").size());
    it->second.labels.erase(key);
    if (const auto label = info.labels.find(key); label != info.labels.end())
      it->second.labels.insert(*label);
  }
  ++it->second.updated_ns;
  return it->second;
}

Result<void> FakeSnapshots::Walk(const Visitor& visit) {
  SNAP_TRY_VOID(Called("Walk"));
  const Table table = *table_.Lock();
  for (const auto& [name, info] : table) {
    SNAP_TRY(const bool more, visit(info));
    if (!more) break;
  }
  return {};
}

Result<SnapshotUsage> FakeSnapshots::Usage(const std::string& key) {
  SNAP_TRY_VOID(Called("Usage"));
  auto table = table_.Lock();
  if (!table->contains(key)) return Missing(key);
  return SnapshotUsage{uint64_t{5} << 32U, 7};
}

Result<void> FakeSnapshots::Cleanup() { return Called("Cleanup"); }

std::optional<std::string> FakeSnapshots::NameOfMounts(const std::vector<EngineMount>& mounts) {
  if (mounts.size() != 1 || !mounts[0].source.starts_with(kSource)) return std::nullopt;
  return mounts[0].source.substr(kSource.size());
}

Result<Snapshots::Applied> FakeSnapshots::Apply(const std::string& key, const Blob& blob) {
  SNAP_TRY_VOID(Called("Apply"));
  if (on_apply) return on_apply(blob);
  {
    auto table = table_.Lock();
    if (!table->contains(key)) return Missing(key);
  }
  SNAP_TRY(const std::unique_ptr<ByteSource> stored, blob.open());
  DigestingSource digesting(*stored);
  const auto plain = MakeInflater(digesting, blob.compression, InflateLimits(), "blob");
  DigestingSource tar(*plain);
  Applied applied;
  SNAP_TRY(applied.diff_id.digest, tar.Finish());
  applied.tar_bytes = tar.bytes();
  SNAP_TRY(const Digest digest, digesting.Finish());
  if (digest != blob.digest || digesting.bytes() != blob.bytes) {
    return MakeError(ErrorCode::kCorrupt, "blob does not match {}", blob.digest.ToString());
  }
  return applied;
}

Result<std::unique_ptr<ByteSource>> FakeSnapshots::OpenAddition(const std::string& key) {
  SNAP_TRY_VOID(Called("OpenAddition"));
  auto table = table_.Lock();
  if (table->find(key) == table->end()) return Missing(key);
  return MakeMemorySource({});
}

}  // namespace snap::test
