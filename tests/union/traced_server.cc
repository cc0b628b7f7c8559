#include "tests/union/traced_server.h"

#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <string>

#include "tests/union/union_mount.h"

namespace snap::test {
namespace {

// glibc declares the requests as an enum that knows fewer than the kernel.
long Trace(int request, pid_t pid, unsigned long address, void* data) {
  return ptrace(static_cast<__ptrace_request>(request), pid, reinterpret_cast<void*>(address),
                data);  // NOLINT
}

void Continue(pid_t thread, int signal) {
  // ESRCH: it has been killed meanwhile.
  (void)Trace(PTRACE_SYSCALL, thread, 0, reinterpret_cast<void*>(static_cast<long>(signal)));  // NOLINT
}

bool IsEntry(pid_t thread) {
  __ptrace_syscall_info info{};
  return Trace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) > 0 &&
         info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

}  // namespace

TracedServer::TracedServer(pid_t server) : server_(server) {
  constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
  std::set<pid_t> attached;
  // Until no new threads are found: they may start while this goes on.
  for (bool found = true; found;) {
    found = false;
    for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", server))) {
      const pid_t thread = static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
      if (!attached.insert(thread).second) continue;
      found = true;
      if (Trace(PTRACE_SEIZE, thread, 0, reinterpret_cast<void*>(kOptions)) != 0 && errno != ESRCH &&
          errno != EPERM) {  // NOLINT
        Die(fmt::format("trace thread {}: {}", thread, strerror(errno)));
      }
      (void)Trace(PTRACE_INTERRUPT, thread, 0, nullptr);  // ESRCH: it has ended
    }
  }
}

TracedServer::End TracedServer::RunUntil(pid_t worker, int64_t kill_at) {
  End end;
  bool worker_done = false;
  const auto reap = [&](int flags) -> pid_t {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, __WALL | flags);
    if (pid <= 0) return pid;
    if (pid == worker) {
      worker_done = true;
      end.worker_status = status;
    } else if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (pid == server_) end.killed = true;
    } else if (WIFSTOPPED(status)) {
      const int signal = WSTOPSIG(status);
      if (signal == (SIGTRAP | 0x80)) {
        if (IsEntry(pid) && ++end.calls == kill_at) kill(server_, SIGKILL);
        Continue(pid, 0);
      } else {
        Continue(pid, status >> 16 != 0 ? 0 : signal);
      }
    }
    return pid;
  };
  while (!worker_done && !end.killed) {
    if (reap(0) < 0) Die(fmt::format("wait for the server: {}", strerror(errno)));
  }
  if (!end.killed && kill_at != 0 && end.calls >= kill_at) {
    while (!end.killed && reap(0) > 0) {
    }
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!worker_done) {
    if (reap(WNOHANG) == 0) usleep(500);
    if (std::chrono::steady_clock::now() < deadline || worker_done) continue;
    end.worker_hangs = true;
    kill(worker, SIGKILL);
    return end;
  }
  if (end.killed) return end;
  // A thread can be let go of only while it is stopped.
  std::set<pid_t> left;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", server_))) {
    const pid_t thread = static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
    if (Trace(PTRACE_INTERRUPT, thread, 0, nullptr) == 0) left.insert(thread);
  }
  while (!left.empty()) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, __WALL);
    if (pid < 0) break;
    if (WIFSTOPPED(status)) {
      // Any stop will do: the interruption may show as the exit of the system call that was interrupted.
      const bool signal = WSTOPSIG(status) != (SIGTRAP | 0x80) && status >> 16 == 0;
      (void)Trace(PTRACE_DETACH, pid, 0,
                  reinterpret_cast<void*>(static_cast<long>(signal ? WSTOPSIG(status) : 0)));  // NOLINT
    }
    left.erase(pid);
  }
  return end;
}

}  // namespace snap::test
