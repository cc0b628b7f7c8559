// Uppers as the kernel's overlayfs writes them, archived and applied again: what the mount showed must come
// back.
#include "snapshotter/upper_tar.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <map>
#include <random>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/directory_tar.h"
#include "fs/layer_apply.h"
#include "fs/packed_writer.h"
#include "fs/tree_writer.h"
#include "fs/whiteout.h"
#include "overlay/overlay_backend.h"
#include "tests/contract/union_backend_fixture.h"
#include "tests/support/packed_image.h"
#include "tests/support/temp_dir.h"

namespace snap {
namespace {

using test::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class StringSink final : public ByteSink {
 public:
  Result<void> Write(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }
  std::string text;
};

/// Both ways of writing, which must agree.
Result<std::string> Archive(FdRef upper, std::optional<FdRef> merged, const UpperTarOptions& options = {}) {
  SNAP_TRY(const auto source, MakeUpperTarSource(upper, merged, options));
  Result<std::string> pulled = ReadToEnd(*source, size_t{256} << 20U, "archive");
  StringSink sink;
  TarWriter writer(sink);
  const Result<void> written = WriteUpperTar(upper, merged, writer, options);
  EXPECT_EQ(pulled.ok(), written.ok());
  if (!pulled.ok()) {
    EXPECT_EQ(pulled.error().message(), written.ok() ? "" : written.error().message());
    return pulled;
  }
  EXPECT_TRUE(writer.Finish().ok());
  EXPECT_EQ(Digest::Of(sink.text), Digest::Of(*pulled));
  return pulled;
}

std::vector<TarEntry> EntriesOf(const std::string& tar) {
  std::vector<TarEntry> entries;
  const auto memory = MakeMemorySource(std::as_bytes(std::span(tar)));
  ChunkedSource chunks(*memory);
  TarReader reader(chunks);
  for (;;) {
    const auto entry = reader.Next();
    EXPECT_TRUE(entry.ok()) << entry.error().message();
    if (!entry.ok() || *entry == nullptr) return entries;
    entries.push_back(**entry);
  }
}

std::vector<std::string> PathsOf(const Result<std::string>& tar) {
  std::vector<std::string> paths;
  EXPECT_TRUE(tar.ok()) << tar.error().message();
  if (!tar.ok()) return paths;
  for (const TarEntry& entry : EntriesOf(*tar)) paths.push_back(entry.path);
  return paths;
}

Result<LayerSummary> Apply(const std::string& tar, LayerWriter& writer) {
  const auto memory = MakeMemorySource(std::as_bytes(std::span(tar)));
  ChunkedSource chunks(*memory);
  TarReader reader(chunks);
  SNAP_TRY(const ApplyReport report, ApplyTar(reader, writer));
  EXPECT_EQ(report.duplicates, 0U);
  EXPECT_EQ(report.stripped(), 0U);
  return writer.Finish();
}

/// A line for everything that a container can see of every file but sockets, times of directories and hard
/// links included.
std::vector<std::string> Manifest(FdRef root) {
  std::vector<std::string> lines;
  std::map<std::pair<dev_t, ino_t>, std::string> first_names;
  const auto describe = [&](FdRef dir, const std::string& name, const std::string& path) {
    const struct stat stat = *sys::StatAt(dir, name.c_str());
    if (S_ISSOCK(stat.st_mode)) return false;
    std::string line = fmt::format("{} {:o} {}:{} {}.{:09}", Quote(path), static_cast<unsigned>(stat.st_mode),
                                   stat.st_uid, stat.st_gid, stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec);
    if (S_ISLNK(stat.st_mode)) line += " -> " + Quote(*sys::ReadLinkAt(dir, name.c_str()));
    if (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode)) line += fmt::format(" device {:x}", stat.st_rdev);
    if (S_ISREG(stat.st_mode)) {
      const auto content = sys::ReadFileAt(dir, name.c_str(), size_t{1} << 24U);
      line += fmt::format(" {} {}", stat.st_size,
                          content.ok() ? Digest::Of(*content).Short() : content.error().Message());
    }
    if (!S_ISDIR(stat.st_mode)) {
      line += " is " + Quote(first_names.try_emplace({stat.st_dev, stat.st_ino}, path).first->second);
    }
    auto xattrs = sys::ListXattrAt(dir, name.c_str());
    EXPECT_TRUE(xattrs.ok()) << path;
    std::sort(xattrs->begin(), xattrs->end());
    for (const std::string& xattr : *xattrs) {
      line += fmt::format(" {}={}", xattr, Quote(*sys::GetXattrAt(dir, name.c_str(), xattr.c_str())));
    }
    lines.push_back(std::move(line));
    return S_ISDIR(stat.st_mode);
  };
  const std::function<void(FdRef, const std::string&)> walk = [&](FdRef dir, const std::string& path) {
    for (const std::string& name : tree::Names(dir)) {
      const std::string below = tree::Join(path, name);
      if (describe(dir, name, below))
        walk(*sys::OpenAt(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW), below);
    }
  };
  describe(root, ".", "");
  walk(*sys::OpenAt(root, ".", O_RDONLY | O_DIRECTORY), "");
  return lines;
}

/// Two lower layers, an upper, and what is made of it.
class Stage {
 public:
  enum class Format { kTree, kPacked };

  explicit Stage(Format lowers = Format::kTree)
      : lowers_format_(lowers),
        bottom(temp_.MakeDir("bottom")),
        top(temp_.MakeDir("top")),
        upper(temp_.MakeDir("upper")),
        work_(temp_.MakeDir("work")),
        objects_(temp_.MakeDir("objects")) {}

  /// The lower layers are complete now.
  UniqueFd Mount() {
    if (lowers_format_ == Format::kPacked && images_.empty()) {
      for (const auto& [layer, name] :
           {std::pair(top.ref(), "top.erofs"), std::pair(bottom.ref(), "bottom.erofs")}) {
        PackTree(layer, temp_.fd(), name, objects_);
        images_.push_back(tree::Open(temp_.fd(), name));
      }
    }
    return MountOf(Lowers(), true, false);
  }
  /// What the container saw, after its mount is gone.
  UniqueFd MountReadOnly() { return MountOf(Lowers(), true, true); }

  /// The archive applied in this format, mounted over the lower layers instead of the upper.
  UniqueFd MountApplied(const std::string& tar, Format format) {
    std::vector<MountStack::Lower> stack = Lowers();
    if (format == Format::kTree) {
      applied_ = temp_.MakeDir("applied");
      TreeWriter writer(applied_, *MakeIoEngine(IoEngineKind::kPlain));
      CheckApplied(Apply(tar, writer));
      stack.insert(stack.begin(), applied_);
      return MountOf(std::move(stack), false, true);
    }
    const UniqueFd pins = temp_.MakeDir("pins");
    const ObjectStore store(*sys::Dup(objects_), "secret");
    ObjectStage object_stage(store, pins);
    ObjectWriter objects(object_stage, *MakeIoEngine(IoEngineKind::kPlain));
    applied_ = *sys::OpenAt(temp_.fd(), "applied.erofs", O_RDWR | O_CREAT | O_EXCL, 0600);
    PackedWriter writer(applied_, objects, nullptr, {.object_bytes = 8192});
    CheckApplied(Apply(tar, writer));
    const auto sealed = writer.Seal();
    EXPECT_TRUE(sealed.ok()) << sealed.error().message();
    EXPECT_TRUE(object_stage.Publish(false).ok());
    stack.insert(stack.begin(), MountStack::Lower(applied_, {}));
    return MountOf(std::move(stack), false, true);
  }

  Result<std::string> ArchiveOf(std::optional<FdRef> merged, const UpperTarOptions& options = {}) const {
    return Archive(upper, merged, options);
  }

 private:
  static void CheckApplied(const Result<LayerSummary>& summary) {
    ASSERT_TRUE(summary.ok()) << summary.error().message();
    EXPECT_TRUE(summary->root_named);
    EXPECT_THAT(summary->implied_directories, IsEmpty());
    EXPECT_THAT(summary->lower_links, IsEmpty());
  }

  std::vector<MountStack::Lower> Lowers() {
    if (lowers_format_ == Format::kTree) return {MountStack::Lower(top), MountStack::Lower(bottom)};
    return {MountStack::Lower(images_[0], {}), MountStack::Lower(images_[1], {})};
  }

  UniqueFd MountOf(std::vector<MountStack::Lower> lowers, bool with_upper, bool read_only) {
    MountStack stack;
    stack.lowers_top_first = std::move(lowers);
    stack.objects = objects_;
    if (with_upper) stack.upper = MountStack::Upper{upper, work_};
    static const std::shared_ptr<UnionBackend> backend = MakeOverlayBackend();
    auto mount = backend->MountStacked(stack, {.read_only = read_only, .volatile_upper = true});
    EXPECT_TRUE(mount.ok()) << mount.error().message();
    return mount.ok() ? std::move(*mount).Release() : UniqueFd();
  }

  const TempDir temp_;
  const Format lowers_format_;

 public:
  const UniqueFd bottom, top, upper;

 private:
  const UniqueFd work_, objects_;
  std::vector<UniqueFd> images_;
  UniqueFd applied_;
};

// --- random operations -----------------------------------------------------------------------------------

class Operations {
 public:
  explicit Operations(unsigned seed) : random_(seed) {}

  unsigned Pick(unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random_); }

  std::string Content() {
    const size_t size = std::array<size_t, 7>{0, 1, 511, 512, 4097, 9000, 70000}[Pick(7)];
    std::string text(size, static_cast<char>('a' + Pick(26)));
    if (size > 8 && Pick(3) == 0) text.replace(0, 4, std::string("\0\xff\n=", 4));
    return text;
  }

  timespec Time() {
    return {.tv_sec = static_cast<time_t>(Pick(2'000'000'000)),
            .tv_nsec = static_cast<long>(Pick(1'000'000'000))};
  }

  /// A lower layer. Hard links stay within a directory: when only one of two directories with names of one
  /// lower file is renamed, no archive can say that they are still one.
  void Populate(FdRef dir, unsigned depth, unsigned count) {
    std::vector<std::string> files;
    for (unsigned i = 0; i < count; ++i) {
      const std::string name = Name();
      if (sys::StatAt(dir, name.c_str()).ok()) continue;
      switch (Pick(8)) {
        case 0:
        case 1:
        case 2:
          if (depth == 0) break;
          tree::MakeDir(dir, name);
          Populate(*sys::OpenAt(dir, name.c_str(), O_RDONLY | O_DIRECTORY), depth - 1, count);
          break;
        case 3:
          (void)sys::SymlinkAt("../target", dir, name.c_str());
          break;
        case 4:
          (void)sys::MknodAt(dir, name.c_str(), Pick(2) == 0 ? S_IFIFO : S_IFBLK, makedev(7, Pick(9)));
          break;
        case 5:
          if (!files.empty())
            (void)sys::LinkAt(dir, files[Pick(static_cast<unsigned>(files.size()))].c_str(), dir,
                              name.c_str());
          break;
        default:
          tree::Write(dir, name, Content());
          files.push_back(name);
      }
      ChangeAttributes(dir, name);
    }
  }

  /// One change of what is mounted; may fail as it may for a program.
  void Change(FdRef root) {
    std::vector<std::string> all, dirs{"."};
    List(root, ".", all, dirs);
    const auto any = [&] {
      return all.empty() ? std::string("none") : all[Pick(static_cast<unsigned>(all.size()))];
    };
    const auto any_dir = [&] { return dirs[Pick(static_cast<unsigned>(dirs.size()))]; };
    const std::string at = any();
    const std::string fresh = any_dir() + "/" + Name();
    switch (Pick(13)) {
      case 0:
        Write(root, fresh, O_CREAT | O_TRUNC);
        break;
      case 1:
        Write(root, at, O_TRUNC);
        break;
      case 2:
        Write(root, at, O_APPEND);
        break;
      case 3:
      case 4:
        ChangeAttributes(root, at);
        break;
      case 5:
        (void)sys::RemoveTree(root, at.c_str());
        break;
      case 6: {  // gone and back: opaque
        const std::string dir = any_dir();
        if (dir != "." && sys::RemoveTree(root, dir.c_str()).ok()) {
          (void)sys::MkdirAt(root, dir.c_str(), 0755);
          Write(root, dir + "/" + Name(), O_CREAT);
        }
        break;
      }
      case 7:
        (void)sys::MkdirAt(root, fresh.c_str(), 0700);
        break;
      case 8: {
        const std::string dir = any_dir();
        if (dir != ".") (void)sys::RenameAt(root, dir.c_str(), root, fresh.c_str());
        break;
      }
      case 9:
        (void)sys::RenameAt(root, at.c_str(), root, Pick(2) == 0 ? fresh.c_str() : any().c_str());
        break;
      case 10:
        (void)sys::LinkAt(root, at.c_str(), root, fresh.c_str());
        break;
      case 11:
        (void)sys::SymlinkAt("/absolute", root, fresh.c_str());
        break;
      default:
        (void)sys::MknodAt(root, fresh.c_str(),
                           std::array<mode_t, 3>{S_IFCHR, S_IFIFO, S_IFSOCK}[Pick(3)] | 0640U,
                           makedev(1, 1 + Pick(9)));
    }
  }

 private:
  std::string Name() {
    return std::array<std::string, 8>{
        "a", "b", "c", "d", "e\nf", "\xff", "-", std::string(150, 'n')}[Pick(8)];
  }

  void List(FdRef root, const std::string& path, std::vector<std::string>& all,
            std::vector<std::string>& dirs) {
    for (const std::string& name : tree::Names(root, path)) {
      const std::string below = tree::Join(path, name);
      all.push_back(below);
      if (!S_ISDIR(sys::StatAt(root, below.c_str())->st_mode)) continue;
      dirs.push_back(below);
      if (below.size() < 2000) List(root, below, all, dirs);
    }
  }

  void Write(FdRef root, const std::string& path, int flags) {
    const auto stat = sys::StatAt(root, path.c_str());
    if (stat.ok() && !S_ISREG(stat->st_mode)) return;
    const auto file = sys::OpenAt(root, path.c_str(), O_WRONLY | O_NOFOLLOW | flags, 0644);
    EXPECT_TRUE(!file.ok() || sys::WriteAll(*file, Content()).ok());
  }

  void ChangeAttributes(FdRef dir, const std::string& name) {
    const auto stat = sys::StatAt(dir, name.c_str());
    if (!stat.ok()) return;
    const bool is_link = S_ISLNK(stat->st_mode);
    const bool takes_user_xattrs = S_ISREG(stat->st_mode) || S_ISDIR(stat->st_mode);
    const size_t slash = name.rfind('/');
    const UniqueFd parent = *sys::OpenAt(
        dir, slash == std::string::npos ? "." : name.substr(0, slash).c_str(), O_RDONLY | O_DIRECTORY);
    const std::string last = slash == std::string::npos ? name : name.substr(slash + 1);
    const auto set = [&](const char* xattr, std::string_view value) {
      const auto result = sys::SetXattrAt(parent, last.c_str(), xattr, AsBytes(value));
      // Some files on a packed layer refuse ACLs, as a program would find.
      EXPECT_TRUE(result.ok() || result.error() == EOPNOTSUPP) << xattr << ": " << result.error().Message();
    };
    if (Pick(2) == 0) {
      EXPECT_TRUE(sys::FChownAt(parent, last.c_str(), Pick(3) * 3'000'000, Pick(3)).ok());
    }
    if (!is_link && Pick(2) == 0) {
      EXPECT_TRUE(
          sys::FChmodAt(parent, last.c_str(), std::array{0644U, 0755U, 04711U, 01777U, 02750U, 0U}[Pick(6)])
              .ok());
    }
    if (takes_user_xattrs && Pick(3) == 0)
      set("user.note", Pick(2) == 0 ? std::string("a\0\n=b", 5) : std::string(300, 'x'));
    if (takes_user_xattrs && Pick(6) == 0)
      set("user.overlay.opaque", "y");  // a container's own; no mark here
    if (S_ISREG(stat->st_mode) && Pick(6) == 0) {
      set("security.capability",
          std::string("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
                      20));
    }
    if (takes_user_xattrs && Pick(6) == 0) {
      // user::rw- user:1234:r-- group::r-- mask::r-- other::---
      set("system.posix_acl_access",
          std::string(
              "\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xd2\x04\0\0\x04\0\x04\0\xff\xff\xff\xff"
              "\x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff",
              44));
    }
    if (Pick(2) == 0) {
      const timespec time = Time();
      EXPECT_TRUE(sys::SetTimesAt(parent, last.c_str(), {time, time}).ok());
    }
  }

  std::mt19937 random_;
};

struct Seen {
  size_t metacopy = 0, redirect = 0, opaque = 0, whiteout = 0, links = 0;
};

/// What the kernel has left in an upper: so that a test whose operations never make something interesting
/// fails.
void Count(FdRef dir, Seen& seen) {
  for (const std::string& name : tree::Names(dir)) {
    const struct stat stat = *sys::StatAt(dir, name.c_str());
    const auto has = [&](const char* xattr) { return sys::GetXattrAt(dir, name.c_str(), xattr).ok(); };
    if (whiteout::IsOverlayWhiteout(stat.st_mode, stat.st_rdev)) {
      ++seen.whiteout;
      continue;
    }
    if (S_ISREG(stat.st_mode) && has(whiteout::kMetacopyXattr)) ++seen.metacopy;
    if (!S_ISDIR(stat.st_mode)) {
      if (stat.st_nlink > 1) ++seen.links;
      continue;
    }
    if (has(whiteout::kOpaqueXattr)) ++seen.opaque;
    if (has(whiteout::kRedirectXattr)) ++seen.redirect;
    Count(*sys::OpenAt(dir, name.c_str(), O_RDONLY | O_DIRECTORY), seen);
  }
}

/// Lines of Manifest without a container's own "user.overlay." xattrs, which no layer keeps.
std::vector<std::string> Kept(std::vector<std::string> lines) {
  for (std::string& line : lines) {
    constexpr std::string_view kDropped = " user.overlay.opaque='y'";
    const size_t at = line.find(kDropped);
    if (at != std::string::npos) line.erase(at, kDropped.size());
  }
  return lines;
}

/// What only one of two trees has; "" when they are the same.
std::string Difference(const std::vector<std::string>& got, const std::vector<std::string>& wanted) {
  std::string text;
  for (const std::string& line : got) {
    if (std::find(wanted.begin(), wanted.end(), line) == wanted.end()) text += "unexpected " + line + "\n";
  }
  for (const std::string& line : wanted) {
    if (std::find(got.begin(), got.end(), line) == got.end()) text += "missing " + line + "\n";
  }
  return text;
}

class RandomUpper : public testing::TestWithParam<unsigned> {};

TEST_P(RandomUpper, AppliedAgainShowsWhatTheMountShowed) {
  Seen seen;
  for (unsigned round = 0; round < 60 && !HasFailure(); ++round) {
    const unsigned seed = GetParam() * 1000 + round;
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Operations operations(seed);
    Stage stage(seed % 3 == 0 ? Stage::Format::kPacked : Stage::Format::kTree);
    operations.Populate(stage.bottom, 3, 7);
    operations.Populate(stage.top, 2, 4);
    UniqueFd mount = stage.Mount();
    for (unsigned i = operations.Pick(30) + 1; i > 0; --i) operations.Change(mount);
    // The container's own mount, or, when it has ended, another one.
    const bool still_running = seed % 2 == 0;
    if (!still_running) {
      mount.Reset();
      mount = stage.MountReadOnly();
    }
    const std::vector<std::string> shown = Kept(Manifest(mount));
    const auto tar = stage.ArchiveOf(mount);
    ASSERT_TRUE(tar.ok()) << tar.error().message();
    Count(stage.upper, seen);
    EXPECT_EQ(*stage.ArchiveOf(mount), *tar);
    const UniqueFd applied =
        stage.MountApplied(*tar, seed % 4 < 2 ? Stage::Format::kPacked : Stage::Format::kTree);
    EXPECT_EQ(Difference(Kept(Manifest(applied)), shown), "");
  }
  EXPECT_GT(seen.metacopy, 0U);
  EXPECT_GT(seen.redirect, 0U);
  EXPECT_GT(seen.opaque, 0U);
  EXPECT_GT(seen.whiteout, 0U);
  EXPECT_GT(seen.links, 0U);
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomUpper, testing::Range(1U, 7U));

// --- one rule at a time ----------------------------------------------------------------------------------

void Mark(FdRef dir, const std::string& path, const char* xattr, std::string_view value) {
  ASSERT_TRUE(sys::SetXattrAt(dir, path.c_str(), xattr, AsBytes(value)).ok()) << path;
}

TEST(UpperTar, WhiteoutsAndOpaqueDirectoriesBecomeNames) {
  const Stage stage;
  tree::MakeDir(stage.upper, "dir");
  tree::Write(stage.upper, "dir/new", "n");
  tree::MakeDir(stage.upper, "opaque");
  tree::Write(stage.upper, "opaque/-kept", "k");
  tree::MakeWhiteout(stage.upper, "dir/gone");
  ASSERT_TRUE(
      sys::LinkAt(stage.upper, "dir/gone", stage.upper, "gone-too").ok());  // overlayfs links its whiteouts
  tree::MakeOpaque(stage.upper, "opaque");
  const auto tar = stage.ArchiveOf(std::nullopt);
  EXPECT_THAT(PathsOf(tar), ElementsAre("./", "dir/", "dir/.wh.gone", "dir/new", ".wh.gone-too", "opaque/",
                                        "opaque/.wh..wh..opq", "opaque/-kept"));
  for (const TarEntry& entry : EntriesOf(*tar)) {
    EXPECT_THAT(entry.attributes.xattrs, IsEmpty()) << entry.path;
    if (entry.path.find(".wh.") == std::string::npos) continue;
    EXPECT_EQ(entry.kind, TarEntry::Kind::kRegular) << entry.path;
    EXPECT_EQ(entry.size, 0U) << entry.path;
    EXPECT_EQ(entry.attributes.permissions, 0U) << entry.path;
    EXPECT_EQ(entry.attributes.mtime.tv_sec, 0) << entry.path;
  }
}

TEST(UpperTar, MarksOfTheOtherSpellingAreAContainersOwn) {
  const Stage stage;
  tree::MakeDir(stage.upper, "trusted");
  tree::MakeOpaque(stage.upper, "trusted");
  tree::MakeDir(stage.upper, "user");
  tree::MakeOpaque(stage.upper, "user", whiteout::kUserOpaqueXattr);
  EXPECT_THAT(PathsOf(stage.ArchiveOf(std::nullopt)),
              ElementsAre("./", "trusted/", "trusted/.wh..wh..opq", "user/"));
  EXPECT_THAT(PathsOf(stage.ArchiveOf(std::nullopt, {.user_xattr = true, .unchanged_root = {}})),
              ElementsAre("./", "trusted/", "user/", "user/.wh..wh..opq"));
}

TEST(UpperTar, XattrWhiteoutsCountOnlyWhereTheDirectorySaysSo) {
  const Stage stage;
  for (const std::string dir : {"marked", "plain"}) {
    tree::MakeDir(stage.upper, dir);
    tree::Write(stage.upper, dir + "/gone", "");
    tree::Write(stage.upper, dir + "/full", "x");
    const UniqueFd fd = tree::Open(stage.upper, dir);
    for (const char* name : {"gone", "full"}) Mark(fd, name, "trusted.overlay.whiteout", "");
  }
  Mark(stage.upper, "marked", whiteout::kOpaqueXattr, "x");
  EXPECT_THAT(
      PathsOf(stage.ArchiveOf(std::nullopt)),
      ElementsAre("./", "marked/", "marked/full", "marked/.wh.gone", "plain/", "plain/full", "plain/gone"));
}

TEST(UpperTar, SocketHidesWhatItReplacedAndLeavesNoTraceElsewhere) {
  const Stage stage;
  tree::MakeDir(stage.upper, "merged");
  tree::MakeDir(stage.upper, "opaque");
  tree::MakeOpaque(stage.upper, "opaque");
  tree::MakeDir(stage.upper, "opaque/below");
  for (const char* path : {"merged/s", "opaque/s", "opaque/below/s"}) {
    ASSERT_TRUE(sys::MknodAt(stage.upper, path, S_IFSOCK | 0644, 0).ok()) << path;
  }
  EXPECT_THAT(PathsOf(stage.ArchiveOf(std::nullopt)), ElementsAre("./", "merged/", "merged/.wh.s", "opaque/",
                                                                  "opaque/.wh..wh..opq", "opaque/below/"));
}

TEST(UpperTar, OnlyXattrsThatALayerMaySetAreKept) {
  const Stage stage;
  tree::Write(stage.upper, "f", "x");
  for (const char* name :
       {"user.a", "trusted.b", "security.other", "trusted.overlay.origin", "user.overlay.origin"}) {
    Mark(stage.upper, "f", name, "v");
  }
  Mark(stage.upper, "f", "security.capability", std::string("\x00\x00\x00\x02", 4) + std::string(16, '\0'));
  const auto tar = stage.ArchiveOf(std::nullopt);
  std::vector<std::string> names;
  const std::vector<TarEntry> entries = EntriesOf(*tar);
  for (const Xattr& xattr : entries.at(1).attributes.xattrs) names.push_back(xattr.name);
  EXPECT_THAT(names, ElementsAre("security.capability", "user.a"));
}

TEST(UpperTar, RootIsLeftOutOnlyWhenAllButItsTimeIsUnchanged) {
  const Stage stage;
  Mark(stage.upper, ".", "user.b", "2");
  Mark(stage.upper, ".", "user.a", "1");
  UpperTarOptions options;
  options.unchanged_root =
      Attributes{.permissions = 0755,
                 .uid = 0,
                 .gid = 0,
                 .mtime = {.tv_sec = 1, .tv_nsec = 0},
                 .xattrs = {{"user.a", "1"}, {"user.b", "2"}, {"trusted.not-of-a-layer", "3"}}};
  EXPECT_THAT(PathsOf(stage.ArchiveOf(std::nullopt, options)), IsEmpty());
  std::swap(options.unchanged_root->xattrs[0], options.unchanged_root->xattrs[1]);
  EXPECT_THAT(PathsOf(stage.ArchiveOf(std::nullopt, options)), IsEmpty());
  tree::Write(stage.upper, "f", "x");
  EXPECT_THAT(PathsOf(stage.ArchiveOf(std::nullopt, options)), ElementsAre("f"));
  for (const auto& change : std::vector<std::function<void(Attributes&)>>{
           [](Attributes& a) { a.permissions = 0555; }, [](Attributes& a) { a.uid = 1; },
           [](Attributes& a) { a.gid = 1; }, [](Attributes& a) { a.xattrs[0].value = "3"; },
           [](Attributes& a) { a.xattrs.clear(); }}) {
    UpperTarOptions changed = options;
    change(*changed.unchanged_root);
    EXPECT_THAT(PathsOf(stage.ArchiveOf(std::nullopt, changed)), ElementsAre("./", "f"));
  }
}

TEST(UpperTar, WhatNeedsTheMountIsRefusedWithoutOne) {
  for (const bool renamed : {true, false}) {
    Stage stage;
    tree::MakeDir(stage.bottom, "dir");
    tree::Write(stage.bottom, "dir/file", "lower");
    const UniqueFd mount = stage.Mount();
    if (renamed) {
      ASSERT_TRUE(sys::RenameAt(mount, "dir", mount, "new").ok());
    } else {
      ASSERT_TRUE(sys::FChmodAt(mount, "dir/file", 0600).ok());
    }
    const auto tar = stage.ArchiveOf(std::nullopt);
    ASSERT_FALSE(tar.ok());
    EXPECT_EQ(tar.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(tar.error().message(), HasSubstr(renamed ? "'upper/new'" : "'upper/dir/file'"));
  }
}

TEST(UpperTar, RenamedDirectoryHidesALowerOneOfItsNewName) {
  Stage stage;
  tree::MakeDir(stage.bottom, "old");
  tree::Write(stage.bottom, "old/mine", "m");
  tree::MakeDir(stage.bottom, "new");
  tree::Write(stage.bottom, "new/other", "o");
  const UniqueFd mount = stage.Mount();
  ASSERT_TRUE(sys::UnlinkAt(mount, "new/other").ok());
  ASSERT_TRUE(sys::RenameAt(mount, "old", mount, "new").ok());
  tree::Write(mount, "new/fresh", "f");
  const auto tar = stage.ArchiveOf(mount);
  EXPECT_THAT(PathsOf(tar),
              ElementsAre("./", "new/", "new/.wh..wh..opq", "new/fresh", "new/mine", ".wh.old"));
  EXPECT_EQ(Difference(Manifest(stage.MountApplied(*tar, Stage::Format::kTree)), Manifest(mount)), "");
}

TEST(UpperTar, NamesInsideAndOutsideARenamedDirectoryStayOneFile) {
  Stage stage;
  tree::MakeDir(stage.bottom, "old");
  tree::Write(stage.bottom, "old/lower1", "l");
  ASSERT_TRUE(sys::LinkAt(stage.bottom, "old/lower1", stage.bottom, "old/lower2").ok());
  const UniqueFd mount = stage.Mount();
  tree::Write(mount, "outside", "o");
  ASSERT_TRUE(sys::LinkAt(mount, "outside", mount, "old/inside").ok());
  ASSERT_TRUE(sys::RenameAt(mount, "old", mount, "new").ok());
  ASSERT_TRUE(sys::LinkAt(mount, "outside", mount, "zlast").ok());
  const auto tar = stage.ArchiveOf(mount);
  std::map<std::string, std::string> links;
  for (const TarEntry& entry : EntriesOf(*tar)) {
    if (entry.kind == TarEntry::Kind::kHardLink) links[entry.path] = entry.link_target;
  }
  EXPECT_EQ(links, (std::map<std::string, std::string>{
                       {"new/lower2", "new/lower1"}, {"outside", "new/inside"}, {"zlast", "new/inside"}}));
  EXPECT_EQ(Difference(Manifest(stage.MountApplied(*tar, Stage::Format::kTree)), Manifest(mount)), "");
}

TEST(UpperTar, HolesAreKeptWhenAskedFor) {
  Stage stage;
  tree::Write(stage.bottom, "meta", "");
  ASSERT_TRUE(sys::Truncate(*sys::OpenAt(stage.bottom, "meta", O_WRONLY), 1 << 20).ok());
  const UniqueFd mount = stage.Mount();
  ASSERT_TRUE(sys::FChmodAt(mount, "meta", 0600).ok());  // its data stays below
  tree::Write(mount, "own", "");
  ASSERT_TRUE(sys::PWriteAll(*sys::OpenAt(mount, "own", O_WRONLY), AsBytes("end"), 1 << 20).ok());
  const auto dense = stage.ArchiveOf(mount);
  const auto sparse = stage.ArchiveOf(mount, {.keep_sparse = true, .unchanged_root = {}});
  EXPECT_GT(dense->size(), size_t{2} << 20U);
  EXPECT_LT(sparse->size(), size_t{64} << 10U);
  for (const TarEntry& entry : EntriesOf(*dense)) EXPECT_FALSE(entry.sparse);
  const std::vector<std::string> shown = Manifest(mount);
  EXPECT_EQ(Difference(Manifest(stage.MountApplied(*sparse, Stage::Format::kPacked)), shown), "");
  EXPECT_EQ(Difference(Manifest(stage.MountApplied(*dense, Stage::Format::kTree)), shown), "");
}

// --- what does not belong into a layer --------------------------------------------------------------------

TEST(UpperTar, NameThatMeansAWhiteoutIsRefused) {
  const Stage stage;
  tree::Write(stage.upper, ".wh.x", "");
  const auto tar = stage.ArchiveOf(std::nullopt);
  ASSERT_FALSE(tar.ok());
  EXPECT_EQ(tar.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(tar.error().message(), "read 'upper/.wh.x': its name means a whiteout in a layer");
}

TEST(UpperTar, WhiteoutOfANameTooLongToSayIsRefused) {
  const Stage stage;
  tree::MakeWhiteout(stage.upper, std::string(252, 'n'));
  EXPECT_EQ(stage.ArchiveOf(std::nullopt).error().code(), ErrorCode::kLimitExceeded);
}

TEST(UpperTar, OtherMountsAreNotEntered) {
  const Stage stage;
  tree::MakeDir(stage.upper, "dir");
  const std::string path = sys::DescribeFd(stage.upper) + "/dir";
  ASSERT_TRUE(sys::Mount("tmpfs", path.c_str(), "tmpfs", 0, nullptr).ok());
  const auto tar = stage.ArchiveOf(std::nullopt);
  EXPECT_TRUE(sys::Unmount(path.c_str(), sys::kUnmountDetach).ok());
  ASSERT_FALSE(tar.ok());
  EXPECT_EQ(tar.error().cause(), Errno(EXDEV));
}

TEST(UpperTar, TreeDeeperThanAnyPathIsRefused) {
  const Stage stage;
  UniqueFd dir = *sys::Dup(stage.upper);
  const std::string name(200, 'd');
  for (int i = 0; i < 40; ++i) {
    tree::MakeDir(dir, name);
    dir = *sys::OpenAt(dir, name.c_str(), O_RDONLY | O_DIRECTORY);
  }
  EXPECT_EQ(stage.ArchiveOf(std::nullopt).error().code(), ErrorCode::kLimitExceeded);
}

// --- an upper that changes while it is read ----------------------------------------------------------------

class ChangingUpper : public testing::Test {
 protected:
  void SetUp() override {
    tree::Write(stage_.bottom, "meta", std::string(3 << 20, 'l'));
    mount_ = stage_.Mount();
    tree::MakeDir(mount_, "a");
    tree::Write(mount_, "a/file", std::string(3 << 20, 'f'));
    tree::MakeDir(mount_, "b");
    tree::Write(mount_, "b/file", "b");
    tree::Write(mount_, "c", "c");
    ASSERT_TRUE(sys::FChmodAt(mount_, "meta", 0600).ok());
    source_ = *MakeUpperTarSource(stage_.upper, mount_);
    // Within the data of a/file.
    std::vector<std::byte> some(size_t{1} << 20U);
    ASSERT_EQ(*source_->Read(some), some.size());
  }
  Result<std::string> Rest() { return ReadToEnd(*source_, size_t{64} << 20U, "rest"); }

  Stage stage_;
  UniqueFd mount_;
  std::unique_ptr<ByteSource> source_;
};

TEST_F(ChangingUpper, UndisturbedIsWhole) { EXPECT_TRUE(Rest().ok()); }

TEST_F(ChangingUpper, FileThatChangesItsSizeIsBusy) {
  ASSERT_TRUE(sys::Truncate(*sys::OpenAt(mount_, "a/file", O_WRONLY), 2 << 20).ok());
  const auto rest = Rest();
  ASSERT_FALSE(rest.ok());
  EXPECT_EQ(rest.error().code(), ErrorCode::kBusy);
  EXPECT_EQ(rest.error().message(), "read 'upper/a/file': shrank while it was being read");
}

TEST_F(ChangingUpper, SymlinksPutInTheWayAreArchivedNotFollowed) {
  const TempDir outside;
  tree::Write(outside.fd(), "file", "secret");
  ASSERT_TRUE(sys::RemoveTree(mount_, "b").ok());
  ASSERT_TRUE(sys::SymlinkAt(outside.path().c_str(), mount_, "b").ok());
  ASSERT_TRUE(sys::UnlinkAt(mount_, "c").ok());
  ASSERT_TRUE(sys::SymlinkAt((outside.path() + "/file").c_str(), mount_, "c").ok());
  const auto rest = Rest();
  ASSERT_TRUE(rest.ok()) << rest.error().message();
  EXPECT_EQ(rest->find("secret"), std::string::npos);
}

TEST_F(ChangingUpper, PipeInPlaceOfAFileDoesNotHang) {
  ASSERT_TRUE(sys::UnlinkAt(mount_, "c").ok());
  ASSERT_TRUE(sys::MknodAt(mount_, "c", S_IFIFO | 0644, 0).ok());
  EXPECT_TRUE(Rest().ok());
}

TEST_F(ChangingUpper, DataOfAMetacopyFileComesFromTheMountEvenIfCopiedUpMeanwhile) {
  const UniqueFd file = *sys::OpenAt(mount_, "meta", O_WRONLY);
  ASSERT_TRUE(sys::PWriteAll(file, AsBytes("changed"), 0).ok());
  const auto rest = Rest();
  ASSERT_TRUE(rest.ok()) << rest.error().message();
  EXPECT_NE(rest->find("changedlll"), std::string::npos);
}

}  // namespace
}  // namespace snap
