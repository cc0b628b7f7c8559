// Session: a union served to the kernel through FUSE, from the mount to its end.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fuse/union_fs.h"

namespace snap::fuse {

enum class Use { kAuto, kOn, kOff };

struct SessionOptions {
  std::string source = "snap-fuse";         ///< what the mount table calls it
  std::vector<std::string> mount_options;   ///< "allow_other", "noatime": for mount(2) or fusermount3
  double timeout_seconds = 1e9;             ///< how long the kernel may keep names and attributes; all changes go through it
  unsigned threads = 0;                     ///< of the /dev/fuse transport; 0: as many as processors, at least 2
  Use passthrough = Use::kAuto;             ///< I/O of upper files without us; needs CAP_SYS_ADMIN of the first user namespace
  Use io_uring = Use::kAuto;                ///< requests by io_uring; the system must have it enabled
  Use no_open = Use::kAuto;                 ///< never ask us to open; excludes passthrough. kAuto: where that is not to be had
  bool debug = false;                       ///< every request on standard error
  std::string stats_path;                   ///< requests by operation are written here at the end and on request; "": nowhere
};

/// What this process and kernel can do, for `--features`.
struct SessionFeature {
  std::string name;
  bool active = false;
  std::string detail;  ///< why, or what would change it
};
std::vector<SessionFeature> SessionFeatures(const SessionOptions& options);
/// "3.18.3".
std::string LibfuseVersion();

/// Threads: one at a time, but for Stop and WriteStats.
class Session {
 public:
  /// `open` makes the union once it is known who can be asked for passthrough (nullptr: nobody).
  using Opener = std::function<Result<std::unique_ptr<UnionFs>>(BackingFiles* backing)>;
  /// Opens the union and mounts it at `target`; "/dev/fd/N" is an open /dev/fuse with a mount that somebody else has made, which
  /// takes its flags and its end from there. Errors: those of `open`; kPermission, kNotFound, kIo of the mount. Nothing is
  /// mounted then.
  static Result<std::unique_ptr<Session>> Mount(const std::string& target, const SessionOptions& options, const Opener& open);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  /// Unmounts if it is still mounted.
  ~Session();

  /// Serves until somebody unmounts it, or a signal of Stop's kind arrives. Errors: kIo.
  Result<void> Serve();
  /// From a signal handler's thread: ends Serve and unmounts.
  void Stop();
  /// Writes the numbers of requests, one "operation count" a line, and what the union holds.
  Result<void> WriteStats() const;

 private:
  class Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace snap::fuse
