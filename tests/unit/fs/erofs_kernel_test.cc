// The kernel reads what we write: images mounted from their files and compared with the trees they were made
// from.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <random>
#include <span>
#include <string>

#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/erofs_reader.h"
#include "fs/erofs_writer.h"
#include "tests/support/erofs_builder.h"
#include "tests/support/erofs_mount.h"

namespace snap {
namespace {

using test::Difference;
using test::ErofsBuilder;
using test::ListLayerTree;
using test::ListMounted;
using test::MountErofs;

constexpr auto kRoot = LayerTree::kRoot;

class ErofsKernel : public testing::TestWithParam<unsigned> {
 protected:
  ErofsBuilder builder{GetParam()};

  /// Writes, mounts and compares; returns the mount for more questions.
  UniqueFd MountAndCompare() {
    const auto written = builder.Write();
    EXPECT_TRUE(written.ok()) << written.error().message();
    UniqueFd mount = MountErofs(builder.file(), {});
    EXPECT_EQ("", Difference(ListLayerTree(builder.tree, GetParam(), {builder.file()}), ListMounted(mount)));
    const auto reader = ErofsReader::Open(builder.file(), "image");
    EXPECT_TRUE(reader.ok()) << reader.error().message();
    const auto loaded = reader->Load();
    EXPECT_TRUE(loaded.ok()) << loaded.error().message();
    EXPECT_EQ("", Difference(ListLayerTree(builder.tree, GetParam(), {builder.file()}),
                             ListLayerTree(*loaded, GetParam(), {builder.file()})));
    return mount;
  }
};

TEST_P(ErofsKernel, MountsAnEmptyTree) { MountAndCompare(); }

TEST_P(ErofsKernel, ShowsEveryTypeAndAttribute) {
  const auto dir = builder.Directory(kRoot, "dir");
  const auto file = builder.File(dir, "file", std::string(10'000, 'f'));
  builder.tree.AddEntry(kRoot, "link", file);
  builder.tree.AddEntry(dir, "another", file);
  builder.File(dir, "empty", "");
  builder.Symlink(dir, "short", "target");
  builder.Symlink(dir, "long", std::string(4095, 'l'));
  for (const size_t size : {400U, 448U, 449U, 511U, 512U, 513U, 4031U, 4032U, 4033U}) {
    builder.Symlink(dir, "symlink" + std::to_string(size), std::string(size, 's'));
  }
  builder.Node(dir, "char", FileType::kCharDevice, makedev(4095, 1048575));
  builder.Node(dir, "block", FileType::kBlockDevice, makedev(8, 1));
  builder.Node(dir, "fifo", FileType::kFifo);
  builder.Node(dir, "socket", FileType::kSocket);
  builder.Whiteout(dir, "whiteout");
  LayerTree::Inode& inode = builder.tree.inode(file);
  inode.uid = 0xFFFFFFFE;
  inode.gid = 0x80000001;
  inode.permissions = 07777;
  inode.mtime = -123'456'789'012;
  inode.mtime_ns = 999'999'999;
  builder.tree.inode(dir).mtime = 10'000'000'000;
  builder.tree.inode(dir).opaque = true;
  MountAndCompare();
}

TEST_P(ErofsKernel, ShowsXattrsInlineAndShared) {
  const std::string large(60'000, 'v');
  for (int i = 0; i < 20; ++i) {
    const auto file = builder.File(kRoot, "f" + std::to_string(i), "x");
    builder.Xattrs(file,
                   {{"user.shared", large},
                    {"user.own", std::to_string(i)},
                    {"security.capability", std::string("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)},
                    {"trusted.empty", ""}});
  }
  const auto full = builder.Directory(kRoot, "full");
  std::vector<Xattr> many;
  many.reserve(300);
  for (int i = 0; i < 300; ++i)
    many.push_back({"user.n" + std::to_string(1000 + i), std::string(static_cast<size_t>(i % 7), 'm')});
  builder.Xattrs(full, many);
  builder.Xattrs(builder.Directory(kRoot, "full2"), many);
  builder.Xattrs(builder.Symlink(kRoot, "symlink", "t"), {{"trusted.on-symlink", std::string(100, 'z')}});
  const UniqueFd mount = MountAndCompare();
  EXPECT_EQ(ENODATA, sys::GetXattrAt(mount, "f0", "user.none").error().code());
}

TEST_P(ErofsKernel, EnforcesPosixAcls) {
  // version 2; user::rw-, user:1234:r--, group::---, mask::r--, other::---
  const unsigned char acl[] = {2, 0,    0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  4,
                               0, 0xD2, 4,   0,   0,   4,   0,  0, 0,   255, 255, 255, 255, 16, 0,
                               4, 0,    255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};
  const std::string value(reinterpret_cast<const char*>(acl), sizeof(acl));
  const auto file = builder.File(kRoot, "file", "secret");
  builder.tree.inode(file).permissions = 0640;
  builder.Xattrs(file, {{"system.posix_acl_access", value}});
  const auto dir = builder.Directory(kRoot, "dir");
  builder.Xattrs(dir, {{"system.posix_acl_default", value}, {"system.posix_acl_access", value}});
  builder.tree.inode(dir).permissions = 0640;
  const UniqueFd mount = MountAndCompare();
  EXPECT_EQ(value, *sys::GetXattrAt(mount, "file", "system.posix_acl_access"));
}

TEST_P(ErofsKernel, ReadsSparseFiles) {
  const uint64_t block = uint64_t{1} << GetParam();
  builder.Sparse(kRoot, "hole", 12345, {});
  builder.Sparse(kRoot, "huge", uint64_t{8} << 40U, {});
  builder.Sparse(
      kRoot, "huge-with-data", uint64_t{8} << 40U,
      {{uint64_t{1} << 40U, std::string(1U << 20U, 'd')}, {uint64_t{7} << 40U, std::string(1U << 20U, 'e')}});
  builder.Sparse(kRoot, "start", 100 * block, {{0, std::string(block, 'a')}});
  builder.Sparse(kRoot, "end", 100 * block + 7, {{100 * block, "7 bytes"}});
  builder.Sparse(
      kRoot, "holes", 10 * block + 1,
      {{block, std::string(block, 'b')}, {4 * block, std::string(3 * block, 'c')}, {10 * block, "e"}});
  builder.Sparse(kRoot, "neighbours", 4 * block,
                 {{0, std::string(block, '1')}, {block, std::string(3 * block, '2')}});
  MountAndCompare();
}

TEST_P(ErofsKernel, FindsEveryNameOfALargeDirectory) {
  const auto dir = builder.Directory(kRoot, "large");
  for (int i = 0; i < 100'000; ++i)
    builder.Node(dir, "entry-" + std::to_string(i * 7919 % 100'000), FileType::kFifo);
  MountAndCompare();
}

TEST_P(ErofsKernel, TakesAnyNameAndSortsItBytewise) {
  for (int c = 1; c < 256; ++c) {
    if (c == '/') continue;
    const std::string one(1, static_cast<char>(c));
    if (c != '.') builder.Node(kRoot, one, FileType::kFifo);
    builder.Node(kRoot, std::string(255, static_cast<char>(c)), FileType::kFifo);
    builder.Directory(kRoot, "." + one + "x");
  }
  MountAndCompare();
}

TEST_P(ErofsKernel, ShowsDeepTrees) {
  auto directory = kRoot;
  for (int i = 0; i < 1000; ++i) directory = builder.Directory(directory, "d");
  builder.File(directory, "bottom", "b");
  MountAndCompare();
}

TEST_P(ErofsKernel, ReadsDataFromFurtherDevices) {
  ErofsBuilder source(GetParam());
  const uint64_t first = source.Store(std::string(5000, 'p'));
  const uint64_t second = source.Store(std::string(100'000, 'q'));
  ASSERT_TRUE(source.Write().ok());
  ErofsBuilder merged(GetParam(), 2);
  const uint64_t blocks = source.options.first_free_block;
  merged.options.devices = {{"unused", 1}, {"source", blocks}};
  const auto add = [&](const char* name, uint64_t size, uint64_t block) {
    LayerTree::Inode inode;
    inode.size = size;
    inode.data_kind = LayerTree::Inode::Data::kContiguous;
    inode.block = block;
    inode.run_device = 2;
    merged.tree.AddEntry(kRoot, name, merged.tree.AddInode(inode));
  };
  add("p", 5000, first);
  add("q", 100'000, second);
  merged.File(kRoot, "own", "own data");
  ASSERT_TRUE(merged.Write().ok());
  const UniqueFd unused = test::NewImageFile();
  ASSERT_TRUE(sys::Truncate(unused, 4096).ok());
  const UniqueFd mount = MountErofs(merged.file(), {unused.ref(), source.file()});
  EXPECT_EQ("", Difference(ListLayerTree(merged.tree, GetParam(), {merged.file(), unused, source.file()}),
                           ListMounted(mount)));
}

TEST_P(ErofsKernel, ShowsRandomTrees) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    ErofsBuilder fresh(GetParam());
    builder = std::move(fresh);
    test::FillRandomTree(builder, random, {.entries = 50 * (seed + 1), .whiteouts = true});
    SCOPED_TRACE(seed);
    MountAndCompare();
  }
}

INSTANTIATE_TEST_SUITE_P(BlockBits, ErofsKernel, testing::Values(9U, 10U, 12U));

}  // namespace
}  // namespace snap
