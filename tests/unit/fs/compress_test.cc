// Built twice, like inflate_test.cc: with the gzip encoder of this configuration, and with zlib's.
#include "fs/compress.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/unit/fs/byte_samples.h"

namespace snap {
namespace {

using namespace testing_bytes;  // NOLINT(google-build-using-namespace)

/// Gives its bytes in pieces of random sizes.
class Pieces final : public ByteSource {
 public:
  Pieces(const std::string& text, unsigned seed) : left_(std::as_bytes(std::span(text))), random_(seed) {}
  Result<size_t> Read(std::span<std::byte> buffer) override {
    const size_t size = std::min({buffer.size(), left_.size(), size_t{1 + random_() % 70000}});
    std::copy_n(left_.begin(), size, buffer.begin());
    left_ = left_.subspan(size);
    return size;
  }

 private:
  std::span<const std::byte> left_;
  std::mt19937 random_;
};

std::string Compressed(const std::string& text, Compression compression, unsigned seed) {
  Pieces pieces(text, seed);
  const auto source = MakeCompressor(pieces, compression);
  std::mt19937 random(seed);
  std::string out;
  for (;;) {
    std::string buffer(1 + random() % 100000, '\0');
    const size_t got = source->Read(std::as_writable_bytes(std::span(buffer))).value();
    if (got == 0) return out;
    out.append(buffer, 0, got);
  }
}

std::string Inflated(const std::string& bytes, Compression compression) {
  const auto memory = MakeMemorySource(std::as_bytes(std::span(bytes)));
  const auto inflater = MakeInflater(*memory, compression, {}, "sample");
  const Result<std::string> text = ReadToEnd(*inflater, size_t{1} << 30U, "sample");
  EXPECT_TRUE(text.ok()) << text.error().message();
  return text.ok() ? *text : "";
}

TEST(Compress, InflatesToWhatWentIn) {
  const std::string noise = [] {
    std::string text(700'000, '\0');
    std::mt19937 random(1);
    for (char& c : text) c = static_cast<char>(random());
    return text;
  }();
  for (const Compression compression : {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
    for (const std::string& text :
         {std::string(), std::string("x"), std::string(256 << 10, 'a'), MixedData(256 << 10),
          MixedData((256 << 10) + 1), MixedData(3 << 20), noise}) {
      const std::string bytes = Compressed(text, compression, 1);
      ASSERT_EQ(Inflated(bytes, compression), text) << CompressionName(compression) << " " << text.size();
      if (bytes.empty()) continue;
      EXPECT_EQ(DetectCompression(std::as_bytes(std::span(bytes))), compression);
    }
  }
}

TEST(Compress, IsAFunctionOfTheBytesNotOfHowTheyAreRead) {
  const std::string text = MixedData(5 << 20);
  for (const Compression compression : {Compression::kGzip, Compression::kZstd}) {
    const std::string first = Compressed(text, compression, 1);
    EXPECT_EQ(Compressed(text, compression, 2), first);
    EXPECT_EQ(Compressed(text, compression, 3), first);
    EXPECT_LT(first.size(), text.size());
  }
}

TEST(Compress, PassesErrorsOn) {
  class Failing final : public ByteSource {
   public:
    Result<size_t> Read(std::span<std::byte> buffer) override {
      if (left_-- > 0) return buffer.size();
      return Error(ErrorCode::kIo, "it broke");
    }

   private:
    int left_ = 3;
  };
  for (const Compression compression : {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
    Failing failing;
    const auto source = MakeCompressor(failing, compression);
    const Result<std::string> text = ReadToEnd(*source, size_t{1} << 30U, "sample");
    ASSERT_FALSE(text.ok());
    EXPECT_EQ(text.error().message(), "it broke");
  }
}

}  // namespace
}  // namespace snap
