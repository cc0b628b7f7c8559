#include "fs/tar_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "tests/support/oci_builder.h"

namespace snap {
namespace {

using testing::HasSubstr;
using Kind = TarEntry::Kind;

class StringSink final : public ByteSink {
 public:
  Result<void> Write(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }
  std::string text;
};

struct Member {
  TarEntry entry;
  std::string data;  ///< as stored
};

std::string WriteAll(const std::vector<Member>& members) {
  StringSink sink;
  TarWriter writer(sink);
  for (const Member& member : members) {
    EXPECT_TRUE(writer.Begin(member.entry).ok());
    EXPECT_TRUE(writer.Data(std::as_bytes(std::span(member.data))).ok());
  }
  EXPECT_TRUE(writer.Finish().ok());
  return sink.text;
}

std::vector<Member> ReadBack(const std::string& tar) {
  std::vector<Member> members;
  const auto memory = MakeMemorySource(std::as_bytes(std::span(tar)));
  ChunkedSource chunks(*memory, 700);
  TarReader reader(chunks);
  for (;;) {
    const auto entry = reader.Next();
    EXPECT_TRUE(entry.ok()) << entry.error().message();
    if (!entry.ok() || *entry == nullptr) return members;
    Member member{.entry = **entry, .data = {}};
    while (member.entry.kind == Kind::kRegular) {
      const auto data = reader.NextData();
      EXPECT_TRUE(data.ok()) << data.error().message();
      if (!data.ok() || data->bytes.empty()) break;
      member.data.append(reinterpret_cast<const char*>(data->bytes.data()), data->bytes.size());
    }
    members.push_back(std::move(member));
  }
}

TarEntry Make(Kind kind, std::string path) {
  TarEntry entry;
  entry.kind = kind;
  entry.path = std::move(path);
  entry.attributes.permissions = 0644;
  entry.attributes.mtime = {.tv_sec = 1700000000, .tv_nsec = 0};
  return entry;
}

/// Everything that only PAX can say, and everything at the edge of what ustar can.
std::vector<Member> Zoo() {
  std::vector<Member> zoo;
  const auto add = [&](TarEntry entry, std::string data = {}) -> TarEntry& {
    if (!entry.sparse && entry.kind == Kind::kRegular) entry.size = data.size();
    zoo.push_back({std::move(entry), std::move(data)});
    return zoo.back().entry;
  };
  add(Make(Kind::kDirectory, "./"));
  add(Make(Kind::kDirectory, "d/")).attributes.permissions = 01777;
  add(Make(Kind::kRegular, "empty")).attributes.permissions = 04755;
  add(Make(Kind::kRegular, "block"), std::string(512, 'b'));
  add(Make(Kind::kRegular, "odd"), std::string(513, 'o'));
  for (const size_t length : {99U, 100U, 101U, 255U}) {
    add(Make(Kind::kRegular, std::string(length, 'n')), "x");
    add(Make(Kind::kSymlink, "s" + std::to_string(length))).link_target = std::string(length, 't');
    add(Make(Kind::kHardLink, "h" + std::to_string(length))).link_target = std::string(length, 'n');
    add(Make(Kind::kDirectory, std::string(length - 1, 'e') + "/"));
  }
  std::string deep;
  for (int i = 0; i < 15; ++i) deep += std::string(250, static_cast<char>('a' + i)) + "/";
  add(Make(Kind::kRegular, deep + "leaf"), "deep");
  add(Make(Kind::kRegular, "f\xc5\x91tan\xc3\xba"), "utf-8");
  add(Make(Kind::kRegular, "latin\xe9 \x1b[31m \n newline \xff"), "bytes");
  add(Make(Kind::kSymlink, "raw-link")).link_target = "\xff/\n = \x01";
  TarEntry& rich = add(Make(Kind::kRegular, "rich"), "r");
  rich.attributes.uid = 4294967294U;
  rich.attributes.gid = 2097152;
  rich.attributes.xattrs = {{"security.capability", std::string("\x01\x00\x00\x02\x00\n=", 7)},
                            {"user.empty", ""},
                            {"user.long", std::string(5000, 'v')}};
  add(Make(Kind::kRegular, "ids")).attributes.uid = 2097151;
  int number = 0;
  for (const timespec time :
       {timespec{0, 1}, timespec{1700000000, 123456789}, timespec{1700000000, 100000000}, timespec{-1, 0},
        timespec{-1, 500000000}, timespec{-2, 999999999}, timespec{8589934591, 0}, timespec{8589934592, 0},
        timespec{99999999999, 5}}) {
    add(Make(Kind::kRegular, "time" + std::to_string(number++))).attributes.mtime = time;
  }
  TarEntry& device = add(Make(Kind::kCharDevice, "char"));
  device.device_major = 1;
  device.device_minor = 3;
  TarEntry& block_device = add(Make(Kind::kBlockDevice, "block-device"));
  block_device.device_major = 4095;
  block_device.device_minor = 1048575;
  add(Make(Kind::kFifo, "fifo"));
  TarEntry sparse = Make(Kind::kRegular, "sparse" + std::string(120, 's'));
  sparse.sparse = true;
  sparse.size = 1 << 20;
  sparse.extents = {{4096, 512}, {8192, 600}};
  add(sparse, std::string(1112, 'x'));
  sparse.path = "sparse-to-the-end";
  sparse.extents = {{0, 512}, {(1 << 20) - 5, 5}};
  add(sparse, std::string(512, 'a') + "bcdef");
  sparse.path = "all-hole";
  sparse.extents = {};
  add(sparse);
  return zoo;
}

void ExpectReadBack(const std::vector<Member>& written) {
  const std::vector<Member> read = ReadBack(WriteAll(written));
  ASSERT_EQ(read.size(), written.size());
  for (size_t i = 0; i < written.size(); ++i) {
    const TarEntry& wrote = written[i].entry;
    const TarEntry& got = read[i].entry;
    SCOPED_TRACE(Quote(wrote.path));
    EXPECT_EQ(got.kind, wrote.kind);
    EXPECT_EQ(got.path, wrote.path);
    EXPECT_EQ(got.link_target, wrote.link_target);
    EXPECT_EQ(got.size, wrote.size);
    EXPECT_EQ(got.device_major, wrote.device_major);
    EXPECT_EQ(got.device_minor, wrote.device_minor);
    EXPECT_EQ(got.attributes.permissions, wrote.attributes.permissions);
    EXPECT_EQ(got.attributes.uid, wrote.attributes.uid);
    EXPECT_EQ(got.attributes.gid, wrote.attributes.gid);
    EXPECT_EQ(got.attributes.mtime.tv_sec, wrote.attributes.mtime.tv_sec);
    EXPECT_EQ(got.attributes.mtime.tv_nsec, wrote.attributes.mtime.tv_nsec);
    EXPECT_EQ(got.attributes.xattrs, wrote.attributes.xattrs);
    EXPECT_EQ(got.sparse, wrote.sparse);
    EXPECT_EQ(got.extents, wrote.extents);
    EXPECT_EQ(read[i].data, written[i].data);
  }
}

TEST(TarWriter, ReaderGivesBackWhatWasWritten) { ExpectReadBack(Zoo()); }

TEST(TarWriter, GnuTarListsTheSame) {
  const test::TempDir dir;
  dir.WriteFile("zoo.tar", WriteAll(Zoo()));
  const std::string listing =
      test::Shell("TZ=UTC LC_ALL=C tar --full-time --numeric-owner -tvf " + dir / "zoo.tar");
  EXPECT_EQ(static_cast<size_t>(std::count(listing.begin(), listing.end(), '\n')), Zoo().size()) << listing;
  // GNU tar 1.34 prints times before 1970 with a fraction a second late (it extracts them right: see
  // directory_tar_test).
  for (const char* line : {
           "drwxrwxrwt 0/0               0 2023-11-14 22:13:20 d/\n",
           "-rwsr-xr-x 0/0               0 2023-11-14 22:13:20 empty\n",
           "-rw-r--r-- 0/0             513 2023-11-14 22:13:20 odd\n",
           "-rw-r--r-- 4294967294/2097152 1 2023-11-14 22:13:20 rich\n",
           "2023-11-14 22:13:20.123456789 time1\n",
           "2023-11-14 22:13:20.1         time2\n",
           "1969-12-31 23:59:59           time3\n",
           "2242-03-16 12:56:31           time6\n",
           "2242-03-16 12:56:32           time7\n",
           "5138-11-16 09:46:39.000000005 time8\n",
           "crw-r--r-- 0/0              1,3 2023",
           "brw-r--r-- 0/0     4095,1048575 2023",
           "prw-r--r-- 0/0                0 2023",
           " 1048576 2023-11-14 22:13:20           sparse-to-the-end\n",
           " 1048576 2023-11-14 22:13:20           all-hole\n",
       }) {
    EXPECT_TRUE(listing.find(line) != std::string::npos) << line;
  }
  EXPECT_EQ(test::Shell("tar --to-stdout -xf " + dir / "zoo.tar sparse-to-the-end | tr -d 'a\\0'"), "bcdef");
  EXPECT_EQ(test::Shell("tar --to-stdout -xf " + dir / "zoo.tar --wildcards 'aaaa*/leaf'"), "deep");
}

TEST(TarWriter, EqualEntriesGiveEqualBytes) { EXPECT_EQ(WriteAll(Zoo()), WriteAll(Zoo())); }

TEST(TarWriter, RecordsAreSortedWhateverTheOrderOfXattrs) {
  TarEntry entry = Make(Kind::kSymlink, std::string(101, 'p'));
  entry.link_target = std::string(101, 't');
  entry.attributes.uid = 1U << 21U;
  entry.attributes.gid = 1U << 21U;
  entry.attributes.mtime.tv_nsec = 1;
  entry.attributes.xattrs = {{"user.b", "1"}, {"user.a", "2"}, {"security.capability", "3"}};
  std::string header;
  ASSERT_TRUE(tar::AppendHeader(entry, header).ok());
  size_t at = 0;
  for (const char* key : {"SCHILY.xattr.security.capability", "SCHILY.xattr.user.a", "SCHILY.xattr.user.b",
                          "gid", "linkpath", "mtime", "path", "uid"}) {
    const size_t next = header.find(" " + std::string(key) + "=");
    ASSERT_NE(next, std::string::npos) << key;
    EXPECT_GT(next, at) << key;
    at = next;
  }
  std::reverse(entry.attributes.xattrs.begin(), entry.attributes.xattrs.end());
  std::string again;
  ASSERT_TRUE(tar::AppendHeader(entry, again).ok());
  EXPECT_EQ(again, header);
}

/// Any entry that can be written, with lengths and numbers around the places where their spelling changes.
Member RandomMember(std::mt19937_64& random) {
  const auto pick = [&](uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(random); };
  const auto bytes = [&](size_t size, bool nul) {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(nul ? pick(256) : 1 + pick(255));
    return text;
  };
  const auto number = [&] {
    const uint64_t bits = uint64_t{1} << pick(33);
    return static_cast<uint32_t>(std::min<uint64_t>(bits - 1 + pick(3), UINT32_MAX - 1));
  };
  Member member;
  TarEntry& entry = member.entry;
  entry.kind = static_cast<Kind>(pick(7));
  const auto name = [&] {
    std::string text = bytes(1 + pick(std::array<uint64_t, 3>{20, 120, 4000}[pick(3)]), false);
    std::replace(text.begin(), text.end(), '/', '_');  // no empty components, and no '/' at the end
    return text;
  };
  entry.path = name() + (entry.kind == Kind::kDirectory ? "/" : "");
  if (entry.kind == Kind::kHardLink || entry.kind == Kind::kSymlink) entry.link_target = name();
  if (entry.kind == Kind::kCharDevice || entry.kind == Kind::kBlockDevice) {
    entry.device_major = static_cast<uint32_t>(pick(1U << 12U));
    entry.device_minor = static_cast<uint32_t>(pick(1U << 20U));
  }
  entry.attributes.permissions = static_cast<uint32_t>(pick(010000));
  entry.attributes.uid = number();
  entry.attributes.gid = number();
  entry.attributes.mtime.tv_sec = static_cast<time_t>(uint64_t{1} << pick(40)) * (pick(4) == 0 ? -1 : 1);
  if (pick(2) == 0) entry.attributes.mtime.tv_nsec = static_cast<long>(pick(1'000'000'000));
  for (uint64_t i = pick(4); i > 0; --i) {
    entry.attributes.xattrs.push_back({fmt::format("user.{}", 9 - i), bytes(pick(300), true)});
  }
  if (entry.kind == Kind::kRegular) {
    member.data = bytes(pick(2000), true);
    entry.size = member.data.size();
    if (pick(3) == 0) {
      entry.sparse = true;
      member.data.clear();
      entry.size = 0;
      for (uint64_t i = pick(5); i > 0; --i) {
        entry.size += 1 + pick(1U << 20U);
        entry.extents.push_back({entry.size, 512 * (1 + pick(3))});
        entry.size += entry.extents.back().size;
        member.data += bytes(entry.extents.back().size, true);
      }
      entry.size += pick(2) * 1000;
    }
  }
  return member;
}

TEST(TarWriter, WhateverIsWrittenComesBack) {
  std::mt19937_64 random(20);
  for (int round = 0; round < 100; ++round) {
    std::vector<Member> members(20);
    for (Member& member : members) member = RandomMember(random);
    ExpectReadBack(members);
  }
}

TEST(TarWriter, SizeAboveEightGibibytesBecomesARecord) {
  TarEntry entry = Make(Kind::kRegular, "big");
  entry.size = uint64_t{1} << 33U;
  std::string header;
  ASSERT_TRUE(tar::AppendHeader(entry, header).ok());
  EXPECT_THAT(header, HasSubstr("19 size=8589934592\n"));
  entry.size -= 1;
  header.clear();
  ASSERT_TRUE(tar::AppendHeader(entry, header).ok());
  EXPECT_EQ(header.size(), 512U);
  EXPECT_THAT(header, HasSubstr("77777777777"));
}

TEST(TarWriter, RecordLengthsCountTheirOwnDigits) {
  // Around every power of ten of the whole record's length.
  for (const size_t length :
       {83U, 84U, 85U, 86U, 87U, 981U, 982U, 983U, 984U, 985U, 9979U, 9980U, 9981U, 9982U}) {
    TarEntry entry = Make(Kind::kRegular, "x");
    entry.attributes.xattrs = {{"u", std::string(length, 'v')}};
    const std::vector<Member> read = ReadBack(WriteAll({{entry, ""}}));
    ASSERT_EQ(read.size(), 1U) << length;
    EXPECT_EQ(read[0].entry.attributes.xattrs, entry.attributes.xattrs) << length;
  }
}

TEST(TarWriter, WhatATarCannotHoldIsRefusedAndLeavesNothing) {
  const auto refused = [](const std::function<void(TarEntry&)>& change) {
    TarEntry entry = Make(Kind::kRegular, "x");
    change(entry);
    std::string out = "before";
    const auto result = tar::AppendHeader(entry, out);
    EXPECT_EQ(out, "before");
    return !result.ok() && result.error().code() == ErrorCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](TarEntry& e) { e.path = ""; }));
  EXPECT_TRUE(refused([](TarEntry& e) { e.path = std::string("a\0b", 3); }));
  EXPECT_TRUE(refused([](TarEntry& e) { e.link_target = std::string("a\0b", 3); }));
  EXPECT_TRUE(refused([](TarEntry& e) { e.attributes.xattrs = {{"user.a=b", ""}}; }));
  EXPECT_TRUE(refused([](TarEntry& e) { e.attributes.xattrs = {{"", ""}}; }));
  EXPECT_TRUE(refused([](TarEntry& e) { e.device_minor = 1U << 21U; }));
  EXPECT_TRUE(refused([](TarEntry& e) { e.size = 10, e.sparse = true, e.extents = {{8, 3}}; }));
  EXPECT_TRUE(refused([](TarEntry& e) { e.size = 10, e.sparse = true, e.extents = {{5, 1}, {4, 1}}; }));
  EXPECT_TRUE(refused([](TarEntry& e) { e.size = 10, e.sparse = true, e.extents = {{1, 1}, {4, 1}}; }));
  EXPECT_TRUE(refused([](TarEntry& e) { e.size = 10, e.sparse = true, e.extents = {{UINT64_MAX, 2}}; }));
}

TEST(TarWriter, DataMustBeExactlyWhatTheHeaderSays) {
  StringSink sink;
  TarWriter writer(sink);
  TarEntry entry = Make(Kind::kRegular, "x");
  entry.size = 3;
  const std::byte bytes[4] = {};
  ASSERT_TRUE(writer.Begin(entry).ok());
  EXPECT_EQ(writer.Data(bytes).error().code(), ErrorCode::kInvalidArgument);
  ASSERT_TRUE(writer.Data(std::span(bytes).first(2)).ok());
  EXPECT_EQ(writer.Begin(entry).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(writer.Finish().error().code(), ErrorCode::kInvalidArgument);
  ASSERT_TRUE(writer.Data(std::span(bytes).first(1)).ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_EQ(sink.text.size(), 512U + 512 + 1024);
}

}  // namespace
}  // namespace snap
