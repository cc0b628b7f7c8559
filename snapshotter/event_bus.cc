#include "snapshotter/event_bus.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>

#include "fs/base/sys_file.h"

namespace snap {

struct EventBus::Subscription::Shared {
  mutable std::mutex mutex;
  std::vector<Subscription*> listeners;
};

EventBus::EventBus() : shared_(std::make_shared<Subscription::Shared>()) {}

EventBus::Subscription::~Subscription() {
  const std::lock_guard guard(shared_->mutex);
  std::erase(shared_->listeners, this);
}

Result<std::unique_ptr<EventBus::Subscription>> EventBus::Subscribe(size_t capacity) {
  SNAP_TRY_SYS(sys::Pipe wake, sys::MakePipe(O_NONBLOCK), "make a listener's pipe");
  std::unique_ptr<Subscription> subscription(new Subscription);
  subscription->shared_ = shared_;
  subscription->wake_read_ = std::move(wake.read_end);
  subscription->wake_write_ = std::move(wake.write_end);
  subscription->capacity_ = std::max<size_t>(1, capacity);
  const std::lock_guard guard(shared_->mutex);
  shared_->listeners.push_back(subscription.get());
  return subscription;
}

void EventBus::Publish(std::string type, std::map<std::string, std::string> attributes) {
  // The time is taken under the lock, so that every listener sees times in order.
  const std::lock_guard guard(shared_->mutex);
  if (shared_->listeners.empty()) return;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const Event event{std::chrono::duration_cast<std::chrono::nanoseconds>(now).count(), std::move(type),
                    std::move(attributes)};
  for (Subscription* const listener : shared_->listeners) {
    const std::lock_guard queue_guard(listener->mutex_);
    if (listener->queue_.size() >= listener->capacity_) {
      if (listener->lost_++ == 0) listener->lost_since_ns_ = event.time_ns;
      continue;
    }
    if (listener->queue_.empty()) {
      const std::byte one[1] = {};
      (void)sys::Write(listener->wake_write_, one);  // full: it is readable already
    }
    listener->queue_.push_back(event);
  }
}

size_t EventBus::listeners() const {
  const std::lock_guard guard(shared_->mutex);
  return shared_->listeners.size();
}

std::vector<Event> EventBus::Subscription::Take() {
  const std::lock_guard guard(mutex_);
  std::byte drained[64];
  (void)sys::Read(wake_read_,
                  drained);  // at most one byte for each time the queue was empty; nothing there is fine
  std::vector<Event> events = std::move(queue_);
  queue_.clear();
  if (lost_ != 0) events.push_back({lost_since_ns_, kEventsLost, {{"count", std::to_string(lost_)}}});
  lost_ = 0;
  return events;
}

}  // namespace snap
