// Where bytes come from: files, pipes, ranges of archives, decompressors. Two shapes, because producers fill buffers
// and parsers want to look at them in place.
// Invariant: a source is read once, front to back; after an error or the end it is only destroyed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fs/base/digest.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap {

/// Fills buffers. Threads: one at a time.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills the front of a non-empty buffer; 0 only at the end of the stream. May return less than fits.
  virtual Result<size_t> Read(std::span<std::byte> buffer) = 0;
};

/// Hands out views of bytes that it holds. Threads: one at a time.
class ChunkSource {
 public:
  virtual ~ChunkSource() = default;
  /// The next bytes, empty at the end of the stream. Valid until the next call.
  virtual Result<std::span<const std::byte>> NextChunk() = 0;
};

/// A whole file, pipe or socket from its current position. `name` is for errors.
std::unique_ptr<ByteSource> MakeFdSource(UniqueFd fd, std::string name);
/// `size` bytes at `offset` of a seekable file that others read too (a blob inside an archive). The descriptor must
/// outlive the source. Errors on Read: kCorrupt when the file ends early.
std::unique_ptr<ByteSource> MakeRangeSource(FdRef file, uint64_t offset, uint64_t size, std::string name);
/// Bytes in memory; they must outlive the source.
std::unique_ptr<ByteSource> MakeMemorySource(std::span<const std::byte> bytes);

/// Passes bytes through and hashes them.
class DigestingSource final : public ByteSource {
 public:
  /// `inner` must outlive this.
  explicit DigestingSource(ByteSource& inner) : inner_(inner) {}
  Result<size_t> Read(std::span<std::byte> buffer) override;
  /// Reads what is left of the stream (trailing bytes belong to the digest too), then gives the digest. Call once.
  Result<Digest> Finish();
  uint64_t bytes() const { return bytes_; }

 private:
  ByteSource& inner_;
  Sha256 hasher_;
  uint64_t bytes_ = 0;
};

enum class Compression { kNone, kGzip, kZstd };
std::string_view CompressionName(Compression compression);
/// Decides by magic number; at least 4 bytes are needed to see any. Anything unknown is kNone.
Compression DetectCompression(std::span<const std::byte> first_bytes);

struct InflateLimits {
  uint64_t max_output = uint64_t{64} << 30U;       ///< bytes
  uint64_t max_ratio = 1000;                       ///< output : input, enforced after ratio_free bytes of output
  uint64_t ratio_free = uint64_t{64} << 20U;       ///< bytes
  unsigned zstd_window_log_max = 27;               ///< 128 MiB, what zstd itself accepts without --long
};

/// Decompresses `inner` (which must outlive the result). kNone passes through with the output limit.
/// gzip: RFC 1952, any number of members, header CRC and CRC32/ISIZE verified, trailing zero padding accepted,
/// other trailing bytes refused. zstd: RFC 8878, any number of frames, skippable frames skipped, checksums verified.
/// Errors on Read: kCorrupt (bad data, truncation), kLimitExceeded (bombs, window).
std::unique_ptr<ByteSource> MakeInflater(ByteSource& inner, Compression compression, const InflateLimits& limits,
                                         std::string name);
/// The same after looking at the first bytes of `inner`.
Result<std::unique_ptr<ByteSource>> MakeDetectingInflater(ByteSource& inner, const InflateLimits& limits,
                                                          std::string name);

/// Reads a ByteSource on the calling thread, a buffer at a time.
class ChunkedSource final : public ChunkSource {
 public:
  explicit ChunkedSource(ByteSource& inner, size_t buffer_bytes = size_t{1} << 20U);
  Result<std::span<const std::byte>> NextChunk() override;

 private:
  ByteSource& inner_;
  std::unique_ptr<std::byte[]> buffer_;
  size_t buffer_bytes_;
};

/// Everything until the end. Errors: kLimitExceeded above `max_bytes`.
Result<std::string> ReadToEnd(ByteSource& source, size_t max_bytes, std::string_view what);

}  // namespace snap
