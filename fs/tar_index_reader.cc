// Reading a tar index: one pass, record by record, into whatever buffer the caller has.
// Invariant: the index is hostile (bit rot, a changed file). Every record moves on by at least one byte of a
// tar whose size is known, so neither work nor memory can grow beyond what was asked for; the last byte is
// given only when all checksums match.
#include <algorithm>
#include <cstring>

#include "fs/base/check.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/tar_index.h"
#include "fs/tar_index_format.h"

namespace snap {
namespace {

using namespace tar_index;  // NOLINT(google-build-using-namespace): this file is its other half

template <typename... Args>
Error Corrupt(std::string_view name, fmt::format_string<Args...> format, Args&&... args) {
  return MakeError(ErrorCode::kCorrupt, "read tar index {}: {}", Quote(name),
                   fmt::format(format, std::forward<Args>(args)...));
}

struct Layout {
  uint64_t frame_bytes = 0;
  uint64_t objects = 0;
  uint64_t tar_bytes = 0;
  Xxh128 frame_hash{};
  Xxh128 objects_hash{};
  uint64_t objects_at() const { return kMagic.size() + frame_bytes; }
};

Result<void> ReadAt(FdRef index, uint64_t offset, std::span<std::byte> buffer, std::string_view name) {
  while (!buffer.empty()) {
    SNAP_TRY_SYS(const size_t got, sys::PRead(index, buffer, offset), "read tar index {}", Quote(name));
    if (got == 0) return Corrupt(name, "it ends early");
    offset += got;
    buffer = buffer.subspan(got);
  }
  return {};
}

Xxh128 HashAt(const std::byte* at) {
  Xxh128 hash{};
  std::memcpy(hash.data(), at, hash.size());
  return hash;
}

bool IsMagic(const std::byte* at, size_t size) { return std::memcmp(at, kMagic.data(), size) == 0; }

Result<Layout> ReadLayout(FdRef index, std::string_view name) {
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(index), "read tar index {}", Quote(name));
  const auto size = static_cast<uint64_t>(std::max<off_t>(stat.st_size, 0));
  if (size < kMagic.size() + kTrailerBytes) return Corrupt(name, "{} bytes are too few", size);
  std::array<std::byte, 8> magic{};
  SNAP_TRY_VOID(ReadAt(index, 0, magic, name));
  std::array<std::byte, kTrailerBytes> trailer{};
  SNAP_TRY_VOID(ReadAt(index, size - kTrailerBytes, trailer, name));
  const std::byte* const at = trailer.data();
  const size_t version_at = kMagic.size() - 1;
  if (!IsMagic(magic.data(), version_at)) return Corrupt(name, "it is none");
  // Both ends agree on another version: that is no damage.
  if (magic[version_at] != std::byte{1} &&
      std::equal(magic.begin(), magic.end(), trailer.begin() + kTrailerMagicAt)) {
    return MakeError(ErrorCode::kUnsupported, "read tar index {}: version {} is newer than this program",
                     Quote(name), std::to_integer<unsigned>(magic[version_at]));
  }
  if (!IsMagic(magic.data(), magic.size()) || !IsMagic(at + kTrailerMagicAt, magic.size())) {
    return Corrupt(name, "it is cut off or damaged at its ends");
  }
  Xxh3Hasher hasher;
  hasher.Update(std::span(trailer).first(kTrailerHashAt));
  if (hasher.Finish() != HashAt(at + kTrailerHashAt))
    return Corrupt(name, "the trailer's checksum does not match");
  Layout layout{.frame_bytes = GetLittle<uint64_t>(at + kFrameBytesAt),
                .objects = GetLittle<uint64_t>(at + kObjectCountAt),
                .tar_bytes = GetLittle<uint64_t>(at + kTarBytesAt),
                .frame_hash = HashAt(at + kFrameHashAt),
                .objects_hash = HashAt(at + kObjectsHashAt)};
  const uint64_t middle = size - kMagic.size() - kTrailerBytes;
  if (layout.frame_bytes > middle || layout.objects != (middle - layout.frame_bytes) / kObjectBytes ||
      (middle - layout.frame_bytes) % kObjectBytes != 0) {
    return Corrupt(name, "its {} bytes are not what the trailer says", size);
  }
  return layout;
}

Result<std::vector<ObjectId>> ReadObjects(FdRef index, const Layout& layout, std::string_view name) {
  std::vector<std::byte> bytes(static_cast<size_t>(layout.objects) * kObjectBytes);  // less than the file
  SNAP_TRY_VOID(ReadAt(index, layout.objects_at(), bytes, name));
  Xxh3Hasher hasher;
  hasher.Update(bytes);
  if (hasher.Finish() != layout.objects_hash)
    return Corrupt(name, "the checksum of its objects does not match");
  std::vector<ObjectId> objects(static_cast<size_t>(layout.objects));
  const std::byte* at = bytes.data();
  for (ObjectId& object : objects) {
    std::memcpy(object.hash.data(), at, object.hash.size());
    object.size = GetLittle<uint64_t>(at + object.hash.size());
    object.variant = GetLittle<uint32_t>(at + object.hash.size() + sizeof object.size);
    at += kObjectBytes;
  }
  return objects;
}

/// Passes bytes through and hashes them.
class HashedSource final : public ByteSource {
 public:
  explicit HashedSource(std::unique_ptr<ByteSource> inner) : inner_(std::move(inner)) {}
  Result<size_t> Read(std::span<std::byte> buffer) override {
    SNAP_TRY(const size_t got, inner_->Read(buffer));
    hasher_.Update(buffer.first(got));
    return got;
  }
  Xxh128 Finish() { return hasher_.Finish(); }

 private:
  const std::unique_ptr<ByteSource> inner_;
  Xxh3Hasher hasher_;
};

/// The inflated records, byte by byte or in runs.
class RecordStream {
 public:
  RecordStream(FdRef index, const Layout& layout, const std::string& name)
      : stored_(MakeRangeSource(index, kMagic.size(), layout.frame_bytes, name)),
        // The tar's size bounds what is read, so no ratio has to: a million zeros are a few bytes here.
        inflated_(MakeInflater(
            stored_, Compression::kZstd,
            {.max_output = UINT64_MAX, .max_ratio = UINT64_MAX, .zstd_window_log_max = kWindowLog}, name)),
        buffer_(kBufferBytes),
        name_(name) {}

  /// What is there, at most `most` bytes; empty only at the end.
  Result<std::span<const std::byte>> Some(size_t most) {
    if (begin_ == end_) {
      Result<size_t> got = inflated_->Read(buffer_);
      if (!got.ok()) {
        // A limit is only passed by a frame that no writer of ours made.
        if (got.error().code() == ErrorCode::kLimitExceeded)
          return Corrupt(name_, "{}", got.error().message());
        return std::move(got).error();
      }
      end_ = *got;
      begin_ = 0;
    }
    const auto some = std::span(buffer_).subspan(begin_, std::min(most, end_ - begin_));
    begin_ += some.size();
    return std::span<const std::byte>(some);
  }
  Result<std::byte> Byte() {
    if (begin_ != end_) [[likely]]
      return buffer_[begin_++];
    SNAP_TRY(const std::span<const std::byte> some, Some(1));
    if (some.empty()) return Corrupt(name_, "its records end early");
    return some.front();
  }
  Result<uint32_t> LiteralSize() {
    std::array<std::byte, kLiteralSizeBytes> bytes{};
    for (std::byte& byte : bytes) {
      SNAP_TRY(byte, Byte());
    }
    return GetLittle<uint32_t>(bytes.data());
  }
  Result<uint64_t> Varint() {
    uint64_t value = 0;
    for (size_t i = 0; i < kMaxVarintBytes; ++i) {
      SNAP_TRY(const std::byte byte, Byte());
      const auto bits = std::to_integer<uint64_t>(byte & std::byte{0x7F});
      if (i == kMaxVarintBytes - 1 && bits > 1) break;
      value |= bits << (7 * i);
      if ((byte & std::byte{0x80}) == std::byte{0}) return value;
    }
    return Corrupt(name_, "a number has more than 64 bits");
  }
  Xxh128 Hash() { return stored_.Finish(); }

 private:
  static constexpr size_t kBufferBytes = size_t{64} << 10U;

  HashedSource stored_;
  const std::unique_ptr<ByteSource> inflated_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0, end_ = 0;
  const std::string& name_;
};

class TarIndexSource final : public ByteSource {
 public:
  TarIndexSource(FdRef index, const Layout& layout, std::vector<ObjectId> objects, TarContentReader& content,
                 std::string name)
      : name_(std::move(name)),
        records_(index, layout, name_),
        frame_hash_(layout.frame_hash),
        objects_(std::move(objects)),
        content_reader_(content),
        tar_left_(layout.tar_bytes) {}

  Result<size_t> Read(std::span<std::byte> buffer) override {
    size_t filled = 0;
    while (filled < buffer.size() && tar_left_ != 0) {
      switch (phase_) {
        case Phase::kRecord:
          SNAP_TRY_VOID(StartRecord());
          break;
        case Phase::kLiteral: {
          SNAP_TRY(const size_t got, Literal(buffer.subspan(filled)));
          filled += got;
          break;
        }
        case Phase::kContentHeader:
          SNAP_TRY_VOID(StartContent());
          break;
        case Phase::kContent: {
          SNAP_TRY(const size_t got, Content(buffer.subspan(filled)));
          filled += got;
          break;
        }
      }
    }
    if (tar_left_ == 0 && !finished_) SNAP_TRY_VOID(Finish());
    return filled;
  }

 private:
  enum class Phase : uint8_t { kRecord, kLiteral, kContentHeader, kContent };

  Result<void> StartRecord() {
    SNAP_TRY(literal_left_, records_.LiteralSize());
    if (literal_left_ > tar_left_) return TooMuch();
    literal_was_empty_ = literal_left_ == 0;
    phase_ = literal_was_empty_ ? Phase::kContentHeader : Phase::kLiteral;
    return {};
  }

  Result<size_t> Literal(std::span<std::byte> room) {
    SNAP_TRY(const std::span<const std::byte> some,
             records_.Some(std::min<size_t>(room.size(), literal_left_)));
    if (some.empty()) return Corrupt(name_, "its records end early");
    std::memcpy(room.data(), some.data(), some.size());
    literal_left_ -= static_cast<uint32_t>(some.size());
    tar_left_ -= some.size();
    if (literal_left_ == 0) phase_ = Phase::kContentHeader;
    return some.size();
  }

  Result<void> StartContent() {
    SNAP_TRY(const uint64_t size_and_place, records_.Varint());
    const bool in_object = (size_and_place & 1U) != 0;
    content_ = {.place = in_object ? TarContent::Place::kObject : TarContent::Place::kImage,
                .size = size_and_place >> 1U};
    phase_ = Phase::kRecord;
    if (content_.size == 0) {
      if (literal_was_empty_ || in_object) return Corrupt(name_, "an empty record");
      return {};
    }
    if (content_.size > tar_left_) return TooMuch();
    if (in_object) {
      SNAP_TRY(const uint64_t number, records_.Varint());
      if (number >= objects_.size()) return Corrupt(name_, "object {} of {}", number, objects_.size());
      content_.object = static_cast<uint32_t>(number);
      if (content_.object != last_object_) object_end_ = 0;
      last_object_ = content_.object;
    }
    SNAP_TRY(const uint64_t distance, records_.Varint());
    uint64_t& expected = in_object ? object_end_ : image_end_;
    content_.offset = expected + UnZigZag(distance);
    const uint64_t limit = in_object ? objects_[content_.object].size : uint64_t{INT64_MAX};
    if (content_.size > limit || content_.offset > limit - content_.size) {
      return Corrupt(name_, "{} bytes at {} of something that has {}", content_.size, content_.offset, limit);
    }
    expected = content_.offset + content_.size;
    phase_ = Phase::kContent;
    return {};
  }

  Result<size_t> Content(std::span<std::byte> room) {
    const auto part = room.first(static_cast<size_t>(std::min<uint64_t>(room.size(), content_.size)));
    if (content_.place == TarContent::Place::kImage) {
      SNAP_TRY_VOID(content_reader_.ReadImage(content_.offset, part));
    } else {
      SNAP_TRY_VOID(content_reader_.ReadObject(objects_[content_.object], content_.offset, part));
    }
    content_.offset += part.size();
    content_.size -= part.size();
    tar_left_ -= part.size();
    if (content_.size == 0) phase_ = Phase::kRecord;
    return part.size();
  }

  /// Behind the last byte of the tar: the last record's end, the frame's end, the checksum.
  Result<void> Finish() {
    if (phase_ == Phase::kContentHeader) {
      SNAP_TRY(const uint64_t size_and_place, records_.Varint());
      if (size_and_place != 0) return TooMuch();
    }
    SNAP_TRY(const std::span<const std::byte> more, records_.Some(1));
    if (!more.empty()) return TooMuch();
    if (records_.Hash() != frame_hash_) return Corrupt(name_, "the checksum of its records does not match");
    finished_ = true;
    return {};
  }

  Error TooMuch() const { return Corrupt(name_, "its records are more than the tar"); }

  const std::string name_;
  RecordStream records_;
  const Xxh128 frame_hash_;
  const std::vector<ObjectId> objects_;
  TarContentReader& content_reader_;
  Phase phase_ = Phase::kRecord;
  uint64_t tar_left_;
  uint32_t literal_left_ = 0;
  bool literal_was_empty_ = false;
  TarContent content_;  // what is left of it
  uint64_t image_end_ = 0;
  uint64_t object_end_ = 0;
  uint32_t last_object_ = 0;
  bool finished_ = false;
};

}  // namespace

Result<std::unique_ptr<ByteSource>> MakeTarSource(FdRef index, TarContentReader& content, std::string name) {
  SNAP_TRY(const Layout layout, ReadLayout(index, name));
  SNAP_TRY(std::vector<ObjectId> objects, ReadObjects(index, layout, name));
  return std::unique_ptr<ByteSource>(
      std::make_unique<TarIndexSource>(index, layout, std::move(objects), content, std::move(name)));
}

Result<std::vector<ObjectId>> ReadTarIndexObjects(FdRef index, std::string_view name) {
  SNAP_TRY(const Layout layout, ReadLayout(index, name));
  return ReadObjects(index, layout, name);
}

Result<void> CheckTarIndex(FdRef index, std::string_view name) {
  SNAP_TRY(const Layout layout, ReadLayout(index, name));
  SNAP_TRY_VOID(ReadObjects(index, layout, name));
  HashedSource frame(MakeRangeSource(index, kMagic.size(), layout.frame_bytes, std::string(name)));
  std::vector<std::byte> buffer(size_t{256} << 10U);
  for (size_t got = 1; got != 0;) {
    SNAP_TRY(got, frame.Read(buffer));
  }
  if (frame.Finish() != layout.frame_hash) return Corrupt(name, "the checksum of its records does not match");
  return {};
}

}  // namespace snap
