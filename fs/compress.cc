// Input is taken in whole buffers: where a compressor may look decides where its blocks end.
#include "fs/compress.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "fs/base/check.h"

namespace snap {
namespace {

class PassingSource final : public ByteSource {
 public:
  explicit PassingSource(ByteSource& inner) : inner_(inner) {}
  Result<size_t> Read(std::span<std::byte> buffer) override { return inner_.Read(buffer); }

 private:
  ByteSource& inner_;
};

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

class ZstdEncoder final : public Encoder {
 public:
  ZstdEncoder() : context_(ZSTD_createCCtx()) {
    if (context_ == nullptr) throw std::bad_alloc();
    Set(ZSTD_c_compressionLevel, ZSTD_CLEVEL_DEFAULT);
    Set(ZSTD_c_checksumFlag, 1);
  }
  Step Encode(std::span<const std::byte> input, bool last, std::span<std::byte> room) override {
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    ZSTD_outBuffer out{room.data(), room.size(), 0};
    const size_t left = ZSTD_compressStream2(context_.get(), &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
    SNAP_CHECK(ZSTD_isError(left) == 0);  // it can only fail for want of memory when it starts
    return {in.pos, out.pos, last && left == 0};
  }

 private:
  void Set(ZSTD_cParameter parameter, int value) {
    SNAP_CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(context_.get(), parameter, value)) == 0);
  }
  const std::unique_ptr<ZSTD_CCtx, FreeContext> context_;
};

class CompressingSource final : public ByteSource {
 public:
  CompressingSource(ByteSource& inner, std::unique_ptr<Encoder> encoder)
      : inner_(inner), encoder_(std::move(encoder)), input_(kBufferBytes), output_(kBufferBytes) {}

  Result<size_t> Read(std::span<std::byte> buffer) override {
    while (output_begin_ == output_end_) {
      if (ended_) return size_t{0};
      if (input_begin_ == input_end_ && !at_end_) SNAP_TRY_VOID(Fill());
      const auto input = std::span(input_).subspan(input_begin_, input_end_ - input_begin_);
      const Encoder::Step step = encoder_->Encode(input, at_end_, output_);
      input_begin_ += step.consumed;
      output_begin_ = 0;
      output_end_ = step.produced;
      ended_ = step.ended;
    }
    const size_t size = std::min(buffer.size(), output_end_ - output_begin_);
    std::memcpy(buffer.data(), output_.data() + output_begin_, size);
    output_begin_ += size;
    return size;
  }

 private:
  static constexpr size_t kBufferBytes = size_t{256} << 10U;

  Result<void> Fill() {
    input_begin_ = input_end_ = 0;
    while (input_end_ < input_.size()) {
      SNAP_TRY(const size_t got, inner_.Read(std::span(input_).subspan(input_end_)));
      at_end_ = got == 0;
      if (at_end_) break;
      input_end_ += got;
    }
    return {};
  }

  ByteSource& inner_;
  const std::unique_ptr<Encoder> encoder_;
  std::vector<std::byte> input_, output_;
  size_t input_begin_ = 0, input_end_ = 0;
  size_t output_begin_ = 0, output_end_ = 0;
  bool at_end_ = false;  // of the inner source
  bool ended_ = false;   // of what comes out, but for the output that is left
};

}  // namespace

std::unique_ptr<ByteSource> MakeCompressor(ByteSource& inner, Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return std::make_unique<CompressingSource>(inner, MakeGzipEncoder());
    case Compression::kZstd:
      return std::make_unique<CompressingSource>(inner, std::make_unique<ZstdEncoder>());
    case Compression::kNone:
      break;
  }
  return std::make_unique<PassingSource>(inner);
}

}  // namespace snap
