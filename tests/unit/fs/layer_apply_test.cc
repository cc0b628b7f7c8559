#include "fs/layer_apply.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include "tests/support/tar_builder.h"
#include "tests/support/tar_contents.h"

namespace snap {
namespace {

using test::TarBuilder;
using test::TarSpec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Writes down every call; fails at the path in `fail_at`.
class RecordingWriter final : public LayerWriter {
 public:
  std::vector<std::string> calls;
  std::string fail_at;

  Result<void> Directory(const RelPath& path, const Attributes& a) override {
    return Record("dir", path, Text(a));
  }
  Result<void> Symlink(const RelPath& path, std::string_view target, const Attributes& a) override {
    return Record("symlink", path, fmt::format("-> {} {}", target, Text(a)));
  }
  Result<void> Node(const RelPath& path, FileType type, dev_t device, const Attributes& a) override {
    const char* name = type == FileType::kFifo ? "fifo" : type == FileType::kCharDevice ? "char" : "block";
    return Record(name, path, fmt::format("{}:{} {}", major(device), minor(device), Text(a)));
  }
  Result<void> HardLink(const RelPath& path, const RelPath& target) override {
    return Record("link", path, "-> " + target.str());
  }
  Result<void> BeginFile(const RelPath& path, const Attributes& a, uint64_t size) override {
    return Record("file", path, fmt::format("{} {}", size, Text(a)));
  }
  Result<void> WriteData(uint64_t offset, std::span<const std::byte> data) override {
    const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
    calls.push_back(fmt::format("write {} {}", offset, text));
    return {};
  }
  Result<void> EndFile() override {
    calls.emplace_back("end");
    return {};
  }
  Result<void> Whiteout(const RelPath& path) override { return Record("whiteout", path, ""); }
  Result<void> OpaqueDirectory(const RelPath& path) override { return Record("opaque", path, ""); }
  Result<LayerSummary> Finish() override {
    calls.emplace_back("finish");
    return LayerSummary{};
  }

 private:
  static std::string Text(const Attributes& a) {
    std::string text = fmt::format("{:o} {}:{} {}", a.permissions, a.uid, a.gid, a.mtime.tv_sec);
    for (const Xattr& x : a.xattrs) text += fmt::format(" {}={}", x.name, x.value);
    return text;
  }
  Result<void> Record(const char* what, const RelPath& path, const std::string& rest) {
    if (!fail_at.empty() && path.str() == fail_at)
      return Error(ErrorCode::kNoSpace, "create file: No space left on device");
    calls.push_back(fmt::format("{} '{}'{}{}", what, path.str(), rest.empty() ? "" : " ", rest));
    return {};
  }
};

Result<ApplyReport> Apply(const std::string& tar, LayerWriter& writer, const ApplyOptions& options = {}) {
  test::StringChunks source(tar);
  TarReader reader(source);
  return ApplyTar(reader, writer, options);
}

TEST(LayerApply, EveryTypeReachesTheWriterInOrder) {
  RecordingWriter writer;
  const auto report =
      Apply(TarBuilder()
                .Add({.name = "./", .type = '5', .mode = 0750, .uid = 5})
                .Directory("./etc/")
                .Add({.name = "/etc/passwd", .data = "root", .mode = 0600, .uid = 1, .gid = 2, .mtime = -3})
                .File("empty", "")
                .Symlink("lib", "../../usr/lib")
                .HardLink("etc/passwd-", "./etc//passwd")
                .Add({.name = "null", .type = '3', .mode = 0666, .device_major = 1, .device_minor = 3})
                .Add({.name = "sda", .type = '4', .device_major = 4095, .device_minor = 1048575})
                .Add({.name = "zero", .type = '4'})
                .Add({.name = "pipe", .type = '6'})
                .Finish(),
            writer);
  ASSERT_TRUE(report.ok()) << report.error().message();
  EXPECT_THAT(writer.calls,
              ElementsAre("dir '' 750 5:0 0", "dir 'etc' 755 0:0 0", "file 'etc/passwd' 4 600 1:2 -3",
                          "write 0 root", "end", "file 'empty' 0 644 0:0 0", "end",
                          "symlink 'lib' -> ../../usr/lib 777 0:0 0", "link 'etc/passwd-' -> etc/passwd",
                          "char 'null' 1:3 666 0:0 0", "block 'sda' 4095:1048575 644 0:0 0",
                          "block 'zero' 0:0 644 0:0 0", "fifo 'pipe' 0:0 644 0:0 0"));
  const ApplyReport& r = report.value();
  EXPECT_EQ(r.entries, 10U);
  EXPECT_EQ(r.files, 2U);
  EXPECT_EQ(r.directories, 2U);
  EXPECT_EQ(r.symlinks, 1U);
  EXPECT_EQ(r.hard_links, 1U);
  EXPECT_EQ(r.devices, 3U);
  EXPECT_EQ(r.fifos, 1U);
  EXPECT_EQ(r.data_bytes, 4U);
  EXPECT_EQ(r.duplicates, 0U);
  EXPECT_EQ(r.stripped(), 0U);
}

TEST(LayerApply, FinishIsLeftToTheCaller) {
  RecordingWriter writer;
  ASSERT_TRUE(Apply(TarBuilder().Finish(), writer).ok());
  EXPECT_THAT(writer.calls, IsEmpty());
}

TEST(LayerApply, SparseFilesKeepTheirHoles) {
  RecordingWriter writer;
  const auto report = Apply(TarBuilder()
                                .Add({.name = "s",
                                      .data = "headtail",
                                      .pax = {{"GNU.sparse.size", "1099511627776"},
                                              {"GNU.sparse.numblocks", "2"},
                                              {"GNU.sparse.map", "0,4,1099511627772,4"}}})
                                .Finish(),
                            writer);
  ASSERT_TRUE(report.ok()) << report.error().message();
  EXPECT_THAT(writer.calls, ElementsAre("file 's' 1099511627776 644 0:0 0", "write 0 head",
                                        "write 1099511627772 tail", "end"));
  EXPECT_EQ(report.value().data_bytes, 8U);
}

TEST(LayerApply, WhiteoutsBecomeCallsWhateverTypeTheyHave) {
  RecordingWriter writer;
  const auto report = Apply(TarBuilder()
                                .File("usr/.wh.gone", "")
                                .File(".wh.with-data", "data")
                                .Directory("usr/.wh.dir/")
                                .Symlink(".wh.sym", "x")
                                .HardLink(".wh.hard", "x")
                                .File("usr/share/.wh..wh..opq", "")
                                .File(".wh..wh..opq", "")
                                .Directory(".wh..wh.plnk")
                                .File(".wh..wh.plnk/1.2", "data")
                                .File(".wh..wh.aufs", "")
                                .Finish(),
                            writer);
  ASSERT_TRUE(report.ok()) << report.error().message();
  EXPECT_THAT(writer.calls,
              ElementsAre("whiteout 'usr/gone'", "whiteout 'with-data'", "whiteout 'usr/dir'",
                          "whiteout 'sym'", "whiteout 'hard'", "opaque 'usr/share'", "opaque ''"));
  EXPECT_EQ(report.value().entries, 10U);
  EXPECT_EQ(report.value().whiteouts, 5U);
  EXPECT_EQ(report.value().opaque, 2U);
  EXPECT_EQ(report.value().ignored, 3U);
}

TEST(LayerApply, OnlyXattrsThatALayerMaySetArePassedOn) {
  const std::string acl("\2\0\0\0", 4);  // the shortest valid one
  const test::PaxRecords all = {{"SCHILY.xattr.user.a", "1"},
                                {"SCHILY.xattr.user.overlay.redirect", "/x"},
                                {"SCHILY.xattr.user.overlay.origin", ""},
                                {"SCHILY.xattr.trusted.overlay.metacopy", ""},
                                {"SCHILY.xattr.trusted.md5", "2"},
                                {"SCHILY.xattr.security.capability", "3"},
                                {"SCHILY.xattr.security.selinux", "4"},
                                {"SCHILY.xattr.security.ima", "5"},
                                {"SCHILY.xattr.security.capabilityx", "6"},
                                {"SCHILY.xattr.system.posix_acl_access", acl},
                                {"SCHILY.xattr.system.posix_acl_default", acl},
                                {"LIBARCHIVE.xattr.com.apple.quarantine", "OQ"},
                                {"SCHILY.xattr.user.", "10"},
                                {"SCHILY.xattr.noprefix", "11"}};
  struct Case {
    char type;
    std::string kept;
    uint64_t other;
  };
  for (const Case& c : {
           Case{'0', " user.a=1 security.capability=3 system.posix_acl_access=" + acl, 5},
           Case{'5', " user.a=1 system.posix_acl_access=" + acl + " system.posix_acl_default=" + acl, 5},
           Case{'6', " system.posix_acl_access=" + acl, 7},
           Case{'2', "", 8},
       }) {
    RecordingWriter writer;
    const auto report = Apply(TarBuilder()
                                  .Add({.name = "x", .type = c.type, .link = "t", .pax = all})
                                  .Add({.name = "clean", .type = '5', .pax = {{"SCHILY.xattr.user.b", "1"}}})
                                  .Finish(),
                              writer);
    ASSERT_TRUE(report.ok()) << report.error().message();
    ASSERT_FALSE(writer.calls.empty());
    EXPECT_TRUE(writer.calls[0].ends_with(" 644 0:0 0" + c.kept)) << writer.calls[0];
    EXPECT_TRUE(writer.calls.back().ends_with("0 user.b=1")) << "what was stripped before must not stick";
    EXPECT_EQ(report.value().stripped_overlay, 3U) << c.type;
    EXPECT_EQ(report.value().stripped_security, 3U) << c.type;
    EXPECT_EQ(report.value().stripped_other, c.other) << c.type;
    EXPECT_EQ(report.value().stripped(), 6U + c.other);
  }
}

TEST(LayerApply, DuplicatesArePassedOnAndCounted) {
  RecordingWriter writer;
  const auto report =
      Apply(TarBuilder().File("a", "1").File("./a", "2").File("b", "").Directory("a/").Finish(), writer);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report.value().duplicates, 2U);
  EXPECT_THAT(writer.calls,
              ElementsAre("file 'a' 1 644 0:0 0", "write 0 1", "end", "file 'a' 1 644 0:0 0", "write 0 2",
                          "end", "file 'b' 0 644 0:0 0", "end", "dir 'a' 755 0:0 0"));
}

TEST(LayerApply, HostileEntriesAreErrorsThatNameThem) {
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += "d/";
  std::string very_long;
  while (very_long.size() < 4096) very_long += std::string(200, 'n') + "/";
  struct Case {
    std::string tar;
    ErrorCode code;
    std::string message;
  };
  const auto device = [](int64_t dev_major, int64_t dev_minor) {
    return TarBuilder()
        .Add({.name = "dev/x", .type = '3', .device_major = dev_major, .device_minor = dev_minor})
        .Finish();
  };
  constexpr auto kInvalid = ErrorCode::kInvalidArgument;
  constexpr auto kLimit = ErrorCode::kLimitExceeded;
  for (const Case& c : {
           Case{TarBuilder().File("../etc/passwd", "").Finish(), kInvalid,
                "apply entry '../etc/passwd': path '../etc/passwd' contains '..'"},
           Case{TarBuilder().File("a/../../b", "").Finish(), kInvalid, "apply entry 'a/../../b': "},
           Case{TarBuilder().Directory("..").Finish(), kInvalid, "apply entry '..': "},
           Case{TarBuilder().HardLink("a", "../etc/passwd").Finish(), kInvalid,
                "apply entry 'a': path '../etc/passwd' contains '..'"},
           Case{TarBuilder().HardLink("a", "b/../../c").Finish(), kInvalid, "contains '..'"},
           Case{TarBuilder().HardLink("a", "./a").Finish(), kInvalid, "apply entry 'a': hard link to itself"},
           Case{TarBuilder().HardLink("a", "/").Finish(), kInvalid, "apply entry 'a': hard link to the root"},
           Case{TarBuilder().HardLink("a", ".wh.b").Finish(), kInvalid,
                "apply entry 'a': hard link to a whiteout"},
           Case{TarBuilder().HardLink("a", "b/.wh..wh..opq").Finish(), kInvalid, "hard link to a whiteout"},
           Case{TarBuilder().HardLink("a", ".wh..wh.plnk/1.2").Finish(), ErrorCode::kUnsupported,
                "which AUFS kept for itself"},
           Case{TarBuilder().HardLink("a", ".wh.b/c").Finish(), kInvalid, "has a whiteout's name"},
           Case{TarBuilder().Symlink(".", "/etc").Finish(), kInvalid,
                "apply entry '.': the root is not a directory"},
           Case{TarBuilder().File("/", "").Symlink("./", "/etc").Finish(), kInvalid,
                "apply entry './': the root is not a directory"},
           Case{TarBuilder().HardLink("/", "a").Finish(), kInvalid,
                "apply entry '/': the root is not a directory"},
           Case{TarBuilder().Add({.name = "./.", .type = '6'}).Finish(), kInvalid,
                "the root is not a directory"},
           Case{TarBuilder().File(".wh.", "").Finish(), kInvalid,
                "apply entry '.wh.': whiteout '.wh.' removes nothing"},
           Case{TarBuilder().File("a/.wh..", "").Finish(), kInvalid, "removes nothing"},
           Case{TarBuilder().File("a/.wh...", "").Finish(), kInvalid, "removes nothing"},
           Case{TarBuilder().File(".wh.../x", "").Finish(), kInvalid, "has a whiteout's name"},
           Case{TarBuilder().File("../.wh.x", "").Finish(), kInvalid, "contains '..'"},
           Case{device(0, 0), kInvalid, "apply entry 'dev/x': character device 0:0 would be a whiteout"},
           Case{device(4096, 0), kInvalid, "device number 4096:0 is out of range"},
           Case{device(0, 1048576), kInvalid, "device number 0:1048576 is out of range"},
           Case{device(0xffffffff, 0xffffffff), kInvalid, "is out of range"},
           Case{TarBuilder().Add({.name = "c", .type = '3', .magic = TarSpec::Magic::kV7}).Finish(), kInvalid,
                "device 0:0"},
           Case{TarBuilder().LongName(very_long).File("x", "").Finish(), kLimit, "at most 4095 are possible"},
           Case{TarBuilder()
                    .File("x", "")
                    .Add({.name = "y", .pax = {{"path", std::string(256, 'n')}}})
                    .Finish(),
                kLimit, "has a component of 256 bytes"},
           Case{TarBuilder().LongName(deep.substr(0, 8000)).File("x", "").Finish(), kLimit,
                "is deeper than 1024 directories"},
           Case{TarBuilder().Add({.name = "y", .pax = {{"path", deep}}}).Finish(), kLimit,
                "name has more than 8192 bytes"},
           Case{TarBuilder().LongName(std::string(4096, 't'), 'K').Symlink("s", "").Finish(), kLimit,
                "apply entry 's': symlink target has 4096 bytes"},
           Case{TarBuilder()
                    .File("a\x1b[2J", "")
                    .Add({.name = "\x1b]0;x", .type = '1', .link = ".."})
                    .Finish(),
                kInvalid, "apply entry '\\x1b]0;x': "},
           Case{TarBuilder().Add({.name = "f", .data = "abc", .size = 5000}).Finish(), ErrorCode::kCorrupt,
                "apply entry 'f': read tar entry at byte 0: archive ends within the data"},
           Case{TarBuilder().File("a", "").bytes(), ErrorCode::kCorrupt,
                "archive ends without its end marker"},
       }) {
    RecordingWriter writer;
    const auto report = Apply(c.tar, writer);
    ASSERT_FALSE(report.ok()) << c.message;
    EXPECT_EQ(report.error().code(), c.code) << report.error().message();
    EXPECT_THAT(report.error().message(), HasSubstr(c.message));
    EXPECT_LT(report.error().message().size(), 1000U);
    for (const std::string& call : writer.calls) EXPECT_NE(call, "finish");
  }
}

TEST(LayerApply, NothingOfARefusedEntryReachesTheWriter) {
  for (const std::string& tar :
       {TarBuilder().File("../x", "data").Finish(), TarBuilder().HardLink("a", "..").Finish(),
        TarBuilder().Symlink(".", "x").Finish(), TarBuilder().File(".wh..", "").Finish(),
        TarBuilder().Add({.name = "c", .type = '3'}).Finish()}) {
    RecordingWriter writer;
    EXPECT_FALSE(Apply(tar, writer).ok());
    EXPECT_THAT(writer.calls, IsEmpty());
  }
}

TEST(LayerApply, ErrorsOfTheWriterNameTheEntryAndKeepTheirCode) {
  RecordingWriter writer;
  writer.fail_at = "b";
  const auto report = Apply(TarBuilder().File("a", "").File("./b", "").File("c", "").Finish(), writer);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(report.error().message(), "apply entry './b': create file: No space left on device");
  EXPECT_THAT(writer.calls, ElementsAre("file 'a' 0 644 0:0 0", "end")) << "nothing after the error";
}

TEST(LayerApply, EntriesAreLimited) {
  const std::string tar = TarBuilder().File("a", "").File(".wh.b", "").File(".wh..wh.c", "").Finish();
  RecordingWriter writer;
  EXPECT_TRUE(Apply(tar, writer, {.max_entries = 3}).ok());
  const auto report = Apply(tar, writer, {.max_entries = 2});
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code(), ErrorCode::kLimitExceeded);
  EXPECT_EQ(report.error().message(), "apply entry '.wh..wh.c': layer has more than 2 entries");
}

TEST(LayerApply, LegitimateOddLayersPass) {
  RecordingWriter writer;
  const auto report =
      Apply(TarBuilder()
                .Pax({{"comment", "0123"}}, 'g')
                .File("usr/share/ca-certificates/"
                      "NetLock_Arany_(Class_Gold)_F\xc5\x91tan\xc3\xbas\xc3\xadtv\xc3\xa1ny.crt",
                      "")
                .Add({.name = "usr/bin/su", .data = "ELF", .mode = 04755})
                .File("d/late", "")
                .Directory("d")
                .Symlink("abs", "/etc/passwd")
                .HardLink("other/place", "usr/bin/su")
                .File("a/.wh.b", "")
                .File("\xff\xfe", "")
                .Add({.name = "big", .pax = {{"uid", "2097152"}, {"SCHILY.xattr.user.overlay.origin", ""}}})
                .Finish(),
            writer);
  ASSERT_TRUE(report.ok()) << report.error().message();
  EXPECT_EQ(report.value().entries, 9U);
}

}  // namespace
}  // namespace snap
