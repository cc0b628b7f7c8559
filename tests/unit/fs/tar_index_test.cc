// What was passed to a TarIndexWriter comes out of MakeTarSource, whatever was said about it; a changed index
// never gives another tar without an error.
#include "fs/tar_index.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "fs/base/check.h"
#include "fs/base/sys_file.h"
#include "fs/tar_writer.h"
#include "tests/support/tar_index_builder.h"

namespace snap {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

UniqueFd EmptyFile() { return sys::MemfdCreate("index", 0).value(); }
UniqueFd FileOf(std::string_view content) {
  UniqueFd file = EmptyFile();
  EXPECT_TRUE(sys::PWriteAll(file, Bytes(content), 0).ok());
  return file;
}
std::string ContentOf(FdRef file) {
  std::string content(static_cast<size_t>(sys::FStat(file)->st_size), '\0');
  if (!content.empty()) {
    EXPECT_EQ(*sys::PRead(file, std::as_writable_bytes(std::span(content)), 0), content.size());
  }
  return content;
}

ObjectId IdOf(uint8_t number, uint64_t size) {
  ObjectId id{.size = size, .variant = number % 3U};
  id.hash.fill(number);
  return id;
}

/// Image and objects in memory.
struct Stored final : TarContentReader {
  std::string image;
  std::vector<std::string> objects;

  std::vector<ObjectId> Ids() const {
    std::vector<ObjectId> ids;
    for (const std::string& object : objects)
      ids.push_back(IdOf(static_cast<uint8_t>(ids.size()), object.size()));
    return ids;
  }
  static Result<void> Copy(const std::string& from, uint64_t offset, std::span<std::byte> buffer) {
    if (offset > from.size() || buffer.size() > from.size() - offset) {
      return MakeError(ErrorCode::kCorrupt, "read beyond the end");
    }
    std::copy_n(Bytes(from).begin() + static_cast<ptrdiff_t>(offset), buffer.size(), buffer.begin());
    return {};
  }
  Result<void> ReadImage(uint64_t offset, std::span<std::byte> buffer) override {
    return Copy(image, offset, buffer);
  }
  Result<void> ReadObject(const ObjectId& object, uint64_t offset, std::span<std::byte> buffer) override {
    const std::vector<ObjectId> ids = Ids();
    const auto found = std::find(ids.begin(), ids.end(), object);
    if (found == ids.end()) return MakeError(ErrorCode::kNotFound, "no such object");
    return Copy(objects[static_cast<size_t>(found - ids.begin())], offset, buffer);
  }
};

Result<std::string> TarOf(FdRef index, TarContentReader& content, size_t step = 4096) {
  SNAP_TRY(const std::unique_ptr<ByteSource> source, MakeTarSource(index, content, "tar.idx"));
  std::string out;
  std::string buffer(step, '\0');
  for (;;) {
    SNAP_TRY(const size_t got, source->Read(std::as_writable_bytes(std::span(buffer))));
    if (got == 0) return out;
    out.append(buffer, 0, got);
  }
}

/// A piece of a stream: bytes, and where they are kept besides.
struct Piece {
  std::string bytes;
  std::optional<TarContent> content;
};

struct Stream {
  std::vector<Piece> pieces;
  Stored stored;

  std::string Text() const {
    std::string text;
    for (const Piece& piece : pieces) text += piece.bytes;
    return text;
  }
  void Literal(std::string bytes) { pieces.push_back({std::move(bytes), std::nullopt}); }
  void InImage(const std::string& bytes, size_t gap = 0) {
    stored.image.append(gap, '\xEE');
    pieces.push_back({bytes, TarContent{.offset = stored.image.size(), .size = bytes.size()}});
    stored.image += bytes;
  }
  void InObject(uint32_t object, const std::string& bytes) {
    if (object >= stored.objects.size()) stored.objects.resize(object + 1);
    std::string& to = stored.objects[object];
    pieces.push_back({bytes, TarContent{.place = TarContent::Place::kObject,
                                        .object = object,
                                        .offset = to.size(),
                                        .size = bytes.size()}});
    to += bytes;
  }
};

/// Writes the index with chunks of the sizes that `chunk_size` gives. Each chunk's memory is gone as soon as
/// the contract allows, so that a sanitizer sees a use of it.
std::string IndexOf(const Stream& stream, const std::function<size_t()>& chunk_size,
                    bool end_chunks = false) {
  const std::string text = stream.Text();
  UniqueFd file = EmptyFile();
  TarIndexWriter writer(file);
  std::unique_ptr<std::byte[]> chunk;
  size_t piece = 0;
  size_t piece_at = 0;  // of the piece in the stream
  for (size_t at = 0; at < text.size();) {
    const size_t size = std::min(chunk_size(), text.size() - at);
    auto next = std::make_unique<std::byte[]>(size);
    std::copy_n(Bytes(text).begin() + static_cast<ptrdiff_t>(at), size, next.get());
    if (end_chunks) {
      EXPECT_TRUE(writer.Bytes({}).ok());
      chunk.reset();
    }
    EXPECT_TRUE(writer.Bytes({next.get(), size}).ok());
    chunk = std::move(next);
    // All parts of pieces that lie in this chunk.
    while (piece < stream.pieces.size() && piece_at < at + size) {
      const Piece& p = stream.pieces[piece];
      const size_t from = std::max(piece_at, at);
      const size_t to = std::min(piece_at + p.bytes.size(), at + size);
      if (p.content && to > from) {
        TarContent part = *p.content;
        part.offset += from - piece_at;
        part.size = to - from;
        EXPECT_TRUE(writer.Stored({chunk.get() + (from - at), part.size}, part).ok());
      }
      if (piece_at + p.bytes.size() > at + size) break;
      piece_at += p.bytes.size();
      ++piece;
    }
    at += size;
  }
  EXPECT_TRUE(writer.Finish(stream.stored.Ids()).ok());
  return ContentOf(file);
}

std::function<size_t()> Always(size_t size) {
  return [size] { return size; };
}

std::string HeaderOf(const std::string& path, uint64_t size) {
  TarEntry entry;
  entry.path = path;
  entry.attributes.permissions = 0644;
  entry.attributes.mtime.tv_sec = 1'700'000'000;
  entry.size = size;
  std::string header;
  EXPECT_TRUE(tar::AppendHeader(entry, header).ok());
  return header;
}

/// A tar-like stream: headers, data in the image, in objects or nowhere, padding, an end.
Stream RandomStream(std::mt19937& random, size_t entries) {
  Stream stream;
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  const auto data = [&](size_t size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(below(below(4) == 0 ? 256 : 3));
    return bytes;
  };
  for (size_t i = 0; i < entries; ++i) {
    const std::string bytes = data(below(3) == 0 ? below(20000) : below(700));
    stream.Literal(HeaderOf("usr/share/doc/package-" + std::to_string(i / 7) + "/file-" + std::to_string(i),
                            bytes.size()));
    switch (below(5)) {
      case 0:
        stream.Literal(bytes);
        break;
      case 1:  // in several pieces, of the same object or another one
        stream.InObject(static_cast<uint32_t>(below(4)), bytes.substr(0, bytes.size() / 2));
        stream.InObject(static_cast<uint32_t>(below(4)), bytes.substr(bytes.size() / 2));
        break;
      case 2:
        stream.InImage(bytes.substr(0, bytes.size() / 3), below(1000));
        stream.InImage(bytes.substr(bytes.size() / 3), below(2) * below(100));
        break;
      default:
        stream.InImage(bytes, below(512));
    }
    stream.Literal(std::string(tar::Padding(bytes.size()), '\0'));
  }
  stream.Literal(std::string(tar::kTrailerBytes + 512 * below(30), '\0'));
  return stream;
}

TEST(TarIndex, GivesBackWhatPassedWhateverWasSaidAboutIt) {
  std::mt19937 random(20'240'117);
  for (int round = 0; round < 60; ++round) {
    Stream stream = RandomStream(random, 1 + random() % 60);
    const std::string text = stream.Text();
    const std::string index = IndexOf(
        stream, [&] { return 1 + random() % 30000; }, round % 2 == 0);
    const UniqueFd file = FileOf(index);
    const Result<std::string> tar = TarOf(file, stream.stored, 1 + random() % 50000);
    ASSERT_TRUE(tar.ok()) << tar.error().message();
    ASSERT_EQ(*tar, text) << round;
    EXPECT_EQ(*ReadTarIndexObjects(file, "tar.idx"), stream.stored.Ids());
    EXPECT_TRUE(CheckTarIndex(file, "tar.idx").ok());
  }
}

TEST(TarIndex, DoesNotDependOnTheChunks) {
  std::mt19937 random(7);
  const Stream stream = RandomStream(random, 40);
  const std::string whole = IndexOf(stream, Always(SIZE_MAX));
  for (const size_t size : {size_t{1}, size_t{7}, size_t{511}, size_t{4096}, size_t{65537}}) {
    EXPECT_EQ(IndexOf(stream, Always(size)), whole) << size;
    EXPECT_EQ(IndexOf(stream, Always(size), true), whole) << size;
  }
}

TEST(TarIndex, HoldsNothingThatIsStoredElsewhere) {
  std::mt19937 random(3);
  Stream stream;
  std::string noise(3U << 20U, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  stream.InImage(noise);
  stream.InObject(0, noise);
  // One reference each, though they came in a thousand chunks.
  EXPECT_LT(IndexOf(stream, Always(4096)).size(), 180U);
}

TEST(TarIndex, OfNothing) {
  Stream stream;
  const std::string index = IndexOf(stream, Always(1));
  const UniqueFd file = FileOf(index);
  EXPECT_EQ(*TarOf(file, stream.stored), "");
  EXPECT_TRUE(ReadTarIndexObjects(file, "tar.idx")->empty());
}

TEST(TarIndex, HoldsLongLiteralsAndNothingElse) {
  Stream stream;
  stream.Literal(std::string(5'000'000, '\0') + "end");
  const UniqueFd file = FileOf(IndexOf(stream, Always(1U << 20U)));
  EXPECT_EQ(*TarOf(file, stream.stored), stream.Text());
}

TEST(TarIndex, ManyHeadersTakeFewBytes) {
  constexpr size_t kEntries = 20000;
  Stream stream;
  for (size_t i = 0; i < kEntries; ++i) {
    stream.Literal(HeaderOf(
        "app/node_modules/package-" + std::to_string(i / 40) + "/dist/file-" + std::to_string(i) + ".js",
        512));
    stream.InImage(std::string(512, 'x'));
  }
  EXPECT_LT(IndexOf(stream, Always(1U << 20U)).size() / kEntries, 40U);
}

/// A small index with one of everything.
Stream SmallStream() {
  Stream stream;
  stream.Literal(HeaderOf("a", 10));
  stream.InImage("0123456789", 5);
  stream.Literal(std::string(502, '\0') + HeaderOf("b", 6));
  stream.InObject(0, "object");
  stream.InObject(1, "and another");
  stream.Literal(std::string(1024, '\0'));
  return stream;
}

/// An index that is no index of `text`: an error from the first look on, and never other bytes.
void ExpectDamaged(const std::string& index, Stream& stream, const std::string& what) {
  const UniqueFd file = FileOf(index);
  const Result<std::string> tar = TarOf(file, stream.stored, 97);
  ASSERT_FALSE(tar.ok()) << what;
  EXPECT_EQ(tar.error().code(), ErrorCode::kCorrupt) << what << ": " << tar.error().message();
  const Result<void> checked = CheckTarIndex(file, "tar.idx");
  ASSERT_FALSE(checked.ok()) << what;
  EXPECT_EQ(checked.error().code(), ErrorCode::kCorrupt) << what;
}

TEST(TarIndex, TruncationAtEveryByteIsFound) {
  Stream stream = SmallStream();
  const std::string index = IndexOf(stream, Always(SIZE_MAX));
  for (size_t size = 0; size < index.size(); ++size) {
    ExpectDamaged(index.substr(0, size), stream, "cut to " + std::to_string(size));
  }
  ExpectDamaged(index + '\0', stream, "one byte more");
}

TEST(TarIndex, EveryFlippedBitIsFound) {
  Stream stream = SmallStream();
  const std::string index = IndexOf(stream, Always(SIZE_MAX));
  for (size_t bit = 0; bit < index.size() * 8; ++bit) {
    std::string damaged = index;
    damaged[bit / 8] = static_cast<char>(static_cast<unsigned char>(damaged[bit / 8]) ^ (1U << (bit % 8)));
    ExpectDamaged(damaged, stream, "bit " + std::to_string(bit));
  }
}

TEST(TarIndex, ANewerVersionIsUnsupportedNotCorrupt) {
  Stream stream = SmallStream();
  std::string index = IndexOf(stream, Always(SIZE_MAX));
  index[7] = index.back() = 2;
  const UniqueFd file = FileOf(index);
  EXPECT_EQ(TarOf(file, stream.stored).error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(ReadTarIndexObjects(file, "x").error().code(), ErrorCode::kUnsupported);
}

TEST(TarIndex, ContentThatIsGoneIsTheReadersError) {
  Stream stream = SmallStream();
  const UniqueFd file = FileOf(IndexOf(stream, Always(SIZE_MAX)));
  stream.stored.image.resize(8);
  EXPECT_EQ(TarOf(file, stream.stored).error().message(), "read beyond the end");
}

TEST(TarIndex, ChangedContentGivesAnotherTar) {  // which is why its digest is checked
  Stream stream = SmallStream();
  const UniqueFd file = FileOf(IndexOf(stream, Always(SIZE_MAX)));
  const std::string text = stream.Text();
  stream.stored.image[6] = '!';
  const Result<std::string> tar = TarOf(file, stream.stored);
  ASSERT_TRUE(tar.ok());
  EXPECT_NE(*tar, text);
}

TEST(TarIndex, RecordsWithRightChecksumsAreStillChecked) {
  size_t good = 0;
  size_t bad = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SNAP_TEST_DATA "/fuzz/corpus/tar_index")) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const std::vector<std::byte> index = test::IndexOfCorpusFile(Bytes(text));
    const UniqueFd file = FileOf({reinterpret_cast<const char*>(index.data()), index.size()});
    test::PatternContent content;
    const Result<std::string> tar = TarOf(file, content);
    const std::string name = entry.path().filename();
    if (name.starts_with("should-fail-")) {
      ++bad;
      ASSERT_FALSE(tar.ok()) << name;
      EXPECT_EQ(tar.error().code(), ErrorCode::kCorrupt) << name << ": " << tar.error().message();
      EXPECT_TRUE(tar.error().message().starts_with("read tar index 'tar.idx': ")) << tar.error().message();
    } else if (!name.starts_with("found-")) {  // found by the fuzzer: either
      ++good;
      EXPECT_TRUE(tar.ok()) << name << ": " << tar.error().message();
    }
  }
  EXPECT_GE(good, 4U);
  EXPECT_GE(bad, 12U);
}

TEST(TarIndex, AFullDiskIsSaid) {
  const UniqueFd full = sys::OpenAt(FdRef::Cwd(), "/dev/full", O_WRONLY).value();
  TarIndexWriter writer(full);
  const Result<void> first = writer.Bytes(Bytes("x"));
  ASSERT_FALSE(first.ok());
  EXPECT_EQ(first.error().code(), ErrorCode::kNoSpace);
}

}  // namespace
}  // namespace snap
