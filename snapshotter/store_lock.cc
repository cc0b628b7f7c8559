// flock, so that a dead holder never blocks anybody. The pid in the file is a hint for people and is believed
// only while somebody holds the lock.
#include "snapshotter/store_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <charconv>
#include <chrono>
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

}  // namespace

Result<StoreLock> StoreLock::Acquire(FdRef store_root, Kind kind,
                                     const std::function<void(std::optional<int64_t>)>& on_wait) {
  constexpr auto kPatience = std::chrono::seconds(1);
  constexpr auto kLongestNap = std::chrono::milliseconds(8);
  const int operation = kind == Kind::kShared ? LOCK_SH : LOCK_EX;
  SNAP_TRY_SYS(UniqueFd file, sys::OpenAt(store_root, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600),
               "open store lock");

  // Transactions take milliseconds: try often for a second, then say who it is and sleep until the kernel
  // wakes us.
  const auto give_up = steady_clock::now() + kPatience;
  std::chrono::microseconds nap(200);
  SysResult<void> locked = sys::Flock(file, operation | LOCK_NB);
  while (!locked.ok() && locked.error() == EWOULDBLOCK && steady_clock::now() < give_up) {
    std::this_thread::sleep_for(nap);
    nap = std::min<std::chrono::microseconds>(nap * 2, kLongestNap);
    locked = sys::Flock(file, operation | LOCK_NB);
  }
  if (!locked.ok() && locked.error() == EWOULDBLOCK) {
    if (on_wait) on_wait(ReadHolder(file));
    locked = sys::Flock(file, operation);
  }
  if (!locked.ok()) return Error(locked.error(), "lock the store");

  if (kind == Kind::kExclusive) {
    const std::string pid = std::to_string(sys::Pid()) + "\n";
    SNAP_TRY_SYS_VOID(sys::Truncate(file, 0), "write store lock");
    SNAP_TRY_SYS_VOID(sys::PWriteAll(file, std::as_bytes(std::span(pid)), 0), "write store lock");
  }
  return StoreLock(std::move(file));
}

}  // namespace snap
