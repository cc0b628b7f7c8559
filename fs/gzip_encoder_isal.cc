// gzip by ISA-L: ten times as fast as zlib's default level, a few percent larger.
#include <isa-l.h>

#include <vector>

#include "fs/base/check.h"
#include "fs/compress.h"

namespace snap {
namespace {

class IsalEncoder final : public Encoder {
 public:
  IsalEncoder() : level_buffer_(ISAL_DEF_LVL2_DEFAULT) {
    isal_deflate_init(&stream_);
    stream_.level = 2;
    stream_.level_buf = level_buffer_.data();
    stream_.level_buf_size = static_cast<uint32_t>(level_buffer_.size());
    stream_.gzip_flag = IGZIP_GZIP;
  }
  Step Encode(std::span<const std::byte> input, bool last, std::span<std::byte> room) override {
    // The library never writes to its input.
    stream_.next_in = const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(input.data()));
    stream_.avail_in = static_cast<uint32_t>(input.size());
    stream_.next_out = reinterpret_cast<uint8_t*>(room.data());
    stream_.avail_out = static_cast<uint32_t>(room.size());
    stream_.end_of_stream = last ? 1 : 0;
    SNAP_CHECK(isal_deflate(&stream_) == COMP_OK);
    return {input.size() - stream_.avail_in, room.size() - stream_.avail_out,
            stream_.internal_state.state == ZSTATE_END};
  }

 private:
  isal_zstream stream_;
  std::vector<uint8_t> level_buffer_;
};

}  // namespace

std::unique_ptr<Encoder> MakeGzipEncoder() { return std::make_unique<IsalEncoder>(); }

}  // namespace snap
