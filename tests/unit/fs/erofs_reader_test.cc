#include "fs/erofs_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string>

#include "fs/base/sys_file.h"
#include "fs/erofs_format.h"
#include "tests/support/erofs_builder.h"

namespace snap {
namespace {

using test::ErofsBuilder;

constexpr auto kRoot = LayerTree::kRoot;

ErofsReader OpenImage(FdRef file) {
  auto reader = ErofsReader::Open(file, "image");
  EXPECT_TRUE(reader.ok()) << reader.error().message();
  return std::move(*reader);
}

ErofsReader::NodeId Find(const ErofsReader& reader, std::initializer_list<std::string_view> path) {
  auto node = reader.root();
  for (const std::string_view name : path) node = **reader.Lookup(node, name);
  return node;
}

TEST(ErofsReader, AnswersSingleQuestions) {
  ErofsBuilder builder;
  const auto dir = builder.Directory(kRoot, "dir");
  const auto file = builder.File(dir, "file", std::string(3000, 'f'));
  builder.tree.inode(file).mtime = -5;
  builder.tree.inode(file).mtime_ns = 7;
  builder.tree.inode(file).uid = 0xFFFFFFF0;
  builder.Xattrs(file, {Xattr{"user.b", "2"}, Xattr{"user.a", "1"}});
  builder.tree.AddEntry(dir, "link", file);
  builder.Symlink(dir, "symlink", "../target");
  builder.Node(dir, "null", FileType::kCharDevice, 0x103);
  ASSERT_TRUE(builder.Write().ok());
  const ErofsReader reader = OpenImage(builder.file());
  EXPECT_EQ(5U, reader.inode_count());
  EXPECT_EQ(9U, reader.block_bits());

  const auto node = *reader.Stat(Find(reader, {"dir", "file"}));
  EXPECT_EQ(FileType::kRegular, node.type);
  EXPECT_EQ(3000U, node.size);
  EXPECT_EQ(2U, node.links);
  EXPECT_EQ(-5, node.mtime.tv_sec);
  EXPECT_EQ(7, node.mtime.tv_nsec);
  EXPECT_EQ(0xFFFFFFF0, node.uid);
  EXPECT_EQ(node.id, Find(reader, {"dir", "link"}));
  EXPECT_EQ((std::vector<Xattr>{Xattr{"user.a", "1"}, Xattr{"user.b", "2"}}), *reader.Xattrs(node.id));
  EXPECT_EQ("../target", *reader.ReadLink(Find(reader, {"dir", "symlink"})));
  EXPECT_EQ(0x103U, reader.Stat(Find(reader, {"dir", "null"}))->device);

  std::vector<std::string> names;
  const auto entries = reader.List(Find(reader, {"dir"}));
  for (const auto& entry : *entries) names.push_back(entry.name);
  EXPECT_EQ((std::vector<std::string>{"file", "link", "null", "symlink"}), names);
  EXPECT_FALSE(reader.Lookup(reader.root(), "none")->has_value());
  EXPECT_FALSE(reader.Lookup(reader.root(), "..")->has_value());
  EXPECT_EQ(ErrorCode::kCorrupt, reader.List(node.id).error().code());
  EXPECT_EQ(ErrorCode::kCorrupt, reader.ReadLink(node.id).error().code());
  EXPECT_EQ(ErrorCode::kCorrupt, reader.Stat(1U << 30U).error().code());
  EXPECT_EQ(ErrorCode::kCorrupt, reader.Stat(~uint64_t{0}).error().code());
}

TEST(ErofsReader, LooksUpEveryNameOfALargeDirectory) {
  ErofsBuilder builder;
  for (int i = 0; i < 5000; ++i) builder.Node(kRoot, std::to_string(i * 31), FileType::kFifo);
  ASSERT_TRUE(builder.Write().ok());
  const ErofsReader reader = OpenImage(builder.file());
  for (int i = 0; i < 5000; ++i)
    ASSERT_TRUE(reader.Lookup(reader.root(), std::to_string(i * 31))->has_value()) << i;
  EXPECT_FALSE(reader.Lookup(reader.root(), "1")->has_value());
  EXPECT_FALSE(reader.Lookup(reader.root(), "")->has_value());
  EXPECT_FALSE(reader.Lookup(reader.root(), "zzz")->has_value());
}

TEST(ErofsReader, ReadsDataAndHoles) {
  ErofsBuilder builder;
  builder.Sparse(
      kRoot, "file", 5000,
      {{1024, std::string(512, 'a')}, {2048, std::string(1024, 'b')}, {4608, std::string(392, 'c')}});
  ASSERT_TRUE(builder.Write().ok());
  std::string expected(5000, '\0');
  std::memset(&expected[1024], 'a', 512);
  std::memset(&expected[2048], 'b', 1024);
  std::memset(&expected[4608], 'c', 392);
  const ErofsReader reader = OpenImage(builder.file());
  const auto file = Find(reader, {"file"});
  for (const size_t size : {1U, 100U, 512U, 777U, 5000U, 9000U}) {
    std::string read;
    std::string buffer(size, '!');
    for (size_t got = 1; got != 0; read += buffer.substr(0, got)) {
      got = *reader.ReadFile(file, read.size(), std::as_writable_bytes(std::span(buffer)));
    }
    EXPECT_EQ(expected, read) << size;
  }
  const auto runs = *reader.Runs(file);
  ASSERT_EQ(3U, runs.size());
  EXPECT_EQ(2048U, runs[1].offset);
  EXPECT_EQ(1024U, runs[1].size);
  EXPECT_EQ(392U, runs[2].size);
}

TEST(ErofsReader, RefusesDataOfOtherDevicesButSaysWhereItIs) {
  ErofsBuilder builder(9, 1);
  builder.options.devices = {{"other", 100}};
  LayerTree::Inode inode;
  inode.size = 1000;
  inode.data_kind = LayerTree::Inode::Data::kContiguous;
  inode.block = 42;
  inode.run_device = 1;
  builder.tree.AddEntry(kRoot, "file", builder.tree.AddInode(inode));
  ASSERT_TRUE(builder.Write().ok());
  const ErofsReader reader = OpenImage(builder.file());
  EXPECT_EQ(1U, reader.device_count());
  std::array<std::byte, 10> buffer{};
  EXPECT_EQ(ErrorCode::kInvalidArgument, reader.ReadFile(Find(reader, {"file"}), 0, buffer).error().code());
  const auto runs = *reader.Runs(Find(reader, {"file"}));
  ASSERT_EQ(1U, runs.size());
  EXPECT_EQ(42U, runs[0].block);
  EXPECT_EQ(1U, runs[0].device);
}

// --- damage
// --------------------------------------------------------------------------------------------------

/// An image in memory that is damaged on purpose. Nodes are found by name in the intact image.
class Damaged {
 public:
  explicit Damaged(ErofsBuilder& builder) : file_(builder.file()) {
    EXPECT_TRUE(builder.Write().ok());
    bytes_ = *sys::ReadFileAt(FdRef::Cwd(), sys::ProcFdPath(file_).c_str(), 1U << 28U);
    std::memcpy(&super_, &bytes_[erofs::kSuperOffset], sizeof(super_));
  }
  erofs::SuperBlock& super() { return super_; }
  std::string& bytes() { return bytes_; }
  size_t InodeOffset(std::initializer_list<std::string_view> path) const {
    return (size_t{super_.meta_block} << super_.block_bits) +
           Find(OpenImage(file_), path) * erofs::kInodeSlot;
  }
  void ChangeInode(std::initializer_list<std::string_view> path,
                   const std::function<void(erofs::InodeExtended&)>& change) {
    const size_t offset = InodeOffset(path);
    erofs::InodeExtended inode;
    std::memcpy(&inode, &bytes_[offset], sizeof(inode));
    change(inode);
    std::memcpy(&bytes_[offset], &inode, sizeof(inode));
  }
  /// Replaces a text that is there once.
  void Replace(std::string_view text, std::string_view by) {
    ASSERT_EQ(text.size(), by.size());
    const size_t at = bytes_.find(text);
    ASSERT_NE(std::string::npos, at);
    ASSERT_EQ(std::string::npos, bytes_.find(text, at + 1));
    bytes_.replace(at, text.size(), by);
  }
  Result<LayerTree> Load(bool mend_checksum = true) {
    if (mend_checksum) {
      std::memcpy(&bytes_[erofs::kSuperOffset], &super_, sizeof(super_));
      super_.checksum =
          erofs::Checksum(std::as_bytes(std::span(bytes_))
                              .subspan(erofs::kSuperOffset, erofs::ChecksummedBytes(super_.block_bits)));
    }
    std::memcpy(&bytes_[erofs::kSuperOffset], &super_, sizeof(super_));
    const UniqueFd file = *sys::MemfdCreate("damaged", 0);
    EXPECT_TRUE(sys::WriteAll(file, bytes_).ok());
    SNAP_TRY(const ErofsReader reader, ErofsReader::Open(file, "damaged"));
    return reader.Load();
  }

 private:
  FdRef file_;
  std::string bytes_;
  erofs::SuperBlock super_;
};

struct Damage {
  const char* name;
  std::function<void(Damaged&)> make;
};
void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }

class ErofsReaderRefuses : public testing::TestWithParam<Damage> {};

TEST_P(ErofsReaderRefuses, AsCorrupt) {
  ErofsBuilder builder;
  const auto dir = builder.Directory(kRoot, "dir");
  builder.Directory(dir, "subdir");
  const auto file = builder.File(dir, "file", std::string(1000, 'f'));
  builder.tree.AddEntry(dir, "link", file);
  builder.Sparse(kRoot, "sparse", 4096, {{1024, std::string(1024, 's')}});
  builder.Symlink(kRoot, "symlink", "the-target");
  builder.Object(kRoot, "object", {.hash = {}, .size = 100'000, .variant = 0});
  builder.Xattrs(file, {{"user.some-name", "v"}});
  const auto whiteouts = builder.Directory(kRoot, "whiteouts");
  builder.Whiteout(whiteouts, "gone");
  Damaged damaged(builder);
  ASSERT_TRUE(damaged.Load().ok());
  GetParam().make(damaged);
  const auto loaded = damaged.Load();
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(ErrorCode::kCorrupt, loaded.error().code()) << loaded.error().message();
  EXPECT_TRUE(loaded.error().message().starts_with("EROFS image 'damaged'")) << loaded.error().message();
}

INSTANTIATE_TEST_SUITE_P(
    Damages, ErofsReaderRefuses,
    testing::Values(
        Damage{"short file", [](Damaged& d) { d.bytes().resize(d.bytes().size() - 1); }},
        Damage{"wrong magic", [](Damaged& d) { d.super().magic = 1; }},
        Damage{"no checksum", [](Damaged& d) { d.super().feature_compat = erofs::kCompatMtime; }},
        Damage{"root beyond the end", [](Damaged& d) { d.super().root_nid = 65535; }},
        Damage{"metadata beyond the end", [](Damaged& d) { d.super().meta_block = 0x7FFFFFFF; }},
        Damage{"wrong number of inodes", [](Damaged& d) { d.super().inodes = 3; }},
        Damage{"root is a file", [](Damaged& d) { d.ChangeInode({}, [](auto& i) { i.mode = 0100644; }); }},
        Damage{"a name's type differs",
               [](Damaged& d) { d.ChangeInode({"symlink"}, [](auto& i) { i.mode = 0100644; }); }},
        Damage{"no type", [](Damaged& d) { d.ChangeInode({"dir"}, [](auto& i) { i.mode = 0; }); }},
        Damage{"unknown format",
               [](Damaged& d) { d.ChangeInode({"dir"}, [](auto& i) { i.format = 0x8001; }); }},
        Damage{"compressed",
               [](Damaged& d) {
                 d.ChangeInode({"dir", "file"}, [](auto& i) { i.format = 0x3; });
               }},
        Damage{"wrong link count",
               [](Damaged& d) {
                 d.ChangeInode({"dir", "file"}, [](auto& i) { i.links = 1; });
               }},
        Damage{"wrong directory links",
               [](Damaged& d) { d.ChangeInode({"dir"}, [](auto& i) { i.links = 2; }); }},
        Damage{"data beyond the end",
               [](Damaged& d) {
                 d.ChangeInode({"dir", "file"}, [](auto& i) { i.place = 0xFFFFFFF0; });
               }},
        Damage{"huge file",
               [](Damaged& d) {
                 d.ChangeInode({"dir", "file"}, [](auto& i) { i.size = ~uint64_t{0}; });
               }},
        Damage{"large file",
               [](Damaged& d) {
                 d.ChangeInode({"dir", "file"}, [](auto& i) { i.size = uint64_t{1} << 40U; });
               }},
        Damage{"huge directory",
               [](Damaged& d) { d.ChangeInode({"dir"}, [](auto& i) { i.size = uint64_t{1} << 40U; }); }},
        Damage{"empty directory",
               [](Damaged& d) {
                 d.ChangeInode({"dir", "subdir"}, [](auto& i) { i.size = 0; });
               }},
        Damage{"long target", [](Damaged& d) { d.ChangeInode({"symlink"}, [](auto& i) { i.size = 5000; }); }},
        Damage{"nanoseconds",
               [](Damaged& d) { d.ChangeInode({"symlink"}, [](auto& i) { i.mtime_ns = 1'000'000'000; }); }},
        Damage{"chunk format",
               [](Damaged& d) { d.ChangeInode({"sparse"}, [](auto& i) { i.place = 0x40; }); }},
        Damage{"chunks without end",
               [](Damaged& d) {
                 d.ChangeInode({"sparse"}, [](auto& i) {
                   i.size = uint64_t{1} << 62U;
                   i.place = 0x20;
                 });
               }},
        Damage{"object of another size",
               [](Damaged& d) { d.ChangeInode({"object"}, [](auto& i) { i.size = 100'001; }); }},
        Damage{"xattrs beyond the end",
               [](Damaged& d) { d.ChangeInode({"whiteouts"}, [](auto& i) { i.xattr_count = 65535; }); }},
        Damage{"cut xattrs",
               [](Damaged& d) {
                 d.ChangeInode({"dir", "file"}, [](auto& i) { i.xattr_count = 3; });
               }},
        Damage{"no xattrs behind their header",
               [](Damaged& d) {
                 d.ChangeInode({"dir", "file"}, [](auto& i) { i.xattr_count = 1; });
               }},
        Damage{"xattr denied by its filter", [](Damaged& d) { d.Replace("some-name", "same-name"); }},
        Damage{"redirect to elsewhere", [](Damaged& d) { d.Replace("/00/0000", "/../0000"); }},
        Damage{"names out of order", [](Damaged& d) { d.Replace("filelink", "zilelink"); }},
        Damage{"equal names", [](Damaged& d) { d.Replace("filelink", "linklink"); }},
        Damage{"slash in a name", [](Damaged& d) { d.Replace("filelink", "f/lelink"); }},
        Damage{"NUL in a name", [](Damaged& d) { d.Replace("filelink", std::string_view("f\0lelink", 8)); }},
        Damage{"NUL in a target",
               [](Damaged& d) { d.Replace("the-target", std::string_view("the\0target", 10)); }},
        Damage{"whiteout without its directory's mark", [](Damaged& d) {
                 d.ChangeInode({"whiteouts", "gone"}, [](auto& i) { i.place = 5; });
               }}));

TEST(ErofsReader, ChecksTheChecksum) {
  ErofsBuilder builder;
  Damaged damaged(builder);
  damaged.super().volume_name[3] = 'x';
  EXPECT_EQ(ErrorCode::kCorrupt, damaged.Load(false).error().code());
}

TEST(ErofsReader, DoesNotGuessAtUnknownFeatures) {
  ErofsBuilder builder;
  Damaged damaged(builder);
  damaged.super().feature_incompat = 0x80;
  EXPECT_EQ(ErrorCode::kUnsupported, damaged.Load().error().code());
}

TEST(ErofsReader, DirectoriesMustNotFormLoops) {
  ErofsBuilder builder;
  const auto dir = builder.Directory(kRoot, "dir");
  builder.Directory(dir, "below");
  Damaged damaged(builder);
  // The entry "below" leads to "dir" itself.
  const size_t dir_offset = damaged.InodeOffset({"dir"});
  const size_t at = dir_offset + sizeof(erofs::InodeExtended) + 2 * sizeof(erofs::Dirent);
  std::memcpy(&damaged.bytes()[at], &damaged.bytes()[dir_offset + sizeof(erofs::InodeExtended)],
              sizeof(erofs::Le64));
  const auto loaded = damaged.Load();
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(ErrorCode::kCorrupt, loaded.error().code()) << loaded.error().message();
}

// Two directories that share their blocks would be walked twice, ten would be ten times; and so on below.
TEST(ErofsReader, ContentsMustNotBeSharedByInodes) {
  ErofsBuilder builder;
  for (int d = 0; d < 4; ++d) {
    const auto dir = builder.Directory(kRoot, std::to_string(d));
    for (int i = 0; i < 200; ++i)
      builder.Node(dir, std::string(100, 'n') + std::to_string(i), FileType::kFifo);
  }
  Damaged damaged(builder);
  uint32_t place = 0;
  damaged.ChangeInode({"0"}, [&](auto& i) { place = i.place; });
  damaged.ChangeInode({"1"}, [&](auto& i) { i.place = place; });
  EXPECT_EQ(ErrorCode::kCorrupt, damaged.Load().error().code());
}

// Whatever is damaged, nothing crashes or hangs: what is loaded is a tree, or there is a reason.
TEST(ErofsReader, SurvivesRandomDamage) {
  unsigned loaded = 0;
  unsigned refused = 0;
  for (unsigned seed = 0; seed < 2000; ++seed) {
    std::mt19937 random(seed);
    ErofsBuilder builder(9 + seed % 4);
    test::FillRandomTree(builder, random, {.entries = 40, .whiteouts = true});
    Damaged damaged(builder);
    const size_t metadata = size_t{damaged.super().meta_block} << damaged.super().block_bits;
    const unsigned changes = 1 + seed % 8;
    for (unsigned i = 0; i < changes; ++i) {
      damaged.bytes()[metadata + random() % (damaged.bytes().size() - metadata)] =
          static_cast<char>(random());
    }
    const auto tree = damaged.Load();
    ++(tree.ok() ? loaded : refused);
    ASSERT_TRUE(tree.ok() || tree.error().code() == ErrorCode::kCorrupt) << tree.error().message();
  }
  EXPECT_GT(loaded, 100U);  // unused bytes, times, names
  EXPECT_GT(refused, 500U);
}

}  // namespace
}  // namespace snap
