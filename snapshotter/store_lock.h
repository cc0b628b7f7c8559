// StoreLock: orders the processes that use one store's database. A file of our own, taken before RocksDB's,
// so that RocksDB never sees contention and waiting users are told who they wait for.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap {

/// Held while it lives; the kernel releases it when the process dies.
class StoreLock {
 public:
  enum class Kind { kShared, kExclusive };
  /// Waits for <root>/lock. `on_wait` (may be empty) is called once after a second, with the pid that an
  /// exclusive holder wrote into the file. Errors: kPermission, kIo.
  static Result<StoreLock> Acquire(FdRef store_root, Kind kind,
                                   const std::function<void(std::optional<int64_t>)>& on_wait);

 private:
  explicit StoreLock(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
};

}  // namespace snap
