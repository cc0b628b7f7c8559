// Files per second and bytes per second through TreeWriter, for each engine, beside a bare loop of the system
// calls that cannot be avoided. The directory is below TMPDIR (or /tmp): compare only runs on the same file
// system, interleaved. Flushed: the time includes syncfs, as a durable commit pays it. One iteration is one
// tree: ask for repetitions and
// --benchmark_enable_random_interleaving=true. On a busy machine the CPU column is the one to read.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/check.h"
#include "fs/base/sys_file.h"
#include "fs/io_engine.h"
#include "fs/tree_writer.h"

namespace snap {
namespace {

constexpr int64_t kFilesPerDirectory = 20;  // about what distributions' images have
constexpr size_t kChunk = 256U << 10U;      // what a tar reader hands over at once

Attributes Plain() {
  Attributes attributes;
  attributes.permissions = 0644;
  attributes.mtime = {1'600'000'000, 0};
  return attributes;
}

// Trees are only removed at exit: for a minute ext4 does not reuse the inodes of deleted files and scans over
// them, one by one, at each creation (recently_deleted() in fs/ext4/ialloc.c); that can be 20 times the cost
// of the creation.
class Scratch {
 public:
  Scratch() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/snap-tree-bench-XXXXXX";
    SNAP_CHECK(mkdtemp(path_.data()) != nullptr);
    fd_ = *sys::OpenAt(FdRef::Cwd(), path_.c_str(), O_RDONLY | O_DIRECTORY);
  }
  UniqueFd NewTree() {
    const std::string name = fmt::format("{}", trees_++);
    SNAP_CHECK(sys::MkdirAt(fd_, name.c_str(), 0755).ok());
    return *sys::OpenAt(fd_, name.c_str(), O_RDONLY | O_DIRECTORY);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { (void)sys::RemoveTree(FdRef::Cwd(), path_.c_str()); }

 private:
  int trees_ = 0;
  std::string path_;
  UniqueFd fd_;
};

void BareLoop(FdRef root, int64_t files, std::span<const std::byte> data) {
  const sys::Times times{{1'600'000'000, 0}, {1'600'000'000, 0}};
  UniqueFd dir;
  for (int64_t i = 0; i < files; ++i) {
    if (i % kFilesPerDirectory == 0) {
      const std::string name = fmt::format("d{}", i / kFilesPerDirectory);
      SNAP_CHECK(sys::MkdirAt(root, name.c_str(), 0755).ok());
      dir = *sys::OpenAt(root, name.c_str(), O_PATH | O_DIRECTORY);
    }
    const UniqueFd file = *sys::OpenAt(dir, fmt::format("f{}", i).c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
    for (size_t at = 0; at < data.size(); at += kChunk) {
      SNAP_CHECK(sys::WriteAll(file, data.subspan(at, std::min(kChunk, data.size() - at))).ok());
    }
    SNAP_CHECK(sys::FSetTimes(file, times).ok());
  }
}

void Through(TreeWriter& writer, int64_t files, std::span<const std::byte> data) {
  const Attributes attributes = Plain();
  for (int64_t i = 0; i < files; ++i) {
    const RelPath path = *RelPath::Parse(fmt::format("d{}/f{}", i / kFilesPerDirectory, i));
    SNAP_CHECK(writer.BeginFile(path, attributes, data.size()).ok());
    for (size_t at = 0; at < data.size(); at += kChunk) {
      SNAP_CHECK(writer.WriteData(at, data.subspan(at, std::min(kChunk, data.size() - at))).ok());
    }
    SNAP_CHECK(writer.EndFile().ok());
  }
  SNAP_CHECK(writer.Finish().ok());
}

// nullopt: the bare loop.
void WriteFiles(benchmark::State& state, std::optional<IoEngineKind> kind) {
  const auto size = static_cast<size_t>(state.range(0));
  const int64_t files = state.range(1);
  const bool flushed = state.range(2) != 0;
  ::umask(0);
  const std::vector<std::byte> data(size, std::byte{0x5A});
  static Scratch scratch;
  for (auto _ : state) {
    state.PauseTiming();
    const UniqueFd tree = scratch.NewTree();
    if (flushed) SNAP_CHECK(sys::SyncFs(tree).ok());  // nobody else's dirty pages
    state.ResumeTiming();
    if (kind.has_value()) {
      auto engine = MakeIoEngine(*kind);
      if (!engine.ok()) {
        state.SkipWithError(engine.error().message().c_str());
        return;
      }
      TreeWriter writer(tree, std::move(*engine));
      Through(writer, files, data);
    } else {
      BareLoop(tree, files, data);
    }
    if (flushed) SNAP_CHECK(sys::SyncFs(tree).ok());
  }
  state.SetItemsProcessed(state.iterations() * files);
  state.SetBytesProcessed(state.iterations() * files * static_cast<int64_t>(size));
}

void Sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"bytes", "files", "flushed"});
  for (const int64_t flushed : {0, 1}) {
    benchmark->Args({1 << 10, 4000, flushed});
    benchmark->Args({4 << 10, 4000, flushed});
    benchmark->Args({1 << 20, 64, flushed});
    benchmark->Args({16 << 20, 8, flushed});
  }
  benchmark->Iterations(1)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(WriteFiles, Bare, std::nullopt)->Apply(Sizes);
BENCHMARK_CAPTURE(WriteFiles, Plain, IoEngineKind::kPlain)->Apply(Sizes);
BENCHMARK_CAPTURE(WriteFiles, Uring, IoEngineKind::kUring)->Apply(Sizes);

}  // namespace
}  // namespace snap
