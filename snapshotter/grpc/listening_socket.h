// ListeningSocket: a unix socket with a name, or one that somebody else made (systemd).
// Invariant: of two programs that want a name one gets it; a name that nobody answers at is taken over.
#pragma once

#include <sys/types.h>

#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap {

/// Dropping it closes it and removes the name, if that is still this socket.
class ListeningSocket {
 public:
  /// Mode 0600; a missing directory is made, 0711. Errors: kExists when somebody answers there or the name is
  /// no socket; kInvalidArgument for relative and too long (107 bytes) paths; those of the file system.
  static Result<ListeningSocket> Make(const std::string& path);
  /// Whoever made it also removes its name. Errors: kInvalidArgument when it does not listen for streams.
  static Result<ListeningSocket> Adopt(UniqueFd fd, std::string name);
  ListeningSocket(ListeningSocket&& other) noexcept = default;
  ListeningSocket& operator=(ListeningSocket&& other) = delete;
  ~ListeningSocket();

  FdRef fd() const { return fd_; }
  const std::string& name() const { return name_; }  ///< path, or what it was adopted as

 private:
  ListeningSocket(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}

  UniqueFd fd_;
  std::string name_;
  dev_t device_ = 0;
  ino_t inode_ = 0;  ///< 0: not ours to remove
};

}  // namespace snap
