// flock, so that a dead holder never blocks anybody. The pid in the file is a hint for people and is believed
// only while somebody holds the lock.
#include "snapshotter/store_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"

namespace snap {
namespace {

using std::chrono::steady_clock;

std::optional<int64_t> ReadHolder(FdRef file) {
  std::byte bytes[32];
  const SysResult<size_t> size = sys::PRead(file, bytes, 0);
  if (!size.ok()) return std::nullopt;
  const char* text = reinterpret_cast<const char*>(bytes);
  int64_t pid = 0;
  if (std::from_chars(text, text + *size, pid).ec != std::errc() || pid <= 0) return std::nullopt;
  return pid;
}

constexpr size_t kHolderBytes = 16;  // always as many, so that the file need not be cut, which takes a millisecond on some file systems

}  // namespace

class StoreLock::Gate {
 public:
  /// The one of all threads that use this lock file.
  static std::shared_ptr<Gate> Of(const struct stat& file) {
    static std::mutex mutex;
    static std::map<std::pair<dev_t, ino_t>, std::weak_ptr<Gate>> gates;  // guarded by mutex
    const std::lock_guard guard(mutex);
    std::erase_if(gates, [](const auto& gate) { return gate.second.expired(); });
    std::weak_ptr<Gate>& known = gates[{file.st_dev, file.st_ino}];
    std::shared_ptr<Gate> gate = known.lock();
    if (gate == nullptr) known = gate = std::make_shared<Gate>();
    return gate;
  }

  bool Enter(Kind kind, std::chrono::milliseconds silence, const std::function<void(std::optional<int64_t>)>& on_wait,
             std::optional<std::chrono::milliseconds> patience) {
    std::unique_lock lock(mutex_);
    const uint64_t ticket = next_++;
    waiting_.insert(ticket);
    const auto may_go = [&] {
      return *waiting_.begin() == ticket && (kind == Kind::kShared ? holders_ >= 0 : holders_ == 0);
    };
    const auto start = steady_clock::now();
    bool entered = changed_.wait_until(lock, start + (patience ? std::min(*patience, silence) : silence), may_go);
    if (!entered) {
      lock.unlock();
      if (on_wait) on_wait(sys::Pid());
      lock.lock();
      if (patience) {
        entered = changed_.wait_until(lock, start + *patience, may_go);
      } else {
        changed_.wait(lock, may_go);
        entered = true;
      }
    }
    waiting_.erase(ticket);
    if (entered) holders_ = kind == Kind::kShared ? holders_ + 1 : kExclusiveHolder;
    changed_.notify_all();  // the next may be one that shares
    return entered;
  }
  void Leave(Kind kind) {
    const std::lock_guard guard(mutex_);
    holders_ = kind == Kind::kShared ? holders_ - 1 : 0;
    changed_.notify_all();
  }

 private:
  static constexpr int kExclusiveHolder = -1;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t next_ = 0;
  std::set<uint64_t> waiting_;  // tickets
  int holders_ = 0;
};

StoreLock::Turn& StoreLock::Turn::operator=(Turn&& other) noexcept {
  if (gate_ != nullptr) gate_->Leave(kind_);
  gate_ = std::move(other.gate_);
  kind_ = other.kind_;
  return *this;
}
StoreLock::Turn::~Turn() {
  if (gate_ != nullptr) gate_->Leave(kind_);
}

Result<StoreLock> StoreLock::Acquire(FdRef store_root, Kind kind,
                                     const std::function<void(std::optional<int64_t>)>& on_wait,
                                     std::optional<std::chrono::milliseconds> patience) {
  constexpr auto kSilence = std::chrono::seconds(1);
  constexpr auto kLongestNap = std::chrono::milliseconds(8);
  const int operation = kind == Kind::kShared ? LOCK_SH : LOCK_EX;
  SNAP_TRY_SYS(UniqueFd file, sys::OpenAt(store_root, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600),
               "open store lock");
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(file), "look at the store lock");
  std::shared_ptr<Gate> gate = Gate::Of(stat);
  if (!gate->Enter(kind, kSilence, on_wait, patience)) {
    return MakeError(ErrorCode::kUnavailable, "lock the store: process {}, this one, uses it for too long", sys::Pid());
  }
  Turn turn(std::move(gate), kind);

  // Transactions take milliseconds: try often for a second, then say who it is and sleep until the kernel
  // wakes us.
  std::chrono::microseconds nap(200);
  SysResult<void> locked = sys::Flock(file, operation | LOCK_NB);
  const auto start = steady_clock::now();
  const auto deadline = patience ? start + *patience : steady_clock::time_point::max();
  const auto wait_until = [&](steady_clock::time_point until) {
    while (!locked.ok() && locked.error() == EWOULDBLOCK && steady_clock::now() < until) {
      std::this_thread::sleep_for(nap);
      nap = std::min<std::chrono::microseconds>(nap * 2, kLongestNap);
      locked = sys::Flock(file, operation | LOCK_NB);
    }
  };
  wait_until(std::min(start + kSilence, deadline));
  if (!locked.ok() && locked.error() == EWOULDBLOCK) {
    if (on_wait) on_wait(ReadHolder(file));
    if (patience) {
      wait_until(deadline);
    } else {
      locked = sys::Flock(file, operation);
    }
  }
  if (!locked.ok() && locked.error() == EWOULDBLOCK) {
    const std::optional<int64_t> holder = ReadHolder(file);
    return MakeError(ErrorCode::kUnavailable, "lock the store: {} uses it for too long",
                     holder ? fmt::format("process {}", *holder) : std::string("another process"));
  }
  if (!locked.ok()) return Error(locked.error(), "lock the store");

  if (kind == Kind::kExclusive) {
    std::string pid = std::to_string(sys::Pid());
    pid.resize(kHolderBytes, ' ');
    pid.back() = '\n';
    SNAP_TRY_SYS_VOID(sys::PWriteAll(file, std::as_bytes(std::span(pid)), 0), "write store lock");
  }
  return StoreLock(std::move(turn), std::move(file));
}

}  // namespace snap
