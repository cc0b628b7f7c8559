#include "fuse/tree_layer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "fs/base/sys_file.h"
#include "fuse/directory_view.h"
#include "tests/support/temp_dir.h"

namespace snap::fuse {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

class TreeLayer : public ::testing::Test {
 protected:
  Layer Open() {
    auto layer = OpenTreeLayer(*sys::OpenAt(dir_.fd(), ".", O_PATH | O_DIRECTORY), fds_);
    EXPECT_TRUE(layer.ok());
    return *layer;
  }
  void Write(const std::string& path, std::string_view content, mode_t mode = 0644) {
    const UniqueFd file = *sys::OpenAt(dir_.fd(), path.c_str(), O_CREAT | O_EXCL | O_WRONLY, mode);
    ASSERT_TRUE(sys::WriteAll(file, content).ok());
  }
  LayerName Find(LayerDir& directory, const std::string& name) {
    const auto names = directory.List();
    const auto found = std::find_if(names->begin(), names->end(), [&](const LayerName& n) { return n.name == name; });
    EXPECT_NE(found, names->end()) << name;
    return found == names->end() ? LayerName{} : *found;
  }

  test::TempDir dir_;
  DirFds fds_{16};
};

TEST_F(TreeLayer, ListsNamesWithTypesAndNumbers) {
  Write("file", "x");
  ASSERT_TRUE(sys::MkdirAt(dir_.fd(), "dir", 0755).ok());
  ASSERT_TRUE(sys::SymlinkAt("to", dir_.fd(), "link").ok());
  ASSERT_TRUE(sys::MknodAt(dir_.fd(), "fifo", S_IFIFO | 0600, 0).ok());
  ASSERT_TRUE(sys::MknodAt(dir_.fd(), "socket", S_IFSOCK | 0600, 0).ok());
  const Layer layer = Open();
  EXPECT_EQ(sys::FStat(dir_.fd())->st_dev, layer.file_system);
  EXPECT_EQ(layer.file_system, layer.root->file_system());
  const auto names = layer.root->List();
  EXPECT_EQ(5U, names->size());
  const std::vector<std::pair<std::string, FileType>> expected = {{"file", FileType::kRegular},
                                                                  {"dir", FileType::kDirectory},
                                                                  {"link", FileType::kSymlink},
                                                                  {"fifo", FileType::kFifo},
                                                                  {"socket", FileType::kSocket}};
  for (const auto& [name, type] : expected) {
    const LayerName found = Find(*layer.root, name);
    EXPECT_EQ(type, found.type) << name;
    EXPECT_EQ(sys::StatAt(dir_.fd(), name.c_str())->st_ino, found.inode) << name;
  }
}

TEST_F(TreeLayer, StatsWhatIsNamedAndNothingElse) {
  Write("file", "four");
  ASSERT_TRUE(sys::SymlinkAt("file", dir_.fd(), "link").ok());
  const Layer layer = Open();
  const struct stat known = *sys::StatAt(dir_.fd(), "file");
  const FileStat stat = *layer.root->Stat({"file", 0, FileType::kRegular});
  EXPECT_EQ(known.st_ino, stat.st.st_ino);
  EXPECT_EQ(known.st_dev, stat.st.st_dev);
  EXPECT_EQ(known.st_mode, stat.st.st_mode);
  EXPECT_EQ(known.st_nlink, stat.st.st_nlink);
  EXPECT_EQ(known.st_uid, stat.st.st_uid);
  EXPECT_EQ(known.st_gid, stat.st.st_gid);
  EXPECT_EQ(4, stat.st.st_size);
  EXPECT_EQ(known.st_blocks, stat.st.st_blocks);
  EXPECT_EQ(known.st_blksize, stat.st.st_blksize);
  EXPECT_EQ(known.st_mtim.tv_sec, stat.st.st_mtim.tv_sec);
  EXPECT_EQ(known.st_mtim.tv_nsec, stat.st.st_mtim.tv_nsec);
  EXPECT_EQ(known.st_ctim.tv_nsec, stat.st.st_ctim.tv_nsec);
  const struct statx birth = *sys::StatX(dir_.fd(), "file", 0, STATX_BTIME);
  EXPECT_EQ((birth.stx_mask & STATX_BTIME) != 0 ? birth.stx_btime.tv_sec : 0, stat.birth.tv_sec);
  EXPECT_TRUE(S_ISLNK(layer.root->Stat({"link", 0, FileType::kSymlink})->st.st_mode));
  EXPECT_EQ("file", *layer.root->ReadLink({"link", 0, FileType::kSymlink}));
  EXPECT_EQ(sys::FStat(dir_.fd())->st_ino, layer.root->StatSelf()->st.st_ino);
  EXPECT_EQ(Errno(ENOENT), layer.root->Stat({"none", 0, FileType::kRegular}).error());
  EXPECT_EQ(Errno(EINVAL), layer.root->ReadLink({"file", 0, FileType::kRegular}).error());
}

TEST_F(TreeLayer, ReadsFilesAndSaysWhereTheirHolesAre) {
  Write("file", "content");
  {
    const UniqueFd sparse = *sys::OpenAt(dir_.fd(), "sparse", O_CREAT | O_WRONLY, 0644);
    ASSERT_TRUE(sys::Truncate(sparse, 1 << 20).ok());
    ASSERT_TRUE(sys::PWriteAll(sparse, Bytes("end"), (1 << 20) - 3).ok());
  }
  const Layer layer = Open();
  const auto file = *layer.root->OpenFile(Find(*layer.root, "file"));
  std::vector<std::byte> buffer(100);
  EXPECT_EQ(7U, *file->Read(0, buffer));
  EXPECT_EQ(4U, *file->Read(3, buffer));
  EXPECT_EQ(std::byte{'t'}, buffer[0]);
  EXPECT_EQ(0U, *file->Read(7, buffer));
  ASSERT_TRUE(file->descriptor().has_value());
  EXPECT_EQ(sys::StatAt(dir_.fd(), "file")->st_ino, sys::FStat(*file->descriptor())->st_ino);
  EXPECT_EQ(EBADF, sys::WriteAll(*file->descriptor(), "x").error().code());
  EXPECT_EQ(Errno(ENXIO), file->Seek(7, SEEK_DATA).error());
  EXPECT_EQ(7U, *file->Seek(0, SEEK_HOLE));
  const auto sparse = *layer.root->OpenFile(Find(*layer.root, "sparse"));
  EXPECT_GT(*sparse->Seek(0, SEEK_DATA), 0U);
}

TEST_F(TreeLayer, OpensNothingButRegularFiles) {
  Write("file", "x");
  ASSERT_TRUE(sys::SymlinkAt("file", dir_.fd(), "link").ok());
  ASSERT_TRUE(sys::MknodAt(dir_.fd(), "fifo", S_IFIFO | 0600, 0).ok());
  ASSERT_TRUE(sys::MkdirAt(dir_.fd(), "dir", 0755).ok());
  const Layer layer = Open();
  for (const char* name : {"link", "fifo", "dir"}) {
    EXPECT_EQ(Errno(EINVAL), layer.root->OpenFile(Find(*layer.root, name)).error()) << name;
    // Even when it was a file when it was listed.
    EXPECT_FALSE(layer.root->OpenFile({name, 0, FileType::kRegular}).ok()) << name;
  }
  const auto through_link = layer.root->OpenDir({"link", 0, FileType::kDirectory});
  EXPECT_TRUE(!through_link.ok() || !(*through_link)->List().ok());
}

TEST_F(TreeLayer, ReadingDoesNotChangeAccessTimes) {
  Write("file", "content");
  ASSERT_TRUE(sys::SetTimesAt(dir_.fd(), "file", {{1000, 0}, {2000, 0}}).ok());
  const Layer layer = Open();
  const auto file = *layer.root->OpenFile(Find(*layer.root, "file"));
  std::vector<std::byte> buffer(100);
  EXPECT_EQ(7U, *file->Read(0, buffer));
  EXPECT_EQ(1000, sys::StatAt(dir_.fd(), "file")->st_atim.tv_sec);
}

TEST_F(TreeLayer, ReadsXattrsOfNamesAndOfItself) {
  Write("file", "x");
  ASSERT_TRUE(sys::SymlinkAt("file", dir_.fd(), "link").ok());
  const SysResult<void> set = sys::SetXattrAt(dir_.fd(), "file", "user.a", Bytes("value"));
  if (!set.ok() && set.error() == EOPNOTSUPP) GTEST_SKIP() << "no user xattrs here";
  ASSERT_TRUE(sys::SetXattrAt(dir_.fd(), "file", "user.empty", {}).ok());
  ASSERT_TRUE(sys::FSetXattr(dir_.fd(), "user.self", Bytes("me")).ok());
  const Layer layer = Open();
  const LayerName file = Find(*layer.root, "file"), link = Find(*layer.root, "link");
  EXPECT_EQ("value", *layer.root->GetXattr(file, "user.a"));
  EXPECT_EQ("", *layer.root->GetXattr(file, "user.empty"));
  EXPECT_EQ(Errno(ENODATA), layer.root->GetXattr(file, "user.none").error());
  auto names = *layer.root->ListXattr(file);
  std::sort(names.begin(), names.end());
  EXPECT_EQ((std::vector<std::string>{"user.a", "user.empty"}), names);
  EXPECT_TRUE(layer.root->ListXattr(link)->empty());  // not those of the file it leads to
  EXPECT_EQ("me", *layer.root->GetXattrSelf("user.self"));
  EXPECT_EQ(Errno(ENODATA), layer.root->GetXattrSelf("user.none").error());
  EXPECT_EQ(std::vector<std::string>{"user.self"}, *layer.root->ListXattrSelf());
}

TEST_F(TreeLayer, DirectoriesAreOpenedAgainAfterTheirDescriptorsWereClosed) {
  constexpr int kDirs = 300;
  for (int i = 0; i < kDirs; ++i) {
    const std::string name = "d" + std::to_string(i);
    ASSERT_TRUE(sys::MkdirAt(dir_.fd(), name.c_str(), 0755).ok());
    ASSERT_TRUE(sys::MkdirAt(dir_.fd(), (name + "/sub").c_str(), 0755).ok());
    Write(name + "/sub/file", name);
  }
  const Layer layer = Open();
  std::vector<std::shared_ptr<LayerDir>> dirs;
  for (const LayerName& name : *layer.root->List()) {
    const auto dir = *layer.root->OpenDir(name);
    dirs.push_back(*dir->OpenDir({"sub", 0, FileType::kDirectory}));
  }
  for (int round = 0; round < 2; ++round) {
    for (const auto& dir : dirs) ASSERT_EQ(1U, dir->List()->size());
    EXPECT_LE(fds_.open_count(), 16U);
  }
  dirs.clear();
  EXPECT_EQ(0U, fds_.open_count());  // the root is not among them
}

TEST_F(TreeLayer, AMissingDirectoryIsAnErrorWhenItIsUsed) {
  ASSERT_TRUE(sys::MkdirAt(dir_.fd(), "d", 0755).ok());
  const Layer layer = Open();
  const auto dir = *layer.root->OpenDir(Find(*layer.root, "d"));
  ASSERT_TRUE(sys::UnlinkAt(dir_.fd(), "d", AT_REMOVEDIR).ok());
  EXPECT_EQ(Errno(ENOENT), dir->List().error());
  Write("d", "now a file");
  EXPECT_EQ(Errno(ENOTDIR), dir->List().error());
}

TEST_F(TreeLayer, ATreeMayBeDeeperThanAnyStack) {
  constexpr int kDepth = 5000;
  UniqueFd at = *sys::Dup(dir_.fd());
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_TRUE(sys::MkdirAt(at, "d", 0755).ok());
    at = *sys::OpenAt(at, "d", O_RDONLY | O_DIRECTORY);
  }
  const ino_t deepest = sys::FStat(at)->st_ino;
  Layer layer = Open();
  // On a thread with a small stack.
  pthread_attr_t attributes;
  ASSERT_EQ(0, pthread_attr_init(&attributes));
  ASSERT_EQ(0, pthread_attr_setstacksize(&attributes, size_t{256} << 10U));
  struct Work {
    std::shared_ptr<LayerDir> root;
    uint64_t found = 0;
  } work{std::move(layer.root), 0};
  pthread_t thread{};
  ASSERT_EQ(0, pthread_create(
                   &thread, &attributes,
                   [](void* argument) -> void* {
                     Work& mine = *static_cast<Work*>(argument);
                     std::shared_ptr<LayerDir> dir = std::move(mine.root);
                     for (int i = 0; i < kDepth; ++i) dir = *dir->OpenDir({"d", 0, FileType::kDirectory});
                     mine.found = dir->StatSelf()->st.st_ino;  // nothing on the way is open
                     return nullptr;
                   },
                   &work));
  ASSERT_EQ(0, pthread_join(thread, nullptr));
  pthread_attr_destroy(&attributes);
  EXPECT_EQ(deepest, work.found);
  EXPECT_EQ(0U, fds_.open_count());
}

TEST_F(TreeLayer, IsReadByManyThreads) {
  for (int i = 0; i < 64; ++i) {
    const std::string name = "d" + std::to_string(i);
    ASSERT_TRUE(sys::MkdirAt(dir_.fd(), name.c_str(), 0755).ok());
    Write(name + "/file", name);
  }
  const Layer layer = Open();
  std::vector<std::shared_ptr<LayerDir>> dirs;
  for (int i = 0; i < 64; ++i) dirs.push_back(*layer.root->OpenDir({"d" + std::to_string(i), 0, FileType::kDirectory}));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      std::vector<std::byte> buffer(16);
      for (int i = 0; i < 2000; ++i) {
        const std::string expected = "d" + std::to_string(i % 64);
        const auto file = dirs[static_cast<size_t>(i % 64)]->OpenFile({"file", 0, FileType::kRegular});
        if (!file.ok() || *(*file)->Read(0, buffer) != expected.size()) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(0, wrong);
}

TEST_F(TreeLayer, WhiteoutsOfAllFormsAreSeenThroughTheView) {
  Write("kept", "x");
  Write(".wh.gone", "");
  ASSERT_TRUE(sys::MknodAt(dir_.fd(), "device", S_IFCHR, 0).ok());
  const Layer layer = Open();
  const auto view = *DirectoryView::Build(std::vector{layer.root});
  EXPECT_EQ(1U, view->size());
  EXPECT_TRUE(view->Find("kept"));
  EXPECT_FALSE(*IsOpaque(*layer.root));
  Write(".wh..wh..opq", "");
  EXPECT_TRUE(*IsOpaque(*layer.root));
}

TEST_F(TreeLayer, ItsRootMustBeADirectory) {
  Write("file", "x");
  const auto layer = OpenTreeLayer(*sys::OpenAt(dir_.fd(), "file", O_PATH), fds_);
  EXPECT_EQ(ErrorCode::kInvalidArgument, layer.error().code());
}

}  // namespace
}  // namespace snap::fuse
