// TracedServer: a process under ptrace that dies at its Nth system call, whichever of its threads makes it.
// Invariant: the same thread of the test makes all calls; when it dies, so does the server
// (PTRACE_O_EXITKILL).
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace snap::test {

class TracedServer {
 public:
  /// Attaches to all threads. Dies when that fails.
  explicit TracedServer(pid_t server);
  struct End {
    bool killed = false;    ///< the server died; it is reaped
    int64_t calls = 0;      ///< system calls that it began
    int worker_status = 0;  ///< as of waitpid
    bool worker_hangs =
        false;  ///< the worker was not done 10 seconds after the server had died; it was killed then
  };
  /// Lets the server run until `worker`, a child of this process that works on its mount, has ended; kills
  /// the server before the call number `kill_at` (from 1; 0: never). A server that lives on is let go.
  End RunUntil(pid_t worker, int64_t kill_at);

 private:
  pid_t server_;
};

}  // namespace snap::test
