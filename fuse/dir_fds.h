// DirFds: descriptors of directories, opened when they are used and bounded in number.
// Invariant: not more than the capacity are open, but for those in use at this moment; a union over 100,000 directories needs
// no more descriptors than one over ten.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap::fuse {

/// Threads: safe. The common case (open already) takes the slot's lock alone.
class DirFds {
 public:
  /// At least 16.
  explicit DirFds(size_t capacity);
  DirFds(const DirFds&) = delete;
  DirFds& operator=(const DirFds&) = delete;

  /// Open for as long as somebody has it.
  using Pin = std::shared_ptr<const UniqueFd>;

  /// The place of one directory's descriptor, a member of whatever stands for the directory. Its destruction closes it.
  class Slot {
   public:
    explicit Slot(DirFds& owner) : owner_(owner) {}
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot();

   private:
    friend class DirFds;
    DirFds& owner_;
    std::mutex mutex_;
    Pin fd_;                          // guarded by mutex_
    std::atomic<bool> used_{false};   // since the eviction hand last passed
    bool listed_ = false;             // guarded by DirFds::mutex_
    std::list<Slot*>::iterator place_;  // valid while listed_
  };

  /// `open` is called when the descriptor is not open, without any lock of this class but the slot's; it may call Get for
  /// another slot (its parent's). Errors: those of `open`.
  SysResult<Pin> Get(Slot& slot, const std::function<SysResult<UniqueFd>()>& open);
  /// Closes it, e.g. since the directory is gone.
  void Drop(Slot& slot);
  /// How many are open now, without those that were closed here while somebody had them.
  size_t open_count() const;

 private:
  void Admit(Slot& slot);

  const size_t capacity_;
  mutable std::mutex mutex_;
  std::list<Slot*> slots_;           // a clock: those with an open descriptor; guarded by mutex_
  std::list<Slot*>::iterator hand_;  // guarded by mutex_
};

}  // namespace snap::fuse
