// EventBus: tells whoever listens what the daemon does.
// Invariant: publishing never waits for a listener; one that is slow loses the newest events and is told how
// many.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap {

struct Event {
  int64_t time_ns = 0;  ///< since 1970, UTC
  std::string type;  ///< "snapshot.prepare", "snapshot.commit", "snapshot.remove", "layer.apply", "gc", ...
  std::map<std::string, std::string> attributes;
  friend bool operator==(const Event&, const Event&) = default;
};

/// What a listener gets in the place of events that it lost; attribute "count" says how many.
inline constexpr const char* kEventsLost = "events.lost";

/// Threads: safe. Cost of Publish: O(listeners).
class EventBus {
 public:
  class Subscription {
   public:
    ~Subscription();
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;
    /// Readable while events wait.
    FdRef readable() const { return wake_read_; }
    /// All that wait, oldest first. Never blocks.
    std::vector<Event> Take();

   private:
    friend class EventBus;
    struct Shared;
    Subscription() = default;
    std::shared_ptr<Shared> shared_;  // outlives the bus
    UniqueFd wake_read_, wake_write_;
    std::mutex mutex_;  // guards the rest; taken under the bus' own
    std::vector<Event> queue_;
    size_t capacity_ = 0;
    uint64_t lost_ = 0;
    int64_t lost_since_ns_ = 0;
  };

  EventBus();
  /// Errors: kIo (no descriptors left).
  Result<std::unique_ptr<Subscription>> Subscribe(size_t capacity = 1024);
  void Publish(std::string type, std::map<std::string, std::string> attributes);
  size_t listeners() const;

 private:
  std::shared_ptr<Subscription::Shared> shared_;
};

}  // namespace snap
