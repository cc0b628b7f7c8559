// One meaning, two formats: whatever is said to a TreeWriter and a PackedWriter, in whatever order, they accept and refuse the
// same and end with the same layer. The tree on disk is compared with the metadata in memory; that an image shows what its
// metadata says is the EROFS writer's test.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <functional>
#include <map>
#include <random>

#include "fs/base/sys_file.h"
#include "fs/file_ranges.h"
#include "fs/packed_writer.h"
#include "fs/tree_writer.h"
#include "fs/whiteout.h"
#include "tests/support/temp_dir.h"

namespace snap {
namespace {

using test::TempDir;

constexpr uint64_t kObjectBytes = 8192;

class Pair {
 public:
  Pair()
      : tree_dir_(temp_.MakeDir("tree")),
        pins_(temp_.MakeDir("pins")),
        store_(temp_.MakeDir("objects"), "secret"),
        stage_(store_, pins_),
        objects_(stage_, *MakeIoEngine(IoEngineKind::kPlain)),
        image_(*sys::OpenAt(temp_.fd(), "layer.erofs", O_RDWR | O_CREAT, 0600)),
        tree_(tree_dir_, *MakeIoEngine(IoEngineKind::kPlain)),
        packed_(image_, objects_, nullptr, {.object_bytes = kObjectBytes}) {}

  /// Says the same to both; true when both took it, and a failure when they disagree.
  bool Say(const std::string& what, const std::function<Result<void>(LayerWriter&)>& call) {
    const Result<void> to_tree = call(tree_);
    const Result<void> to_packed = call(packed_);
    log_ += what + (to_tree.ok() ? "\n" : " REFUSED\n");
    EXPECT_EQ(to_tree.ok(), to_packed.ok()) << log_ << (to_tree.ok() ? to_packed : to_tree).error().message();
    if (to_tree.ok() || to_packed.ok()) return to_tree.ok() && to_packed.ok();
    EXPECT_EQ(to_tree.error().code(), to_packed.error().code()) << log_;
    return false;
  }

  void Finish() {
    const Result<LayerSummary> tree = tree_.Finish();
    const Result<LayerSummary> packed = packed_.Finish();
    ASSERT_EQ(tree.ok(), packed.ok()) << log_ << (tree.ok() ? packed : tree).error().message();
    if (!tree.ok()) return;
    EXPECT_EQ(tree->root_named, packed->root_named);
    auto implied = tree->implied_directories;
    std::sort(implied.begin(), implied.end());
    EXPECT_EQ(implied, packed->implied_directories) << log_;
    const auto links = [](const LayerSummary& summary) {
      std::map<std::string, std::string> map;
      for (const LowerLink& link : summary.lower_links) map[link.path.str()] = link.target.str();
      return map;
    };
    EXPECT_EQ(links(*tree), links(*packed)) << log_;
    const Result<PackedWriter::Sealed> sealed = packed_.Seal();
    ASSERT_TRUE(sealed.ok()) << sealed.error().message();
    EXPECT_EQ(tree->usage.entries, sealed->usage.entries + tree->lower_links.size()) << log_;
    EXPECT_EQ(tree->usage.data_bytes, sealed->usage.data_bytes) << log_;
    EXPECT_EQ(DescribeTree(), DescribePacked()) << log_;
  }

 private:
  using Description = std::map<std::string, std::string>;

  static std::string Describe(mode_t mode, uint32_t uid, timespec mtime, dev_t device, bool opaque) {
    return fmt::format("mode {:o} uid {} mtime {}.{:09} device {}{}", mode, uid, mtime.tv_sec, mtime.tv_nsec, device,
                       opaque ? " opaque" : "");
  }

  Description DescribeTree() {
    Description all;
    std::map<ino_t, std::string> first_name;
    const std::function<void(FdRef, const std::string&)> walk = [&](FdRef directory, const std::string& path) {
      auto entries = *sys::ListDir(directory);
      std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
      for (const sys::DirEntry& entry : entries) {
        const struct stat stat = *sys::StatAt(directory, entry.name.c_str());
        const std::string below = path + "/" + entry.name;
        const bool opaque = sys::GetXattrAt(directory, entry.name.c_str(), whiteout::kOpaqueXattr).ok();
        std::string& text = all[below];
        text = Describe(stat.st_mode, stat.st_uid, stat.st_mtim, S_ISCHR(stat.st_mode) ? stat.st_rdev : 0, opaque);
        if (S_ISLNK(stat.st_mode)) text += " -> " + *sys::ReadLinkAt(directory, entry.name.c_str());
        if (!S_ISDIR(stat.st_mode)) {
          text += fmt::format(" links {} first {}", stat.st_nlink, first_name.try_emplace(stat.st_ino, below).first->second);
        }
        if (S_ISREG(stat.st_mode)) {
          const UniqueFd file = *sys::OpenAt(directory, entry.name.c_str(), O_RDONLY);
          text += " " + Digest::Of(*sys::ReadAll(file, size_t{1} << 24U)).Short();
        }
        if (S_ISDIR(stat.st_mode)) walk(*sys::OpenAt(directory, entry.name.c_str(), O_RDONLY | O_DIRECTORY), below);
      }
    };
    walk(*sys::OpenAt(tree_dir_, ".", O_RDONLY | O_DIRECTORY), "");
    return all;
  }

  Description DescribePacked() {
    const LayerTree& tree = packed_.tree();
    Description all;
    std::map<LayerTree::InodeId, std::string> first_name;
    const std::function<void(LayerTree::InodeId, const std::string&)> walk = [&](LayerTree::InodeId directory,
                                                                              const std::string& path) {
      for (const LayerTree::EntryId entry : tree.SortedChildren(directory)) {
        const LayerTree::InodeId id = tree.entry(entry).inode;
        const LayerTree::Inode& inode = tree.inode(id);
        const std::string below = path + "/" + std::string(tree.Name(entry));
        static const std::map<FileType, mode_t> kFormats = {
            {FileType::kRegular, S_IFREG},    {FileType::kDirectory, S_IFDIR},   {FileType::kSymlink, S_IFLNK},
            {FileType::kCharDevice, S_IFCHR}, {FileType::kBlockDevice, S_IFBLK}, {FileType::kFifo, S_IFIFO}};
        std::string& text = all[below];
        text = Describe(kFormats.at(inode.type) | inode.permissions, inode.uid,
                        {.tv_sec = inode.mtime, .tv_nsec = static_cast<long>(inode.mtime_ns)},
                        inode.type == FileType::kCharDevice ? inode.device : 0, inode.opaque);
        if (inode.type == FileType::kSymlink) text += " -> " + std::string(tree.Target(inode));
        if (inode.type != FileType::kDirectory) {
          text += fmt::format(" links {} first {}", inode.links, first_name.try_emplace(id, below).first->second);
        }
        if (inode.type == FileType::kRegular) text += " " + Digest::Of(Content(inode)).Short();
        if (inode.type == FileType::kDirectory) walk(id, below);
      }
    };
    walk(LayerTree::kRoot, "");
    return all;
  }

  std::string Content(const LayerTree::Inode& inode) {
    std::string content(inode.size, '\0');
    const auto bytes = std::as_writable_bytes(std::span(content));
    if (inode.data_kind == LayerTree::Inode::Data::kObject) {
      EXPECT_TRUE(stage_.Publish(false).ok());
      EXPECT_TRUE(ReadExactly(*store_.Open(packed_.tree().Object(inode)), 0, bytes).ok());
      EXPECT_TRUE(store_.Verify(packed_.tree().Object(inode)).ok());
      return content;
    }
    for (const LayerTree::Run& run : packed_.tree().Runs(inode)) {
      EXPECT_LE(run.offset + run.size, inode.size);
      EXPECT_TRUE(ReadExactly(image_, run.block * 512, bytes.subspan(run.offset, run.size)).ok());
    }
    return content;
  }

  TempDir temp_;
  UniqueFd tree_dir_, pins_;
  ObjectStore store_;
  ObjectStage stage_;
  ObjectWriter objects_;
  UniqueFd image_;
  TreeWriter tree_;
  PackedWriter packed_;
  std::string log_;
};

class RandomLayer : public testing::TestWithParam<unsigned> {};

TEST_P(RandomLayer, MeansTheSameInBothFormats) {
  std::mt19937 random(GetParam());
  const auto pick = [&](unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random); };
  for (int round = 0; round < 40; ++round) {
    Pair pair;
    const auto path = [&] {
      std::string text;
      for (unsigned depth = pick(3) + 1; depth > 0; --depth) text += std::string(text.empty() ? "" : "/") + "abc"[pick(3)];
      return *RelPath::Parse(text);
    };
    const auto attributes = [&] {
      Attributes a;
      a.permissions = std::array{0644U, 04755U, 0700U, 01777U}[pick(4)];
      a.uid = pick(3);
      a.mtime = {static_cast<time_t>(pick(1000)), static_cast<long>(pick(1000))};
      return a;
    };
    bool usable = true;
    for (unsigned steps = pick(25) + 1; steps > 0 && usable; --steps) {
      const RelPath at = path();
      const RelPath other = path();
      const Attributes a = attributes();
      switch (pick(10)) {
        case 0:
        case 1:
          usable = pair.Say("directory " + at.str(), [&](LayerWriter& w) { return w.Directory(at, a); });
          break;
        case 2:
          usable = pair.Say("symlink " + at.str(), [&](LayerWriter& w) { return w.Symlink(at, "target" + other.str(), a); });
          break;
        case 3: {
          const FileType type = std::array{FileType::kFifo, FileType::kCharDevice, FileType::kBlockDevice}[pick(3)];
          usable = pair.Say("node " + at.str(), [&](LayerWriter& w) { return w.Node(at, type, makedev(1, 3), a); });
          break;
        }
        case 4:
        case 5:
          usable = pair.Say("link " + at.str() + " to " + other.str(), [&](LayerWriter& w) { return w.HardLink(at, other); });
          break;
        case 6:
          usable = pair.Say("whiteout " + at.str(), [&](LayerWriter& w) { return w.Whiteout(at); });
          break;
        case 7:
          usable = pair.Say("opaque " + at.str(), [&](LayerWriter& w) { return w.OpaqueDirectory(at); });
          break;
        default: {
          // Small and large, dense and sparse, at block borders and beside them.
          const uint64_t size = std::array<uint64_t, 8>{0, 1, 511, 512, 513, 5000, kObjectBytes, 40000}[pick(8)];
          std::vector<std::pair<uint64_t, std::string>> pieces;
          for (uint64_t offset = 0; offset < size;) {
            offset += std::array<uint64_t, 6>{0, 0, 0, 100, 512, 3000}[pick(6)];
            if (offset >= size) break;
            const uint64_t length = std::min(size - offset, std::array<uint64_t, 4>{1, 512, 700, 40000}[pick(4)]);
            pieces.emplace_back(offset, std::string(length, static_cast<char>('a' + pick(3))));
            offset += length;
          }
          usable = pair.Say(fmt::format("file {} of {}", at.str(), size), [&](LayerWriter& w) -> Result<void> {
            SNAP_TRY_VOID(w.BeginFile(at, a, size));
            for (const auto& [offset, text] : pieces) SNAP_TRY_VOID(w.WriteData(offset, std::as_bytes(std::span(text))));
            return w.EndFile();
          });
        }
      }
    }
    if (usable) pair.Finish();
    if (testing::Test::HasFailure()) return;
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomLayer, testing::Range(0U, 25U));

}  // namespace
}  // namespace snap
