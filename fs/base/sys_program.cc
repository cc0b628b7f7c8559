// A program in a process group of its own, its outputs read until it has ended. Invariant: when RunProgram
// returns, the program is reaped, and after a timeout its whole group has been killed. Both outputs are read
// at once: a program never waits for us with a full pipe.
#include "fs/base/sys_program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "fs/base/sys_file.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX wants it declared by the program

namespace snap::sys {
namespace {

using Clock = std::chrono::steady_clock;

/// Attributes and file actions of posix_spawn, freed whatever happens.
class SpawnPlan {
 public:
  SpawnPlan() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  /// `inherited` must have numbers at or above kFirstInherited + their count: one is not to replace another.
  int Set(FdRef in, FdRef out, FdRef err, std::span<const UniqueFd> inherited) {
    sigset_t none;
    sigset_t ignored;
    ::sigemptyset(&none);
    ::sigemptyset(&ignored);
    ::sigaddset(&ignored, SIGPIPE);  // ours is ignored, which exec would keep
    for (const int failed : {
             in.valid() ? ::posix_spawn_file_actions_adddup2(&actions_, in.get(), STDIN_FILENO)
                        : ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0),
             ::posix_spawn_file_actions_adddup2(&actions_, out.get(), STDOUT_FILENO),
             ::posix_spawn_file_actions_adddup2(&actions_, err.get(), STDERR_FILENO),
             ::posix_spawnattr_setpgroup(&attributes_, 0),
             ::posix_spawnattr_setsigmask(&attributes_, &none),
             ::posix_spawnattr_setsigdefault(&attributes_, &ignored),
             ::posix_spawnattr_setflags(
                 &attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF),
         }) {
      if (failed != 0) return failed;
    }
    for (size_t i = 0; i < inherited.size(); ++i) {
      const int number = kFirstInherited + static_cast<int>(i);
      const int failed = ::posix_spawn_file_actions_adddup2(&actions_, inherited[i].get(), number);
      if (failed != 0) return failed;
    }
    return 0;
  }
  /// 0 or an errno.
  int Spawn(const ProgramCall& call, pid_t& pid) {
    std::vector<char*> arguments = Pointers(call.words);
    std::vector<char*> variables;
    if (call.environment) variables = Pointers(*call.environment);
    const char* const path = call.path.empty() ? arguments.front() : call.path.c_str();
    return ::posix_spawnp(&pid, path, &actions_, &attributes_, arguments.data(), call.environment ? variables.data() : environ);
  }

 private:
  static std::vector<char*> Pointers(const std::vector<std::string>& words) {
    std::vector<char*> out;
    out.reserve(words.size() + 1);
    for (const std::string& word : words) {
      out.push_back(const_cast<char*>(word.c_str()));  // NOLINT(cppcoreguidelines-pro-type-const-cast): exec's old type
    }
    out.push_back(nullptr);
    return out;
  }

  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

struct Output {
  UniqueFd fd;
  std::string* text;
};

/// False at the end of the output.
SysResult<bool> ReadSome(const Output& output, size_t max_bytes) {
  std::array<char, 16384> buffer;
  ssize_t size;
  do {
    size = ::read(output.fd.get(), buffer.data(), buffer.size());
  } while (size < 0 && errno == EINTR);
  if (size < 0) return LastErrno();
  const size_t room = max_bytes - output.text->size();
  output.text->append(buffer.data(), std::min(room, static_cast<size_t>(size)));
  return size > 0;
}

/// Copies with numbers of `lowest` and above.
SysResult<std::vector<UniqueFd>> CopyAbove(std::span<const FdRef> fds, int lowest) {
  std::vector<UniqueFd> copies;
  copies.reserve(fds.size());
  for (const FdRef fd : fds) {
    const int copy = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, lowest);
    if (copy < 0) return LastErrno();
    copies.emplace_back(copy);
  }
  return copies;
}

}  // namespace

SysResult<ProgramResult> RunProgram(const std::vector<std::string>& words, std::chrono::milliseconds timeout,
                                    size_t max_bytes) {
  return RunProgramWith(ProgramCall{.words = words}, timeout, max_bytes);
}

SysResult<ProgramResult> RunProgramWith(const ProgramCall& call, std::chrono::milliseconds timeout, size_t max_bytes) {
  const Clock::time_point deadline = Clock::now() + timeout;
  SNAP_TRY(const std::vector<UniqueFd> files, CopyAbove(call.inherited, kFirstInherited + static_cast<int>(call.inherited.size())));
  SNAP_TRY(Pipe out, MakePipe());
  SNAP_TRY(Pipe err, MakePipe());
  SpawnPlan plan;
  if (const int failed = plan.Set(call.input, out.write_end, err.write_end, files); failed != 0) return Errno(failed);
  pid_t pid = -1;
  if (const int failed = plan.Spawn(call, pid); failed != 0) return Errno(failed);
  out.write_end.Reset();
  err.write_end.Reset();

  ProgramResult result;
  SysResult<UniqueFd> process = PidfdOpen(pid);
  if (!process.ok()) {  // out of descriptors: it must not stay behind
    (void)::kill(-pid, SIGKILL);
    (void)::waitpid(pid, nullptr, 0);
    return process.error();
  }
  std::vector<Output> outputs;
  outputs.push_back({std::move(out.read_end), &result.out});
  outputs.push_back({std::move(err.read_end), &result.err});
  const auto end = [&]() -> SysResult<void> {
    (void)::kill(-pid, SIGKILL);  // a group whose leader is not reaped yet: the number is still its own
    SNAP_TRY(result.status, WaitPidfd(*process));
    return {};
  };
  // Until the program has ended and nobody writes any more: what it leaves behind may hold its outputs open,
  // so that after its end only what is there is read.
  bool ended = false;
  while (true) {
    std::vector<FdRef> waited;
    for (const Output& output : outputs) waited.push_back(output.fd);
    if (!ended) waited.push_back(*process);
    if (waited.empty()) break;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    const auto patience = ended ? std::chrono::milliseconds(0) : std::max(left, std::chrono::milliseconds(0));
    const SysResult<std::optional<size_t>> ready = PollReadable(waited, patience);
    if (!ready.ok()) {
      (void)end();
      return ready.error();
    }
    if (!*ready) {
      result.timed_out = !ended;
      break;
    }
    if (**ready == outputs.size()) {
      ended = true;
      continue;
    }
    const SysResult<bool> more = ReadSome(outputs[**ready], max_bytes);
    if (!more.ok() || !*more) outputs.erase(outputs.begin() + static_cast<ptrdiff_t>(**ready));
  }
  SNAP_TRY_VOID(end());
  return result;
}

}  // namespace snap::sys
