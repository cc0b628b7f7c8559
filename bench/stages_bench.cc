// The stages of an import, one by one, in bytes of the uncompressed layer per second. Every "Ours" stands
// beside a "Limit": the library called in a bare loop on the same data. The quotient is our overhead. One thread
// counts by its processor time, two (ReadAhead) by the clock. To compare, interleave:
// --benchmark_enable_random_interleaving=true --benchmark_repetitions=5
#include <benchmark/benchmark.h>
#include <openssl/evp.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#ifdef SNAP_WITH_ISAL
#include <isa-l.h>
#endif

#include "fs/base/check.h"
#include "fs/base/digest.h"
#include "fs/byte_source.h"
#include "fs/read_ahead.h"

namespace snap {
namespace {

// --- the layer
// ---------------------------------------------------------------------------------------------------

constexpr size_t kLayerBytes = size_t{48} << 20U;
constexpr size_t kChunkBytes = size_t{1} << 20U;
constexpr size_t kTarBlock = 512;

/// A ustar header with the fields that a reader needs.
void AppendHeader(std::string& tar, const std::string& name, size_t size) {
  std::array<char, kTarBlock> header{};
  const auto put = [&](size_t offset, std::string_view text) {
    std::memcpy(header.data() + offset, text.data(), text.size());
  };
  char size_field[12];
  std::snprintf(size_field, sizeof size_field, "%011zo", size);
  put(0, std::string_view(name).substr(0, 100));
  put(100, "0000644");
  put(108, "0000000");
  put(116, "0000000");
  put(124, size_field);
  put(136, "14371573400");
  put(148, "        ");
  put(156, "0");
  put(257, std::string_view("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  char sum_field[8];
  std::snprintf(sum_field, sizeof sum_field, "%06o", sum);
  put(148, std::string_view(sum_field, 7));
  tar.append(header.data(), header.size());
}

/// A tar archive as layers are: most files small, most bytes in large ones; text, machine code and packed
/// data.
std::string MakeLayer() {
  std::mt19937 random(42);
  std::vector<std::string> words(3000);
  for (std::string& word : words) {
    word.resize(2 + random() % 9);
    for (char& c : word) c = "etaoinshrdlucmfwyp_/."[random() % 21];
  }
  // Machine code: few opcodes, repeated sequences, small operands.
  std::vector<std::string> instructions(4000);
  for (std::string& instruction : instructions) {
    instruction.resize(2 + random() % 6);
    for (char& c : instruction) {
      const auto noise = static_cast<char>(random());
      c = random() % 3 != 0 ? std::string_view("\x48\x89\x8b\x0f\xe8\0\0\x24", 8)[random() % 8] : noise;
    }
  }
  const auto skewed = [&](size_t size) { return std::min(random() % size, random() % size); };
  std::string tar;
  for (unsigned file = 0; tar.size() < kLayerBytes; ++file) {
    const size_t size = random() % 10 != 0 ? random() % 16384 : random() % (size_t{2} << 20U);
    AppendHeader(tar, "usr/share/doc/package-" + std::to_string(file) + "/" + words[random() % words.size()],
                 size);
    const size_t end = tar.size() + size;
    switch (random() % 8) {
      case 0:  // already compressed
        while (tar.size() < end) tar.push_back(static_cast<char>(random()));
        break;
      case 1:
      case 2:
      case 3:
      case 4:
        while (tar.size() < end) {
          tar += instructions[skewed(instructions.size())];
          if (random() % 5 == 0) tar.push_back(static_cast<char>(random()));
        }
        break;
      default:
        while (tar.size() < end) {
          tar += words[skewed(words.size())];
          tar.push_back(random() % 12 == 0 ? '\n' : ' ');
        }
    }
    tar.resize(end);
    tar.resize((tar.size() + kTarBlock - 1) / kTarBlock * kTarBlock);
  }
  return tar.append(2 * kTarBlock, '\0');
}

const std::string& Layer() {
  static const std::string layer = MakeLayer();
  return layer;
}

const std::string& GzipLayer() {
  static const std::string compressed = [] {
    z_stream stream{};
    SNAP_CHECK(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    std::string out(deflateBound(&stream, Layer().size()), '\0');
    std::string input = Layer();
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    SNAP_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
  }();
  return compressed;
}

const std::string& ZstdLayer() {
  static const std::string compressed = [] {
    std::string out(ZSTD_compressBound(Layer().size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), Layer().data(), Layer().size(), 3));
    return out;
  }();
  return compressed;
}

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

void SetBytes(benchmark::State& state) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(Layer().size()));
}

// --- inflate
// -----------------------------------------------------------------------------------------------------

/// Reads `compressed` through MakeInflater into one buffer after the other, as the import does.
void InflateOurs(benchmark::State& state, Compression compression, std::string_view compressed) {
  const auto buffer = std::make_unique<std::byte[]>(kChunkBytes);
  for (auto _ : state) {
    const auto inner = MakeMemorySource(Bytes(compressed));
    const auto source = MakeInflater(*inner, compression, {}, "layer");
    size_t size = 0;
    for (;;) {
      const auto got = source->Read(std::span(buffer.get(), kChunkBytes));
      SNAP_CHECK(got.ok());
      if (*got == 0) break;
      size += *got;
    }
    SNAP_CHECK(size == Layer().size());
  }
  SetBytes(state);
}

/// The same through the ring, consumed as fast as it comes: what a second thread costs and saves.
void InflateReadAhead(benchmark::State& state, Compression compression, std::string_view compressed) {
  BufferPool pool(kChunkBytes);
  for (auto _ : state) {
    const auto inner = MakeMemorySource(Bytes(compressed));
    const auto source = MakeInflater(*inner, compression, {}, "layer");
    ReadAhead ahead(*source, {.max_buffers = 8, .buffer_bytes = kChunkBytes, .pool = &pool});
    size_t size = 0;
    for (;;) {
      const auto chunk = ahead.NextChunk();
      SNAP_CHECK(chunk.ok());
      if (chunk->empty()) break;
      size += chunk->size();
    }
    SNAP_CHECK(size == Layer().size());
  }
  SetBytes(state);
}

void GzipOurs(benchmark::State& state) { InflateOurs(state, Compression::kGzip, GzipLayer()); }
void GzipReadAhead(benchmark::State& state) { InflateReadAhead(state, Compression::kGzip, GzipLayer()); }
void ZstdOurs(benchmark::State& state) { InflateOurs(state, Compression::kZstd, ZstdLayer()); }
void ZstdReadAhead(benchmark::State& state) { InflateReadAhead(state, Compression::kZstd, ZstdLayer()); }

#ifdef SNAP_WITH_ISAL
/// The whole input at once, framing and checksum by the library, into one buffer that is reused.
void GzipLimit(benchmark::State& state) {
  const auto buffer = std::make_unique<uint8_t[]>(kChunkBytes);
  const auto stream = std::make_unique<inflate_state>();
  std::string input = GzipLayer();
  for (auto _ : state) {
    isal_inflate_init(stream.get());
    stream->crc_flag = ISAL_GZIP;
    stream->next_in = reinterpret_cast<uint8_t*>(input.data());
    stream->avail_in = static_cast<uint32_t>(input.size());
    size_t size = 0;
    while (stream->block_state != ISAL_BLOCK_FINISH) {
      stream->next_out = buffer.get();
      stream->avail_out = kChunkBytes;
      SNAP_CHECK(isal_inflate(stream.get()) == ISAL_DECOMP_OK);
      size += kChunkBytes - stream->avail_out;
    }
    SNAP_CHECK(size == Layer().size());
  }
  SetBytes(state);
}
#else
void GzipLimit(benchmark::State& state) {
  const auto buffer = std::make_unique<Bytef[]>(kChunkBytes);
  std::string input = GzipLayer();
  for (auto _ : state) {
    z_stream stream{};
    SNAP_CHECK(inflateInit2(&stream, 15 + 16) == Z_OK);
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    int result = Z_OK;
    while (result == Z_OK) {
      stream.next_out = buffer.get();
      stream.avail_out = kChunkBytes;
      result = inflate(&stream, Z_NO_FLUSH);
    }
    SNAP_CHECK(result == Z_STREAM_END && stream.total_out == Layer().size());
    inflateEnd(&stream);
  }
  SetBytes(state);
}
#endif

/// Whole input to whole output: no window to keep, no copy. Streaming cannot reach this.
void ZstdLimitOneShot(benchmark::State& state) {
  std::string out(Layer().size(), '\0');
  for (auto _ : state) {
    SNAP_CHECK(ZSTD_decompress(out.data(), out.size(), ZstdLayer().data(), ZstdLayer().size()) == out.size());
  }
  SetBytes(state);
}

/// Whole input, one buffer of output that is reused: what any streaming user can reach.
void ZstdLimit(benchmark::State& state) {
  const auto buffer = std::make_unique<std::byte[]>(kChunkBytes);
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  for (auto _ : state) {
    ZSTD_inBuffer in{ZstdLayer().data(), ZstdLayer().size(), 0};
    size_t size = 0;
    for (size_t left = 1; left != 0;) {
      ZSTD_outBuffer out{buffer.get(), kChunkBytes, 0};
      left = ZSTD_decompressStream(context.get(), &out, &in);
      SNAP_CHECK(ZSTD_isError(left) == 0);
      size += out.pos;
    }
    SNAP_CHECK(size == Layer().size());
  }
  SetBytes(state);
}

BENCHMARK(GzipLimit)->Unit(benchmark::kMillisecond);
BENCHMARK(GzipOurs)->Unit(benchmark::kMillisecond);
BENCHMARK(GzipReadAhead)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(ZstdLimitOneShot)->Unit(benchmark::kMillisecond);
BENCHMARK(ZstdLimit)->Unit(benchmark::kMillisecond);
BENCHMARK(ZstdOurs)->Unit(benchmark::kMillisecond);
BENCHMARK(ZstdReadAhead)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime();

// --- hash
// --------------------------------------------------------------------------------------------------------

/// Gives the layer to `update` in chunks, as it comes out of the ring.
template <typename Update>
void ForEachChunk(Update update) {
  const auto layer = Bytes(Layer());
  for (size_t offset = 0; offset < layer.size(); offset += kChunkBytes) {
    update(layer.subspan(offset, std::min(kChunkBytes, layer.size() - offset)));
  }
}

void Sha256Limit(benchmark::State& state) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  const std::unique_ptr<EVP_MD, decltype(&EVP_MD_free)> sha256(EVP_MD_fetch(nullptr, "SHA256", nullptr),
                                                               &EVP_MD_free);
  unsigned char out[32];
  for (auto _ : state) {
    SNAP_CHECK(EVP_DigestInit_ex(context.get(), sha256.get(), nullptr) == 1);
    ForEachChunk([&](std::span<const std::byte> chunk) {
      EVP_DigestUpdate(context.get(), chunk.data(), chunk.size());
    });
    SNAP_CHECK(EVP_DigestFinal_ex(context.get(), out, nullptr) == 1);
    benchmark::DoNotOptimize(out);
  }
  SetBytes(state);
}

void Sha256Ours(benchmark::State& state) {
  for (auto _ : state) {
    Sha256 hasher;
    ForEachChunk([&](std::span<const std::byte> chunk) { hasher.Update(chunk); });
    benchmark::DoNotOptimize(std::move(hasher).Finish());
  }
  SetBytes(state);
}

void Xxh3Limit(benchmark::State& state) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> hasher(XXH3_createState(), &XXH3_freeState);
  for (auto _ : state) {
    XXH3_128bits_reset(hasher.get());
    ForEachChunk([&](std::span<const std::byte> chunk) {
      XXH3_128bits_update(hasher.get(), chunk.data(), chunk.size());
    });
    benchmark::DoNotOptimize(XXH3_128bits_digest(hasher.get()));
  }
  SetBytes(state);
}

BENCHMARK(Sha256Limit)->Unit(benchmark::kMillisecond);
BENCHMARK(Sha256Ours)->Unit(benchmark::kMillisecond);
BENCHMARK(Xxh3Limit)->Unit(benchmark::kMillisecond);

// --- parse, write: theirs go here --------------------------------------------------------------------------------
// ------------------------------------------------------------------------------

}  // namespace
}  // namespace snap
