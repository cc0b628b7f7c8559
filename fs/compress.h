// Compressing sources: the inverse of MakeInflater, for layers that leave the store.
// Invariant: what comes out is a function of the bytes that go in, whatever sizes they are read in; so a
// layer has the same blob digest every time the same build saves it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "fs/base/result.h"
#include "fs/byte_source.h"

namespace snap {

/// Compresses `inner`, which must outlive the result. kNone passes through. gzip: one member without name and
/// time. zstd: one frame with a checksum, level 3. Errors on Read: the inner source's. Cost: of one core, 200
/// to 400 MB/s (gzip by zlib: 30 to 60 MB/s). Memory: 2 to 8 MiB.
std::unique_ptr<ByteSource> MakeCompressor(ByteSource& inner, Compression compression);

/// One compressed stream being made. Internal to fs/; users call MakeCompressor. Threads: one at a time.
class Encoder {
 public:
  virtual ~Encoder() = default;
  struct Step {
    size_t consumed = 0;
    size_t produced = 0;
    bool ended = false;  ///< only after `last`: everything is out
  };
  /// `last`: nothing follows `input`. The room is not empty.
  virtual Step Encode(std::span<const std::byte> input, bool last, std::span<std::byte> room) = 0;
};
/// By ISA-L or zlib, as the build has it.
std::unique_ptr<Encoder> MakeGzipEncoder();

}  // namespace snap
