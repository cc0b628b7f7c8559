// TarIndexWriter: records are put together in a buffer and compressed a buffer at a time.
// Invariant: what was passed and is in no record yet is the open record (its literal so far, then perhaps its
// content) and the rest of the latest chunk, in this order.
#include <zstd.h>

#include <functional>
#include <new>

#include "fs/base/check.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/tar_index.h"
#include "fs/tar_index_format.h"

namespace snap {
namespace {

using namespace tar_index;  // NOLINT(google-build-using-namespace): this file is its other half

// Of the 82,000 headers of a large tar (42 MB): level 1 makes 1 to 2 MB of them in 30 ms. Negative levels
// save 5 ms and double the size, level 3 is slower and not smaller (2026-11).
constexpr int kLevel = 1;
constexpr size_t kBufferBytes = size_t{256} << 10U;

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

}  // namespace

struct TarIndexWriter::State {
  explicit State(FdRef index) : file(index), context(ZSTD_createCCtx()), compressed(ZSTD_CStreamOutSize()) {
    if (context == nullptr) throw std::bad_alloc();
    Set(ZSTD_c_compressionLevel, kLevel);
    Set(ZSTD_c_windowLog, static_cast<int>(kWindowLog));
    buffer.reserve(kBufferBytes + kMaxLiteral + 64);
    OpenRecord();
  }

  void Set(ZSTD_cParameter parameter, int value) {
    SNAP_CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(context.get(), parameter, value)) == 0);
  }

  void OpenRecord() {
    record_at = buffer.size();
    literal_bytes = 0;
    content = {};
    buffer.resize(buffer.size() + kLiteralSizeBytes);
  }

  void PutVarint(uint64_t value) {
    for (; value >= 0x80; value >>= 7U) buffer.push_back(static_cast<std::byte>(value | 0x80U));
    buffer.push_back(static_cast<std::byte>(value));
  }

  /// Nothing when the open record is empty.
  Result<void> CloseRecord() {
    if (literal_bytes == 0 && content.size == 0) return {};
    PutLittle(buffer.data() + record_at, static_cast<uint32_t>(literal_bytes));
    const bool in_object = content.place == TarContent::Place::kObject;
    PutVarint(content.size << 1U | (in_object ? 1U : 0U));
    if (content.size != 0) {
      if (in_object) {
        PutVarint(content.object);
        if (content.object != last_object) object_end = 0;
        last_object = content.object;
      }
      uint64_t& expected = in_object ? object_end : image_end;
      PutVarint(ZigZag(content.offset - expected));
      expected = content.offset + content.size;
    }
    if (buffer.size() >= kBufferBytes) SNAP_TRY_VOID(Compress(ZSTD_e_continue));
    OpenRecord();
    return {};
  }

  Result<void> Literal(std::span<const std::byte> bytes) {
    tar_bytes += bytes.size();
    while (!bytes.empty()) {
      if (content.size != 0 || literal_bytes == kMaxLiteral) SNAP_TRY_VOID(CloseRecord());
      const auto some = bytes.first(std::min(bytes.size(), kMaxLiteral - literal_bytes));
      buffer.insert(buffer.end(), some.begin(), some.end());
      literal_bytes += some.size();
      bytes = bytes.subspan(some.size());
    }
    return {};
  }

  Result<void> Content(const TarContent& piece) {
    tar_bytes += piece.size;
    const bool continues = content.size != 0 && content.place == piece.place &&
                           content.object == piece.object && content.offset + content.size == piece.offset;
    if (continues) {
      content.size += piece.size;
      return {};
    }
    if (content.size != 0) SNAP_TRY_VOID(CloseRecord());
    content = piece;
    return {};
  }

  /// The whole records in the buffer.
  Result<void> Compress(ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{buffer.data(), buffer.size(), 0};
    for (bool more = true; more;) {
      ZSTD_outBuffer out{compressed.data(), compressed.size(), 0};
      const size_t left = ZSTD_compressStream2(context.get(), &out, &in, directive);
      if (ZSTD_isError(left) != 0) {
        return MakeError(ErrorCode::kInternal, "compress tar index: {}", ZSTD_getErrorName(left));
      }
      hasher.Update(std::span(compressed).first(out.pos));
      SNAP_TRY_VOID(Append(std::span(compressed).first(out.pos)));
      frame_bytes += out.pos;
      more = directive == ZSTD_e_end ? left != 0 : in.pos != in.size;
    }
    buffer.clear();
    return {};
  }

  Result<void> Append(std::span<const std::byte> bytes) {
    SNAP_TRY_SYS_VOID(sys::PWriteAll(file, bytes, file_bytes), "write tar index {}",
                      Quote(sys::DescribeFd(file)));
    file_bytes += bytes.size();
    return {};
  }

  const FdRef file;
  const std::unique_ptr<ZSTD_CCtx, FreeContext> context;
  std::vector<std::byte> compressed;
  std::vector<std::byte> buffer;    // records, the open one last
  size_t record_at = 0;             // of the open record in the buffer
  size_t literal_bytes = 0;         // of the open record
  TarContent content;               // of the open record; not in the buffer yet
  std::span<const std::byte> rest;  // of the latest chunk: not said to be anywhere
  uint64_t image_end = 0;           // where the next content is expected
  uint64_t object_end = 0;
  uint32_t last_object = 0;
  Xxh3Hasher hasher;
  uint64_t tar_bytes = 0;
  uint64_t frame_bytes = 0;
  uint64_t file_bytes = 0;
};

TarIndexWriter::TarIndexWriter(FdRef file) : state_(std::make_unique<State>(file)) {}
TarIndexWriter::~TarIndexWriter() = default;

Result<void> TarIndexWriter::Bytes(std::span<const std::byte> chunk) {
  State& s = *state_;
  if (s.file_bytes == 0) SNAP_TRY_VOID(s.Append(std::as_bytes(std::span(kMagic))));
  SNAP_TRY_VOID(s.Literal(std::exchange(s.rest, {})));
  s.rest = chunk;
  return {};
}

Result<void> TarIndexWriter::Stored(std::span<const std::byte> bytes, const TarContent& content) {
  State& s = *state_;
  SNAP_CHECK(content.size == bytes.size() && content.offset <= UINT64_MAX - content.size);
  if (bytes.empty()) return {};
  const std::less_equal<const std::byte*> not_behind;
  const std::byte* const rest_end = s.rest.data() + s.rest.size();
  SNAP_CHECK(not_behind(s.rest.data(), bytes.data()) && not_behind(bytes.data() + bytes.size(), rest_end));
  const auto before = static_cast<size_t>(bytes.data() - s.rest.data());
  SNAP_TRY_VOID(s.Literal(s.rest.first(before)));
  s.rest = s.rest.subspan(before + bytes.size());
  TarContent piece = content;
  if (piece.place == TarContent::Place::kImage) piece.object = 0;
  return s.Content(piece);
}

Result<void> TarIndexWriter::Finish(const std::vector<ObjectId>& objects) {
  State& s = *state_;
  SNAP_TRY_VOID(Bytes({}));
  SNAP_TRY_VOID(s.CloseRecord());
  s.buffer.resize(s.record_at);  // the room for one more record
  SNAP_TRY_VOID(s.Compress(ZSTD_e_end));

  std::vector<std::byte> tail(objects.size() * kObjectBytes + kTrailerBytes);
  std::byte* at = tail.data();
  for (const ObjectId& object : objects) {
    std::copy_n(std::as_bytes(std::span(object.hash)).begin(), object.hash.size(), at);
    PutLittle(at + object.hash.size(), object.size);
    PutLittle(at + object.hash.size() + sizeof object.size, object.variant);
    at += kObjectBytes;
  }
  const auto put_hash = [&](size_t offset, const Xxh128& hash) {
    std::copy_n(std::as_bytes(std::span(hash)).begin(), hash.size(), at + offset);
  };
  PutLittle(at + kFrameBytesAt, s.frame_bytes);
  PutLittle(at + kObjectCountAt, uint64_t{objects.size()});
  PutLittle(at + kTarBytesAt, s.tar_bytes);
  put_hash(kFrameHashAt, s.hasher.Finish());
  s.hasher.Update(std::span(tail).first(objects.size() * kObjectBytes));
  put_hash(kObjectsHashAt, s.hasher.Finish());
  s.hasher.Update({at, kTrailerHashAt});
  put_hash(kTrailerHashAt, s.hasher.Finish());
  std::copy_n(std::as_bytes(std::span(kMagic)).begin(), kMagic.size(), at + kTrailerMagicAt);
  return s.Append(tail);
}

}  // namespace snap
