// UnionMount: a union file system that a test looks at from outside, whoever provides it: the kernel's
// overlayfs or a program with fuse-overlayfs' command line. The test is the same for all; the kernel is the
// oracle. Invariant: a server does not outlive the process that mounted it, and its end is looked at: a crash
// is a failure of the test.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "fs/base/result.h"

namespace snap::test {

/// Prints "PROGRAM: message" and exits with 2: the test itself could not be run. 1 is left for what the test
/// finds.
[[noreturn]] void Die(const std::string& message);

/// The directories of one union. Absolute paths without ':' and ','.
struct UnionDirs {
  std::vector<std::string> lowers_top_first;
  std::string upper, work;  ///< both empty: read-only
};

/// Where a test works: in a mount namespace of its own, which the process enters (nothing propagates out, and all
/// that is mounted ends with it), in a given directory or, without one, on a tmpfs that goes with this. Dies when
/// that is not allowed (the tests of the union need root). One in a process.
class Workplace {
 public:
  explicit Workplace(std::string directory);
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;
  ~Workplace();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool own_ = false;
};

/// Threads: one.
class UnionMount {
 public:
  /// `program`: "kernel", or the path of a FUSE program, with options after commas
  /// ("/usr/bin/fuse-overlayfs,noacl"). The kernel mounts with redirect_dir, index and metacopy off; both
  /// with nodev and noatime. Errors: kIo with what the program said, or that it did not mount within 10
  /// seconds.
  static Result<UnionMount> Mount(const std::string& program, const UnionDirs& dirs, std::string mountpoint);
  UnionMount(UnionMount&& other) noexcept;
  UnionMount& operator=(UnionMount&&) = delete;
  /// Detaches what is still mounted and kills the server: for the ways out of a failed test.
  ~UnionMount();

  /// Errors: kBusy when files are open; kIo when the server did not end by itself with status 0 within 10
  /// seconds.
  Result<void> Unmount();
  /// Makes the kernel forget names and inodes of this mount that nobody uses (a remount does), so that it
  /// asks again.
  Result<void> DropCaches();
  /// The caller has killed and reaped the server: what is left is the dead mount, which is detached.
  void ForgetServer();
  /// -1: the kernel is the server.
  pid_t server() const { return server_; }
  const std::string& mountpoint() const { return mountpoint_; }

 private:
  UnionMount(std::string mountpoint, pid_t server) : mountpoint_(std::move(mountpoint)), server_(server) {}
  std::string mountpoint_;  // empty: moved from or unmounted
  pid_t server_ = -1;
};

}  // namespace snap::test
