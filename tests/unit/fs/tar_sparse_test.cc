#include "fs/tar_sparse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "fs/tar_header.h"
#include "tests/support/tar_builder.h"
#include "tests/support/tar_contents.h"

namespace snap::tar {
namespace {

using test::PaxRecords;
using test::ReadTar;
using test::ReadTarError;
using test::TarBase256;
using test::TarBuilder;
using test::TarItem;
using test::TarNumber;
using test::TarSpec;
using ::testing::HasSubstr;
using Extents = std::vector<DataExtent>;
using Runs = std::vector<std::pair<uint64_t, std::string>>;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

// --- the map ---------------------------------------------------------------------------------------------

TEST(TarSparseMap, KeepsAscendingExtentsAndDropsEmptyOnes) {
  Extents extents = {{1, 1}};
  SparseMap map(extents, 10);
  for (const DataExtent& e : {DataExtent{0, 5}, {5, 0}, {5, 5}, {100, 1}, {200, 0}}) {
    ASSERT_TRUE(map.Add(static_cast<int64_t>(e.offset), static_cast<int64_t>(e.size)).ok());
  }
  EXPECT_TRUE(map.Finish(200, 11).ok());
  EXPECT_EQ(extents, (Extents{{0, 5}, {5, 5}, {100, 1}}));
}

TEST(TarSparseMap, RefusesWhatNoFileCanBe) {
  struct Case {
    const char* what;
    std::vector<std::pair<int64_t, int64_t>> pairs;
    const char* reason;
  };
  for (const Case& c : {
           Case{"negative offset", {{-1, 1}}, "negative number"},
           Case{"negative size", {{0, -1}}, "negative number"},
           Case{"overlap", {{0, 10}, {9, 1}}, "not ascending at offset 9"},
           Case{"same twice", {{0, 10}, {0, 10}}, "not ascending at offset 0"},
           Case{"backwards", {{10, 1}, {0, 1}}, "not ascending at offset 0"},
           Case{"empty extent inside", {{0, 10}, {5, 0}}, "not ascending at offset 5"},
           Case{"overflow", {{kMax, 1}}, "overflows"},
           Case{"overflow of both", {{kMax, kMax}}, "overflows"},
           Case{"beyond the file", {{0, 101}}, "reaches to 101 in a file of 100 bytes"},
           Case{"empty beyond the file", {{101, 0}}, "reaches to 101"},
           Case{"less data than stored", {{0, 9}}, "describes 9 bytes of data but 10 are stored"},
           Case{"more data than stored", {{0, 11}}, "describes 11 bytes of data but 10 are stored"},
           Case{"too many", {{0, 1}, {1, 1}, {2, 1}, {3, 0}}, "more than 3 extents"},
       }) {
    Extents extents;
    SparseMap map(extents, 3);
    Result<void> result;
    for (const auto& [offset, size] : c.pairs) {
      if (result.ok()) result = map.Add(offset, size);
    }
    if (result.ok()) result = map.Finish(100, 10);
    ASSERT_FALSE(result.ok()) << c.what;
    EXPECT_THAT(result.error().message(), HasSubstr(c.reason)) << c.what;
  }
}

// --- old GNU format --------------------------------------------------------------------------------------

std::string Pair(int64_t offset, int64_t size) { return TarNumber(offset, 12) + TarNumber(size, 12); }

TarSpec OldSparse(const std::string& map, const std::string& data, int64_t real_size, char more = '\0') {
  return {.name = "s",
          .type = 'S',
          .data = data,
          .magic = TarSpec::Magic::kGnu,
          .patches = {{386, map}, {482, std::string(1, more)}, {483, TarNumber(real_size, 12)}}};
}

// An extension block with its flag.
std::string Extension(std::string map, char more) {
  map.resize(kExtensionMapBytes, '\0');
  map += more;
  map.resize(kBlockBytes, '\0');
  return map;
}

// The header, extension blocks and data of a file in the old format.
std::string OldTar(const std::string& map, const std::string& extensions, const std::string& data,
                   int64_t real_size, char more) {
  TarSpec spec = OldSparse(map, "", real_size, more);
  spec.size = static_cast<int64_t>(data.size());
  return TarBuilder()
      .Add(spec)
      .Raw(extensions)
      .Raw(data)
      .Zeros((512 - data.size() % 512) % 512)
      .File("after", "x")
      .Finish();
}

TEST(TarSparse, TheOldFormatInOneHeader) {
  const auto items =
      ReadTar(OldTar(Pair(0, 4) + Pair(4096, 4) + Pair(10000, 0), "", "headtail", 10000, '\0'));
  ASSERT_TRUE(items.ok()) << items.error().message();
  const TarItem& item = items.value()[0];
  EXPECT_TRUE(item.entry.sparse);
  EXPECT_EQ(item.entry.size, 10000U);
  EXPECT_EQ(item.entry.extents, (Extents{{0, 4}, {4096, 4}}));
  EXPECT_EQ(item.runs, (Runs{{0, "head"}, {4096, "tail"}}));
  EXPECT_EQ(items.value()[1].data(), "x");
}

TEST(TarSparse, TheOldFormatWithExtensionBlocks) {
  constexpr size_t kExtents = 4 + 21 + 10;
  std::vector<std::string> maps(3);
  std::string data;
  Runs runs;
  for (size_t i = 0; i < kExtents; ++i) {
    const auto offset = static_cast<int64_t>(i) * 1000;
    maps[i < 4 ? 0 : i < 25 ? 1 : 2] += Pair(offset, 3);
    const std::string bytes(3, static_cast<char>('a' + i % 26));
    data += bytes;
    runs.emplace_back(offset, bytes);
  }
  for (const size_t chunk : {size_t{7}, size_t{512}, size_t{65536}}) {
    const auto items = ReadTar(
        OldTar(maps[0], Extension(maps[1], '\1') + Extension(maps[2], '\0'), data, 40000, '\1'), chunk);
    ASSERT_TRUE(items.ok()) << items.error().message();
    EXPECT_EQ(items.value()[0].runs, runs);
    EXPECT_EQ(items.value()[1].data(), "x");
  }
}

TEST(TarSparse, TheOldFormatNeedsAllPartsToAgree) {
  const std::string full = Pair(0, 1) + Pair(1, 1) + Pair(2, 1) + Pair(3, 1);
  struct Case {
    const char* what;
    std::string tar;
    const char* reason;
  };
  const std::string no_offset = std::string(12, '\0') + TarNumber(4, 12);
  const std::string no_size = TarNumber(4, 12) + std::string(12, '\0');
  TarSpec posix = OldSparse(Pair(0, 4), "data", 4);
  posix.magic = TarSpec::Magic::kUstar;
  TarSpec both = OldSparse(Pair(0, 4), "data", 4);
  both.pax = {{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "4"}};
  for (const Case& c : {
           Case{"offset missing", OldTar(no_offset, "", "data", 4, '\0'), "malformed"},
           Case{"size missing", OldTar(no_size, "", "data", 4, '\0'), "malformed"},
           Case{"gap in the list",
                OldTar(Pair(0, 2) + std::string(24, '\0') + Pair(2, 2), "", "data", 4, '\0'), "malformed"},
           Case{"not a number", OldTar("zzzzzzzzzzzz000000000004", "", "data", 4, '\0'), "malformed"},
           Case{"extended though not full", OldTar(Pair(0, 4), Extension("", '\0'), "data", 4, '\1'),
                "ends before its last block"},
           Case{"negative offset", OldTar(TarBase256(-4, 12) + TarNumber(4, 12), "", "data", 4, '\0'),
                "negative"},
           Case{"overflow", OldTar(TarBase256(kMax, 12) + TarNumber(4, 12), "", "data", 4, '\0'),
                "overflows"},
           Case{"overlap in an extension", OldTar(full, Extension(Pair(3, 1), '\0'), "abcde", 9, '\1'),
                "not ascending"},
           Case{"beyond the file", OldTar(Pair(0, 4), "", "data", 3, '\0'),
                "reaches to 4 in a file of 3 bytes"},
           Case{"more stored", OldTar(Pair(0, 4), "", "data!", 9, '\0'), "describes 4 bytes of data but 5"},
           Case{"negative real size", OldTar(Pair(0, 4), "", "data", -4, '\0'),
                "size of sparse file -4 is out of range"},
           Case{"huge real size", OldTar(Pair(0, 4), "", "data", kMax, '\0'), "is out of range"},
           Case{"star's header", TarBuilder().Add(posix).Finish(), "not GNU tar's"},
           Case{"two maps", TarBuilder().Add(both).Finish(), "two maps"},
       }) {
    EXPECT_THAT(ReadTarError(c.tar), HasSubstr(c.reason)) << c.what;
  }
}

TEST(TarSparse, AnEndlessMapMeetsTheLimit) {
  std::string extensions;
  std::string map = Pair(0, 0) + Pair(0, 0) + Pair(0, 0) + Pair(0, 0);
  std::string block;
  for (int i = 0; i < 21; ++i) block += Pair(0, 0);
  for (int i = 0; i < 100; ++i) extensions += Extension(block, '\1');
  EXPECT_THAT(ReadTarError(OldTar(map, extensions, "", 0, '\1'), {.max_sparse_extents = 1000}),
              HasSubstr("more than 1000 extents"));
}

// --- PAX formats -----------------------------------------------------------------------------------------

std::string PaxTar(const PaxRecords& records, const std::string& data, char type = '0') {
  return TarBuilder()
      .Add({.name = "GNUSparseFile.0/s",
            .type = type,
            .data = data,
            .link = type == '0' ? "" : "t",
            .pax = records})
      .File("after", "x")
      .Finish();
}

const PaxRecords kFormat00 = {{"GNU.sparse.size", "10000"},
                              {"GNU.sparse.numblocks", "2"},
                              {"GNU.sparse.offset", "0"},
                              {"GNU.sparse.numbytes", "4"},
                              {"GNU.sparse.offset", "4096"},
                              {"GNU.sparse.numbytes", "4"},
                              {"path", "s"}};
const PaxRecords kFormat01 = {{"GNU.sparse.name", "s"},
                              {"GNU.sparse.size", "10000"},
                              {"GNU.sparse.numblocks", "2"},
                              {"GNU.sparse.map", "0,4,4096,4"}};
const PaxRecords kFormat10 = {{"GNU.sparse.major", "1"},
                              {"GNU.sparse.minor", "0"},
                              {"GNU.sparse.name", "s"},
                              {"GNU.sparse.realsize", "10000"}};

std::string MapBlocks(std::string map) {
  map.resize((map.size() + kBlockBytes - 1) / kBlockBytes * kBlockBytes, '\0');
  return map;
}

// `records` without one key, or with another value for it.
PaxRecords With(PaxRecords records, const std::string& key, const char* value) {
  std::erase_if(records, [&](const auto& r) { return r.first == key; });
  if (value != nullptr) records.emplace_back(key, value);
  return records;
}

TEST(TarSparse, ThePaxFormatsSayTheSame) {
  for (const std::string& tar : {PaxTar(kFormat00, "headtail"), PaxTar(kFormat01, "headtail"),
                                 PaxTar(kFormat10, MapBlocks("2\n0\n4\n4096\n4\n") + "headtail")}) {
    for (const size_t chunk : {size_t{5}, size_t{65536}}) {
      const auto items = ReadTar(tar, chunk);
      ASSERT_TRUE(items.ok()) << items.error().message();
      const TarItem& item = items.value()[0];
      EXPECT_EQ(item.entry.path, "s");
      EXPECT_TRUE(item.entry.sparse);
      EXPECT_EQ(item.entry.size, 10000U);
      EXPECT_EQ(item.entry.extents, (Extents{{0, 4}, {4096, 4}}));
      EXPECT_EQ(item.runs, (Runs{{0, "head"}, {4096, "tail"}}));
      EXPECT_EQ(items.value()[1].data(), "x");
    }
  }
}

TEST(TarSparse, AFileThatIsOneHoleHasNoData) {
  const PaxRecords hole = With(With(kFormat01, "GNU.sparse.map", "10000,0"), "GNU.sparse.numblocks", "1");
  const PaxRecords nothing = With(With(kFormat01, "GNU.sparse.map", nullptr), "GNU.sparse.numblocks", "0");
  for (const std::string& tar :
       {PaxTar(hole, ""), PaxTar(nothing, ""), PaxTar(kFormat10, MapBlocks("0\n")),
        PaxTar(kFormat10, MapBlocks("1\n10000\n0\n")), OldTar(Pair(10000, 0), "", "", 10000, '\0')}) {
    const auto items = ReadTar(tar);
    ASSERT_TRUE(items.ok()) << items.error().message();
    EXPECT_TRUE(items.value()[0].entry.sparse);
    EXPECT_EQ(items.value()[0].entry.size, 10000U);
    EXPECT_TRUE(items.value()[0].entry.extents.empty());
    EXPECT_TRUE(items.value()[0].runs.empty());
    EXPECT_EQ(items.value()[1].data(), "x");
  }
}

TEST(TarSparse, AMapOfManyBlocksIsRead) {
  std::string map = "1000\n";
  std::string data;
  for (int i = 0; i < 1000; ++i) {
    map += std::to_string(i * 8) + "\n1\n";
    data += static_cast<char>('a' + i % 26);
  }
  const auto items = ReadTar(PaxTar(kFormat10, MapBlocks(map) + data), 100);
  ASSERT_TRUE(items.ok()) << items.error().message();
  EXPECT_EQ(items.value()[0].runs.size(), 1000U);
  EXPECT_EQ(items.value()[0].runs[999],
            (std::pair<uint64_t, std::string>(7992, std::string(1, static_cast<char>('a' + 999 % 26)))));
}

TEST(TarSparse, HostilePaxMapsAreErrorsThatSayWhy) {
  struct Case {
    const char* what;
    std::string tar;
    const char* reason;
  };
  const auto data10 = [](const std::string& map) { return PaxTar(kFormat10, MapBlocks(map) + "data"); };
  for (const Case& c : {
           Case{"0.0 size first", PaxTar({{"GNU.sparse.numbytes", "1"}}, ""),
                "malformed 'GNU.sparse.numbytes'"},
           Case{"0.0 two offsets", PaxTar({{"GNU.sparse.offset", "1"}, {"GNU.sparse.offset", "2"}}, ""),
                "malformed 'GNU.sparse.offset'"},
           Case{"0.0 odd", PaxTar({{"GNU.sparse.offset", "1"}}, ""), "offset without a size"},
           Case{"0.0 count", PaxTar(With(kFormat00, "GNU.sparse.numblocks", "3"), "headtail"),
                "has 2 extents, 3 were announced"},
           Case{"0.0 no count", PaxTar(With(kFormat00, "GNU.sparse.numblocks", nullptr), "headtail"),
                "lacks 'GNU.sparse.numblocks'"},
           Case{"0.0 no size", PaxTar(With(kFormat00, "GNU.sparse.size", nullptr), "headtail"),
                "lacks 'GNU.sparse.size'"},
           Case{"0.0 too small", PaxTar(With(kFormat00, "GNU.sparse.size", "4099"), "headtail"),
                "reaches to 4100 in a file of 4099"},
           Case{"0.0 stored", PaxTar(kFormat00, "headtails"), "describes 8 bytes of data but 9"},
           Case{"0.1 odd", PaxTar(With(kFormat01, "GNU.sparse.map", "0,4,4096"), "headtail"),
                "offset without a size"},
           Case{"0.1 comma", PaxTar(With(kFormat01, "GNU.sparse.map", "0,4,4096,4,"), "headtail"),
                "ends in a comma"},
           Case{"0.1 empty number", PaxTar(With(kFormat01, "GNU.sparse.map", "0,,4096,4"), "headtail"),
                "malformed"},
           Case{"0.1 negative", PaxTar(With(kFormat01, "GNU.sparse.map", "0,-4,4096,4"), "headtail"),
                "malformed"},
           Case{"0.1 overflow",
                PaxTar(With(kFormat01, "GNU.sparse.map", "0,9223372036854775808,4096,4"), "headtail"),
                "malformed"},
           Case{"0.1 overflowing end",
                PaxTar(With(kFormat01, "GNU.sparse.map", "0,4,9223372036854775807,4"), "headtail"),
                "overflows"},
           Case{"0.1 unordered", PaxTar(With(kFormat01, "GNU.sparse.map", "4096,4,0,4"), "headtail"),
                "not ascending"},
           Case{"0.1 overlap", PaxTar(With(kFormat01, "GNU.sparse.map", "0,4,3,4"), "headtail"),
                "not ascending"},
           Case{"0.0 and 0.1",
                PaxTar(
                    [] {
                      PaxRecords r = kFormat00;
                      r.emplace_back("GNU.sparse.map", "0,4");
                      return r;
                    }(),
                    "headtail"),
                "mixes formats"},
           Case{"0.1 and 1.0",
                PaxTar(
                    [] {
                      PaxRecords r = kFormat10;
                      r.emplace_back("GNU.sparse.map", "0,4");
                      return r;
                    }(),
                    "x"),
                "mixes formats"},
           Case{"name alone", PaxTar({{"GNU.sparse.name", "other"}}, "data"), "lacks 'GNU.sparse.size'"},
           Case{"empty name", PaxTar(With(kFormat10, "GNU.sparse.name", ""), MapBlocks("0\n")), "empty name"},
           Case{"format 1.1", PaxTar(With(kFormat10, "GNU.sparse.minor", "1"), ""), "format 1.1 is unknown"},
           Case{"format 2.0", PaxTar(With(kFormat10, "GNU.sparse.major", "2"), ""), "format 2.0 is unknown"},
           Case{"no minor", PaxTar(With(kFormat10, "GNU.sparse.minor", nullptr), ""),
                "lacks 'GNU.sparse.minor'"},
           Case{"unknown key", PaxTar({{"GNU.sparse.future", "1"}}, ""), "unknown key 'GNU.sparse.future'"},
           Case{"two sizes",
                PaxTar(
                    [] {
                      PaxRecords r = kFormat10;
                      r.emplace_back("GNU.sparse.size", "9");
                      return r;
                    }(),
                    ""),
                "two different sizes"},
           Case{"no real size", PaxTar(With(kFormat10, "GNU.sparse.realsize", nullptr), ""),
                "lacks 'GNU.sparse.realsize'"},
           Case{"huge real size",
                PaxTar(With(kFormat10, "GNU.sparse.realsize", "9223372036854775807"), MapBlocks("0\n")),
                "larger than allowed"},
           Case{"negative real size", PaxTar(With(kFormat10, "GNU.sparse.realsize", "-1"), ""),
                "malformed 'GNU.sparse.realsize'"},
           Case{"not a file", PaxTar(kFormat10, "", '2'), "not a regular file"},
           Case{"1.0 no data", PaxTar(kFormat10, ""), "longer than the data it stands in"},
           Case{"1.0 map cut", PaxTar(kFormat10, "1\n0\n"), "longer than the data it stands in"},
           Case{"1.0 unfinished", PaxTar(kFormat10, MapBlocks("2\n0\n4\n") + "data"),
                "a line that is not a number"},
           Case{"1.0 empty line", data10("1\n\n4\n"), "empty line"},
           Case{"1.0 negative", data10("1\n-1\n4\n"), "not a number"},
           Case{"1.0 spaces", data10("1\n 0\n4\n"), "not a number"},
           Case{"1.0 overflow", data10("1\n9223372036854775808\n4\n"), "not a number"},
           Case{"1.0 overflowing end", data10("1\n9223372036854775807\n4\n"), "overflows"},
           Case{"1.0 endless number", data10(std::string(600, '0') + "\n"), "too many digits"},
           Case{"1.0 unordered", data10("2\n5\n2\n0\n2\n"), "not ascending"},
           Case{"1.0 beyond the file", data10("1\n9999\n4\n"), "reaches to 10003"},
           Case{"1.0 stored", data10("1\n0\n5\n"), "describes 5 bytes of data but 4"},
           Case{"1.0 huge count", PaxTar(kFormat10, MapBlocks("9223372036854775807\n")), "not a number"},
       }) {
    const std::string error = ReadTarError(c.tar);
    EXPECT_THAT(error, HasSubstr(c.reason)) << c.what;
  }
}

TEST(TarSparse, LimitsOfExtentsAreExactInEveryFormat) {
  for (const std::string& tar : {PaxTar(kFormat00, "headtail"), PaxTar(kFormat01, "headtail"),
                                 PaxTar(kFormat10, MapBlocks("2\n0\n4\n4096\n4\n") + "headtail"),
                                 OldTar(Pair(0, 4) + Pair(4096, 4), "", "headtail", 10000, '\0')}) {
    EXPECT_EQ(ReadTarError(tar, {.max_sparse_extents = 2}), "");
    EXPECT_THAT(ReadTarError(tar, {.max_sparse_extents = 1}), HasSubstr("more than 1 extents"));
  }
}

TEST(TarSparse, TruncationIsAnErrorAtEveryByteOfAMap) {
  std::string extension_map;
  std::string data = "abcd";
  for (int64_t i = 4; i < 14; ++i) {
    extension_map += Pair(i * 10, 1);
    data += 'x';
  }
  const std::string tar = OldTar(Pair(0, 1) + Pair(10, 1) + Pair(20, 1) + Pair(30, 1),
                                 Extension(extension_map, '\0'), data, 1000, '\1');
  ASSERT_EQ(ReadTarError(tar), "");
  for (size_t size = 0; size + 512 < tar.size(); ++size) {
    EXPECT_THAT(ReadTarError(std::string_view(tar).substr(0, size)), HasSubstr("archive ends")) << size;
  }
}

}  // namespace
}  // namespace snap::tar
