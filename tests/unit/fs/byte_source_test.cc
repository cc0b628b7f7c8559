#include "fs/byte_source.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

#include "fs/base/sys_file.h"
#include "tests/unit/fs/byte_samples.h"

namespace snap {
namespace {

using namespace testing_bytes;  // NOLINT(google-build-using-namespace)

UniqueFd MemoryFile(std::string_view content) {
  UniqueFd fd = *sys::MemfdCreate("byte-source-test", 0);
  EXPECT_TRUE(sys::WriteAll(fd, content).ok());
  EXPECT_TRUE(sys::Seek(fd, 0, SEEK_SET).ok());
  return fd;
}

TEST(FdSource, ReadsFromTheCurrentPositionToTheEnd) {
  const std::string data = MixedData(200'000);
  UniqueFd fd = MemoryFile(data);
  ASSERT_TRUE(sys::Seek(fd, 1000, SEEK_SET).ok());
  const auto source = MakeFdSource(std::move(fd), "file");
  EXPECT_EQ(*Drain(*source, 777), data.substr(1000));
}

TEST(FdSource, ReadsAPipeUntilItsWriterIsGone) {
  sys::Pipe pipe = *sys::MakePipe();
  const std::string data = MixedData(300'000);
  std::thread writer([&, fd = std::move(pipe.write_end)] { EXPECT_TRUE(sys::WriteAll(fd, data).ok()); });
  const auto source = MakeFdSource(std::move(pipe.read_end), "pipe");
  const auto got = Drain(*source);  // ends because the thread closes its descriptor when it returns
  writer.join();
  EXPECT_EQ(*got, data);
}

TEST(FdSource, NamesTheFileWhenReadingFails) {
  const auto source = MakeFdSource(*sys::OpenAt(FdRef::Cwd(), "/", O_RDONLY | O_DIRECTORY), "a\ndirectory");
  const auto got = Drain(*source);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().cause(), EISDIR);
  EXPECT_EQ(got.error().message(), "read 'a\\ndirectory': Is a directory");
}

TEST(RangeSource, TwoRangesOfOneFileDoNotDisturbEachOther) {
  const std::string data = MixedData(10'000);
  const UniqueFd fd = MemoryFile(data);
  const auto first = MakeRangeSource(fd, 10, 5000, "first");
  const auto second = MakeRangeSource(fd, 4000, 6000, "second");
  std::string a;
  std::string b;
  std::byte buffer[97];
  for (;;) {
    const size_t got_a = *first->Read(buffer);
    a += Text(std::span(buffer).first(got_a));
    const size_t got_b = *second->Read(buffer);
    b += Text(std::span(buffer).first(got_b));
    if (got_a == 0 && got_b == 0) break;
  }
  EXPECT_EQ(a, data.substr(10, 5000));
  EXPECT_EQ(b, data.substr(4000, 6000));
}

TEST(RangeSource, RangeBeyondTheFileIsCorruptNotShort) {
  const UniqueFd fd = MemoryFile("0123456789");
  const auto source = MakeRangeSource(fd, 4, 7, "blob");
  const auto got = Drain(*source, 4);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(got.error().message(), "read 'blob': ends 1 bytes early");
  EXPECT_EQ(*Drain(*MakeRangeSource(fd, 4, 6, "blob")), "456789");
  EXPECT_EQ(*Drain(*MakeRangeSource(fd, 10, 0, "blob")), "");
}

TEST(DigestingSource, DigestCoversWhatTheReaderLeftUnread) {
  const std::string data = MixedData(100'000);
  for (const size_t read_before : {size_t{0}, size_t{1}, size_t{50'000}, data.size()}) {
    const auto inner = MakeMemorySource(Bytes(data));
    DigestingSource source(*inner);
    std::string buffer(read_before + 1, '\0');
    if (read_before != 0) {
      ASSERT_EQ(*source.Read(std::as_writable_bytes(std::span(buffer.data(), read_before))), read_before);
    }
    EXPECT_EQ(*source.Finish(), Digest::Of(data));
    EXPECT_EQ(source.bytes(), data.size());
  }
}

TEST(DigestingSource, ErrorOfTheInnerSourceIsNotADigest) {
  PieceSource inner("0123456789", 3, 6);
  DigestingSource source(inner);
  const auto got = source.Finish();
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().cause(), EIO);
}

TEST(ChunkedSource, GivesTheSameBytesInOrder) {
  const std::string data = MixedData(100'000);
  PieceSource inner(data, 1234);
  ChunkedSource source(inner, 1000);
  std::string out;
  for (;;) {
    const auto chunk = *source.NextChunk();
    if (chunk.empty()) break;
    EXPECT_LE(chunk.size(), 1000U);
    out += Text(chunk);
  }
  EXPECT_EQ(out, data);
}

TEST(ReadToEnd, LimitIsInclusive) {
  const std::string data = MixedData(100'000);
  EXPECT_EQ(*ReadToEnd(*MakeMemorySource(Bytes(data)), data.size(), "config"), data);
  const auto got = ReadToEnd(*MakeMemorySource(Bytes(data)), data.size() - 1, "config");
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code(), ErrorCode::kLimitExceeded);
}

}  // namespace
}  // namespace snap
