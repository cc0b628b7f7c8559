// Writing, loading and merging the metadata of a layer of a hundred thousand files, ten in a directory.
// Counters: metadata bytes and files per second. What the image lies on is TMPDIR (or /tmp); nothing is
// flushed.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "fs/base/check.h"
#include "fs/base/sys_file.h"
#include "fs/erofs_reader.h"
#include "fs/erofs_writer.h"
#include "fs/layer_merge.h"

namespace snap {
namespace {

constexpr int kDirectories = 10'000;
constexpr int kFilesPerDirectory = 10;
constexpr uint16_t kOtherDevice = 1;

LayerTree::InodeId Add(LayerTree& tree, LayerTree::InodeId parent, std::string_view name,
                       LayerTree::Inode inode) {
  inode.permissions = inode.type == FileType::kDirectory ? 0755 : 0644;
  inode.mtime = 1'700'000'000;
  const LayerTree::InodeId id = tree.AddInode(inode);
  tree.AddEntry(parent, name, id);
  return id;
}

/// `device` 0: data in the image itself, as layers have it; otherwise as merged images have it.
LayerTree MakeTree(unsigned block_bits, uint16_t device) {
  LayerTree tree;
  LayerTree::Inode directory;
  directory.type = FileType::kDirectory;
  LayerTree::Inode file;
  file.size = 100;
  file.data_kind = LayerTree::Inode::Data::kContiguous;
  file.run_device = device;
  file.block = ErofsDataStart(block_bits, device);
  for (int d = 0; d < kDirectories; ++d) {
    const auto parent = Add(tree, LayerTree::kRoot, fmt::format("directory-{:05}", d), directory);
    for (int f = 0; f < kFilesPerDirectory; ++f, ++file.block)
      Add(tree, parent, fmt::format("some-file-{}.txt", f), file);
  }
  return tree;
}

UniqueFd NewFile() {
  const char* base = std::getenv("TMPDIR");
  return *sys::OpenAt(FdRef::Cwd(), base != nullptr ? base : "/tmp", O_TMPFILE | O_RDWR, 0600);
}

ErofsOptions OptionsFor(unsigned block_bits, uint16_t device) {
  constexpr uint64_t kFiles = uint64_t{kDirectories} * kFilesPerDirectory;
  ErofsOptions options;
  options.block_bits = block_bits;
  options.first_free_block = ErofsDataStart(block_bits, device) + (device == 0 ? kFiles : 0);
  if (device != 0) options.devices.push_back({"layer", 2 * kFiles});
  return options;
}

void Arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"block_bits", "device"})
      ->Args({9, 0})
      ->Args({12, 0})
      ->Args({9, kOtherDevice})
      ->Unit(benchmark::kMillisecond);
}

void WriteImage(benchmark::State& state) {
  const auto block_bits = static_cast<unsigned>(state.range(0));
  const auto device = static_cast<uint16_t>(state.range(1));
  const LayerTree tree = MakeTree(block_bits, device);
  const ErofsOptions options = OptionsFor(block_bits, device);
  const UniqueFd file = NewFile();
  uint64_t size = 0;
  for (auto _ : state) size = *WriteErofs(file, tree, options);
  const auto files = static_cast<double>(tree.inode_count());
  state.counters["metadata_bytes_per_file"] =
      static_cast<double>(size - (options.first_free_block << block_bits)) / files;
  state.counters["files"] = benchmark::Counter(files, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(WriteImage)->Apply(Arguments);

void LoadImage(benchmark::State& state) {
  const auto block_bits = static_cast<unsigned>(state.range(0));
  const auto device = static_cast<uint16_t>(state.range(1));
  const LayerTree tree = MakeTree(block_bits, device);
  const UniqueFd file = NewFile();
  SNAP_CHECK(WriteErofs(file, tree, OptionsFor(block_bits, device)).ok());
  for (auto _ : state) {
    const ErofsReader reader = *ErofsReader::Open(file, "image");
    const LayerTree loaded = *reader.Load();
    SNAP_CHECK(loaded.inode_count() == tree.inode_count());
  }
  state.counters["files"] = benchmark::Counter(static_cast<double>(tree.inode_count()),
                                               benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(LoadImage)->Apply(Arguments);

void Merge(benchmark::State& state) {
  const LayerTree tree = MakeTree(9, 0);
  const std::vector<const LayerTree*> layers(static_cast<size_t>(state.range(0)), &tree);
  std::vector<uint16_t> devices;
  for (size_t i = 0; i < layers.size(); ++i) devices.push_back(static_cast<uint16_t>(i + 1));
  for (auto _ : state) SNAP_CHECK(MergeLayers(layers, devices)->inode_count() == tree.inode_count());
}
BENCHMARK(Merge)->ArgName("layers")->Arg(1)->Arg(2)->Arg(10)->Unit(benchmark::kMillisecond);

/// What Load costs at least: making the tree.
void BuildTree(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(MakeTree(9, 0).inode_count());
}
BENCHMARK(BuildTree)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace snap
