// Synchronized<T>: data that lives inside its lock, so that it cannot be touched without it.
#pragma once

#include <mutex>
#include <utility>

namespace snap {

/// `auto locked = state.Lock(); locked->x = 1;` The lock is held while the returned object lives.
template <typename T>
class Synchronized {
 public:
  Synchronized() = default;
  explicit Synchronized(T value) : value_(std::move(value)) {}

  class Locked {
   public:
    T* operator->() { return value_; }
    T& operator*() { return *value_; }
    /// For std::condition_variable.
    std::unique_lock<std::mutex>& lock() { return lock_; }

   private:
    friend class Synchronized;
    Locked(std::mutex& mutex, T& value) : lock_(mutex), value_(&value) {}
    std::unique_lock<std::mutex> lock_;
    T* value_;
  };

  [[nodiscard]] Locked Lock() { return Locked(mutex_, value_); }

 private:
  std::mutex mutex_;
  T value_{};
};

}  // namespace snap
