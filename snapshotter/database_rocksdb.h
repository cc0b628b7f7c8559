// RocksDatabase: a Database in RocksDB files, opened by this process. Options and their reasons:
// docs/metadata-schema.md. Invariant: under its name there is a complete database or none; a new one is made
// aside and renamed.
#pragma once

#include <memory>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "snapshotter/database.h"

namespace snap {

/// Whoever uses <root>/db in any way holds the store's lock (store_lock.h), exclusively for all but reading.
/// RocksDB's threads do not survive a fork.
class RocksDatabase final : public Database {
 public:
  enum class Access { kRead, kWrite };
  /// Errors: kCorrupt (says `snap system check --rebuild`), kBusy (open to write somewhere else), kNoSpace,
  /// kIo. Cost: about 0.5 ms to read, 5 ms to write.
  static Result<std::unique_ptr<RocksDatabase>> Open(const std::string& root_path, Access access);
  /// Makes <root>/db with these first entries, durably. Errors: kExists, kNoSpace, kIo.
  static Result<void> Create(FdRef root, const std::string& root_path, const DatabaseChanges& first);
  static Result<bool> Exists(FdRef root);
  /// Moves <root>/db, whatever its state, to the trash. A missing one is success.
  static Result<void> Discard(FdRef root);

  ~RocksDatabase() override;
  RocksDatabase(const RocksDatabase&) = delete;
  RocksDatabase& operator=(const RocksDatabase&) = delete;

  Result<std::optional<std::string>> Get(std::string_view key) override;
  Result<void> Scan(std::string_view prefix, std::string_view from, const Visitor& visit) override;
  Result<void> Write(const DatabaseChanges& changes, bool sync) override;

  /// Each opening to write turns the log into a small table file, and processes end before the background
  /// would merge them: from eight on they are merged here. Of a database opened to write.
  Result<void> MergeSmallTables();

 private:
  struct State;
  explicit RocksDatabase(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace snap
