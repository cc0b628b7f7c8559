// Sources that do not decompress.
#include "fs/byte_source.h"

#include <algorithm>
#include <cstring>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap {
namespace {

class FdSource final : public ByteSource {
 public:
  FdSource(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  Result<size_t> Read(std::span<std::byte> buffer) override {
    SNAP_TRY_SYS(const size_t got, sys::Read(fd_, buffer), "read {}", Quote(name_));
    return got;
  }

 private:
  UniqueFd fd_;
  std::string name_;
};

class RangeSource final : public ByteSource {
 public:
  RangeSource(FdRef file, uint64_t offset, uint64_t size, std::string name)
      : file_(file), offset_(offset), left_(size), name_(std::move(name)) {}
  Result<size_t> Read(std::span<std::byte> buffer) override {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), left_));
    if (wanted == 0) return size_t{0};
    SNAP_TRY_SYS(const size_t got, sys::PRead(file_, buffer.first(wanted), offset_), "read {}", Quote(name_));
    if (got == 0) {
      return MakeError(ErrorCode::kCorrupt, "read {}: ends {} bytes early", Quote(name_), left_);
    }
    offset_ += got;
    left_ -= got;
    return got;
  }

 private:
  FdRef file_;
  uint64_t offset_;
  uint64_t left_;
  std::string name_;
};

class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes) : bytes_(bytes) {}
  Result<size_t> Read(std::span<std::byte> buffer) override {
    const size_t size = std::min(buffer.size(), bytes_.size());
    if (size != 0) std::memcpy(buffer.data(), bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
    return size;
  }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace

std::unique_ptr<ByteSource> MakeFdSource(UniqueFd fd, std::string name) {
  return std::make_unique<FdSource>(std::move(fd), std::move(name));
}

std::unique_ptr<ByteSource> MakeRangeSource(FdRef file, uint64_t offset, uint64_t size, std::string name) {
  return std::make_unique<RangeSource>(file, offset, size, std::move(name));
}

std::unique_ptr<ByteSource> MakeMemorySource(std::span<const std::byte> bytes) {
  return std::make_unique<MemorySource>(bytes);
}

Result<size_t> DigestingSource::Read(std::span<std::byte> buffer) {
  SNAP_TRY(const size_t got, inner_.Read(buffer));
  hasher_.Update(buffer.first(got));
  bytes_ += got;
  return got;
}

Result<Digest> DigestingSource::Finish() {
  constexpr size_t kBufferBytes = 65536;
  const auto buffer = std::make_unique<std::byte[]>(kBufferBytes);
  for (;;) {
    SNAP_TRY(const size_t got, Read(std::span(buffer.get(), kBufferBytes)));
    if (got == 0) return std::move(hasher_).Finish();
  }
}

ChunkedSource::ChunkedSource(ByteSource& inner, size_t buffer_bytes)
    : inner_(inner), buffer_(std::make_unique<std::byte[]>(buffer_bytes)), buffer_bytes_(buffer_bytes) {}

Result<std::span<const std::byte>> ChunkedSource::NextChunk() {
  SNAP_TRY(const size_t got, inner_.Read(std::span(buffer_.get(), buffer_bytes_)));
  return std::span<const std::byte>(buffer_.get(), got);
}

Result<std::string> ReadToEnd(ByteSource& source, size_t max_bytes, std::string_view what) {
  std::string out;
  constexpr size_t kStep = 65536;
  for (;;) {
    const size_t before = out.size();
    out.resize(before + kStep);
    SNAP_TRY(const size_t got, source.Read(std::as_writable_bytes(std::span(out).subspan(before))));
    out.resize(before + got);
    if (got == 0) return out;
    if (out.size() > max_bytes) {
      return MakeError(ErrorCode::kLimitExceeded, "read {}: more than {} bytes", what, max_bytes);
    }
  }
}

}  // namespace snap
