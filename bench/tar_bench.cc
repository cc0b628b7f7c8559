// TarReader alone: headers per second on many small files, bytes per second on few large ones, and the cost
// of applying to a writer that does nothing. Input lies in memory and comes in chunks of 1 MiB, as the
// inflater hands it out.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "fs/base/check.h"
#include "fs/layer_apply.h"
#include "fs/tar_reader.h"
#include "tests/support/tar_builder.h"

namespace snap {
namespace {

class MemoryChunks final : public ChunkSource {
 public:
  explicit MemoryChunks(std::string_view bytes) : left_(std::as_bytes(std::span(bytes))) {}
  Result<std::span<const std::byte>> NextChunk() override {
    const auto chunk = left_.first(std::min(left_.size(), size_t{1} << 20U));
    left_ = left_.subspan(chunk.size());
    return chunk;
  }

 private:
  std::span<const std::byte> left_;
};

class NullWriter final : public LayerWriter {
 public:
  Result<void> Directory(const RelPath&, const Attributes&) override { return {}; }
  Result<void> Symlink(const RelPath&, std::string_view, const Attributes&) override { return {}; }
  Result<void> Node(const RelPath&, FileType, dev_t, const Attributes&) override { return {}; }
  Result<void> HardLink(const RelPath&, const RelPath&) override { return {}; }
  Result<void> BeginFile(const RelPath&, const Attributes&, uint64_t) override { return {}; }
  Result<void> WriteData(uint64_t, std::span<const std::byte> data) override {
    benchmark::DoNotOptimize(data.data());
    return {};
  }
  Result<void> EndFile() override { return {}; }
  Result<void> Whiteout(const RelPath&) override { return {}; }
  Result<void> OpaqueDirectory(const RelPath&) override { return {}; }
  Result<LayerSummary> Finish() override { return LayerSummary{}; }
};

std::string Name(size_t i) { return fmt::format("usr/share/doc/package-{}/examples/file-{}.txt", i / 50, i); }

// Files of 700 bytes, as in the doc and python trees of real images; with PAX mtimes as BuildKit writes them,
// or without.
std::string SmallFiles(size_t count, bool pax) {
  test::TarBuilder builder;
  const std::string data(700, 'd');
  for (size_t i = 0; i < count; ++i) {
    test::TarSpec spec{.name = Name(i), .data = data, .mtime = 1'700'000'000};
    if (pax) spec.pax = {{"mtime", "1700000000.123456789"}};
    builder.Add(spec);
  }
  return builder.Finish();
}

std::string LargeFiles(size_t count, size_t bytes) {
  test::TarBuilder builder;
  const std::string data(bytes, 'd');
  for (size_t i = 0; i < count; ++i) builder.File(Name(i), data);
  return builder.Finish();
}

// The data itself is not touched: the parser hands out views, and whoever hashes or writes pays for the
// bytes.
uint64_t ReadAll(const std::string& tar) {
  MemoryChunks source(tar);
  TarReader reader(source);
  uint64_t entries = 0;
  for (;; ++entries) {
    const auto entry = reader.Next();
    SNAP_CHECK(entry.ok());
    if (entry.value() == nullptr) return entries;
    for (;;) {
      const auto data = reader.NextData();
      SNAP_CHECK(data.ok());
      if (data.value().bytes.empty()) break;
      benchmark::DoNotOptimize(data.value().bytes.data());
    }
  }
}

void Report(benchmark::State& state, const std::string& tar, uint64_t entries) {
  state.SetBytesProcessed(static_cast<int64_t>(tar.size()) * state.iterations());
  state.SetItemsProcessed(static_cast<int64_t>(entries) * state.iterations());
}

void ReadSmallFiles(benchmark::State& state) {
  const std::string tar = SmallFiles(50'000, state.range(0) != 0);
  uint64_t entries = 0;
  for (auto iteration : state) entries = ReadAll(tar);
  Report(state, tar, entries);
}
BENCHMARK(ReadSmallFiles)->ArgName("pax")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

void ReadEmptyFiles(benchmark::State& state) {
  test::TarBuilder builder;
  for (size_t i = 0; i < 100'000; ++i) builder.File(Name(i), "");
  const std::string tar = builder.Finish();
  uint64_t entries = 0;
  for (auto iteration : state) entries = ReadAll(tar);
  Report(state, tar, entries);
}
BENCHMARK(ReadEmptyFiles)->Unit(benchmark::kMillisecond);

void ReadLargeFiles(benchmark::State& state) {
  const std::string tar = LargeFiles(16, size_t{8} << 20U);
  uint64_t entries = 0;
  for (auto iteration : state) entries = ReadAll(tar);
  Report(state, tar, entries);
}
BENCHMARK(ReadLargeFiles)->Unit(benchmark::kMillisecond);

void ApplySmallFiles(benchmark::State& state) {
  const std::string tar = SmallFiles(50'000, state.range(0) != 0);
  uint64_t entries = 0;
  for (auto iteration : state) {
    MemoryChunks source(tar);
    TarReader reader(source);
    NullWriter writer;
    const auto report = ApplyTar(reader, writer);
    SNAP_CHECK(report.ok());
    entries = report.value().entries;
  }
  Report(state, tar, entries);
}
BENCHMARK(ApplySmallFiles)->ArgName("pax")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace snap
