// StoreLock: orders the processes that use one store's database. A file of our own, taken before RocksDB's,
// so that RocksDB never sees contention and waiting users are told who they wait for.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap {

/// Held while it lives; the kernel releases it when the process dies. The threads of one process take turns in the order in which
/// they came, before they ask the kernel: it does not say whose turn it is, so who waits for it has to try again and again.
class StoreLock {
 public:
  enum class Kind { kShared, kExclusive };
  /// Waits for <root>/lock. `on_wait` (may be empty) is called once after a second, with the pid that an
  /// exclusive holder wrote into the file. Errors: kUnavailable after `patience`, kPermission, kIo.
  static Result<StoreLock> Acquire(FdRef store_root, Kind kind,
                                   const std::function<void(std::optional<int64_t>)>& on_wait,
                                   std::optional<std::chrono::milliseconds> patience = std::nullopt);
  /// The open file that the lock belongs to. Whoever has a copy of the descriptor keeps the lock.
  FdRef file() const { return file_; }

 private:
  class Gate;
  /// A thread's turn at the gate of its process.
  class Turn {
   public:
    Turn(std::shared_ptr<Gate> gate, Kind kind) : gate_(std::move(gate)), kind_(kind) {}
    Turn(Turn&&) noexcept = default;
    Turn& operator=(Turn&& other) noexcept;
    ~Turn();

   private:
    std::shared_ptr<Gate> gate_;
    Kind kind_;
  };
  StoreLock(Turn turn, UniqueFd file) : turn_(std::move(turn)), file_(std::move(file)) {}
  Turn turn_;  // ends after the lock
  UniqueFd file_;
};

}  // namespace snap
