#include "fs/tar_pax.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/support/tar_builder.h"

namespace snap::tar {
namespace {

using test::PaxRecord;
using ::testing::HasSubstr;

Result<PaxHeader> Parse(std::string_view records, const TarLimits& limits = {}) {
  PaxHeader header;
  SNAP_TRY_VOID(ParsePax(records, limits, header));
  return header;
}

std::string ErrorOf(std::string_view records, const TarLimits& limits = {}) {
  const auto header = Parse(records, limits);
  return header.ok() ? "" : header.error().message();
}

TEST(TarPax, KnownKeysAreRead) {
  const auto header =
      Parse(PaxRecord("path", "a=b\nc") + PaxRecord("linkpath", "target") + PaxRecord("size", "8589934592") +
            PaxRecord("uid", "4294967294") + PaxRecord("gid", "0") + PaxRecord("mtime", "1.5"));
  ASSERT_TRUE(header.ok()) << header.error().message();
  const PaxHeader& h = header.value();
  EXPECT_EQ(h.path, "a=b\nc") << "a value ends where its length says, not at a newline";
  EXPECT_EQ(h.link_target, "target");
  EXPECT_EQ(h.size, 8589934592U);
  EXPECT_EQ(h.uid, 4294967294U);
  EXPECT_EQ(h.gid, 0U);
  EXPECT_EQ(h.mtime->tv_sec, 1);
  EXPECT_EQ(h.mtime->tv_nsec, 500'000'000);
  EXPECT_EQ(h.sparse.map, PaxSparse::Map::kNone);
}

TEST(TarPax, KeysThatLayersDoNotNeedAreIgnored) {
  std::string records;
  for (const char* key :
       {"atime", "ctime", "uname", "gname", "comment", "charset", "hdrcharset", "SCHILY.acl.access",
        "SCHILY.dev", "SCHILY.ino", "SCHILY.nlink", "SCHILY.fflags", "LIBARCHIVE.creationtime",
        "RHT.security.selinux", "VENDOR.anything", "sizes", "Path", "SCHILY.xattr"}) {
    records += PaxRecord(key, std::string("any\0bytes", 9));
  }
  const auto header = Parse(records);
  ASSERT_TRUE(header.ok()) << header.error().message();
  EXPECT_TRUE(header.value().path.empty());
  EXPECT_TRUE(header.value().xattrs.empty());
}

TEST(TarPax, TimesKeepNanosecondsAndRoundTowardsThePast) {
  struct Case {
    const char* text;
    time_t seconds;
    long nanoseconds;
  };
  constexpr time_t kMax = std::numeric_limits<int64_t>::max();
  for (const Case& c : {
           Case{"0", 0, 0},
           Case{"1700000000.123456789", 1700000000, 123456789},
           Case{"1700000000.1234567899", 1700000000, 123456789},
           Case{"1.", 1, 0},
           Case{"1.000000001", 1, 1},
           Case{"-1", -1, 0},
           Case{"-0.5", -1, 500'000'000},
           Case{"-1.25", -2, 750'000'000},
           Case{"-1.000000000", -1, 0},
           Case{"-0.0000000001", -1, 999'999'999},
           Case{"-0.9999999999", -1, 0},
           Case{"-0", 0, 0},
           Case{"9223372036854775807", kMax, 0},
           Case{"-9223372036854775807.5", std::numeric_limits<int64_t>::min(), 500'000'000},
       }) {
    const auto header = Parse(PaxRecord("mtime", c.text));
    ASSERT_TRUE(header.ok()) << c.text;
    EXPECT_EQ(header.value().mtime->tv_sec, c.seconds) << c.text;
    EXPECT_EQ(header.value().mtime->tv_nsec, c.nanoseconds) << c.text;
  }
}

TEST(TarPax, EmptyValuesDoNotOverride) {
  const auto header =
      Parse(PaxRecord("path", "") + PaxRecord("linkpath", "") + PaxRecord("size", "") +
            PaxRecord("uid", "7") + PaxRecord("uid", "") + PaxRecord("gid", "") + PaxRecord("mtime", ""));
  ASSERT_TRUE(header.ok()) << header.error().message();
  EXPECT_TRUE(header.value().path.empty());
  EXPECT_TRUE(header.value().link_target.empty());
  EXPECT_FALSE(header.value().size.has_value());
  EXPECT_FALSE(header.value().uid.has_value()) << "an empty value also deletes the one before";
  EXPECT_FALSE(header.value().gid.has_value());
  EXPECT_FALSE(header.value().mtime.has_value());
}

TEST(TarPax, TheLastOfSeveralRecordsCountsWhereReadersAgree) {
  const auto header = Parse(PaxRecord("uid", "1") + PaxRecord("uid", "2") + PaxRecord("mtime", "1") +
                            PaxRecord("mtime", "2") + PaxRecord("SCHILY.xattr.user.a", "1") +
                            PaxRecord("SCHILY.xattr.user.b", "1") + PaxRecord("SCHILY.xattr.user.a", "2") +
                            PaxRecord("path", "p") + PaxRecord("path", "p") + PaxRecord("size", "3") +
                            PaxRecord("size", "3"));
  ASSERT_TRUE(header.ok()) << header.error().message();
  EXPECT_EQ(header.value().uid, 2U);
  EXPECT_EQ(header.value().mtime->tv_sec, 2);
  const std::vector<Xattr> xattrs = {{"user.a", "2"}, {"user.b", "1"}};
  EXPECT_EQ(header.value().xattrs, xattrs);
  EXPECT_EQ(header.value().path, "p");
}

TEST(TarPax, TwoDifferentPathsOrSizesAreRefused) {
  for (const char* key :
       {"path", "linkpath", "size", "GNU.sparse.name", "GNU.sparse.major", "GNU.sparse.realsize"}) {
    for (const char* second : {"2", ""}) {
      const std::string error =
          ErrorOf(PaxRecord(key, "1") + PaxRecord("comment", "") + PaxRecord(key, second));
      EXPECT_THAT(error, HasSubstr(std::string("two different values of '") + key + "'"));
    }
  }
}

TEST(TarPax, XattrsOfBothSpellingsAreTheSame) {
  const std::string value("\1\0\0\2 =\n", 7);
  const auto header =
      Parse(PaxRecord("SCHILY.xattr.security.capability", value) +
            PaxRecord("LIBARCHIVE.xattr.security.capability", "AQAAAiA9Cg") +
            PaxRecord("LIBARCHIVE.xattr.user.%c3%A4%3D", "AQAAAiA9Cg==") +
            PaxRecord("LIBARCHIVE.xattr.user.e", "") + PaxRecord("SCHILY.xattr.user.empty", "") +
            PaxRecord("SCHILY.xattr.user.100%", "+/"));
  ASSERT_TRUE(header.ok()) << header.error().message();
  const std::vector<Xattr> xattrs = {{"security.capability", value},
                                     {"user.\xc3\xa4=", value},
                                     {"user.e", ""},
                                     {"user.empty", ""},
                                     {"user.100%", "+/"}};
  EXPECT_EQ(header.value().xattrs, xattrs);
}

TEST(TarPax, Base64TakesEveryByteAndLength) {
  const auto header =
      Parse(PaxRecord("LIBARCHIVE.xattr.user.1", "+w") + PaxRecord("LIBARCHIVE.xattr.user.2", "+/8") +
            PaxRecord("LIBARCHIVE.xattr.user.3", "AP+/") + PaxRecord("LIBARCHIVE.xattr.user.4", "enl4dw=="));
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header.value().xattrs[0].value, "\xfb");
  EXPECT_EQ(header.value().xattrs[1].value, "\xfb\xff");
  EXPECT_EQ(header.value().xattrs[2].value, std::string("\0\xff\xbf", 3));
  EXPECT_EQ(header.value().xattrs[3].value, "zyxw");
}

TEST(TarPax, MalformedRecordsAreErrorsAndNeverSkipped) {
  struct Case {
    std::string records;
    const char* reason;
  };
  for (const Case& c : {
           Case{"x", "without a length"},
           Case{" 5 a=b\n", "without a length"},
           Case{"6", "without a length"},
           Case{"-6 a=b\n", "without a length"},
           Case{"+6 a=b\n", "without a length"},
           Case{"0x6 a=b\n", "without a length"},
           Case{"6a a=b\n", "without a length"},
           Case{"99999999999999999999 a=b\n", "without a length"},
           Case{std::string(512, '\0'), "without a length"},
           Case{"6 a=b\n" + std::string(10, '\0'), "without a length"},
           Case{"0 a=b\n", "impossible length 0"},
           Case{"2 a=b\n", "impossible length 2"},
           Case{"7 a=b\n", "impossible length 7"},
           Case{"9223372036854775807 a=b\n", "impossible length"},
           Case{"5 a=b\n", "does not end where its length says"},
           Case{"6 a=bc", "does not end where its length says"},
           Case{"3 \n", "without a key"},
           Case{"5 ab\n", "without a key"},
           Case{"6 =ab\n", "without a key"},
           Case{PaxRecord(std::string("a\0b", 3), "c"), "key with a NUL byte"},
           Case{PaxRecord("path", std::string("a\0b", 3)), "'path' with a NUL byte"},
           Case{PaxRecord("linkpath", std::string("a\0b", 3)), "'linkpath' with a NUL byte"},
           Case{PaxRecord("GNU.sparse.name", std::string("a\0b", 3)), "'GNU.sparse.name' with a NUL byte"},
           Case{PaxRecord("size", "-1"), "malformed 'size': '-1'"},
           Case{PaxRecord("size", "1.0"), "malformed 'size'"},
           Case{PaxRecord("size", " 1"), "malformed 'size'"},
           Case{PaxRecord("size", "0x10"), "malformed 'size'"},
           Case{PaxRecord("size", "9223372036854775808"), "malformed 'size'"},
           Case{PaxRecord("uid", "4294967295"), "malformed 'uid'"},
           Case{PaxRecord("uid", "4294967296"), "malformed 'uid'"},
           Case{PaxRecord("gid", "-1"), "malformed 'gid'"},
           Case{PaxRecord("gid", "root"), "malformed 'gid'"},
           Case{PaxRecord("gid", "18446744073709551616"), "malformed 'gid'"},
           Case{PaxRecord("mtime", "."), "malformed 'mtime'"},
           Case{PaxRecord("mtime", ".5"), "malformed 'mtime'"},
           Case{PaxRecord("mtime", "-"), "malformed 'mtime'"},
           Case{PaxRecord("mtime", "--1"), "malformed 'mtime'"},
           Case{PaxRecord("mtime", "1.5.5"), "malformed 'mtime'"},
           Case{PaxRecord("mtime", "1,5"), "malformed 'mtime'"},
           Case{PaxRecord("mtime", "1e9"), "malformed 'mtime'"},
           Case{PaxRecord("mtime", "9223372036854775808"), "malformed 'mtime'"},
           Case{PaxRecord("SCHILY.xattr.", "x"), "xattr without a usable name"},
           Case{PaxRecord("LIBARCHIVE.xattr.", "eA"), "xattr without a usable name"},
           Case{PaxRecord("LIBARCHIVE.xattr.user.%00", "eA"), "xattr without a usable name"},
           Case{PaxRecord("LIBARCHIVE.xattr.user.%4", "eA"), "malformed 'LIBARCHIVE.xattr.user.%4'"},
           Case{PaxRecord("LIBARCHIVE.xattr.user.%", "eA"), "malformed 'LIBARCHIVE.xattr.user.%'"},
           Case{PaxRecord("LIBARCHIVE.xattr.user.%zz", "eA"), "malformed 'LIBARCHIVE.xattr.user.%zz'"},
           Case{PaxRecord("LIBARCHIVE.xattr.user.a", "e A="), "malformed 'LIBARCHIVE.xattr.user.a'"},
           Case{PaxRecord("LIBARCHIVE.xattr.user.a", "eA==="), "malformed 'LIBARCHIVE.xattr.user.a'"},
           Case{PaxRecord("LIBARCHIVE.xattr.user.a", "eAAAA"), "malformed 'LIBARCHIVE.xattr.user.a'"},
       }) {
    EXPECT_THAT(ErrorOf(c.records), HasSubstr(c.reason)) << c.records;
    // Good records in front change nothing.
    EXPECT_THAT(ErrorOf(PaxRecord("comment", "good") + c.records), HasSubstr(c.reason)) << c.records;
  }
}

TEST(TarPax, LimitsAreExact) {
  const std::string longest(255, 'n');
  EXPECT_EQ(ErrorOf(PaxRecord("SCHILY.xattr." + longest, "")), "");
  EXPECT_THAT(ErrorOf(PaxRecord("SCHILY.xattr." + longest + "n", "")), HasSubstr("has 256 bytes"));
  EXPECT_EQ(ErrorOf(PaxRecord("SCHILY.xattr.user.a", std::string(65536, 'v'))), "");
  EXPECT_THAT(ErrorOf(PaxRecord("SCHILY.xattr.user.a", std::string(65537, 'v'))),
              HasSubstr("has 65537 bytes"));
  std::string many;
  for (int i = 0; i < 256; ++i) many += PaxRecord("SCHILY.xattr.user." + std::to_string(i), "");
  EXPECT_EQ(ErrorOf(many), "");
  EXPECT_EQ(ErrorOf(many + PaxRecord("SCHILY.xattr.user.0", "again")), "");
  EXPECT_THAT(ErrorOf(many + PaxRecord("SCHILY.xattr.user.256", "")), HasSubstr("more than 256 xattrs"));
  EXPECT_EQ(Parse(many + PaxRecord("SCHILY.xattr.user.256", "")).error().code(), ErrorCode::kLimitExceeded);
}

TEST(TarPax, GlobalHeadersMayNotMoveOrResizeFiles) {
  EXPECT_TRUE(
      CheckGlobalPax(PaxRecord("comment", "4f0e") + PaxRecord("uid", "0") + PaxRecord("mtime", "0")).ok());
  EXPECT_TRUE(CheckGlobalPax("").ok());
  for (const char* key :
       {"path", "linkpath", "size", "GNU.sparse.offset", "GNU.sparse.map", "GNU.volume.offset"}) {
    const auto checked = CheckGlobalPax(PaxRecord("comment", "") + PaxRecord(key, "1"));
    ASSERT_FALSE(checked.ok()) << key;
    EXPECT_EQ(checked.error().code(), ErrorCode::kUnsupported) << key;
    EXPECT_THAT(checked.error().message(), HasSubstr(key));
  }
  EXPECT_EQ(CheckGlobalPax("7 a=b\n").error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace snap::tar
