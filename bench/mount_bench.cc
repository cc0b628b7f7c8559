// Mounting a stack, by number of lowers and method (drop_us: dropping it again), and finding out features, as
// root. Layers are empty directories in TMPDIR; every mount gets a new upper, as a container does. On a tmpfs
// the figures are the mount's own; on a disk they include making the work directory, and drop_us of a
// writable mount is a flush of the whole file system, unless the mount is volatile.
#include <benchmark/benchmark.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "overlay/features.h"
#include "overlay/overlay_backend.h"

namespace snap {
namespace {

/// Directories below TMPDIR that go with this object.
class Scratch {
 public:
  Scratch() {
    const char* const parent = std::getenv("TMPDIR");
    path_ = std::string(parent != nullptr ? parent : "/tmp") + "/snap-mount-bench-XXXXXX";
    SNAP_CHECK(::mkdtemp(path_.data()) != nullptr);
    dir_ = *sys::OpenAt(FdRef::Cwd(), path_.c_str(), O_PATH | O_DIRECTORY);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { (void)sys::RemoveTree(FdRef::Cwd(), path_.c_str()); }  // a rest is found by /tmp's cleaning

  const std::string& path() const { return path_; }
  UniqueFd Dir(const std::string& name) const {
    SNAP_CHECK(sys::MkdirAt(dir_, name.c_str(), 0755).ok());
    return *sys::OpenAt(dir_, name.c_str(), O_PATH | O_DIRECTORY);
  }

 private:
  std::string path_;
  UniqueFd dir_;
};

enum class Kind { kReadOnly, kWritable, kVolatile };

void MountAndDrop(benchmark::State& state, MountMethod method, Kind kind) {
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;
  sys::RaiseOpenFileLimit();
  const Scratch scratch;
  const auto backend = MakeOverlayBackend({.method = method, .feature_cache_directory = {}});
  std::vector<UniqueFd> layers;
  MountStack stack;
  for (int64_t i = 0; i < state.range(0); ++i) {
    layers.push_back(scratch.Dir("layer" + std::to_string(i)));
    stack.lowers_top_first.push_back(layers.back());
  }
  const MountOptions options{.volatile_upper = kind == Kind::kVolatile};
  Seconds dropping{0};
  int64_t round = 0;
  for (auto _ : state) {
    ++round;
    UniqueFd upper, work;
    if (kind != Kind::kReadOnly) {
      upper = scratch.Dir("upper" + std::to_string(round));
      work = scratch.Dir("work" + std::to_string(round));
      stack.upper = MountStack::Upper{upper, work};
    }
    const auto start = Clock::now();
    std::optional<Result<Mount>> mount = backend->MountStacked(stack, options);
    const auto mounted = Clock::now();
    if (!mount->ok()) {
      state.SkipWithError(mount->error().message().c_str());
      return;
    }
    mount.reset();
    dropping += Clock::now() - mounted;
    state.SetIterationTime(Seconds(mounted - start).count());
  }
  state.counters["drop_us"] = benchmark::Counter(dropping.count() * 1e6, benchmark::Counter::kAvgIterations);
}

void Depths(benchmark::internal::Benchmark* bench) {
  for (const int64_t lowers : {1, 2, 20, 60, 200, 500}) bench->Arg(lowers);
  bench->UseManualTime()->Unit(benchmark::kMicrosecond);
}
BENCHMARK_CAPTURE(MountAndDrop, read_only_fds, MountMethod::kFds, Kind::kReadOnly)->Apply(Depths);
BENCHMARK_CAPTURE(MountAndDrop, read_only_strings, MountMethod::kStrings, Kind::kReadOnly)->Apply(Depths);
BENCHMARK_CAPTURE(MountAndDrop, read_only_legacy, MountMethod::kLegacy, Kind::kReadOnly)->Apply(Depths);
BENCHMARK_CAPTURE(MountAndDrop, volatile_fds, MountMethod::kFds, Kind::kVolatile)->Apply(Depths);
BENCHMARK_CAPTURE(MountAndDrop, volatile_strings, MountMethod::kStrings, Kind::kVolatile)->Apply(Depths);
BENCHMARK_CAPTURE(MountAndDrop, volatile_legacy, MountMethod::kLegacy, Kind::kVolatile)->Apply(Depths);
BENCHMARK_CAPTURE(MountAndDrop, writable_fds, MountMethod::kFds, Kind::kWritable)->Apply(Depths);

void Probe(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(overlay::ProbeFeatures().ok());
}
BENCHMARK(Probe)->UseRealTime()->Unit(benchmark::kMicrosecond);

void ReadFeatureCache(benchmark::State& state) {
  const Scratch scratch;
  (void)overlay::FeatureCache(scratch.path()).Get();  // writes the file
  for (auto _ : state) {
    benchmark::DoNotOptimize(overlay::FeatureCache(scratch.path()).Get().probes[0].available);
  }
}
BENCHMARK(ReadFeatureCache)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace snap
