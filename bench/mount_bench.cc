// Mounting a stack, by number of lowers and method (drop_us: dropping it again), and finding out features, as
// root. Layers are empty directories in TMPDIR; every mount gets a new upper, as a container does. On a tmpfs
// the figures are the mount's own; on a disk they include making the work directory, and drop_us of a
// writable mount is a flush of the whole file system, unless the mount is volatile.
// Packed layers: images of one file each, in TMPDIR, which must be on a disk (EROFS does not mount files of a
// tmpfs).
#include <benchmark/benchmark.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/erofs_writer.h"
#include "fs/layer_tree.h"
#include "overlay/erofs_mount.h"
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
  const auto backend = MakeOverlayBackend({.method = method});
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

constexpr unsigned kBlockBits = 9;

/// An image of `files` small files; their data is on `devices` further images in turn if there are any.
void WriteImage(FdRef image, size_t devices, int64_t files) {
  constexpr uint64_t kBlocks = 8;
  constexpr uint64_t kBytes = kBlocks << kBlockBits;
  LayerTree tree;
  ErofsOptions options{
      .block_bits = kBlockBits, .first_free_block = ErofsDataStart(kBlockBits, devices), .devices = {}};
  for (int64_t i = 0; i < files; ++i) {
    LayerTree::Inode inode;
    inode.permissions = 0644;
    inode.size = kBytes;
    inode.data_kind = LayerTree::Inode::Data::kContiguous;
    inode.run_device =
        devices == 0 ? uint16_t{0} : static_cast<uint16_t>(1 + static_cast<size_t>(i) % devices);
    if (devices == 0) {
      inode.block = options.first_free_block;
      options.first_free_block += kBlocks;
    }
    tree.AddEntry(LayerTree::kRoot, "file" + std::to_string(i), tree.AddInode(inode));
  }
  for (size_t i = 0; i < devices; ++i) options.devices.push_back({"", kBlocks});
  SNAP_CHECK(WriteErofs(image, tree, options).ok());
}

struct Images {
  std::vector<UniqueFd> files;
  std::vector<FdRef> devices;
};

UniqueFd NewImage(const Scratch& scratch, const std::string& name) {
  const std::string path = scratch.path() + "/" + name;
  return *sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0644);
}

/// `count` images of one file each.
Images SeparateImages(const Scratch& scratch, int64_t count) {
  Images images;
  for (int64_t i = 0; i < count; ++i) {
    images.files.push_back(NewImage(scratch, "image" + std::to_string(i)));
    WriteImage(images.files.back(), 0, 1);
  }
  return images;
}

/// One image whose `count` files are on as many further images.
Images MergedImage(const Scratch& scratch, int64_t count) {
  Images images;
  images.files.push_back(NewImage(scratch, "merged"));
  WriteImage(images.files[0], static_cast<size_t>(count), count);
  for (int64_t i = 0; i < count; ++i) {
    images.files.push_back(NewImage(scratch, "device" + std::to_string(i)));
    SNAP_CHECK(sys::Truncate(images.files.back(), 8U << kBlockBits).ok());
    images.devices.emplace_back(images.files.back());
  }
  return images;
}

/// `mount` is timed, what it returns is dropped outside.
template <typename Mount>
void TimeMounts(benchmark::State& state, const Mount& mount) {
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;
  Seconds dropping{0};
  for (auto _ : state) {
    const auto start = Clock::now();
    auto mounted = std::optional(mount());
    const auto end = Clock::now();
    if (!mounted->ok()) {
      state.SkipWithError(mounted->error().message().c_str());
      return;
    }
    mounted.reset();
    dropping += Clock::now() - end;
    state.SetIterationTime(Seconds(end - start).count());
  }
  state.counters["drop_us"] = benchmark::Counter(dropping.count() * 1e6, benchmark::Counter::kAvgIterations);
}

void ErofsAlone(benchmark::State& state, overlay::ErofsBacking backing) {
  const Scratch scratch;
  const Images images =
      state.range(0) == 0 ? SeparateImages(scratch, 1) : MergedImage(scratch, state.range(0));
  TimeMounts(state, [&] { return overlay::MountErofs(images.files[0], images.devices, backing); });
}
BENCHMARK_CAPTURE(ErofsAlone, file, overlay::ErofsBacking::kFile)
    ->ArgName("devices")
    ->Arg(0)
    ->Arg(1)
    ->Arg(10)
    ->Arg(60)
    ->Arg(200)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(ErofsAlone, loop, overlay::ErofsBacking::kLoop)
    ->ArgName("devices")
    ->Arg(0)
    ->Arg(1)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

/// Stacked: one image per layer. Merged: one image, the layers' as its devices. Held: somebody else shares
/// the images already.
enum class Packing { kStacked, kStackedHeld, kMerged, kMergedHeld };

void Packed(benchmark::State& state, Packing packing) {
  sys::RaiseOpenFileLimit();
  const Scratch scratch;
  const bool merged = packing == Packing::kMerged || packing == Packing::kMergedHeld;
  const bool held = packing == Packing::kStackedHeld || packing == Packing::kMergedHeld;
  const Images images =
      merged ? MergedImage(scratch, state.range(0)) : SeparateImages(scratch, state.range(0));
  MountStack stack;
  if (merged) {
    stack.lowers_top_first.push_back({images.files[0], images.devices, "merged"});
  } else {
    for (size_t i = 0; i < images.files.size(); ++i) {
      stack.lowers_top_first.push_back({images.files[i], {}, "image" + std::to_string(i)});
    }
  }
  const UniqueFd objects = scratch.Dir("objects");
  const UniqueFd upper = scratch.Dir("upper");
  const UniqueFd work = scratch.Dir("work");
  stack.objects = objects;
  stack.upper = MountStack::Upper{upper, work};
  const auto backend = MakeOverlayBackend({.image_mounts_directory = scratch.path() + "/mounts"});
  std::optional<Mount> holder;
  if (held) {
    MountStack lowers = stack;
    lowers.upper.reset();
    holder.emplace(*backend->MountStacked(lowers, {.share_images = true}));
  }
  // With the upper as another lower: what a writable mount and its end cost is measured above.
  TimeMounts(state, [&] { return backend->MountStacked(stack, {.read_only = true, .share_images = held}); });
}

void PackedDepths(benchmark::internal::Benchmark* bench) {
  for (const int64_t layers : {1, 10, 60, 200}) bench->Arg(layers);
  bench->UseManualTime()->Unit(benchmark::kMicrosecond);
}
BENCHMARK_CAPTURE(Packed, stacked, Packing::kStacked)->Apply(PackedDepths);
BENCHMARK_CAPTURE(Packed, stacked_shared, Packing::kStackedHeld)->Apply(PackedDepths);
BENCHMARK_CAPTURE(Packed, merged, Packing::kMerged)->Apply(PackedDepths);
BENCHMARK_CAPTURE(Packed, merged_shared, Packing::kMergedHeld)->Apply(PackedDepths);

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
