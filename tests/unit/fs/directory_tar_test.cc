// Runs as root: trees have foreign owners, devices and trusted xattrs.
#include "fs/directory_tar.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <random>

#include "fs/base/sys_file.h"
#include "fs/tar_reader.h"
#include "tests/support/oci_builder.h"

namespace snap {
namespace {

using test::Shell;
using test::TempDir;
using testing::ElementsAre;

Result<std::string> Archive(const TempDir& tree, DirectoryTarOptions options = {}, size_t step = 0) {
  const auto source = MakeDirectoryTarSource(*sys::Dup(tree.fd()), "tree", options);
  if (step == 0) return ReadToEnd(*source, 64 << 20, "archive");
  std::string out;
  std::vector<std::byte> buffer(step);
  for (;;) {
    SNAP_TRY(const size_t got, source->Read(buffer));
    if (got == 0) return out;
    out.append(reinterpret_cast<const char*>(buffer.data()), got);
  }
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

std::vector<std::string> PathsOf(const std::string& tar) {
  std::vector<std::string> paths;
  for (const TarEntry& entry : EntriesOf(tar)) paths.push_back(entry.path);
  return paths;
}

/// What both trees must agree on: type, mode, owner, link count, size, time with nanoseconds, name, target,
/// content.
std::string Describe(const std::string& dir) {
  return Shell("cd " + dir +
               " && find . -printf '%y %m %U:%G %n %s %T@ %p -> %l\\n' | LC_ALL=C sort && "
               "find . -type f -exec sha256sum {} + | LC_ALL=C sort && getfattr -hRd -m - --absolute-names . "
               "| LC_ALL=C sort");
}

TEST(DirectoryTar, GnuTarExtractsTheSameTree) {
  const TempDir tree;
  tree.WriteFile("etc/hostname", "host\n");
  tree.WriteFile("usr/bin/tool", std::string(100'000, 't'));
  tree.WriteFile("usr/" + std::string(200, 'l') + "/" + std::string(200, 'm'), "long");
  tree.WriteFile("bytes-\xff\x1b", "not utf-8");
  tree.WriteFile("empty", "");
  Shell("cd " + tree.path() +
        " && ln etc/hostname etc/second && ln etc/hostname zlast && ln -s /absolute/none link && mkfifo fifo"
        " && mknod null c 1 3 && mknod loop b 7 9 && chmod 4755 usr/bin/tool && chmod 1777 usr && chown "
        "1234:99999999 empty"
        " && touch -h -d @1234567890.987654321 link && touch -d '1960-01-01 00:00:00.5 UTC' empty"
        " && setfattr -n user.note -v 'a b' empty && setfattr -h -n trusted.t -v 0x00ff0a link"
        " && setcap cap_net_raw+ep usr/bin/tool && touch -d @1111111111.5 usr/bin etc .");
  const auto tar = Archive(tree);
  ASSERT_TRUE(tar.ok()) << tar.error().message();
  const TempDir out;
  out.WriteFile("tree.tar", *tar);
  Shell("mkdir " + out / "x" + " && tar --xattrs --xattrs-include='*' -C " + out / "x" + " -xpf " +
        out / "tree.tar");
  EXPECT_EQ(Describe(out / "x"), Describe(tree.path()));
  // And GNU tar sees no difference when it compares by itself.
  EXPECT_EQ(Shell("tar --xattrs --xattrs-include='*' -C " + tree.path() + " -df " + out / "tree.tar"), "");
}

TEST(DirectoryTar, GnuTarExtractsRandomTrees) {
  std::mt19937 random(7);
  const auto pick = [&](unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random); };
  for (int round = 0; round < 8; ++round) {
    const TempDir tree;
    std::vector<std::string> dirs{"."}, files;
    for (unsigned i = 0; i < 60; ++i) {
      const std::string path = dirs[pick(static_cast<unsigned>(dirs.size()))] + "/" + std::to_string(i) +
                               std::string(pick(90), 'n');
      switch (pick(7)) {
        case 0:
          ASSERT_TRUE(sys::MkdirAt(tree.fd(), path.c_str(), 0755).ok());
          dirs.push_back(path);
          break;
        case 1:
          ASSERT_TRUE(sys::SymlinkAt(std::string(1 + pick(200), 't').c_str(), tree.fd(), path.c_str()).ok());
          break;
        case 2:
          ASSERT_TRUE(sys::MknodAt(tree.fd(), path.c_str(), pick(2) == 0 ? S_IFCHR : S_IFIFO,
                                   makedev(1 + pick(9), pick(300)))
                          .ok());
          break;
        case 3:
          if (!files.empty()) {
            const std::string& target = files[pick(static_cast<unsigned>(files.size()))];
            ASSERT_TRUE(sys::LinkAt(tree.fd(), target.c_str(), tree.fd(), path.c_str()).ok());
            break;
          }
          [[fallthrough]];
        default:
          tree.WriteFile(path, std::string(pick(3) * 511 + pick(3), 'x'));
          files.push_back(path);
      }
      const struct stat stat = *sys::StatAt(tree.fd(), path.c_str());
      if (stat.st_nlink > 1 && !S_ISDIR(stat.st_mode)) continue;
      ASSERT_TRUE(sys::FChownAt(tree.fd(), path.c_str(), pick(2) * 4'000'000, pick(3)).ok());
      const timespec time{.tv_sec = pick(2'000'000'000), .tv_nsec = static_cast<long>(pick(1'000'000'000))};
      ASSERT_TRUE(sys::SetTimesAt(tree.fd(), path.c_str(), {time, time}).ok());
      if (S_ISREG(stat.st_mode) && pick(3) == 0) {
        const std::string value("\0\n=\xff", 4);
        const UniqueFd file = *sys::OpenAt(tree.fd(), path.c_str(), O_RDONLY);
        ASSERT_TRUE(sys::FSetXattr(file, "user.raw", std::as_bytes(std::span(value))).ok());
      }
    }
    const auto tar = Archive(tree);
    ASSERT_TRUE(tar.ok()) << tar.error().message();
    const TempDir out;
    out.WriteFile("tree.tar", *tar);
    Shell("mkdir " + out / "x" + " && tar --xattrs --xattrs-include='*' -C " + out / "x" + " -xpf " +
          out / "tree.tar");
    EXPECT_EQ(Describe(out / "x"), Describe(tree.path()));
  }
}

TEST(DirectoryTar, OrderIsSortedParentsFirstAndStepsDoNotMatter) {
  const TempDir tree;
  for (const char* name : {"b/z", "b/a/deep/er", "a.txt", "a/x", "B", "c"}) tree.WriteFile(name, name);
  const std::string tar = *Archive(tree);
  EXPECT_THAT(PathsOf(tar), ElementsAre("./", "B", "a/", "a/x", "a.txt", "b/", "b/a/", "b/a/deep/",
                                        "b/a/deep/er", "b/z", "c"));
  EXPECT_EQ(tar.size() % 512, 0U);
  for (const size_t step : {1U, 7U, 511U, 512U, 4097U}) EXPECT_EQ(*Archive(tree, {}, step), tar) << step;
}

TEST(DirectoryTar, CopyOfATreeGivesTheSameBytes) {
  const TempDir tree;
  for (int i = 0; i < 50; ++i)
    tree.WriteFile("d" + std::to_string(i % 7) + "/f" + std::to_string(i), "content");
  Shell("cd " + tree.path() +
        " && ln d0/f0 d6/link && setfattr -n user.b -v 1 d0 && setfattr -n user.a -v 2 d0");
  const TempDir copy;
  Shell("cp -a " + tree.path() + "/. " + copy.path());
  EXPECT_EQ(*Archive(tree), *Archive(copy));
}

TEST(DirectoryTar, HolesAreKeptOrBecomeZeros) {
  const TempDir tree;
  Shell("cd " + tree.path() +
        " && truncate -s 1M a && printf data | dd of=a bs=1 seek=524288 conv=notrunc status=none"
        " && truncate -s 300000 hole && head -c 10000 /dev/urandom > full");
  const std::string kept = *Archive(tree, {.keep_holes = true});
  const std::string full = *Archive(tree);
  EXPECT_LT(kept.size(), 64'000U);
  EXPECT_GT(full.size(), 1'300'000U);
  for (const TarEntry& entry : EntriesOf(kept)) {
    if (entry.kind == TarEntry::Kind::kDirectory) continue;
    EXPECT_EQ(entry.sparse, entry.path != "full") << entry.path;
  }
  for (const std::string& tar : {kept, full}) {
    const TempDir out;
    out.WriteFile("t.tar", tar);
    Shell("mkdir " + out / "x" + " && tar -C " + out / "x" + " -xpf " + out / "t.tar");
    EXPECT_EQ(Describe(out / "x"), Describe(tree.path()));
  }
}

TEST(DirectoryTar, SocketsAreLeftOutAndSymlinksNotFollowed) {
  const TempDir outside;
  outside.WriteFile("secret", "s");
  const TempDir tree;
  ASSERT_TRUE(sys::SymlinkAt(outside.path().c_str(), tree.fd(), "dir-link").ok());
  ASSERT_TRUE(sys::SymlinkAt((outside / "secret").c_str(), tree.fd(), "file-link").ok());
  ASSERT_TRUE(sys::MknodAt(tree.fd(), "socket", S_IFSOCK | 0644, 0).ok());
  const std::string tar = *Archive(tree);
  EXPECT_THAT(PathsOf(tar), ElementsAre("./", "dir-link", "file-link"));
}

TEST(DirectoryTar, OnlyTheCapabilityOfSecurityXattrsIsKept) {
  const TempDir tree;
  tree.WriteFile("f", "x");
  const UniqueFd file = *sys::OpenAt(tree.fd(), "f", O_RDONLY);
  const std::string_view value = "x";
  for (const char* name : {"user.a", "trusted.b", "security.other", "trusted.overlay.redirect"}) {
    ASSERT_TRUE(sys::FSetXattr(file, name, std::as_bytes(std::span(value))).ok()) << name;
  }
  Shell("setcap cap_net_raw+ep " + tree / "f");
  const auto names = [](const std::string& tar) {
    std::vector<std::string> out;
    const std::vector<TarEntry> entries = EntriesOf(tar);
    for (const Xattr& xattr : entries.at(1).attributes.xattrs) out.push_back(xattr.name);
    return out;
  };
  EXPECT_THAT(names(*Archive(tree)),
              ElementsAre("security.capability", "trusted.b", "trusted.overlay.redirect", "user.a"));
}

class DirectoryTarChanges : public testing::Test {
 protected:
  void SetUp() override {
    tree_.WriteFile("a/file", std::string(10'000, 'f'));
    tree_.WriteFile("z", "z");
    source_ = MakeDirectoryTarSource(*sys::Dup(tree_.fd()), "tree");
  }
  /// Reads until the bytes so far end with the given text.
  void ReadUpTo(std::string_view text) {
    while (read_.find(text) == std::string::npos) {
      std::byte one[512];
      const auto got = source_->Read(one);
      ASSERT_TRUE(got.ok()) << got.error().message();
      ASSERT_NE(*got, 0U);
      read_.append(reinterpret_cast<const char*>(one), *got);
    }
  }
  Error ReadToError() {
    const auto rest = ReadToEnd(*source_, 1 << 20, "rest");
    EXPECT_FALSE(rest.ok());
    return rest.ok() ? Error(ErrorCode::kInternal, "none") : rest.error();
  }

  TempDir tree_;
  std::unique_ptr<ByteSource> source_;
  std::string read_;
};

TEST_F(DirectoryTarChanges, ShrinkingFileIsNamed) {
  ReadUpTo("ffff");
  ASSERT_EQ(::truncate((tree_ / "a/file").c_str(), 600), 0);
  const Error error = ReadToError();
  EXPECT_EQ(error.code(), ErrorCode::kBusy);
  EXPECT_EQ(error.message(), "read 'tree/a/file': shrank while it was being read");
}

TEST_F(DirectoryTarChanges, GrowingFileIsNamed) {
  ReadUpTo("ffff");
  tree_.WriteFile("a/file", std::string(10'001, 'f'));
  EXPECT_EQ(ReadToError().message(), "read 'tree/a/file': grew while it was being read");
}

TEST_F(DirectoryTarChanges, DirectoryReplacedOnTheWayBackIsNamed) {
  tree_.WriteFile("a/b/deep", "d");
  tree_.WriteFile("a/c", "c");
  ReadUpTo("a/b/deep");
  ASSERT_TRUE(sys::RenameAt(tree_.fd(), "a", tree_.fd(), "moved").ok());
  tree_.WriteFile("a/c", "another");
  const Error error = ReadToError();
  EXPECT_EQ(error.code(), ErrorCode::kBusy);
  EXPECT_EQ(error.message(), "read 'tree/a': was replaced while it was being read");
}

TEST_F(DirectoryTarChanges, VanishedFileIsAnError) {
  ReadUpTo("ffff");
  ASSERT_TRUE(sys::UnlinkAt(tree_.fd(), "z").ok());
  EXPECT_EQ(ReadToError().code(), ErrorCode::kNotFound);
}

TEST(DirectoryTar, DepthIsBoundedByPathsNotDescriptors) {
  const TempDir tree;
  // 1100 levels, made by moving downwards so that no path is too long.
  UniqueFd dir = *sys::Dup(tree.fd());
  for (int i = 0; i < 1100; ++i) {
    ASSERT_TRUE(sys::MkdirAt(dir, "d", 0755).ok());
    dir = *sys::OpenAt(dir, "d", O_RDONLY | O_DIRECTORY);
  }
  const auto tar = Archive(tree);
  ASSERT_FALSE(tar.ok());
  EXPECT_EQ(tar.error().code(), ErrorCode::kLimitExceeded);
}

}  // namespace
}  // namespace snap
