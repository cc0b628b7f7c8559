#include "fs/tar_reader.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "fs/tar_header.h"
#include "tests/support/tar_builder.h"
#include "tests/support/tar_contents.h"

namespace snap {
namespace {

using test::PaxRecord;
using test::ReadTar;
using test::ReadTarError;
using test::TarBase256;
using test::TarBuilder;
using test::TarItem;
using test::TarSpec;
using Kind = TarEntry::Kind;
using Magic = TarSpec::Magic;
using ::testing::HasSubstr;

TarItem ReadOne(const std::string& tar) {
  auto items = ReadTar(tar);
  EXPECT_TRUE(items.ok()) << items.error().message();
  if (!items.ok() || items->size() != 1) {
    ADD_FAILURE() << "not one entry";
    return {};
  }
  return items->front();
}

// --- numbers ---------------------------------------------------------------------------------------------

TEST(TarNumber, OctalFieldsAreReadAsEveryTarWritesThem) {
  struct Case {
    std::string field;
    int64_t value;
  };
  for (const Case& c : {
           Case{std::string("0000644\0", 8), 0644},
           Case{std::string("0000644 ", 8), 0644},
           Case{std::string("   644 \0", 8), 0644},
           Case{std::string("00006440", 8), 06440},
           Case{std::string("644\0\0\0\0\0", 8), 0644},
           Case{std::string(8, '\0'), 0},
           Case{std::string(8, ' '), 0},
           Case{"777777777777", 0777777777777},
       }) {
    EXPECT_EQ(tar::ParseNumber(c.field), c.value) << c.field;
  }
}

TEST(TarNumber, AnythingElseInAFieldIsRefused) {
  for (const std::string& field :
       {std::string("0000648\0", 8), std::string("-000644\0", 8), std::string("0644x\0\0\0", 8),
        std::string("0x1f\0\0\0\0", 8), std::string("64\0004\0\0\0\0", 8), std::string("6 4\0\0\0\0\0", 8),
        std::string("+644\0\0\0\0", 8), std::string(), std::string(30, '7')}) {
    EXPECT_EQ(tar::ParseNumber(field), std::nullopt) << field;
  }
}

TEST(TarNumber, Base256IsSignedAndBounded) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  for (const int64_t value :
       {int64_t{0}, int64_t{1}, int64_t{-1}, int64_t{1} << 40U, -(int64_t{1} << 40U), kMin, kMax}) {
    EXPECT_EQ(tar::ParseNumber(TarBase256(value, 12)), value);
  }
  for (const int64_t value : {int64_t{0}, int64_t{-1}, int64_t{1} << 61U, -(int64_t{1} << 62U)}) {
    EXPECT_EQ(tar::ParseNumber(TarBase256(value, 8)), value);
  }
  // One more than fits, one less than fits, and as large as the field can say.
  EXPECT_EQ(tar::ParseNumber(std::string("\x80\0\0\0\x80\0\0\0\0\0\0\0", 12)), std::nullopt);
  EXPECT_EQ(tar::ParseNumber(std::string("\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 12)),
            std::nullopt);
  EXPECT_EQ(tar::ParseNumber("\xbf" + std::string(11, '\xff')), std::nullopt);
  EXPECT_EQ(tar::ParseNumber("\xc0" + std::string(11, '\0')), std::nullopt);
}

// --- entries ---------------------------------------------------------------------------------------------

TEST(TarReader, EveryTypeOfEntryIsRead) {
  const std::string tar =
      TarBuilder()
          .Directory("./")
          .File("etc/passwd", "root:x:0:0\n")
          .Symlink("etc/mtab", "../proc/self/mounts")
          .HardLink("etc/passwd-", "etc/passwd")
          .Add({.name = "dev/null", .type = '3', .mode = 0666, .device_major = 1, .device_minor = 3})
          .Add({.name = "dev/sda", .type = '4', .mode = 0660, .device_major = 8})
          .Add({.name = "run/pipe", .type = '6'})
          .Add({.name = "old", .type = '\0', .data = "old"})
          .Add({.name = "contiguous", .type = '7', .data = std::string(513, 'c')})
          .Finish();
  const auto items = ReadTar(tar);
  ASSERT_TRUE(items.ok()) << items.error().message();
  const std::vector<Kind> kinds = {Kind::kDirectory, Kind::kRegular,    Kind::kSymlink,
                                   Kind::kHardLink,  Kind::kCharDevice, Kind::kBlockDevice,
                                   Kind::kFifo,      Kind::kRegular,    Kind::kRegular};
  const auto& all = items.value();
  ASSERT_EQ(all.size(), kinds.size());
  for (size_t i = 0; i < kinds.size(); ++i) EXPECT_EQ(all[i].entry.kind, kinds[i]) << i;
  EXPECT_EQ(all[0].entry.path, "./");
  EXPECT_EQ(all[0].entry.attributes.permissions, 0755U);
  EXPECT_EQ(all[1].data(), "root:x:0:0\n");
  EXPECT_EQ(all[1].entry.size, 11U);
  EXPECT_FALSE(all[1].entry.sparse);
  EXPECT_EQ(all[2].entry.link_target, "../proc/self/mounts");
  EXPECT_EQ(all[3].entry.link_target, "etc/passwd");
  EXPECT_EQ(all[4].entry.device_major, 1U);
  EXPECT_EQ(all[4].entry.device_minor, 3U);
  EXPECT_EQ(all[5].entry.device_major, 8U);
  EXPECT_EQ(all[7].data(), "old");
  EXPECT_EQ(all[8].data(), std::string(513, 'c'));
}

TEST(TarReader, ChunksOfAnySizeGiveTheSameEntries) {
  TarBuilder builder;
  for (size_t i = 0; i < 20; ++i) {
    builder.Add({.name = "file" + std::to_string(i),
                 .data = std::string(i * 97, static_cast<char>('a' + i)),
                 .pax = {{"path", std::string(200, 'p') + std::to_string(i)}, {"SCHILY.xattr.user.a", "b"}}});
    builder.LongName(std::string(300, 'l')).File("short", "x");
  }
  const std::string tar = builder.Finish();
  const auto whole = ReadTar(tar, tar.size());
  ASSERT_TRUE(whole.ok());
  for (const size_t chunk :
       {size_t{1}, size_t{3}, size_t{511}, size_t{512}, size_t{513}, size_t{1000}, size_t{4096}}) {
    const auto pieces = ReadTar(tar, chunk);
    ASSERT_TRUE(pieces.ok()) << chunk;
    ASSERT_EQ(pieces.value().size(), whole.value().size());
    for (size_t i = 0; i < whole.value().size(); ++i) {
      EXPECT_EQ(pieces.value()[i].entry.path, whole.value()[i].entry.path) << chunk;
      EXPECT_EQ(pieces.value()[i].entry.attributes.xattrs, whole.value()[i].entry.attributes.xattrs) << chunk;
      EXPECT_EQ(pieces.value()[i].runs, whole.value()[i].runs) << chunk;
    }
  }
}

TEST(TarReader, DataIsViewedInPlace) {
  struct OneChunk final : ChunkSource {
    explicit OneChunk(const std::string& all) : bytes(std::as_bytes(std::span(all))) {}
    Result<std::span<const std::byte>> NextChunk() override { return std::exchange(bytes, {}); }
    std::span<const std::byte> bytes;
  };
  const std::string tar = TarBuilder().File("a", std::string(5000, 'a')).Finish();
  OneChunk source(tar);
  TarReader reader(source);
  ASSERT_TRUE(reader.Next().ok());
  const auto data = reader.NextData();
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(data.value().bytes.size(), 5000U);
  EXPECT_EQ(reinterpret_cast<const char*>(data.value().bytes.data()), tar.data() + 512);
}

TEST(TarReader, UnreadDataIsSkipped) {
  const std::string tar = TarBuilder().File("a", std::string(5000, 'a')).File("b", "b").Finish();
  test::StringChunks source(tar, 700);
  TarReader reader(source);
  ASSERT_TRUE(reader.Next().ok());
  ASSERT_TRUE(reader.NextData().ok());
  const auto second = reader.Next();
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second.value()->path, "b");
  EXPECT_EQ(reader.position(), 512 + 5120 + 512U);
  ASSERT_TRUE(reader.NextData().ok());
  EXPECT_TRUE(reader.NextData().value().bytes.empty());
  EXPECT_TRUE(reader.NextData().value().bytes.empty());
  EXPECT_EQ(reader.Next().value(), nullptr);
  EXPECT_EQ(reader.Next().value(), nullptr);
  EXPECT_EQ(reader.position(), tar.size());
}

TEST(TarReader, NothingOfAnEntryLeaksIntoTheNext) {
  const std::string tar = TarBuilder()
                              .LongName(std::string(300, 't'), 'K')
                              .Add({.name = "one",
                                    .type = '2',
                                    .pax = {{"path", "pax-path"},
                                            {"uid", "7"},
                                            {"gid", "8"},
                                            {"mtime", "9.5"},
                                            {"SCHILY.xattr.user.a", "b"}}})
                              .Add({.name = "two", .data = "2", .uid = 1, .gid = 2, .mtime = 3})
                              .Finish();
  const auto items = ReadTar(tar);
  ASSERT_TRUE(items.ok()) << items.error().message();
  const TarEntry& one = items.value()[0].entry;
  EXPECT_EQ(one.path, "pax-path");
  EXPECT_EQ(one.link_target, std::string(300, 't'));
  EXPECT_EQ(one.attributes.uid, 7U);
  const TarEntry& two = items.value()[1].entry;
  EXPECT_EQ(two.path, "two");
  EXPECT_EQ(two.link_target, "");
  EXPECT_EQ(two.attributes.uid, 1U);
  EXPECT_EQ(two.attributes.gid, 2U);
  EXPECT_EQ(two.attributes.mtime.tv_sec, 3);
  EXPECT_EQ(two.attributes.mtime.tv_nsec, 0);
  EXPECT_TRUE(two.attributes.xattrs.empty());
}

TEST(TarReader, NamesComeFromTheRightPlace) {
  const std::string star_times(24, '1');
  struct Case {
    const char* what;
    std::string tar;
    std::string path;
  };
  const std::string full_name(100, 'n');
  const std::string full_prefix(155, 'p');
  for (const Case& c : {
           Case{"ustar prefix", TarBuilder().Add({.name = "b", .prefix = "a"}).Finish(), "a/b"},
           Case{"fields without NUL", TarBuilder().Add({.name = full_name, .prefix = full_prefix}).Finish(),
                fmt::format("{}/{}", full_prefix, full_name)},
           Case{"GNU has no prefix",
                TarBuilder().Add({.name = "b", .prefix = "a", .magic = Magic::kGnu}).Finish(), "b"},
           Case{"v7 has no prefix",
                TarBuilder().Add({.name = "b", .magic = Magic::kV7, .patches = {{345, "a"}}}).Finish(), "b"},
           Case{"star's is shorter",
                TarBuilder()
                    .Add({.name = "b",
        .prefix = std::string(131, 'p'),
        .magic = Magic::kStar,
        .patches = {{476, star_times}}})
                    .Finish(),
                std::string(131, 'p').append("/b")},
           Case{"GNU long name", TarBuilder().LongName(std::string(3000, 'n')).File("n", "").Finish(),
                std::string(3000, 'n')},
           Case{"PAX path", TarBuilder().Add({.name = "b", .prefix = "a", .pax = {{"path", "c"}}}).Finish(),
                "c"},
           Case{"empty PAX path",
                TarBuilder().Add({.name = "b", .prefix = "a", .pax = {{"path", ""}}}).Finish(), "a/b"},
           Case{"bytes", TarBuilder().File("\xff\x01\n", "").Finish(), "\xff\x01\n"},
           Case{"the same name twice",
                TarBuilder().LongName("c").Add({.name = "b", .pax = {{"path", "c"}}}).Finish(), "c"},
       }) {
    EXPECT_EQ(ReadOne(c.tar).entry.path, c.path) << c.what;
  }
}

TEST(TarReader, NumbersComeFromTheRightPlace) {
  const TarEntry fields =
      ReadOne(TarBuilder()
                  .Add({.name = "a", .mode = 0104755, .uid = 4'000'000'000, .gid = 0xfffffffe, .mtime = -1})
                  .Finish())
          .entry;
  EXPECT_EQ(fields.attributes.permissions, 04755U)
      << "the type bits some writers put there are no permissions";
  EXPECT_EQ(fields.attributes.uid, 4'000'000'000U);
  EXPECT_EQ(fields.attributes.gid, 0xfffffffeU);
  EXPECT_EQ(fields.attributes.mtime.tv_sec, -1);

  // What is overridden may hold anything.
  const TarEntry pax =
      ReadOne(TarBuilder()
                  .Add({.name = "a",
                        .data = "four",
                        .pax = {{"uid", "3000000000"}, {"gid", "1"}, {"mtime", "-0.25"}, {"size", "4"}},
                        .patches = {{108, "garbage!"},
                                    {116, "garbage!"},
                                    {124, "any garbage!"},
                                    {136, "any garbage!"}}})
                  .Finish())
          .entry;
  EXPECT_EQ(pax.attributes.uid, 3'000'000'000U);
  EXPECT_EQ(pax.attributes.gid, 1U);
  EXPECT_EQ(pax.attributes.mtime.tv_sec, -1);
  EXPECT_EQ(pax.attributes.mtime.tv_nsec, 750'000'000);
  EXPECT_EQ(pax.size, 4U);
}

TEST(TarReader, ThePaxSizeSaysWhereTheNextHeaderIs) {
  // The attack of CVE-2025-62518: who skips by the field finds "hidden", who skips by the record finds
  // "after".
  const std::string inner = TarBuilder().File("hidden", "evil").bytes();
  const std::string tar =
      TarBuilder()
          .Add({.name = "outer", .data = inner, .size = 0, .pax = {{"size", std::to_string(inner.size())}}})
          .File("after", "")
          .Finish();
  const auto items = ReadTar(tar);
  ASSERT_TRUE(items.ok()) << items.error().message();
  ASSERT_EQ(items.value().size(), 2U);
  EXPECT_EQ(items.value()[0].data(), inner);
  EXPECT_EQ(items.value()[1].entry.path, "after");
}

TEST(TarReader, LinksDirectoriesAndDevicesHaveNoDataWhateverTheirSizeSays) {
  for (const char type : {'1', '2', '3', '4', '5', '6'}) {
    const std::string tar =
        TarBuilder().Add({.name = "a", .type = type, .size = 4096, .link = "t"}).File("b", "b").Finish();
    const auto items = ReadTar(tar);
    ASSERT_TRUE(items.ok()) << type << items.error().message();
    ASSERT_EQ(items.value().size(), 2U) << type;
    EXPECT_EQ(items.value()[0].entry.size, 0U) << type;
    EXPECT_TRUE(items.value()[0].runs.empty()) << type;
    EXPECT_EQ(items.value()[1].data(), "b") << type;
  }
}

TEST(TarReader, ATrailingSlashMakesAnEmptyFileADirectory) {
  for (const char type : {'\0', '0'}) {
    EXPECT_EQ(
        ReadOne(TarBuilder().Add({.name = "dir/", .type = type, .magic = Magic::kV7}).Finish()).entry.kind,
        Kind::kDirectory);
    EXPECT_THAT(ReadTarError(TarBuilder().Add({.name = "dir/", .type = type, .data = "x"}).Finish()),
                HasSubstr("regular file has data and a directory's name"));
  }
}

TEST(TarReader, BothChecksumsOfTheTimesBeforePosixAreAccepted) {
  // Sun's tar added signed bytes: 256 less for every byte above 127.
  EXPECT_EQ(
      ReadOne(TarBuilder().Add({.name = "\xff\xfe\x80", .checksum_error = -768}).Finish()).entry.path,
      "\xff\xfe\x80");
  EXPECT_THAT(ReadTarError(TarBuilder().Add({.name = "a", .checksum_error = -256}).Finish()),
              HasSubstr("checksum does not match"));
}

TEST(TarReader, GlobalHeadersAreCheckedAndIgnored) {
  const std::string tar = TarBuilder()
                              .Pax({{"comment", "0123456789abcdef"}, {"uid", "77"}, {"mtime", "1.5"}}, 'g')
                              .Pax({{"comment", "again"}}, 'g')
                              .File("a", "data")
                              .Finish();
  const TarItem item = ReadOne(tar);
  EXPECT_EQ(item.entry.attributes.uid, 0U);
  EXPECT_EQ(item.data(), "data");
}

TEST(TarReader, WhatIsLegitimateButLooksOddIsAccepted) {
  // Docker and BuildKit write xattrs with empty values.
  const auto xattrs =
      ReadOne(TarBuilder().Add({.name = "a", .pax = {{"SCHILY.xattr.user.overlay.origin", ""}}}).Finish())
          .entry.attributes.xattrs;
  ASSERT_EQ(xattrs.size(), 1U);
  EXPECT_EQ(xattrs[0].name, "user.overlay.origin");
  EXPECT_EQ(xattrs[0].value, "");
  // The empty layer of many images is nothing but the end marker.
  EXPECT_EQ(ReadTarError(std::string(1024, '\0')), "");
  EXPECT_EQ(ReadTarError(std::string(10240, '\0')), "");
  // What follows the end marker is padding, whatever it is.
  EXPECT_EQ(ReadTarError(TarBuilder().File("a", "").Finish() + "garbage"), "");
}

// --- the end ---------------------------------------------------------------------------------------------

std::string SampleForTruncation() {
  return TarBuilder()
      .Directory("d")
      .LongName(std::string(120, 'l'))
      .File("l", "data")
      .Pax({{"comment", "c"}}, 'g')
      .Add(
          {.name = "p", .data = std::string(600, 'p'), .pax = {{"path", "pp"}, {"SCHILY.xattr.user.x", "y"}}})
      .Add({.name = "GNUSparseFile.0/s",
            .data = "2\n0\n4\n4096\n4\n" + std::string(512 - 13, '\0') + "headtail",
            .pax = {{"GNU.sparse.major", "1"},
                    {"GNU.sparse.minor", "0"},
                    {"GNU.sparse.name", "s"},
                    {"GNU.sparse.realsize", "5000"}}})
      .Finish();
}

TEST(TarReader, ATruncatedArchiveIsAnErrorAtEveryByte) {
  const std::string tar = SampleForTruncation();
  ASSERT_EQ(ReadTarError(tar), "");
  for (size_t size = 0; size < tar.size(); ++size) {
    const std::string error = ReadTarError(std::string_view(tar).substr(0, size));
    if (size == tar.size() - 512) {
      EXPECT_EQ(error, "") << "one zero block is a legal end";
    } else {
      EXPECT_THAT(error, HasSubstr("archive ends")) << size;
    }
  }
}

TEST(TarReader, ALongArchiveTruncatedAtEveryBlockIsAnError) {
  TarBuilder builder;
  for (size_t i = 0; i < 60; ++i) {
    builder.Add({.name = "f" + std::to_string(i),
                 .data = std::string(i * 131, 'f'),
                 .pax = {{"mtime", "1.000000001"}}});
  }
  const std::string tar = builder.Finish();
  for (size_t size = 0; size + 512 < tar.size(); size += 512) {
    EXPECT_THAT(ReadTarError(std::string_view(tar).substr(0, size)), HasSubstr("archive ends")) << size;
  }
}

TEST(TarReader, TheEndMarkerStandsAlone) {
  EXPECT_THAT(ReadTarError(TarBuilder().Zeros(512).File("a", "").Finish()),
              HasSubstr("single zero block is followed by more"));
  EXPECT_THAT(ReadTarError(TarBuilder().Pax({{"path", "a"}}).Finish()),
              HasSubstr("followed by the end of the archive"));
  EXPECT_THAT(ReadTarError(TarBuilder().LongName("a").Finish()),
              HasSubstr("followed by the end of the archive"));
}

TEST(TarReader, AnErrorStaysAndNamesItsPlace) {
  const std::string tar =
      TarBuilder().File("a", "a").Add({.name = "b", .checksum_error = 1}).File("c", "").Finish();
  test::StringChunks source(tar);
  TarReader reader(source);
  ASSERT_TRUE(reader.Next().ok());
  for (int i = 0; i < 2; ++i) {
    const auto next = reader.Next();
    ASSERT_FALSE(next.ok());
    EXPECT_EQ(next.error().code(), ErrorCode::kCorrupt);
    EXPECT_EQ(next.error().message(), "read tar header at byte 1024: checksum does not match");
  }
  EXPECT_FALSE(reader.NextData().ok());
}

TEST(TarReader, ErrorsOfTheSourceComeThrough) {
  struct Failing final : ChunkSource {
    Result<std::span<const std::byte>> NextChunk() override {
      return Error(ErrorCode::kIo, "read 'blob': Input/output error");
    }
  };
  Failing source;
  TarReader reader(source);
  const auto next = reader.Next();
  ASSERT_FALSE(next.ok());
  EXPECT_EQ(next.error().code(), ErrorCode::kIo);
  EXPECT_THAT(next.error().message(), HasSubstr("read 'blob': Input/output error"));
}

// --- hostile input ---------------------------------------------------------------------------------------

TEST(TarReader, HostileHeadersAreErrorsThatSayWhy) {
  struct Case {
    const char* what;
    std::string tar;
    ErrorCode code;
    const char* reason;
  };
  const std::string huge = TarBase256(std::numeric_limits<int64_t>::max(), 12);
  for (const Case& c : {
           Case{"not a tar", std::string(2048, 'x'), ErrorCode::kCorrupt, "checksum does not match"},
           Case{"zeros then text", std::string(100, '\0') + std::string(1000, 'x'), ErrorCode::kCorrupt,
                "checksum"},
           Case{"negative size", TarBuilder().Add({.name = "a", .size = -1}).Finish(), ErrorCode::kCorrupt,
                "size -1 is out of range"},
           Case{
               "size overflows",
               TarBuilder().Add({.name = "a", .patches = {{124, "\x80" + std::string(11, '\xff')}}}).Finish(),
               ErrorCode::kCorrupt, "size is not a number that fits"},
           Case{"size is text", TarBuilder().Add({.name = "a", .patches = {{124, "0000000zz"}}}).Finish(),
                ErrorCode::kCorrupt, "size is not a number"},
           Case{"huge size", TarBuilder().Add({.name = "a", .patches = {{124, huge}}}).Finish(),
                ErrorCode::kLimitExceeded, "larger than allowed"},
           Case{"huge directory size that is negative",
                TarBuilder().Add({.name = "a", .type = '5', .size = -512}).Finish(), ErrorCode::kCorrupt,
                "size -512 is out of range"},
           Case{"huge PAX header",
                TarBuilder().Add({.name = "a", .type = 'x', .patches = {{124, huge}}}).Finish(),
                ErrorCode::kLimitExceeded, "extended header of"},
           Case{"PAX header of negative size",
                TarBuilder().Add({.name = "a", .type = 'x', .size = -1}).Finish(), ErrorCode::kCorrupt,
                "size -1 is out of range"},
           Case{"huge global header",
                TarBuilder().Add({.name = "a", .type = 'g', .patches = {{124, huge}}}).Finish(),
                ErrorCode::kLimitExceeded, "extended header of"},
           Case{"PAX bomb",
                TarBuilder().PaxRaw(PaxRecord("comment", std::string(1U << 20U, 'c'))).File("a", "").Finish(),
                ErrorCode::kLimitExceeded, "extended header of"},
           Case{"huge long name", TarBuilder().Add({.name = "a", .type = 'L', .size = 1 << 30}).Finish(),
                ErrorCode::kLimitExceeded, "larger than allowed"},
           Case{"long name above its limit",
                TarBuilder().LongName(std::string(8193, 'n')).File("a", "").Finish(),
                ErrorCode::kLimitExceeded, "larger than allowed"},
           Case{"PAX path above the limit",
                TarBuilder().Add({.name = "a", .pax = {{"path", std::string(8193, 'n')}}}).Finish(),
                ErrorCode::kLimitExceeded, "name has more than 8192 bytes"},
           Case{"PAX linkpath above the limit",
                TarBuilder()
                    .Add({.name = "a", .type = '2', .pax = {{"linkpath", std::string(8193, 'n')}}})
                    .Finish(),
                ErrorCode::kLimitExceeded, "name has more than 8192 bytes"},
           Case{"long name with a NUL", TarBuilder().LongName(std::string("a\0b", 3)).File("a", "").Finish(),
                ErrorCode::kCorrupt, "long name contains a NUL byte"},
           Case{"empty long name", TarBuilder().LongName("").File("a", "").Finish(), ErrorCode::kCorrupt,
                "long name is empty"},
           Case{"two long names", TarBuilder().LongName("a").LongName("b").File("a", "").Finish(),
                ErrorCode::kCorrupt, "long name is followed by another one"},
           Case{"two PAX headers",
                TarBuilder().Pax({{"path", "a"}}).Pax({{"path", "a"}}).File("a", "").Finish(),
                ErrorCode::kCorrupt, "extended header is followed by another one"},
           Case{"PAX header before a global one",
                TarBuilder().Pax({{"path", "a"}}).Pax({{"comment", "a"}}, 'g').File("a", "").Finish(),
                ErrorCode::kCorrupt, "followed by a global one"},
           Case{"two names that differ",
                TarBuilder().LongName("a").Add({.name = "a", .pax = {{"path", "b"}}}).Finish(),
                ErrorCode::kCorrupt, "long name differs"},
           Case{"two targets that differ",
                TarBuilder()
                    .LongName("a", 'K')
                    .Add({.name = "a", .type = '2', .pax = {{"linkpath", "b"}}})
                    .Finish(),
                ErrorCode::kCorrupt, "long link target differs"},
           Case{"no name", TarBuilder().File("", "").Finish(), ErrorCode::kCorrupt, "entry has no name"},
           Case{"symlink to nothing", TarBuilder().Symlink("a", "").Finish(), ErrorCode::kCorrupt,
                "link has no target"},
           Case{"hard link to nothing", TarBuilder().HardLink("a", "").Finish(), ErrorCode::kCorrupt,
                "link has no target"},
           Case{"uid -1", TarBuilder().Add({.name = "a", .uid = -1}).Finish(), ErrorCode::kCorrupt,
                "uid -1 is out of range"},
           Case{"uid 2^32-1", TarBuilder().Add({.name = "a", .uid = 0xffffffff}).Finish(),
                ErrorCode::kCorrupt, "uid 4294967295"},
           Case{"gid 2^32", TarBuilder().Add({.name = "a", .gid = 0x100000000}).Finish(), ErrorCode::kCorrupt,
                "gid 4294967296"},
           Case{"negative mode", TarBuilder().Add({.name = "a", .mode = -1}).Finish(), ErrorCode::kCorrupt,
                "mode -1"},
           Case{"negative device", TarBuilder().Add({.name = "a", .type = '3', .device_major = -1}).Finish(),
                ErrorCode::kCorrupt, "device number -1"},
           Case{"device above 32 bits",
                TarBuilder().Add({.name = "a", .type = '3', .device_minor = 0x100000000}).Finish(),
                ErrorCode::kCorrupt, "device number 4294967296"},
           Case{
               "mtime overflows",
               TarBuilder().Add({.name = "a", .patches = {{136, "\xbf" + std::string(11, '\xff')}}}).Finish(),
               ErrorCode::kCorrupt, "mtime is not a number that fits"},
           Case{"magic of nobody",
                TarBuilder().Add({.name = "a", .prefix = "p", .patches = {{263, "01"}}}).Finish(),
                ErrorCode::kCorrupt, "magic is neither"},
           Case{"multi-volume", TarBuilder().Add({.name = "a", .type = 'M'}).Finish(),
                ErrorCode::kUnsupported, "type 'M'"},
           Case{"incremental dump", TarBuilder().Add({.name = "a", .type = 'D'}).Finish(),
                ErrorCode::kUnsupported, "type 'D'"},
           Case{"volume label", TarBuilder().Add({.name = "a", .type = 'V'}).Finish(),
                ErrorCode::kUnsupported, "type 'V'"},
           Case{"unknown type", TarBuilder().Add({.name = "a", .type = '\x1b'}).Finish(),
                ErrorCode::kUnsupported, "type '\\x1b'"},
           Case{"PAX header for a type we refuse",
                TarBuilder().Add({.name = "a", .type = 'Z', .pax = {{"path", "b"}}}).Finish(),
                ErrorCode::kUnsupported, "type 'Z'"},
       }) {
    const auto items = ReadTar(c.tar);
    ASSERT_FALSE(items.ok()) << c.what;
    EXPECT_EQ(items.error().code(), c.code) << c.what << ": " << items.error().message();
    EXPECT_THAT(items.error().message(), HasSubstr(c.reason)) << c.what;
    EXPECT_THAT(items.error().message(), HasSubstr("read tar header at byte ")) << c.what;
  }
}

TEST(TarReader, EveryFlippedBitOfAHeaderIsNoticed) {
  const std::string good = TarBuilder().Add({.name = "name", .data = "x", .prefix = "prefix"}).Finish();
  for (size_t bit = 0; bit < size_t{512} * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(static_cast<unsigned char>(bad[bit / 8]) ^ (1U << (bit % 8)));
    // Blanks and leading zeros around the checksum's own digits are not part of its value.
    if (bit / 8 >= 148 && bit / 8 < 156 && ReadTarError(bad).empty()) continue;
    EXPECT_THAT(ReadTarError(bad), HasSubstr("checksum does not match")) << bit;
  }
}

TEST(TarReader, LimitsAreExact) {
  TarBuilder three;
  for (const char* name : {"a", "b", "c"}) three.File(name, "");
  const std::string tar = three.Finish();
  EXPECT_EQ(ReadTarError(tar, {.max_entries = 3}), "");
  EXPECT_THAT(ReadTarError(tar, {.max_entries = 2}), HasSubstr("more than 2 entries"));

  const std::string file = TarBuilder().File("a", std::string(100, 'a')).Finish();
  EXPECT_EQ(ReadTarError(file, {.max_file_size = 100}), "");
  EXPECT_THAT(ReadTarError(file, {.max_file_size = 99}),
              HasSubstr("file of 100 bytes is larger than allowed"));

  const std::string named = TarBuilder().LongName(std::string(200, 'n')).File("a", "").Finish();
  EXPECT_EQ(ReadTarError(named, {.max_name_bytes = 200}), "");
  EXPECT_NE(ReadTarError(named, {.max_name_bytes = 199}), "");

  // All prefixes of an entry count together.
  const std::string both = TarBuilder()
                               .LongName(std::string(99, 'n'))
                               .LongName(std::string(99, 'n'), 'K')
                               .Symlink("a", "")
                               .Finish();
  EXPECT_EQ(ReadTarError(both, {.max_pax_bytes = 200}), "");
  EXPECT_NE(ReadTarError(both, {.max_pax_bytes = 199}), "");
}

}  // namespace
}  // namespace snap
