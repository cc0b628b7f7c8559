// A clock: the hand passes over the open ones; who was used again since the last time stays once more, so that a walk through
// everything does not drive out what is in use. Locks: a slot's, then the list's; a slot that is evicted is only tried, so that
// no thread waits for a slot with the list locked.
#include "fuse/dir_fds.h"

#include <algorithm>

namespace snap::fuse {

DirFds::DirFds(size_t capacity) : capacity_(std::max<size_t>(16, capacity)), hand_(slots_.end()) {}

DirFds::Slot::~Slot() { owner_.Drop(*this); }

SysResult<DirFds::Pin> DirFds::Get(Slot& slot, const std::function<SysResult<UniqueFd>()>& open) {
  const std::lock_guard lock(slot.mutex_);
  if (slot.fd_ != nullptr) {
    slot.used_.store(true, std::memory_order_relaxed);
    return slot.fd_;
  }
  SNAP_TRY(UniqueFd fd, open());
  slot.fd_ = std::make_shared<const UniqueFd>(std::move(fd));
  Admit(slot);
  return slot.fd_;
}

// Called with the slot's lock held.
void DirFds::Admit(Slot& slot) {
  const std::lock_guard lock(mutex_);
  // Twice around at most: after one round everybody has lost the mark. Slots in use by their owners' threads are left alone.
  for (size_t steps = 2 * slots_.size(); slots_.size() >= capacity_ && steps > 0; --steps) {
    if (hand_ == slots_.end()) hand_ = slots_.begin();
    Slot& candidate = **hand_;
    if (candidate.used_.exchange(false, std::memory_order_relaxed)) {
      ++hand_;
      continue;
    }
    const std::unique_lock candidate_lock(candidate.mutex_, std::try_to_lock);
    if (!candidate_lock.owns_lock()) {
      ++hand_;
      continue;
    }
    candidate.fd_.reset();
    candidate.listed_ = false;
    hand_ = slots_.erase(hand_);
  }
  slot.used_.store(false, std::memory_order_relaxed);
  slot.place_ = slots_.insert(hand_, &slot);
  slot.listed_ = true;
}

void DirFds::Drop(Slot& slot) {
  const std::lock_guard slot_lock(slot.mutex_);
  const std::lock_guard lock(mutex_);
  slot.fd_.reset();
  if (!slot.listed_) return;
  if (hand_ == slot.place_) ++hand_;
  slots_.erase(slot.place_);
  slot.listed_ = false;
}

size_t DirFds::open_count() const {
  const std::lock_guard lock(mutex_);
  return slots_.size();
}

}  // namespace snap::fuse
