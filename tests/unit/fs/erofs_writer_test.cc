#include "fs/erofs_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <functional>
#include <random>
#include <span>
#include <string>

#include "fs/base/sys_file.h"
#include "fs/erofs_format.h"
#include "fs/erofs_reader.h"
#include "tests/support/erofs_builder.h"

namespace snap {
namespace {

using test::Difference;
using test::ErofsBuilder;
using test::ListLayerTree;

constexpr auto kRoot = LayerTree::kRoot;

std::string BytesOf(FdRef file) {
  return *sys::ReadFileAt(FdRef::Cwd(), sys::ProcFdPath(file).c_str(), 1U << 28U);
}

LayerTree Load(const ErofsBuilder& builder) {
  const auto reader = ErofsReader::Open(builder.file(), "image");
  EXPECT_TRUE(reader.ok()) << reader.error().message();
  auto tree = reader->Load();
  EXPECT_TRUE(tree.ok()) << tree.error().message();
  return tree.ok() ? std::move(*tree) : LayerTree();
}

test::Listing ListingOf(const LayerTree& tree, const ErofsBuilder& image) {
  return ListLayerTree(tree, image.options.block_bits, {image.file()});
}

class ErofsWriterBlocks : public testing::TestWithParam<unsigned> {};

TEST_P(ErofsWriterBlocks, WhatIsWrittenIsLoadedAgain) {
  const ObjectId object{.hash = {1, 2, 3}, .size = 77'000, .variant = 2};
  for (unsigned seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    ErofsBuilder builder(GetParam());
    test::FillRandomTree(builder, random, {.entries = 60 * seed, .whiteouts = true, .objects = true},
                         [&](std::string_view) { return object; });
    const auto size = builder.Write();
    ASSERT_TRUE(size.ok()) << size.error().message();
    EXPECT_EQ(0U, *size % (uint64_t{1} << GetParam()));
    EXPECT_EQ(*size, static_cast<uint64_t>(sys::FStat(builder.file())->st_size));
    EXPECT_EQ("", Difference(ListingOf(builder.tree, builder), ListingOf(Load(builder), builder)));
  }
}

TEST_P(ErofsWriterBlocks, SameTreeInAnotherOrderGivesTheSameBytes) {
  const auto write = [](bool reversed) {
    ErofsBuilder builder(GetParam());
    const uint64_t block = builder.Store("content");
    std::vector<int> order(500);
    for (int i = 0; i < 500; ++i) order[static_cast<size_t>(reversed ? 499 - i : i)] = i;
    for (const int i : order) {
      const auto dir = builder.Directory(kRoot, "dir" + std::to_string(i));
      LayerTree::Inode inode;
      inode.size = 7;
      inode.data_kind = LayerTree::Inode::Data::kContiguous;
      inode.block = block;
      const auto file = builder.tree.AddInode(inode);
      builder.tree.AddEntry(dir, reversed ? "b" : "a", file);
      builder.tree.AddEntry(dir, reversed ? "a" : "b", file);
      const Xattr one{"user.one", "1"};
      const Xattr two{"user.two", std::to_string(i % 5)};
      builder.Xattrs(file, reversed ? std::vector{two, one} : std::vector{one, two});
    }
    EXPECT_TRUE(builder.Write().ok());
    return BytesOf(builder.file());
  };
  EXPECT_EQ(write(false), write(true));
}

TEST_P(ErofsWriterBlocks, RootNumberFitsIntoSixteenBitsWhateverIsInIt) {
  ErofsBuilder builder(GetParam());
  for (int i = 0; i < 20'000; ++i) builder.Node(kRoot, std::to_string(i), FileType::kFifo);
  builder.Xattrs(kRoot, {{"user.large", std::string(60'000, 'x')}});
  ASSERT_TRUE(builder.Write().ok());
  EXPECT_NE(0U, ErofsReader::Open(builder.file(), "image")->root());
  EXPECT_EQ(20'001U, Load(builder).inode_count());
}

INSTANTIATE_TEST_SUITE_P(BlockBits, ErofsWriterBlocks, testing::Values(9U, 10U, 11U, 12U));

TEST(ErofsWriter, HeaderIsWhereTheFormatWantsIt) {
  EXPECT_EQ(3U, ErofsDataStart(9));
  EXPECT_EQ(1U, ErofsDataStart(12));
  EXPECT_EQ(4U, ErofsDataStart(9, 4));
  EXPECT_EQ(4U, ErofsDataStart(9, 7));
  EXPECT_EQ(5U, ErofsDataStart(9, 8));
  EXPECT_EQ(2U, ErofsDataStart(12, 24));
}

TEST(ErofsWriter, UuidIsTheOptionsOrFollowsTheMetadata) {
  const auto uuid_of = [](std::string_view name, uint8_t option) {
    ErofsBuilder builder;
    builder.options.uuid[0] = option;
    builder.File(kRoot, name, "content");
    EXPECT_TRUE(builder.Write().ok());
    erofs::SuperBlock super;
    EXPECT_EQ(sizeof(super),
              *sys::PRead(builder.file(), std::as_writable_bytes(std::span(&super, 1)), erofs::kSuperOffset));
    return super.uuid;
  };
  EXPECT_EQ(uuid_of("a", 0), uuid_of("a", 0));
  EXPECT_NE(uuid_of("a", 0), uuid_of("b", 0));
  EXPECT_NE(uuid_of("a", 0), (std::array<uint8_t, 16>{}));
  EXPECT_EQ(uuid_of("a", 7), uuid_of("b", 7));
}

TEST(ErofsWriter, SharesXattrsOfSeveralFiles) {
  const auto size_of = [](bool same) {
    ErofsBuilder builder;
    for (int i = 0; i < 1000; ++i) {
      const std::string value(1000, static_cast<char>('a' + (same ? 0 : i % 26)));
      builder.Xattrs(builder.Node(kRoot, std::to_string(i), FileType::kFifo),
                     {{"trusted.x", same ? value : value + std::to_string(i)}});
    }
    return *builder.Write();
  };
  EXPECT_GT(size_of(false), 1'000'000U);
  EXPECT_LT(size_of(true), 150'000U);
}

TEST(ErofsWriter, SmallTreesTakeLittleSpace) {
  ErofsBuilder builder;
  for (int d = 0; d < 100; ++d) {
    const auto dir = builder.Directory(kRoot, "directory" + std::to_string(d));
    for (int i = 0; i < 10; ++i) builder.File(dir, "some-file-" + std::to_string(i) + ".txt", "x");
  }
  const uint64_t size = *builder.Write();
  // 64 bytes of inode, 12 and the name of entry; the rest is what directories lose at blocks' ends.
  EXPECT_LT(size - (builder.next_block() << 9U), 1000U * 120);
}

TEST(ErofsWriter, SparseFilesTakeFewIndexes) {
  const auto metadata_of = [](uint64_t size, const std::vector<std::pair<uint64_t, std::string>>& pieces) {
    ErofsBuilder builder;
    builder.Sparse(kRoot, "file", size, pieces);
    const auto written = builder.Write();
    EXPECT_TRUE(written.ok()) << written.error().message();
    return *written - (builder.next_block() << 9U);
  };
  EXPECT_EQ(512U, metadata_of(uint64_t{8} << 40U, {}));
  EXPECT_EQ(512U, metadata_of(10 << 20U, {{9 << 20U, std::string(1U << 20U, 'x')}}));
  // A thousand chunks of 1 MiB.
  EXPECT_LT(metadata_of(uint64_t{1} << 30U, {{1U << 20U, std::string(1U << 20U, 'x')}}), 9U << 10U);
}

struct BadTree {
  const char* name;
  ErrorCode code;
  std::function<void(ErofsBuilder&)> make;
};
void PrintTo(const BadTree& bad, std::ostream* out) { *out << bad.name; }

class ErofsWriterRefuses : public testing::TestWithParam<BadTree> {};

TEST_P(ErofsWriterRefuses, WithItsReason) {
  ErofsBuilder builder;
  GetParam().make(builder);
  const auto written = builder.Write();
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(GetParam().code, written.error().code()) << written.error().message();
}

void AddRun(ErofsBuilder& builder, uint64_t size, const std::vector<LayerTree::Run>& runs) {
  LayerTree::Inode inode;
  inode.size = size;
  inode.data_kind = LayerTree::Inode::Data::kRuns;
  inode.data = builder.tree.AddRuns(runs);
  builder.tree.AddEntry(kRoot, "file", builder.tree.AddInode(inode));
}

INSTANTIATE_TEST_SUITE_P(
    Trees, ErofsWriterRefuses,
    testing::Values(BadTree{"value of 64 KiB", ErrorCode::kLimitExceeded,
                            [](ErofsBuilder& b) {
                              b.Xattrs(kRoot, {{"user.x", std::string(65536, 'x')}});
                            }},
                    BadTree{"too many bytes of xattrs", ErrorCode::kLimitExceeded,
                            [](ErofsBuilder& b) {
                              std::vector<Xattr> xattrs;
                              xattrs.reserve(5);
                              for (int i = 0; i < 5; ++i)
                                xattrs.push_back({"user.x" + std::to_string(i), std::string(60'000, 'x')});
                              b.Xattrs(kRoot, xattrs);
                            }},
                    BadTree{"unknown namespace", ErrorCode::kUnsupported,
                            [](ErofsBuilder& b) {
                              b.Xattrs(kRoot, {{"system.nfs4_acl", "x"}});
                            }},
                    BadTree{"two xattrs of one name", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              b.Xattrs(kRoot, {{"user.x", "1"}, {"user.x", "2"}});
                            }},
                    BadTree{"redirect from a layer", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              b.Xattrs(kRoot, {{"trusted.overlay.redirect", "/x"}});
                            }},
                    BadTree{"user redirect from a layer", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              b.Xattrs(kRoot, {{"user.overlay.redirect", "/x"}});
                            }},
                    BadTree{"object of another size", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              b.tree.inode(b.Object(kRoot, "o", {.hash = {}, .size = 5, .variant = 0})).size =
                                  6;
                            }},
                    BadTree{"empty target", ErrorCode::kLimitExceeded,
                            [](ErofsBuilder& b) { b.Symlink(kRoot, "s", ""); }},
                    BadTree{"target of PATH_MAX", ErrorCode::kLimitExceeded,
                            [](ErofsBuilder& b) { b.Symlink(kRoot, "s", std::string(4096, 't')); }},
                    BadTree{"device beyond Linux", ErrorCode::kLimitExceeded,
                            [](ErofsBuilder& b) {
                              b.Node(kRoot, "d", FileType::kBlockDevice, makedev(4096, 0));
                            }},
                    BadTree{"chunks without end", ErrorCode::kLimitExceeded,
                            [](ErofsBuilder& b) {
                              b.Sparse(kRoot, "f", uint64_t{8} << 40U, {{512, std::string(512, 'x')}});
                            }},
                    BadTree{"run in the header", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              AddRun(b, 512, {{0, 512, 2, 0}});
                            }},
                    BadTree{"run in the metadata", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              AddRun(b, 512, {{0, 512, 3, 0}});
                            }},
                    BadTree{"run on no device", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              AddRun(b, 512, {{0, 512, 0, 1}});
                            }},
                    BadTree{"run behind its device", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              b.Store(std::string(512, 'x'));
                              b.options.devices = {{"d", 9}};
                              AddRun(b, 1024, {{0, 1024, 8, 1}});
                            }},
                    BadTree{"overlapping runs", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              const uint64_t block = b.Store(std::string(2048, 'x'));
                              AddRun(b, 2048, {{0, 1024, block, 0}, {512, 512, block, 0}});
                            }},
                    BadTree{"run behind the file", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              AddRun(b, 100, {{0, 101, b.Store("x"), 0}});
                            }},
                    BadTree{"run between blocks", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              AddRun(b, 2000, {{100, 512, b.Store(std::string(512, 'x')), 0}});
                            }},
                    BadTree{"long tag", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) {
                              b.Store("x");
                              b.options.devices = {{std::string(64, 't'), 1}};
                            }},
                    BadTree{"blocks of 8 KiB", ErrorCode::kInvalidArgument,
                            [](ErofsBuilder& b) { b.options.block_bits = 13; }}));

TEST(ErofsWriter, RefusesMetadataInItsHeader) {
  const UniqueFd file = test::NewImageFile();
  ErofsOptions options;
  options.first_free_block = 2;
  EXPECT_EQ(ErrorCode::kInvalidArgument, WriteErofs(file, LayerTree(), options).error().code());
  options.first_free_block = 0xFFFFFFFE;
  EXPECT_EQ(ErrorCode::kLimitExceeded, WriteErofs(file, LayerTree(), options).error().code());
}

}  // namespace
}  // namespace snap
