// What a launch costs inside a process that has everything at hand: Start to Wait of a static program that exits at
// once. No image, no store, no command line. The counters are the figures to quote: minimum and median over all
// iterations; the mean of a noisy machine says little. Needs root; run it in a quiet moment.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "runtime/container.h"

namespace snap::runtime {
namespace {

// A directory with the probe in it; removed at the end.
class Rootfs {
 public:
  Rootfs() {
    char path[] = "/tmp/snap-launch-bench-XXXXXX";
    if (::mkdtemp(path) == nullptr) ::abort();
    path_ = path;
    dir_ = *sys::OpenAt(FdRef::Cwd(), path, O_RDONLY | O_DIRECTORY);
    (void)sys::MkdirAt(dir_, "etc", 0755);  // a failure shows in the first launch
    const std::string probe = *sys::ReadFileAt(FdRef::Cwd(), SNAP_PROBE, size_t{16} << 20U);
    const UniqueFd file = *sys::OpenAt(dir_, "probe", O_WRONLY | O_CREAT, 0755);
    (void)sys::WriteAll(file, probe);
  }
  ~Rootfs() { (void)sys::RemoveTree(FdRef::Cwd(), path_.c_str()); }
  Rootfs(const Rootfs&) = delete;
  Rootfs& operator=(const Rootfs&) = delete;

  UniqueFd Tree() const { return *sys::OpenTree(dir_, "", OPEN_TREE_CLONE | AT_EMPTY_PATH); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  UniqueFd dir_;
};

void Report(benchmark::State& state, std::vector<double>& microseconds) {
  if (microseconds.empty()) return;
  std::sort(microseconds.begin(), microseconds.end());
  state.counters["min_us"] = microseconds.front();
  state.counters["median_us"] = microseconds[microseconds.size() / 2];
  state.counters["p95_us"] = microseconds[microseconds.size() * 95 / 100];
}

void Launch(benchmark::State& state, ContainerSpec spec) {
  const Rootfs rootfs;
  spec.id = "bench";
  spec.args = {"/probe", "true"};
  std::vector<double> microseconds;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    auto container = Container::Start(spec, rootfs.Tree());
    if (!container.ok() || container->Wait()->ShellCode() != 0) {
      state.SkipWithError(container.ok() ? "the program failed" : container.error().error.message().c_str());
      break;
    }
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    microseconds.push_back(took.count());
  }
  Report(state, microseconds);
}

void NetworkHost(benchmark::State& state) {
  ContainerSpec spec;
  spec.network = Network::kHost;
  Launch(state, spec);
}
void NetworkNone(benchmark::State& state) { Launch(state, {}); }
void Terminal(benchmark::State& state) {
  ContainerSpec spec;
  spec.terminal = true;
  Launch(state, spec);
}
BENCHMARK(NetworkHost)->Unit(benchmark::kMicrosecond)->Iterations(500)->UseRealTime();
BENCHMARK(NetworkNone)->Unit(benchmark::kMicrosecond)->Iterations(500)->UseRealTime();
BENCHMARK(Terminal)->Unit(benchmark::kMicrosecond)->Iterations(500)->UseRealTime();

// The floor: the same program by fork and exec, in no container at all.
void ForkExec(benchmark::State& state) {
  std::vector<double> microseconds;
  char program[] = SNAP_PROBE;
  char verb[] = "true";
  char* const argv[] = {program, verb, nullptr};
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    const pid_t pid = ::fork();
    if (pid == 0) {
      (void)::execv(program, argv);  // returns only when it failed
      ::_exit(127);
    }
    const UniqueFd pidfd = *sys::PidfdOpen(pid);
    if (sys::WaitPidfd(pidfd)->ShellCode() != 0) state.SkipWithError("the program failed");
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    microseconds.push_back(took.count());
  }
  Report(state, microseconds);
}
BENCHMARK(ForkExec)->Unit(benchmark::kMicrosecond)->Iterations(500)->UseRealTime();

}  // namespace
}  // namespace snap::runtime
