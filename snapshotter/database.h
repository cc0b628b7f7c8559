// Database: ordered keys and values, changed in atomic batches. Two implementations: RocksDB opened by this
// process, and the database of a running daemon behind its control socket. Who may do what when is the
// store's lock's to order (store_lock.h): it is held for as long as a Database is used, whichever
// implementation it is.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"

namespace snap {

/// What one batch does, in this order; a later change of a key wins.
struct DatabaseChanges {
  struct Change {
    std::string key;
    std::optional<std::string> value;  ///< nullopt: the key goes; a missing one is fine
  };
  std::vector<Change> changes;

  void Put(std::string key, std::string_view value) {
    changes.push_back({std::move(key), std::string(value)});
  }
  void Delete(std::string key) { changes.push_back({std::move(key), std::nullopt}); }
  bool empty() const { return changes.empty(); }
};

/// Threads: safe.
class Database {
 public:
  virtual ~Database() = default;
  virtual Result<std::optional<std::string>> Get(std::string_view key) = 0;
  /// Visits the entries whose keys begin with `prefix` and are not less than `from` (which may be empty), in
  /// the order of the keys, until the visitor says false. The views are valid during the visit. What is
  /// written meanwhile may be missed.
  using Visitor = std::function<Result<bool>(std::string_view key, std::string_view value)>;
  virtual Result<void> Scan(std::string_view prefix, std::string_view from, const Visitor& visit) = 0;
  /// All or nothing. `sync`: survives power loss on return, otherwise only the death of processes. Errors:
  /// kNoSpace, kIo, kCorrupt; kUnavailable when the daemon has gone: the batch may or may not have been
  /// written.
  virtual Result<void> Write(const DatabaseChanges& changes, bool sync) = 0;
};

}  // namespace snap
