#include "fs/tree_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <functional>

#include "fs/base/sys_file.h"
#include "fs/whiteout.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tree_listing.h"

namespace snap {
namespace {

using test::ListTree;
using test::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;

RelPath Path(std::string_view text) { return *RelPath::Parse(text); }

Attributes Attr(uint32_t permissions, int64_t mtime = 1'000'000'000) {
  Attributes attributes;
  attributes.permissions = permissions;
  attributes.mtime = {mtime, 5};
  return attributes;
}

const struct stat kNoStat {};

std::string WhiteoutText() { return "mode 020000 owner 0:0 mtime 0.000000000 links 1 size 0 device 0:0"; }

// A writer into tree/ beside a canary that nothing may touch.
class TreeWriterTest : public testing::Test {
 protected:
  TreeWriterTest() : tree_(temp_.MakeDir("tree")), canary_(temp_.MakeDir("canary")) {
    const UniqueFd file = *sys::OpenAt(canary_, "file", O_CREAT | O_WRONLY, 0644);
    EXPECT_TRUE(sys::WriteAll(file, "unchanged").ok());
    EXPECT_TRUE(sys::MkdirAt(canary_, "dir", 0755).ok());
    EXPECT_TRUE(sys::FSetTimes(file, {}).ok());
    EXPECT_TRUE(sys::SetTimesAt(canary_, "dir", {}).ok());
    EXPECT_TRUE(sys::SetTimesAt(canary_, ".", {}).ok());
    canary_before_ = ListTree(canary_);
    Restart();
  }
  ~TreeWriterTest() override { EXPECT_EQ(ListTree(canary_), canary_before_); }

  void Restart(const TreeWriterOptions& options = {}, IoEngineKind kind = IoEngineKind::kPlain) {
    writer_.emplace(tree_, *MakeIoEngine(kind), options);
  }
  std::string CanaryPath(const char* below = "") const { return temp_.path() + "/canary" + below; }

  static void Expect(const Result<void>& result) { EXPECT_TRUE(result.ok()) << result.error().message(); }
  static void ExpectRefused(const Result<void>& result, std::string_view text) {
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::kInvalidArgument) << result.error().message();
    EXPECT_THAT(result.error().message(), HasSubstr(std::string(text)));
  }

  Result<void> TryFile(std::string_view path, std::string_view text = "",
                       const Attributes& attributes = Attr(0644)) {
    SNAP_TRY_VOID(writer_->BeginFile(Path(path), attributes, text.size()));
    if (!text.empty()) SNAP_TRY_VOID(writer_->WriteData(0, std::as_bytes(std::span(text))));
    return writer_->EndFile();
  }
  void File(std::string_view path, std::string_view text = "") { Expect(TryFile(path, text)); }
  void Dir(std::string_view path, const Attributes& attributes = Attr(0755)) {
    Expect(writer_->Directory(Path(path), attributes));
  }
  void Link(std::string_view path, std::string_view target) {
    Expect(writer_->Symlink(Path(path), target, Attr(0777)));
  }
  void Hard(std::string_view path, std::string_view target) {
    Expect(writer_->HardLink(Path(path), Path(target)));
  }
  void Gone(std::string_view path) { Expect(writer_->Whiteout(Path(path))); }
  void Opaque(std::string_view path) { Expect(writer_->OpaqueDirectory(Path(path))); }
  LayerSummary Finish() {
    auto summary = writer_->Finish();
    EXPECT_TRUE(summary.ok()) << summary.error().message();
    return summary.ok() ? std::move(*summary) : LayerSummary{};
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& [path, text] : ListTree(tree_)) {
      if (path != ".") names.push_back(path);
    }
    return names;
  }
  struct stat Stat(const char* path) const {
    const auto stat = sys::StatAt(tree_, path);
    EXPECT_TRUE(stat.ok()) << path;
    return stat.ok() ? *stat : kNoStat;
  }
  std::string Content(const char* path) const {
    const auto text = sys::ReadFileAt(tree_, path, 1U << 20U);
    return text.ok() ? *text : "unreadable: " + text.error().Message();
  }
  bool IsOpaque(const char* path, const char* xattr = whiteout::kOpaqueXattr) const {
    const auto value = sys::GetXattrAt(tree_, path, xattr);
    return value.ok() && *value == whiteout::kOpaqueValue;
  }
  bool IsWhiteout(const char* path) const { return ListTree(tree_)[path] == WhiteoutText(); }

  TempDir temp_;
  UniqueFd tree_, canary_;
  std::map<std::string, std::string> canary_before_;
  std::optional<TreeWriter> writer_;
};

// --- plain content ---

TEST_F(TreeWriterTest, EveryTypeHasItsAttributes) {
  Attributes owned = Attr(04751, 1'234'567'890);
  owned.uid = 1000;
  owned.gid = 2000;
  Dir("", Attr(0751, 77));
  Expect(writer_->Directory(Path("dir"), owned));
  Expect(TryFile("dir/file", "hello", owned));
  Expect(writer_->Symlink(Path("dir/symlink"), "../anywhere", owned));
  Expect(writer_->Node(Path("dir/char"), FileType::kCharDevice, makedev(1, 3), owned));
  Expect(writer_->Node(Path("dir/block"), FileType::kBlockDevice, makedev(7, 300), owned));
  Expect(writer_->Node(Path("dir/fifo"), FileType::kFifo, makedev(9, 9), owned));
  Hard("dir/hard", "dir/file");
  const LayerSummary summary = Finish();
  EXPECT_TRUE(summary.implied_directories.empty());
  EXPECT_TRUE(summary.lower_links.empty());

  const std::string common = " owner 1000:2000 mtime 1234567890.000000005";
  auto tree = ListTree(tree_);
  EXPECT_EQ(tree["."], "mode 040751 owner 0:0 mtime 77.000000005");
  EXPECT_EQ(tree["dir"], "mode 044751" + common);
  EXPECT_EQ(tree["dir/file"], "mode 104751" + common + " links 2 size 5 data [0+5] sha256 " +
                                  Digest::Of(std::string_view("hello")).Hex());
  EXPECT_EQ(tree["dir/hard"], tree["dir/file"]);
  EXPECT_EQ(tree["dir/symlink"], "mode 120777" + common + " links 1 size 11 -> '../anywhere'");
  EXPECT_EQ(tree["dir/char"], "mode 024751" + common + " links 1 size 0 device 1:3");
  EXPECT_EQ(tree["dir/block"], "mode 064751" + common + " links 1 size 0 device 7:300");
  EXPECT_EQ(tree["dir/fifo"], "mode 014751" + common + " links 1 size 0");
  EXPECT_EQ(tree.size(), 8U);
}

TEST_F(TreeWriterTest, EnginesMakeTheSameTree) {
  std::map<std::string, std::string> trees[2];
  const IoEngineKind kinds[] = {IoEngineKind::kPlain, IoEngineKind::kUring};
  for (int i = 0; i < 2; ++i) {
    auto engine = MakeIoEngine(kinds[i]);
    if (!engine.ok()) GTEST_SKIP() << engine.error().message();
    const UniqueFd dir = temp_.MakeDir(i == 0 ? "plain" : "uring");
    writer_.emplace(dir, std::move(*engine));
    Dir("", Attr(0755));
    for (int d = 0; d < 10; ++d) {
      for (int f = 0; f < 20; ++f) {
        File(fmt::format("d{}/s/f{}", d, f), std::string(static_cast<size_t>(f * f * f * 100), 'x'));
      }
      Dir(fmt::format("d{}", d), Attr(0555));
      Gone(fmt::format("d{}/gone", d));
      File(fmt::format("d{}/s/f1", d), std::string(600'000, 'y'));  // replaces
      Hard(fmt::format("d{}/link", d), fmt::format("d{}/s/f19", d));
    }
    Finish();
    trees[i] = ListTree(dir);
  }
  EXPECT_EQ(trees[0].size(), 10 * 24U + 1);
  EXPECT_EQ(trees[0], trees[1]);
}

TEST_F(TreeWriterTest, ReadOnlyDirectoriesTakeContentAndKeepTheirTimes) {
  Dir("a", Attr(0555, 100));
  Dir("a/b", Attr(0000, 200));
  File("a/b/file", "x");
  Dir("a/b/c", Attr(0111, 300));
  Finish();
  EXPECT_EQ(Stat("a").st_mode, S_IFDIR | 0555U);
  EXPECT_EQ(Stat("a").st_mtim.tv_sec, 100);
  EXPECT_EQ(Stat("a/b").st_mode, S_IFDIR | 0000U);
  EXPECT_EQ(Stat("a/b").st_mtim.tv_sec, 200);
  EXPECT_EQ(Stat("a/b/c").st_mode, S_IFDIR | 0111U);
  EXPECT_EQ(Stat("a/b/c").st_mtim.tv_sec, 300);
}

TEST_F(TreeWriterTest, NothingIsInheritedFromDirectories) {
  ASSERT_TRUE(sys::FChown(tree_, 0, 77).ok());
  ASSERT_TRUE(sys::FChmod(tree_, 02775).ok());
  // An ACL as in Linux' posix_acl_xattr.h: version 2; user:: rwx, group:: rwx, other:: rwx.
  const std::string acl(
      "\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x07\0\xff\xff\xff\xff\x20\0\x07\0\xff\xff\xff\xff", 28);
  const bool has_acls = sys::FSetXattr(tree_, "system.posix_acl_default", std::as_bytes(std::span(acl))).ok();
  Restart();
  Attributes mail = Attr(02775);
  mail.gid = 8;
  if (has_acls) mail.xattrs = {{"system.posix_acl_default", acl}};
  Dir("mail", mail);
  File("mail/box");
  Dir("mail/dir");
  Dir("mail/dir", mail);
  File("mail/dir/box");
  Finish();
  EXPECT_EQ(Stat(".").st_gid, 0U);
  EXPECT_EQ(Stat(".").st_mode, S_IFDIR | 0755U);
  EXPECT_EQ(Stat("mail").st_gid, 8U);
  EXPECT_EQ(Stat("mail").st_mode, S_IFDIR | 02775U);
  EXPECT_EQ(Stat("mail/box").st_gid, 0U);
  EXPECT_EQ(Stat("mail/box").st_mode, S_IFREG | 0644U);
  EXPECT_EQ(Stat("mail/dir/box").st_gid, 0U);
  for (const char* name : {"mail/box", "mail/dir/box", "."})
    EXPECT_TRUE(sys::ListXattrAt(tree_, name)->empty()) << name;
  EXPECT_EQ(sys::ListXattrAt(tree_, "mail")->size(), has_acls ? 1U : 0U);
}

TEST_F(TreeWriterTest, UmaskDoesNotShow) {
  const mode_t before = ::umask(0077);
  Restart();
  Dir("dir", Attr(0775));
  File("implied/file");
  Expect(writer_->Node(Path("fifo"), FileType::kFifo, 0, Attr(0666)));
  Finish();
  (void)::umask(before);
  EXPECT_EQ(Stat("dir").st_mode & 07777, 0775U);
  EXPECT_EQ(Stat("implied").st_mode & 07777, 0755U);
  EXPECT_EQ(Stat("implied/file").st_mode & 07777, 0644U);
  EXPECT_EQ(Stat("fifo").st_mode & 07777, 0666U);
}

TEST_F(TreeWriterTest, XattrsOfEveryTypeExceptUserOnesThatLinuxHasNot) {
  Attributes attributes = Attr(0644);
  attributes.xattrs = {{"trusted.t", std::string("a\0b", 3)}, {"user.u", "v"}};
  Dir("dir", attributes);
  Expect(TryFile("file", "x", attributes));
  Expect(writer_->Symlink(Path("symlink"), "nowhere", attributes));
  Expect(writer_->Node(Path("fifo"), FileType::kFifo, 0, attributes));
  Finish();
  for (const char* name : {"dir", "file", "symlink", "fifo"}) {
    EXPECT_EQ(*sys::GetXattrAt(tree_, name, "trusted.t"), std::string("a\0b", 3)) << name;
  }
  EXPECT_EQ(*sys::GetXattrAt(tree_, "dir", "user.u"), "v");
  EXPECT_EQ(*sys::GetXattrAt(tree_, "file", "user.u"), "v");
  EXPECT_EQ(sys::ListXattrAt(tree_, "symlink")->size(), 1U);
  EXPECT_EQ(sys::ListXattrAt(tree_, "fifo")->size(), 1U);
}

TEST_F(TreeWriterTest, XattrThatCannotBeStoredIsAnError) {
  Attributes attributes = Attr(0644);
  attributes.xattrs = {{"trusted.big", std::string(100'000, 'x')}};
  EXPECT_FALSE(writer_->Symlink(Path("symlink"), "nowhere", attributes).ok());
}

TEST_F(TreeWriterTest, NamesAreBytes) {
  const std::string longest(255, '\xff');
  File(longest, "a");
  File("new\nline/\x1b[31m", "b");
  Link("trailing dots...", " ");
  Finish();
  EXPECT_EQ(Content(longest.c_str()), "a");
  EXPECT_EQ(Content("new\nline/\x1b[31m"), "b");
  EXPECT_EQ(*sys::ReadLinkAt(tree_, "trailing dots..."), " ");
}

TEST_F(TreeWriterTest, DeepAndWideTreesNeedFewDescriptors) {
  TreeWriterOptions options;
  options.max_open_directories = 4;
  Restart(options);
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "d/";
  const auto open_files = [] {
    return sys::ListDir(*sys::OpenAt(FdRef::Cwd(), "/proc/self/fd", O_RDONLY))->size();
  };
  const size_t before = open_files();
  for (int i = 0; i < 20; ++i) {
    File(deep + fmt::format("f{}", i), "deep");
    File(fmt::format("w{}/x/f", i), "wide");
    Hard(fmt::format("w{}/x/link", i), deep + "f0");
  }
  EXPECT_LE(open_files(), before + 4);
  EXPECT_EQ(Finish().implied_directories.size(), 1040U);
  EXPECT_EQ(Stat((deep + "f0").c_str()).st_nlink, 21U);
  EXPECT_EQ(Stat((deep + ".").c_str()).st_mtim.tv_sec, 0);
}

// --- directories nobody named ---

TEST_F(TreeWriterTest, MissingParentsAreImpliedUnlessNamedLater) {
  File("a/b/c/file");
  Gone("x/y/gone");
  Opaque("o/p");
  Dir("a/b", Attr(0700, 9));
  const LayerSummary summary = Finish();
  EXPECT_THAT(summary.implied_directories,
              ElementsAre(Path("a"), Path("a/b/c"), Path("o"), Path("o/p"), Path("x"), Path("x/y")));
  auto tree = ListTree(tree_);
  EXPECT_EQ(tree["."], "mode 040755 owner 0:0 mtime 0.000000000");
  EXPECT_EQ(tree["a"], "mode 040755 owner 0:0 mtime 0.000000000");
  EXPECT_EQ(tree["a/b"], "mode 040700 owner 0:0 mtime 9.000000005");
  EXPECT_EQ(tree["a/b/c"], "mode 040755 owner 0:0 mtime 0.000000000");
  EXPECT_TRUE(IsWhiteout("x/y/gone"));
  EXPECT_TRUE(IsOpaque("o/p"));
}

TEST_F(TreeWriterTest, ImpliedDirectoriesBelowHiddenOnesAreNotReported) {
  Opaque("opaque");
  File("opaque/sub/file");
  Gone("replaced");
  File("replaced/sub/file");
  EXPECT_THAT(Finish().implied_directories, ElementsAre(Path("opaque")));
  EXPECT_TRUE(IsOpaque("opaque"));
  EXPECT_TRUE(IsOpaque("replaced"));
  EXPECT_FALSE(IsOpaque("opaque/sub"));
}

// --- the same name twice ---

TEST_F(TreeWriterTest, LastEntryOfANameWins) {
  const std::pair<const char*, std::function<void()>> kinds[] = {
      {"file", [&] { File("x", "content"); }},
      {"directory", [&] { Dir("x", Attr(0711)); }},
      {"full directory",
       [&] {
         Dir("x");
         File("x/below/file");
       }},
      {"symlink", [&] { Link("x", CanaryPath()); }},
      {"fifo", [&] { Expect(writer_->Node(Path("x"), FileType::kFifo, 0, Attr(0600))); }},
      {"hard link", [&] { Hard("x", "other"); }},
      {"lower link", [&] { Hard("x", "lower"); }},
  };
  for (const auto& [first, put_first] : kinds) {
    for (const auto& [second, put_second] : kinds) {
      SCOPED_TRACE(fmt::format("{} then {}", first, second));
      const bool both_directories =
          std::string_view(first).ends_with("directory") && std::string_view(second).ends_with("directory");
      // What the second alone gives.
      const UniqueFd alone = temp_.MakeDir("alone");
      writer_.emplace(alone, *MakeIoEngine(IoEngineKind::kPlain));
      File("other", "other");
      put_second();
      const LayerSummary alone_summary = Finish();
      auto expected = ListTree(alone);
      // A directory in the place of something else hides what lower layers have.
      if (std::string_view(second).ends_with("directory") && !both_directories) {
        expected["x"] += " trusted.overlay.opaque='y'";
      }
      if (both_directories && std::string_view(first) == "full directory") {
        expected["x/below"] = "mode 040755 owner 0:0 mtime 0.000000000";
        expected["x/below/file"] =
            "mode 100644 owner 0:0 mtime 1000000000.000000005 links 1 size 0 data [] sha256 " +
            Digest::Of(std::string_view()).Hex();
      }

      const UniqueFd both = temp_.MakeDir("both");
      writer_.emplace(both, *MakeIoEngine(IoEngineKind::kPlain));
      File("other", "other");
      put_first();
      put_second();
      const LayerSummary summary = Finish();
      EXPECT_EQ(ListTree(both), expected);
      EXPECT_EQ(summary.lower_links.size(), alone_summary.lower_links.size());
      EXPECT_EQ(summary.usage.entries, expected.size() - 1 + summary.lower_links.size());
      uint64_t data_bytes = 5;
      if (std::string_view(second) == "file") data_bytes += 7;
      EXPECT_EQ(summary.usage.data_bytes, data_bytes);
      ASSERT_TRUE(sys::RemoveTree(temp_.fd(), "alone").ok());
      ASSERT_TRUE(sys::RemoveTree(temp_.fd(), "both").ok());
    }
  }
}

TEST_F(TreeWriterTest, FileOverHardLinkedFileLeavesTheOtherName) {
  File("a", "first");
  Hard("b", "a");
  File("a", "second");
  Finish();
  EXPECT_EQ(Content("a"), "second");
  EXPECT_EQ(Content("b"), "first");
}

TEST_F(TreeWriterTest, DirectoryOverDirectoryReplacesItsAttributesWholly) {
  Attributes first = Attr(0700, 1);
  first.xattrs = {{"user.old", "x"}};
  first.uid = 5;
  Dir("d", first);
  File("d/kept", "x");
  Dir("d", Attr(0750, 2));
  Finish();
  EXPECT_EQ(ListTree(tree_)["d"], "mode 040750 owner 0:0 mtime 2.000000005");
  EXPECT_EQ(Content("d/kept"), "x");
}

TEST_F(TreeWriterTest, DirectoryCacheForgetsWhatWasReplaced) {
  File("d/e/one", "1");
  File("d/e/two", "2");
  File("d", "file");
  ExpectRefused(TryFile("d/e/three"), "'d' is not a directory");
}

TEST_F(TreeWriterTest, DirectoryCanComeBackAfterBeingReplaced) {
  File("d/e/one", "1");
  File("d", "file");
  Dir("d");
  File("d/e/three", "3");
  Finish();
  EXPECT_THAT(Names(), ElementsAre("d", "d/e", "d/e/three"));
  EXPECT_TRUE(IsOpaque("d"));
}

TEST_F(TreeWriterTest, DescriptorsOfReplacedDirectoriesLeaveTheCache) {
  TreeWriterOptions options;
  options.max_open_directories = 4;
  Restart(options);
  for (int i = 0; i < 50; ++i) {
    File("d/e/f/file", "1");
    File("d", "file");
    for (int j = 0; j < 5; ++j) File(fmt::format("other{}/file", j), "2");
    Dir("d");
  }
  EXPECT_EQ(Finish().usage.entries, 11U);
}

// --- whiteouts ---

struct WhiteoutOrder {
  const char* name;
  std::vector<std::string> steps;  // ".wh.x", ".opq", or what is put at x: "file", "dir", "x/y", "link"
  bool whiteout, opaque;
  uint64_t entries;
};
class WhiteoutOrders : public TreeWriterTest, public testing::WithParamInterface<WhiteoutOrder> {};

TEST_P(WhiteoutOrders, EndInTheSameTree) {
  for (const std::string& step : GetParam().steps) {
    if (step == ".wh.x") Gone("x");
    if (step == ".opq") Opaque("x");
    if (step == "file") File("x", "f");
    if (step == "dir") Dir("x");
    if (step == "x/y") File("x/y", "f");
    if (step == "link") Hard("x", "in-lower");
  }
  const LayerSummary summary = Finish();
  EXPECT_EQ(IsWhiteout("x"), GetParam().whiteout);
  EXPECT_EQ(IsOpaque("x"), GetParam().opaque);
  EXPECT_EQ(summary.usage.entries, GetParam().entries);
}

INSTANTIATE_TEST_SUITE_P(
    Orders, WhiteoutOrders,
    testing::Values(WhiteoutOrder{"Alone", {".wh.x"}, true, false, 1},
                    WhiteoutOrder{"Twice", {".wh.x", ".wh.x"}, true, false, 1},
                    WhiteoutOrder{"ThenFile", {".wh.x", "file"}, false, false, 1},
                    WhiteoutOrder{"AfterFile", {"file", ".wh.x"}, false, false, 1},
                    WhiteoutOrder{"ThenDirectory", {".wh.x", "dir"}, false, true, 1},
                    WhiteoutOrder{"AfterDirectory", {"dir", ".wh.x"}, false, true, 1},
                    WhiteoutOrder{"ThenContent", {".wh.x", "x/y"}, false, true, 2},
                    WhiteoutOrder{"AfterContent", {"x/y", ".wh.x"}, false, true, 2},
                    WhiteoutOrder{"FileThenDirectory", {".wh.x", "file", "dir"}, false, true, 1},
                    WhiteoutOrder{"FileWhiteoutDirectory", {"file", ".wh.x", "dir"}, false, true, 1},
                    WhiteoutOrder{"DirectoryThenFile", {"dir", ".wh.x", "file"}, false, false, 1},
                    WhiteoutOrder{"ThenLowerLink", {".wh.x", "link"}, false, false, 1},
                    WhiteoutOrder{"AfterLowerLink", {"link", ".wh.x"}, false, false, 1},
                    WhiteoutOrder{"OpaqueAlone", {".opq"}, false, true, 1},
                    WhiteoutOrder{"OpaqueThenContent", {".opq", "x/y", "dir"}, false, true, 2},
                    WhiteoutOrder{"ContentThenOpaque", {"dir", "x/y", ".opq"}, false, true, 2},
                    WhiteoutOrder{"WhiteoutThenOpaque", {".wh.x", ".opq"}, false, true, 1},
                    WhiteoutOrder{"OpaqueThenWhiteout", {".opq", ".wh.x"}, false, true, 1},
                    WhiteoutOrder{"OpaqueIsForgottenWithItsDirectory", {".opq", "file"}, false, false, 1}),
    [](const auto& order) { return order.param.name; });

TEST_F(TreeWriterTest, RootCanBeOpaque) {
  Opaque("");
  Finish();
  EXPECT_TRUE(IsOpaque("."));
}

TEST_F(TreeWriterTest, DirectoriesThatHoldWhiteoutsAreMarkedSoThatNoMountListsThem) {
  Gone("d/x");
  Gone("e/x");
  File("e/x", "after all");
  Finish();
  EXPECT_TRUE(sys::GetXattrAt(tree_, "d", whiteout::kOriginXattr).ok());
  EXPECT_FALSE(sys::GetXattrAt(tree_, "e", whiteout::kOriginXattr).ok()) << "the whiteout was replaced";
  EXPECT_FALSE(sys::GetXattrAt(tree_, ".", whiteout::kOriginXattr).ok());
}

TEST_F(TreeWriterTest, OpaqueMarkFollowsTheMountThatWillReadIt) {
  TreeWriterOptions options;
  options.user_xattr = true;
  Restart(options);
  Opaque("d");
  Finish();
  EXPECT_TRUE(IsOpaque("d", whiteout::kUserOpaqueXattr));
  EXPECT_FALSE(IsOpaque("d", whiteout::kOpaqueXattr));
}

TEST_F(TreeWriterTest, OpaqueDirectoryKeepsItsAttributesAndTime) {
  Attributes attributes = Attr(0550, 42);
  attributes.uid = 3;
  Dir("d", attributes);
  Opaque("d");
  Finish();
  EXPECT_EQ(ListTree(tree_)["d"], "mode 040550 owner 3:0 mtime 42.000000005 trusted.overlay.opaque='y'");
}

// --- hard links ---

TEST_F(TreeWriterTest, HardLinksToAnythingButDirectories) {
  Link("symlink", CanaryPath("/file"));
  Expect(writer_->Node(Path("null"), FileType::kCharDevice, makedev(1, 3), Attr(0666)));
  Hard("a/to-symlink", "symlink");
  Hard("a/to-device", "null");
  Hard("a/again", "a/to-device");
  Finish();
  EXPECT_EQ(Stat("a/to-symlink").st_ino, Stat("symlink").st_ino);
  EXPECT_TRUE(S_ISLNK(Stat("a/to-symlink").st_mode));
  EXPECT_EQ(Stat("a/again").st_ino, Stat("null").st_ino);
}

TEST_F(TreeWriterTest, HardLinkToItselfChangesNothing) {
  File("a", "x");
  Hard("a", "a");
  Finish();
  EXPECT_EQ(Content("a"), "x");
}

TEST_F(TreeWriterTest, HardLinkToALowerFileIsReported) {
  Dir("dir");
  Hard("dir/link", "usr/bin/tool");
  Hard("second", "dir/link");
  Hard("third", "dir/absent");
  Hard("gone", "x");
  Gone("gone");
  Hard("replaced", "x");
  File("replaced");
  const LayerSummary summary = Finish();
  std::vector<std::string> links;
  for (const LowerLink& link : summary.lower_links)
    links.push_back(link.path.str() + " -> " + link.target.str());
  EXPECT_THAT(links, ElementsAre("dir/link -> usr/bin/tool", "gone -> x", "second -> usr/bin/tool",
                                 "third -> dir/absent"));
  EXPECT_THAT(Names(), ElementsAre("dir", "replaced"));
  EXPECT_EQ(summary.usage.entries, 6U);
  EXPECT_TRUE(summary.implied_directories.empty());
}

TEST_F(TreeWriterTest, HardLinkToWhatTheLayerRemovesIsRefusedInAnyOrder) {
  const std::pair<const char*, std::function<Result<void>()>> cases[] = {
      {"whiteout first",
       [&] {
         Gone("t");
         return writer_->HardLink(Path("link"), Path("t"));
       }},
      {"whiteout after",
       [&] {
         Hard("link", "t");
         Gone("t");
         return Result<void>();
       }},
      {"parent removed",
       [&] {
         Gone("d");
         Hard("link", "d/e/t");
         return Result<void>();
       }},
      {"parent removed after",
       [&] {
         Hard("link", "d/e/t");
         Gone("d");
         return Result<void>();
       }},
      {"opaque parent",
       [&] {
         Opaque("d");
         Hard("link", "d/e/t");
         return Result<void>();
       }},
      {"opaque parent after",
       [&] {
         Hard("link", "d/t");
         Opaque("d");
         return Result<void>();
       }},
      {"opaque root",
       [&] {
         Hard("link", "t");
         Opaque("");
         return Result<void>();
       }},
      {"replaced parent",
       [&] {
         File("d");
         Dir("d");
         Hard("link", "d/t");
         return Result<void>();
       }},
  };
  int i = 0;
  for (const auto& [what, put] : cases) {
    SCOPED_TRACE(what);
    const UniqueFd dir = temp_.MakeDir(fmt::format("case-{}", i++).c_str());
    writer_.emplace(dir, *MakeIoEngine(IoEngineKind::kPlain));
    Result<void> result = put();
    if (result.ok()) {
      auto summary = writer_->Finish();
      ASSERT_FALSE(summary.ok());
      result = summary.error();
    }
    ExpectRefused(result, "which this layer removes");
  }
}

TEST_F(TreeWriterTest, HardLinksThatCannotBeAreRefused) {
  const std::pair<const char*, std::function<Result<void>()>> cases[] = {
      {"to a directory",
       [&] {
         Dir("d");
         return writer_->HardLink(Path("l"), Path("d"));
       }},
      {"to an implied directory",
       [&] {
         File("d/f");
         return writer_->HardLink(Path("l"), Path("d"));
       }},
      {"to the root", [&] { return writer_->HardLink(Path("l"), Path("")); }},
      {"as the root",
       [&] {
         File("f");
         return writer_->HardLink(Path(""), Path("f"));
       }},
      {"to a missing self", [&] { return writer_->HardLink(Path("l"), Path("l")); }},
      {"to below itself",
       [&] {
         File("d/f");
         return writer_->HardLink(Path("d"), Path("d/f"));
       }},
      {"through a file",
       [&] {
         File("f");
         return writer_->HardLink(Path("l"), Path("f/x"));
       }},
      {"below a lower link",
       [&] {
         Hard("l", "low");
         return writer_->HardLink(Path("m"), Path("l/x"));
       }},
  };
  int i = 0;
  for (const auto& [what, put] : cases) {
    SCOPED_TRACE(what);
    const UniqueFd dir = temp_.MakeDir(fmt::format("case-{}", i++).c_str());
    writer_.emplace(dir, *MakeIoEngine(IoEngineKind::kPlain));
    ExpectRefused(put(), "");
  }
}

// --- hostile layers ---

TEST_F(TreeWriterTest, NothingGoesThroughASymlink) {
  const std::string targets[] = {
      CanaryPath(), "../canary",        "../../../../../../../../" + CanaryPath(), "/", ".",
      "dir",        CanaryPath("/dir"), "/proc/self/root" + CanaryPath()};
  const std::pair<const char*, std::function<Result<void>(const RelPath&)>> entries[] = {
      {"file", [&](const RelPath& at) { return TryFile(at.Child("file").str(), "evil"); }},
      {"directory", [&](const RelPath& at) { return writer_->Directory(at.Child("new"), Attr(0777)); }},
      {"symlink", [&](const RelPath& at) { return writer_->Symlink(at.Child("file"), "evil", Attr(0777)); }},
      {"node",
       [&](const RelPath& at) { return writer_->Node(at.Child("file"), FileType::kFifo, 0, Attr(0666)); }},
      {"hard link here",
       [&](const RelPath& at) { return writer_->HardLink(at.Child("evil"), Path("dir/own")); }},
      {"hard link from here",
       [&](const RelPath& at) { return writer_->HardLink(Path("stolen"), at.Child("file")); }},
      {"whiteout", [&](const RelPath& at) { return writer_->Whiteout(at.Child("file")); }},
      {"opaque", [&](const RelPath& at) { return writer_->OpaqueDirectory(at); }},
      {"opaque below", [&](const RelPath& at) { return writer_->OpaqueDirectory(at.Child("dir")); }},
      {"deep",
       [&](const RelPath& at) { return TryFile(at.Child("dir").Child("sub").Child("file").str(), "evil"); }},
  };
  int i = 0;
  for (const std::string& target : targets) {
    for (const auto& [what, put] : entries) {
      SCOPED_TRACE(fmt::format("{} through a symlink to {}", what, target));
      const UniqueFd dir = temp_.MakeDir(fmt::format("case-{}", i++).c_str());
      writer_.emplace(dir, *MakeIoEngine(IoEngineKind::kPlain));
      File("dir/own", "own");
      Link("sym", target);
      const Result<void> result = put(Path("sym"));
      ExpectRefused(result, "'sym' is not a directory in this layer");
      // The error is final: the layer cannot go on as if nothing had been.
      EXPECT_FALSE(TryFile("other").ok());
      EXPECT_FALSE(writer_->Finish().ok());
    }
  }
}

TEST_F(TreeWriterTest, NameReplacedByASymlinkIsNotWrittenThrough) {
  Dir("dir");
  File("dir/file", "1");
  Link("dir", CanaryPath());
  Link("file", CanaryPath("/file"));
  File("file", "own");
  Link("victim", CanaryPath("/dir"));
  Dir("victim", Attr(0000));
  Link("attributes", CanaryPath("/file"));
  Attributes changed = Attr(07777);
  changed.uid = changed.gid = 1;
  changed.xattrs = {{"trusted.evil", "1"}};
  Expect(writer_->Symlink(Path("attributes"), CanaryPath("/file"), changed));
  Finish();
  EXPECT_EQ(Content("file"), "own");
  EXPECT_TRUE(S_ISREG(Stat("file").st_mode));
  EXPECT_EQ(Stat("victim").st_mode, S_IFDIR | 0000U);
  EXPECT_EQ(Stat("attributes").st_uid, 1U);
}

TEST_F(TreeWriterTest, DirectoryReplacedByASymlinkIsNotEnteredThroughTheCache) {
  File("dir/sub/file", "1");
  Link("dir", CanaryPath());
  ExpectRefused(TryFile("dir/sub/file", "evil"), "'dir' is not a directory in this layer");
}

TEST_F(TreeWriterTest, RemovingAReplacedDirectoryDoesNotFollowItsSymlinks) {
  Dir("dir");
  Link("dir/a", CanaryPath());
  Link("dir/b", "../../canary/dir");
  File("dir", "file");
  Finish();
  EXPECT_THAT(Names(), ElementsAre("dir"));
}

TEST_F(TreeWriterTest, RootIsOnlyEverADirectory) {
  const std::function<Result<void>()> cases[] = {
      [&] { return writer_->Symlink(RelPath(), "/", Attr(0777)); },
      [&] { return writer_->BeginFile(RelPath(), Attr(0644), 1); },
      [&] { return writer_->Node(RelPath(), FileType::kFifo, 0, Attr(0644)); },
      [&] { return writer_->Whiteout(RelPath()); },
  };
  for (const auto& put : cases) {
    Restart();
    ExpectRefused(put(), "root");
  }
}

TEST_F(TreeWriterTest, DevicesThatMeanSomethingElseAreRefused) {
  ExpectRefused(writer_->Node(Path("x"), FileType::kCharDevice, makedev(0, 0), Attr(0)), "whiteout");
  Restart();
  ExpectRefused(writer_->Node(Path("x"), FileType::kRegular, makedev(1, 1), Attr(0)), "neither");
  Restart();
  ExpectRefused(writer_->Symlink(Path("x"), std::string_view("a\0b", 3), Attr(0)), "NUL");
}

TEST_F(TreeWriterTest, MemoryForHostileLayersIsBounded) {
  TreeWriterOptions options;
  options.max_memory_bytes = 100'000;
  const std::pair<const char*, std::function<Result<void>(int)>> cases[] = {
      {"directories", [&](int i) { return writer_->Directory(Path(fmt::format("d{}", i)), Attr(0755)); }},
      {"implied", [&](int i) { return TryFile(fmt::format("i{}/f", i)); }},
      {"whiteouts", [&](int i) { return writer_->Whiteout(Path(fmt::format("w{}", i))); }},
      {"links",
       [&](int i) {
         return writer_->HardLink(Path(fmt::format("l{}", i)), Path("lower/" + std::string(200, 'x')));
       }},
      {"xattrs",
       [&](int) {
         Attributes attributes = Attr(0755);
         attributes.xattrs = {{"user.x", std::string(1000, 'x')}};
         return writer_->Directory(Path("same"), attributes);
       }},
  };
  for (const auto& [what, put] : cases) {
    SCOPED_TRACE(what);
    Restart(options);
    Result<void> result;
    int i = 0;
    for (; i < 2000 && result.ok(); ++i) result = put(i);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::kLimitExceeded);
    EXPECT_GT(i, 50);
  }
  Restart(options);
  for (int i = 0; i < 3000; ++i) File(fmt::format("f{}", i));  // files cost nothing
}

// --- what it reports ---

TEST_F(TreeWriterTest, UsageCountsNamesDataAndBlocks) {
  File("a", "12345");                  // 1 block
  File("b", std::string(4097, 'x'));   // 2 blocks
  Hard("c", "b");                      // none
  Link("short", "x");                  // none
  Link("long", std::string(60, 'x'));  // 1 block
  Dir("d");                            // 1 block
  Gone("e");                           // none
  Expect(writer_->BeginFile(Path("sparse"), Attr(0644), 1U << 20U));
  const std::string data(6000, 's');  // bytes 4000 to 10000: 3 blocks
  for (size_t at = 0; at < data.size(); at += 100) {
    Expect(writer_->WriteData(4000 + at, std::as_bytes(std::span(data)).subspan(at, 100)));
  }
  Expect(writer_->EndFile());
  const LayerUsage usage = Finish().usage;
  EXPECT_EQ(usage.entries, 8U);
  EXPECT_EQ(usage.data_bytes, 5U + 4097 + (1U << 20U));
  EXPECT_EQ(usage.disk_bytes, 8U * 4096);
}

TEST_F(TreeWriterTest, UsageIsExactAfterReplacements) {
  File("a", std::string(100'000, 'x'));
  Hard("b", "a");
  Dir("d");
  File("d/e/f", "gone");
  File("d", "12");
  Gone("w");
  const LayerUsage usage = Finish().usage;
  EXPECT_EQ(usage.entries, 4U);
  EXPECT_EQ(usage.data_bytes, 100'002U);
  EXPECT_GE(usage.disk_bytes, 100'002U);
  EXPECT_LE(usage.disk_bytes, 150'000U);
}

TEST_F(TreeWriterTest, DataOutsideTheDeclaredSizeIsRefused) {
  Expect(writer_->BeginFile(Path("f"), Attr(0644), 3));
  const std::string data = "1234";
  ExpectRefused(writer_->WriteData(0, std::as_bytes(std::span(data))), "write 4 bytes at 0");
}

TEST_F(TreeWriterTest, RootThatIsNotThereIsReportedByTheFirstCall) {
  writer_.emplace(*sys::MemfdCreate("not-a-directory", 0), *MakeIoEngine(IoEngineKind::kPlain));
  const Result<void> first = TryFile("f");
  ASSERT_FALSE(first.ok());
  EXPECT_EQ(first.error().message(), "open the root of a layer: Not a directory");
  EXPECT_FALSE(writer_->Finish().ok());
}

}  // namespace
}  // namespace snap
