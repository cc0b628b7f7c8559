#include "fs/whiteout.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <string>

namespace snap::whiteout {
namespace {

RelPath Path(std::string_view text) { return *RelPath::Parse(text); }

TEST(Whiteout, TarNamesMeanWhatTheImageSpecSays) {
  struct Case {
    const char* name;
    Kind kind;
    const char* path;
  };
  for (const Case& c : {
           Case{"", Kind::kNone, ""},
           Case{"usr/bin/env", Kind::kNone, "usr/bin/env"},
           Case{"usr/.wh", Kind::kNone, "usr/.wh"},
           Case{"usr/.whx", Kind::kNone, "usr/.whx"},
           Case{"usr/x.wh.y", Kind::kNone, "usr/x.wh.y"},
           Case{".wh.a", Kind::kWhiteout, "a"},
           Case{"usr/.wh.a", Kind::kWhiteout, "usr/a"},
           Case{"usr/.wh...a", Kind::kWhiteout, "usr/..a"},
           Case{"usr/.wh....", Kind::kWhiteout, "usr/..."},
           Case{"usr/.wh.wh.a", Kind::kWhiteout, "usr/wh.a"},
           Case{".wh..wh..opq", Kind::kOpaque, ""},
           Case{"usr/share/.wh..wh..opq", Kind::kOpaque, "usr/share"},
           Case{".wh..wh.plnk", Kind::kIgnored, ".wh..wh.plnk"},
           Case{".wh..wh.aufs", Kind::kIgnored, ".wh..wh.aufs"},
           Case{".wh..wh.plnk/123.456", Kind::kIgnored, ".wh..wh.plnk/123.456"},
           Case{".wh..wh.orph/.wh.x", Kind::kIgnored, ".wh..wh.orph/.wh.x"},
           Case{"usr/.wh..wh..opqx", Kind::kIgnored, "usr/.wh..wh..opqx"},
       }) {
    const auto parsed = FromTarName(Path(c.name));
    ASSERT_TRUE(parsed.ok()) << c.name << ": " << parsed.error().message();
    EXPECT_EQ(parsed.value().kind, c.kind) << c.name;
    EXPECT_EQ(parsed.value().path.str(), c.path) << c.name;
  }
}

TEST(Whiteout, WhiteoutsOfNothingAndOfDotsAreRefused) {
  for (const char* name : {".wh.", "usr/.wh.", ".wh..", "usr/.wh..", ".wh...", "usr/.wh..."}) {
    const auto parsed = FromTarName(Path(name));
    ASSERT_FALSE(parsed.ok()) << name;
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalidArgument) << name;
  }
}

TEST(Whiteout, AWhiteoutNameAsDirectoryIsRefused) {
  for (const char* name :
       {".wh.a/b", "usr/.wh.a/b/c", ".wh./b", ".wh.../b", ".wh..wh..opq/x", "a/.wh.b/.wh.c"}) {
    const auto parsed = FromTarName(Path(name));
    ASSERT_FALSE(parsed.ok()) << name;
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalidArgument) << name;
    EXPECT_NE(parsed.error().message().find("has a whiteout's name"), std::string::npos) << name;
  }
}

TEST(Whiteout, WrittenNamesReadBack) {
  for (const char* name : {"a", "usr/bin/env", "usr/...", "\xff/\x01\n"}) {
    const auto written = WhiteoutTarName(Path(name));
    ASSERT_TRUE(written.ok()) << name;
    const auto parsed = FromTarName(written.value());
    ASSERT_TRUE(parsed.ok()) << name;
    EXPECT_EQ(parsed.value().kind, Kind::kWhiteout);
    EXPECT_EQ(parsed.value().path, Path(name));
  }
  for (const char* name : {"", "usr", "usr/share/doc"}) {
    const auto parsed = FromTarName(OpaqueTarName(Path(name)));
    ASSERT_TRUE(parsed.ok()) << name;
    EXPECT_EQ(parsed.value().kind, Kind::kOpaque);
    EXPECT_EQ(parsed.value().path, Path(name));
  }
  EXPECT_EQ(WhiteoutTarName(Path("usr/bin")).value().str(), "usr/.wh.bin");
  EXPECT_EQ(OpaqueTarName(Path("usr")).str(), "usr/.wh..wh..opq");
}

TEST(Whiteout, NamesThatCannotBeWrittenAreErrors) {
  const std::string longest(RelPath::kMaxName - kPrefix.size(), 'n');
  EXPECT_TRUE(WhiteoutTarName(Path("usr/" + longest)).ok());
  EXPECT_EQ(WhiteoutTarName(Path("usr/" + longest + "n")).error().code(), ErrorCode::kLimitExceeded);
  EXPECT_EQ(WhiteoutTarName(RelPath()).error().code(), ErrorCode::kInvalidArgument);
  // ".wh..wh.x" would read back as AUFS' bookkeeping.
  EXPECT_EQ(WhiteoutTarName(Path("usr/.wh.x")).error().code(), ErrorCode::kInvalidArgument);
}

TEST(Whiteout, OnDiskOnlyCharacterDevice00Counts) {
  EXPECT_TRUE(IsOverlayWhiteout(S_IFCHR, makedev(0, 0)));
  EXPECT_TRUE(IsOverlayWhiteout(S_IFCHR | 0644, makedev(0, 0)));
  EXPECT_FALSE(IsOverlayWhiteout(S_IFCHR, makedev(1, 3)));
  EXPECT_FALSE(IsOverlayWhiteout(S_IFBLK, makedev(0, 0)));
  EXPECT_FALSE(IsOverlayWhiteout(S_IFREG, 0));
}

TEST(Whiteout, OverlayXattrsAreRecognisedInBothNamespaces) {
  for (const char* name : {"trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.metacopy",
                           "user.overlay.", "trusted.overlay.overlay.opaque"}) {
    EXPECT_TRUE(IsOverlayXattr(name)) << name;
  }
  for (const char* name :
       {"user.overlay", "trusted.overlayx.a", "user.x.overlay.y", "security.capability", ""}) {
    EXPECT_FALSE(IsOverlayXattr(name)) << name;
  }
  EXPECT_TRUE(IsOverlayXattr(kOpaqueXattr));
}

TEST(Whiteout, MarksAreReadInTheSpellingOfTheMountOnly) {
  struct Case {
    const char* name;
    const char* value;
    Mark mark;
  };
  for (const Case& c : {Case{"overlay.opaque", "y", Mark::kOpaque}, Case{"overlay.opaque", "x", Mark::kXattrWhiteouts},
                        Case{"overlay.opaque", "n", Mark::kNone}, Case{"overlay.whiteout", "", Mark::kWhiteout},
                        Case{"overlay.metacopy", "", Mark::kMetacopy}, Case{"overlay.redirect", "/a", Mark::kRedirect},
                        Case{"overlay.overlay.opaque", "y", Mark::kNone}, Case{"overlay.origin", "", Mark::kNone}}) {
    for (const bool user_xattr : {false, true}) {
      EXPECT_EQ(ReadMark(std::string(user_xattr ? "user." : "trusted.") + c.name, c.value, user_xattr), c.mark) << c.name;
      EXPECT_EQ(ReadMark(std::string(user_xattr ? "trusted." : "user.") + c.name, c.value, user_xattr), Mark::kNone)
          << c.name;
    }
  }
}

}  // namespace
}  // namespace snap::whiteout
