// Snapshots in memory: the same states and errors as the real ones, no disk. What tests want to go wrong or
// to wait is said by hooks.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/synchronized.h"
#include "snapshotter/snapshots.h"

namespace snap::test {

/// Threads: safe. Hooks are set before it is used.
class FakeSnapshots final : public Snapshots {
 public:
  /// Before every call, with its name; an error is the call's answer.
  std::function<Result<void>(std::string_view call)> on_call;
  /// Instead of reading the blob.
  std::function<Result<Applied>(const Blob& blob)> on_apply;

  Result<std::vector<EngineMount>> Prepare(const std::string& key, const std::string& parent,
                                           const Labels& labels) override;
  Result<std::vector<EngineMount>> View(const std::string& key, const std::string& parent,
                                        const Labels& labels) override;
  Result<std::vector<EngineMount>> Mounts(const std::string& key) override;
  Result<void> Commit(const std::string& name, const std::string& key, const Labels& labels,
                      const std::string& parent) override;
  Result<void> Remove(const std::string& key) override;
  Result<SnapshotInfo> Stat(const std::string& key) override;
  Result<SnapshotInfo> Update(const SnapshotInfo& info, const std::vector<std::string>& paths) override;
  Result<void> Walk(const Visitor& visit) override;
  Result<SnapshotUsage> Usage(const std::string& key) override;
  Result<void> Cleanup() override;
  std::optional<std::string> NameOfMounts(const std::vector<EngineMount>& mounts) override;
  Result<Applied> Apply(const std::string& key, const Blob& blob) override;
  Result<std::unique_ptr<ByteSource>> OpenAddition(const std::string& key) override;

  /// Puts one there as it is.
  void Put(SnapshotInfo info);

 private:
  using Table = std::map<std::string, SnapshotInfo>;
  Result<std::vector<EngineMount>> Make(const std::string& key, const std::string& parent,
                                        const Labels& labels, SnapshotKind kind);
  Result<void> Called(std::string_view call) const;

  Synchronized<Table> table_;
};

}  // namespace snap::test
