// Built twice: with the RawInflate of this configuration, and with zlib's.
#include "fs/inflate.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fs/byte_source.h"
#include "fs/raw_inflate.h"
#include "tests/unit/fs/byte_samples.h"

namespace snap {
namespace {

using namespace testing_bytes;  // NOLINT(google-build-using-namespace)

TEST(RawInflate, IsTheImplementationThisProgramTests) {
  EXPECT_EQ(RawInflate::Name(), SNAP_TEST_RAW_INFLATE);
}

void ExpectError(const Result<std::string>& got, ErrorCode code, const std::string& what) {
  ASSERT_FALSE(got.ok()) << what;
  EXPECT_EQ(got.error().code(), code) << what << ": " << got.error().message();
  EXPECT_TRUE(got.error().message().starts_with("inflate 'sample'")) << got.error().message();
}

GzipOptions FullHeader() {
  GzipOptions options;
  options.extra = std::string("\1\2\4\0abcd", 8);
  options.name = "layer.tar";
  options.comment = "a comment";
  options.header_crc = true;
  return options;
}

struct Sample {
  std::string name;
  Compression compression;
  std::string compressed;
  std::string plain;
};

/// One member or frame each, so that no proper prefix is a valid stream.
std::vector<Sample> SingleSamples(size_t size) {
  const std::string data = MixedData(size);
  std::vector<Sample> samples;
  const auto gzip = [&](std::string name, const std::string& plain, const GzipOptions& options) {
    samples.push_back({"gzip " + std::move(name), Compression::kGzip, Gzip(plain, options), plain});
  };
  gzip("stored", data, {.level = 0});
  gzip("fast", data, {.level = 1});
  gzip("default", data, {});
  gzip("best", data, {.level = 9});
  gzip("fixed codes", data, {.strategy = Z_FIXED});
  gzip("huffman only", data, {.strategy = Z_HUFFMAN_ONLY});
  gzip("sync flushes", data, {.flush_every = size / 7 + 1});
  gzip("full header", data, FullHeader());
  gzip("empty", "", {});
  gzip("zeros", std::string(size, '\0'), {});
  const auto zstd = [&](std::string name, const std::string& plain, int level, bool sized) {
    samples.push_back({"zstd " + std::move(name), Compression::kZstd, Zstd(plain, level, sized), plain});
  };
  zstd("default", data, 3, true);
  zstd("best", data, 19, true);
  zstd("unsized", data, 3, false);
  zstd("negative level", data, -5, true);
  zstd("empty", "", 3, true);
  zstd("zeros", std::string(size, '\0'), 3, false);
  return samples;
}

TEST(Inflate, AnyReadSizesGiveTheSameBytes) {
  for (const Sample& sample : SingleSamples(20'000)) {
    for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, size_t{1000}, SIZE_MAX}) {
      for (const size_t room : {size_t{1}, size_t{3}, size_t{4096}, size_t{1} << 20U}) {
        const auto got = Inflate(sample.compression, sample.compressed, piece, room);
        ASSERT_TRUE(got.ok()) << sample.name << ": " << got.error().message();
        ASSERT_EQ(*got, sample.plain) << sample.name << ", pieces of " << piece << " into " << room;
      }
    }
  }
}

TEST(Inflate, LargeStreamsCrossEveryBuffer) {
  for (const Sample& sample : SingleSamples(3'000'001)) {
    for (const size_t room : {size_t{65536}, size_t{100'003}, size_t{1} << 20U, size_t{16} << 20U}) {
      const auto got = Inflate(sample.compression, sample.compressed, 300'007, room);
      ASSERT_TRUE(got.ok()) << sample.name << ": " << got.error().message();
      ASSERT_TRUE(*got == sample.plain) << sample.name << ", room " << room;
    }
  }
}

TEST(Inflate, EveryTruncationIsCorrupt) {
  for (const Sample& sample : SingleSamples(2500)) {
    for (size_t size = 0; size < sample.compressed.size(); ++size) {
      const std::string_view cut = std::string_view(sample.compressed).substr(0, size);
      for (const size_t piece : {size_t{1}, SIZE_MAX}) {
        ExpectError(Inflate(sample.compression, cut, piece), ErrorCode::kCorrupt,
                    sample.name + " cut to " + std::to_string(size));
      }
    }
  }
}

TEST(Inflate, FlippedBitIsAnErrorOrChangesNothing) {
  for (const Sample& sample : SingleSamples(700)) {
    for (size_t bit = 0; bit < sample.compressed.size() * 8; ++bit) {
      std::string flipped = sample.compressed;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      const auto got = Inflate(sample.compression, flipped);
      if (got.ok()) {
        ASSERT_EQ(*got, sample.plain) << sample.name << ", bit " << bit;
      }
    }
  }
}

TEST(Inflate, ErrorsOfTheInnerSourcePassUnchanged) {
  for (const Sample& sample : SingleSamples(5000)) {
    PieceSource inner(sample.compressed, 100, sample.compressed.size() / 2);
    const auto got = Drain(*MakeInflater(inner, sample.compression, {}, "sample"));
    ASSERT_FALSE(got.ok()) << sample.name;
    EXPECT_EQ(got.error().cause(), EIO) << sample.name;
  }
}

TEST(Inflate, HandsOverWhatItHasRatherThanWaitForInput) {
  for (const Compression compression : {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
    const std::string data = MixedData(1'000'000);
    const std::string compressed = compression == Compression::kGzip   ? Gzip(data)
                                   : compression == Compression::kZstd ? Zstd(data)
                                                                       : data;
    PieceSource inner(compressed, 200'000);
    const auto source = MakeInflater(inner, compression, {}, "sample");
    std::string room(4'000'000, '\0');
    const auto got = source->Read(std::as_writable_bytes(std::span(room)));
    ASSERT_TRUE(got.ok());
    EXPECT_GT(*got, 0U);
    EXPECT_EQ(inner.reads(), 1U) << CompressionName(compression);
  }
}

TEST(Inflate, OutputLimitIsExact) {
  const std::string data = MixedData(300'000);
  const std::pair<Compression, std::string> streams[] = {
      {Compression::kNone, data}, {Compression::kGzip, Gzip(data)}, {Compression::kZstd, Zstd(data)}};
  for (const auto& [compression, compressed] : streams) {
    for (const size_t room : {size_t{1000}, size_t{1} << 20U}) {
      InflateLimits limits{.max_output = data.size()};
      EXPECT_TRUE(Inflate(compression, compressed, SIZE_MAX, room, limits).ok())
          << CompressionName(compression);
      limits.max_output -= 1;
      ExpectError(Inflate(compression, compressed, SIZE_MAX, room, limits), ErrorCode::kLimitExceeded,
                  std::string(CompressionName(compression)));
    }
  }
}

TEST(Inflate, BombStopsSoonAfterTheFreeBytes) {
  const std::string zeros(size_t{32} << 20U, '\0');
  constexpr size_t kRoom = 65536;
  const InflateLimits limits{.max_ratio = 500, .ratio_free = size_t{1} << 20U};
  for (const Compression compression : {Compression::kGzip, Compression::kZstd}) {
    const std::string bomb = compression == Compression::kGzip ? Gzip(zeros) : Zstd(zeros);
    ASSERT_GT(zeros.size() / bomb.size(), 500U);
    PieceSource inner(bomb);
    const auto source = MakeInflater(inner, compression, limits, "sample");
    std::string room(kRoom, '\0');
    uint64_t output = 0;
    for (;;) {
      const auto got = source->Read(std::as_writable_bytes(std::span(room)));
      if (!got.ok()) {
        EXPECT_EQ(got.error().code(), ErrorCode::kLimitExceeded) << got.error().message();
        break;
      }
      ASSERT_NE(*got, 0U) << "the bomb went off";
      output += *got;
    }
    // Zstandard makes a block of 128 KiB from four bytes; deflate needs a byte for about a thousand.
    EXPECT_LE(output, limits.ratio_free + 500 * bomb.size()) << CompressionName(compression);
  }
}

TEST(Inflate, RatioIsNotEnforcedBelowTheFreeBytes) {
  const std::string zeros(size_t{1} << 20U, '\0');
  const InflateLimits limits{.max_ratio = 10, .ratio_free = zeros.size()};
  EXPECT_TRUE(Inflate(Compression::kGzip, Gzip(zeros), SIZE_MAX, 65536, limits).ok());
  EXPECT_TRUE(Inflate(Compression::kZstd, Zstd(zeros), SIZE_MAX, 65536, limits).ok());
}

// --- gzip ------------------------------------------------------------------------------------------------

Result<std::string> Gunzip(std::string_view compressed, size_t piece = SIZE_MAX) {
  return Inflate(Compression::kGzip, compressed, piece);
}

TEST(Gzip, MembersAreConcatenatedWhateverTheirHeaders) {
  std::string compressed;
  std::string plain;
  std::vector<GzipOptions> headers(6);
  headers[0].extra = std::string("AB\0\0", 4);
  headers[1].name = "n";
  headers[2].comment = std::string(3000, 'c');
  headers[3].header_crc = true;
  headers[4] = FullHeader();
  headers[5].extra = std::string(65535, 'x');
  for (size_t i = 0; i < headers.size(); ++i) {
    const std::string data = MixedData(5000 * i, static_cast<uint32_t>(i));  // the first one empty
    compressed += Gzip(data, headers[i]);
    plain += data;
  }
  for (const size_t piece : {size_t{1}, size_t{11}, SIZE_MAX}) {
    const auto got = Gunzip(compressed, piece);
    ASSERT_TRUE(got.ok()) << got.error().message();
    EXPECT_EQ(*got, plain);
  }
}

// A decoder takes input in machine words: what it took too much must reach the next member, wherever reads
// end.
TEST(Gzip, ManySmallMembersAreCutExactly) {
  std::mt19937 random(7);
  std::string compressed;
  std::string plain;
  for (uint32_t i = 0; i < 1500; ++i) {
    const std::string data = MixedData(random() % 60, i);
    compressed += Gzip(data, {.level = static_cast<int>(random() % 10),
                              .strategy = random() % 3 == 0 ? Z_FIXED : Z_DEFAULT_STRATEGY});
    plain += data;
  }
  for (size_t piece = 1; piece < 40; ++piece) {
    for (const size_t room : {size_t{1}, size_t{13}, size_t{65536}}) {
      const auto got = Inflate(Compression::kGzip, compressed, piece, room);
      ASSERT_TRUE(got.ok()) << piece << ": " << got.error().message();
      ASSERT_EQ(*got, plain) << piece;
    }
  }
}

TEST(Gzip, EveryCutOfASecondMemberIsCorruptExceptBeforeIt) {
  const std::string first = Gzip("first", FullHeader());
  const std::string both = first + Gzip("second", FullHeader());
  for (size_t size = 0; size < both.size(); ++size) {
    const auto got = Gunzip(std::string_view(both).substr(0, size));
    EXPECT_EQ(got.ok(), size == first.size()) << size;
    if (!got.ok()) {
      EXPECT_EQ(got.error().code(), ErrorCode::kCorrupt) << size;
    }
  }
}

TEST(Gzip, ZeroPaddingIsAcceptedGarbageIsNot) {
  const std::string compressed = Gzip("content") + Gzip("more");
  for (const size_t zeros : {size_t{1}, size_t{512}, size_t{1'000'000}}) {
    const std::string padded = compressed + std::string(zeros, '\0');
    EXPECT_EQ(*Gunzip(padded), "contentmore");
    EXPECT_EQ(*Gunzip(padded, 100), "contentmore");
    ExpectError(Gunzip(padded + "x"), ErrorCode::kCorrupt, "garbage after padding");
    ExpectError(Gunzip(padded + compressed), ErrorCode::kCorrupt, "member after padding");
  }
  for (const std::string_view garbage : {"x", "\x1f", "\x1f\x8b", "\x1fx", "garbage"}) {
    ExpectError(Gunzip(compressed + std::string(garbage)), ErrorCode::kCorrupt, std::string(garbage));
  }
}

TEST(Gzip, HeaderThatIsNotTheFormatIsCorrupt) {
  const std::string good = Gzip("content");
  const struct {
    size_t offset;
    char value;
    const char* what;
  } cases[] = {
      {0, '\x1e', "first magic byte"}, {1, '\x8c', "second magic byte"}, {2, 7, "method"},
      {3, '\x20', "reserved flag"},    {3, '\x40', "reserved flag"},     {3, '\x80', "reserved flag"}};
  for (const auto& c : cases) {
    std::string bad = good;
    bad[c.offset] = c.value;
    ExpectError(Gunzip(bad), ErrorCode::kCorrupt, c.what);
  }
}

TEST(Gzip, ChecksumsAndLengthAreVerifiedForEveryMember) {
  const std::string first = Gzip(MixedData(3000), FullHeader());
  const std::string second = Gzip("second");
  for (size_t back = 1; back <= 8; ++back) {
    std::string bad = first;
    bad[bad.size() - back] = static_cast<char>(bad[bad.size() - back] + 1);
    ExpectError(Gunzip(bad), ErrorCode::kCorrupt, "trailer");
    ExpectError(Gunzip(bad + second), ErrorCode::kCorrupt, "trailer of the first member");
    ExpectError(Gunzip(second + bad), ErrorCode::kCorrupt, "trailer of the last member");
  }
  std::string bad = first;
  bad[4] = static_cast<char>(bad[4] + 1);  // the time: covered by the header's checksum only
  const auto got = Gunzip(bad);
  ExpectError(got, ErrorCode::kCorrupt, "header checksum");
  EXPECT_NE(got.error().message().find("header checksum"), std::string::npos);
}

TEST(Gzip, MatchBeforeTheMemberDoesNotSeeTheMemberBefore) {
  // A fixed-code block: one literal, then a match of length 3 at distance 4, before the stream's start.
  // 1 bit final, 2 bits type 01, literal 'a' (8 bits), length code 257 (7 bits), distance code 3 (5 bits).
  std::string bits;
  const auto put = [&](unsigned value, unsigned count, bool huffman) {
    for (unsigned i = 0; i < count; ++i)
      bits.push_back((value >> (huffman ? count - 1 - i : i)) & 1U ? '1' : '0');
  };
  put(1, 1, false);
  put(1, 2, false);
  put(0x30 + 'a', 8, true);
  put(1, 7, true);
  put(3, 5, true);
  put(0, 7, true);
  std::string body((bits.size() + 7) / 8, '\0');
  for (size_t i = 0; i < bits.size(); ++i) {
    if (bits[i] == '1') body[i / 8] = static_cast<char>(body[i / 8] | (1 << (i % 8)));
  }
  const std::string header("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
  const std::string hostile = header + body + std::string(8, '\0');
  const auto got = Gunzip(Gzip(MixedData(100'000)) + hostile);
  ExpectError(got, ErrorCode::kCorrupt, "distance");
  EXPECT_NE(got.error().message().find("invalid deflate data"), std::string::npos) << got.error().message();
}

// --- zstd ------------------------------------------------------------------------------------------------

Result<std::string> Unzstd(std::string_view compressed, size_t piece = SIZE_MAX,
                           const InflateLimits& limits = {}) {
  return Inflate(Compression::kZstd, compressed, piece, 65536, limits);
}

TEST(Zstd, FramesAreConcatenatedAndSkippableOnesSkipped) {
  const std::string a = MixedData(100'000, 1);
  const std::string b = MixedData(50, 2);
  std::string compressed = ZstdSkippable("") + Zstd(a) + ZstdSkippable(std::string(600'000, 's'), 15) +
                           Zstd("") + Zstd(b, 1, false) + Zstd("") + ZstdSkippable("toc", 7);
  for (const size_t piece : {size_t{1}, size_t{3}, size_t{1000}, SIZE_MAX}) {
    const auto got = Unzstd(compressed, piece);
    ASSERT_TRUE(got.ok()) << got.error().message();
    EXPECT_EQ(*got, a + b);
  }
}

TEST(Zstd, ManySmallFramesAreCutExactly) {
  std::string compressed;
  std::string plain;
  for (uint32_t i = 0; i < 500; ++i) {
    const std::string data = MixedData(i % 90, i);
    compressed += Zstd(data, 3, i % 2 == 0);
    plain += data;
  }
  for (size_t piece = 1; piece < 30; ++piece) {
    for (const size_t room : {size_t{1}, size_t{17}, size_t{65536}}) {
      const auto got = Inflate(Compression::kZstd, compressed, piece, room);
      ASSERT_TRUE(got.ok()) << got.error().message();
      ASSERT_EQ(*got, plain);
    }
  }
}

TEST(Zstd, OnlySkippableFramesAreAnEmptyStream) {
  EXPECT_EQ(*Unzstd(ZstdSkippable("x") + ZstdSkippable("")), "");
}

TEST(Zstd, EveryCutIsCorruptExceptBetweenFrames) {
  const std::string frames[] = {ZstdSkippable("skipped"), Zstd("first"), ZstdSkippable(""),
                                Zstd("second", 3, false)};
  std::string all;
  std::vector<size_t> ends;
  for (const std::string& frame : frames) ends.push_back((all += frame).size());
  for (size_t size = 0; size < all.size(); ++size) {
    const bool whole = std::find(ends.begin(), ends.end(), size) != ends.end();
    const auto got = Unzstd(std::string_view(all).substr(0, size));
    EXPECT_EQ(got.ok(), whole) << size;
    if (!got.ok()) {
      EXPECT_EQ(got.error().code(), ErrorCode::kCorrupt) << size;
    }
  }
}

TEST(Zstd, StreamThatEndsInsideASkippableFrameIsCorrupt) {
  std::string huge = Zstd("content") + ZstdSkippable("");
  huge.replace(huge.size() - 4, 4, "\xff\xff\xff\xff");
  ExpectError(Unzstd(huge), ErrorCode::kCorrupt, "4 GiB announced");
  ExpectError(Unzstd(huge + "some"), ErrorCode::kCorrupt, "4 GiB announced");
}

TEST(Zstd, GarbageAfterTheLastFrameIsCorrupt) {
  for (const std::string& garbage :
       {std::string(1, '\0'), std::string(100, '\0'), std::string("x"), std::string("garbage")}) {
    ExpectError(Unzstd(Zstd("content") + garbage), ErrorCode::kCorrupt, garbage);
  }
}

TEST(Zstd, WindowAboveTheLimitIsRefusedBeforeItIsAllocated) {
  const std::string data = MixedData(3'000'000);
  const std::string frame = Zstd(data, 3, false, 21);
  ExpectError(Unzstd(frame, SIZE_MAX, {.zstd_window_log_max = 20}), ErrorCode::kLimitExceeded, "window");
  EXPECT_TRUE(Unzstd(frame, SIZE_MAX, {.zstd_window_log_max = 21}).ok());
  // A header that asks for 2 GiB: descriptor 0, window descriptor exponent 21.
  ExpectError(Unzstd(std::string("\x28\xb5\x2f\xfd\0\xa8\x01\0\0", 9)), ErrorCode::kLimitExceeded, "2 GiB");
}

TEST(Zstd, FramesOfForerunnerFormatsAreRefused) {
  for (const char version : {'\x22', '\x23', '\x24', '\x25', '\x26', '\x27'}) {
    const std::string legacy = std::string(1, version) + "\xb5\x2f\xfd" + std::string(100, '\0');
    const auto got = Unzstd(legacy);
    ExpectError(got, ErrorCode::kCorrupt, "legacy");
    EXPECT_NE(got.error().message().find("no zstd header"), std::string::npos);
    ExpectError(Unzstd(Zstd("x") + legacy), ErrorCode::kCorrupt, "legacy after a frame");
  }
}

TEST(Zstd, FrameWithLessContentThanItsHeaderSaysIsCorrupt) {
  // Eight bytes announced, one empty last block, the right checksum of nothing.
  const std::string frame("\x28\xb5\x2f\xfd\x24\x08\x01\0\0\x99\xe9\xd8\x51", 13);
  for (const size_t piece : {size_t{1}, SIZE_MAX}) {
    for (const size_t room : {size_t{1}, size_t{7}, size_t{8}, size_t{65536}}) {
      ExpectError(Inflate(Compression::kZstd, frame, piece, room), ErrorCode::kCorrupt, "content size");
    }
  }
}

TEST(Zstd, ChecksumIsVerified) {
  std::string frame = Zstd(MixedData(1000));
  frame.back() = static_cast<char>(frame.back() + 1);
  ExpectError(Unzstd(frame), ErrorCode::kCorrupt, "checksum");
}

// --- detection -------------------------------------------------------------------------------------------

TEST(DetectCompression, KnowsTheMagicNumbersOnly) {
  const std::pair<std::string, Compression> cases[] = {{std::string("\x1f\x8b\x08\0", 4), Compression::kGzip},
                                                       {std::string("\x1f\x8b\x07\0", 4), Compression::kNone},
                                                       {"\x1f\x8b\x08", Compression::kNone},
                                                       {"\x28\xb5\x2f\xfd", Compression::kZstd},
                                                       {"\x27\xb5\x2f\xfd", Compression::kNone},
                                                       {"\x50\x2a\x4d\x18", Compression::kZstd},
                                                       {"\x5f\x2a\x4d\x18", Compression::kZstd},
                                                       {"\x60\x2a\x4d\x18", Compression::kNone},
                                                       {"etc/passwd", Compression::kNone},
                                                       {"", Compression::kNone}};
  for (const auto& [bytes, expected] : cases) {
    EXPECT_EQ(CompressionName(DetectCompression(Bytes(bytes))), CompressionName(expected)) << bytes;
  }
}

TEST(DetectingInflater, FindsTheFormatHoweverReadsAreCut) {
  const std::string data = MixedData(10'000);
  for (const std::string& stream : {data, Gzip(data), Zstd(data), ZstdSkippable("x") + Zstd(data)}) {
    for (const size_t piece : {size_t{1}, size_t{3}, size_t{5}, SIZE_MAX}) {
      PieceSource inner(stream, piece);
      const auto source = MakeDetectingInflater(inner, {}, "sample");
      ASSERT_TRUE(source.ok());
      for (const size_t room : {size_t{1}, size_t{4096}}) {
        PieceSource again(stream, piece);
        const auto detected = MakeDetectingInflater(again, {}, "sample");
        EXPECT_EQ(*Drain(**detected, room), data);
      }
    }
  }
}

TEST(DetectingInflater, StreamsTooShortToTellPassThrough) {
  for (const std::string_view stream : {"", "x", "\x1f\x8b", "\x28\xb5\x2f"}) {
    PieceSource inner(stream);
    const auto source = MakeDetectingInflater(inner, {}, "sample");
    EXPECT_EQ(*Drain(**source), stream);
  }
}

TEST(DetectingInflater, ReadErrorWhileLookingIsReturned) {
  PieceSource inner("\x1f\x8b\x08 and more", 1, 2);
  const auto source = MakeDetectingInflater(inner, {}, "sample");
  ASSERT_FALSE(source.ok());
  EXPECT_EQ(source.error().cause(), EIO);
}

// --- the corpus of the fuzz targets ----------------------------------------------------------------------

TEST(InflateCorpus, HostileSamplesFailAndTheOthersDoNot) {
  const InflateLimits limits{.max_output = size_t{4} << 20U, .zstd_window_log_max = 23};
  size_t named = 0;
  for (const auto& [folder, compression] :
       {std::pair("gzip", Compression::kGzip), std::pair("zstd", Compression::kZstd)}) {
    for (const auto& file :
         std::filesystem::directory_iterator(std::string(SNAP_TEST_DATA "/fuzz/corpus/") + folder)) {
      const std::string name = file.path().filename();
      if (name.find_first_not_of("0123456789abcdef") == std::string::npos) continue;  // found by the fuzzer
      std::ifstream in(file.path(), std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
      const auto got = Inflate(compression, bytes, SIZE_MAX, 65536, limits);
      EXPECT_EQ(got.ok(), !name.starts_with("should-fail-")) << file.path();
      ++named;
    }
  }
  EXPECT_GT(named, 60U);
}

}  // namespace
}  // namespace snap
