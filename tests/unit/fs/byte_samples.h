// What the tests of byte sources share: sample data, compressors with every option of the formats, and
// sources that deliver in awkward ways. Everything is deterministic.
#pragma once

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>

#include "fs/base/check.h"
#include "fs/byte_source.h"

namespace snap::testing_bytes {

inline std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Text, zeros and noise in turn, as a layer has them.
inline std::string MixedData(size_t size, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::string out;
  while (out.size() < size) {
    const size_t run = 20 + random() % 2000;
    switch (random() % 4) {
      case 0:
        out.append(run, '\0');
        break;
      case 1:
        for (size_t i = 0; i < run; ++i) out.push_back(static_cast<char>(random()));
        break;
      default:
        while (out.size() % (run + 1) != run) {
          constexpr std::string_view kWords[] = {"usr",  "/lib", "x86_64",  "-linux",
                                                 "-gnu", "int ", "return ", ";\n"};
          out += kWords[random() % std::size(kWords)];
          out.push_back(static_cast<char>('a' + random() % 26));
          if (out.size() >= size) break;
        }
    }
  }
  out.resize(size);
  return out;
}

struct GzipOptions {
  int level = 6;
  int strategy = Z_DEFAULT_STRATEGY;
  size_t flush_every = 0;  // a sync flush after so many bytes, as pigz makes them
  std::string extra = {};  // this and the next two are in the header unless empty
  std::string name = {};
  std::string comment = {};
  bool header_crc = false;
};

inline std::string Gzip(std::string_view data, const GzipOptions& options = {}) {
  z_stream stream{};
  SNAP_CHECK(deflateInit2(&stream, options.level, Z_DEFLATED, 15 + 16, 8, options.strategy) == Z_OK);
  gz_header header{};
  std::string extra = options.extra;
  std::string name = options.name;
  std::string comment = options.comment;
  header.time = 1700000000;
  header.os = 3;
  if (!extra.empty()) {
    header.extra = reinterpret_cast<Bytef*>(extra.data());
    header.extra_len = static_cast<uInt>(extra.size());
  }
  if (!name.empty()) header.name = reinterpret_cast<Bytef*>(name.data());
  if (!comment.empty()) header.comment = reinterpret_cast<Bytef*>(comment.data());
  header.hcrc = options.header_crc ? 1 : 0;
  SNAP_CHECK(deflateSetHeader(&stream, &header) == Z_OK);
  std::string out(data.size() + data.size() / 8 + extra.size() + name.size() + comment.size() + 1024, '\0');
  if (options.flush_every != 0) out.resize(out.size() + data.size() / options.flush_every * 64);
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  std::string input(data);
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  size_t left = input.size();
  while (options.flush_every != 0 && left > options.flush_every) {
    stream.avail_in = static_cast<uInt>(options.flush_every);
    SNAP_CHECK(deflate(&stream, Z_SYNC_FLUSH) == Z_OK);
    left -= options.flush_every;
  }
  stream.avail_in = static_cast<uInt>(left);
  SNAP_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// One frame with a checksum. `sized`: with the content's size in the header.
inline std::string Zstd(std::string_view data, int level = 3, bool sized = true, int window_log = 0) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, sized ? 1 : 0);
  if (window_log != 0) ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, window_log);
  std::string out(ZSTD_compressBound(data.size()), '\0');
  ZSTD_inBuffer in{data.data(), data.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  if (sized) ZSTD_CCtx_setPledgedSrcSize(context.get(), data.size());
  if (!sized && !data.empty()) {  // all in one call would still be sized
    ZSTD_inBuffer first{data.data(), 1, 0};
    SNAP_CHECK(ZSTD_isError(ZSTD_compressStream2(context.get(), &to, &first, ZSTD_e_continue)) == 0);
    in.pos = 1;
  }
  SNAP_CHECK(ZSTD_compressStream2(context.get(), &to, &in, ZSTD_e_end) == 0);
  out.resize(to.pos);
  return out;
}

inline std::string ZstdSkippable(std::string_view content, unsigned variant = 0) {
  const auto size = static_cast<uint32_t>(content.size());
  std::string out = {static_cast<char>(0x50 + variant), '\x2a', '\x4d', '\x18'};
  for (unsigned shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(size >> shift));
  return out.append(content);
}

/// Delivers at most `piece` bytes a time; after `fail_after` bytes an error instead of more.
class PieceSource final : public ByteSource {
 public:
  explicit PieceSource(std::string_view bytes, size_t piece = SIZE_MAX, size_t fail_after = SIZE_MAX)
      : bytes_(bytes), piece_(piece), fail_after_(fail_after) {}
  Result<size_t> Read(std::span<std::byte> buffer) override {
    SNAP_CHECK(!buffer.empty());
    ++reads_;
    if (position_ >= fail_after_) return Error(Errno(EIO), "read sample");
    const size_t size = std::min({buffer.size(), piece_, bytes_.size() - position_, fail_after_ - position_});
    std::memcpy(buffer.data(), bytes_.data() + position_, size);
    position_ += size;
    return size;
  }
  size_t reads() const { return reads_; }

 private:
  const std::string_view bytes_;
  const size_t piece_;
  const size_t fail_after_;
  size_t position_ = 0;
  size_t reads_ = 0;
};

/// Everything, read through a buffer of `room` bytes. Also checks that reads stay inside the buffer.
inline Result<std::string> Drain(ByteSource& source, size_t room = 65536) {
  constexpr size_t kCanary = 64;
  std::string buffer(room + kCanary, '\x5a');
  std::string out;
  for (;;) {
    SNAP_TRY(const size_t got, source.Read(std::as_writable_bytes(std::span(buffer.data(), room))));
    SNAP_CHECK(got <= room && buffer.find_first_not_of('\x5a', room) == std::string::npos);
    if (got == 0) return out;
    out.append(buffer, 0, got);
  }
}

inline Result<std::string> Inflate(Compression compression, std::string_view compressed,
                                   size_t piece = SIZE_MAX, size_t room = 65536,
                                   const InflateLimits& limits = {}) {
  PieceSource inner(compressed, piece);
  const auto source = MakeInflater(inner, compression, limits, "sample");
  return Drain(*source, room);
}

}  // namespace snap::testing_bytes
