// gzip by zlib, for processors without ISA-L.
#include <zlib.h>

#include <new>

#include "fs/base/check.h"
#include "fs/compress.h"

namespace snap {
namespace {

constexpr int kGzip = 16 + 15;  // a gzip header, 32 KiB window
constexpr int kMemoryLevel = 8;

class ZlibEncoder final : public Encoder {
 public:
  ZlibEncoder() {
    if (deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzip, kMemoryLevel, Z_DEFAULT_STRATEGY) !=
        Z_OK)
      throw std::bad_alloc();
  }
  ~ZlibEncoder() override { deflateEnd(&stream_); }
  ZlibEncoder(const ZlibEncoder&) = delete;
  ZlibEncoder& operator=(const ZlibEncoder&) = delete;

  Step Encode(std::span<const std::byte> input, bool last, std::span<std::byte> room) override {
    // zlib never writes to its input.
    stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(input.data()));
    stream_.avail_in = static_cast<uInt>(input.size());
    stream_.next_out = reinterpret_cast<Bytef*>(room.data());
    stream_.avail_out = static_cast<uInt>(room.size());
    const int result = deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH);
    SNAP_CHECK(result != Z_STREAM_ERROR);
    return {input.size() - stream_.avail_in, room.size() - stream_.avail_out, result == Z_STREAM_END};
  }

 private:
  z_stream stream_{};
};

}  // namespace

std::unique_ptr<Encoder> MakeGzipEncoder() { return std::make_unique<ZlibEncoder>(); }

}  // namespace snap
