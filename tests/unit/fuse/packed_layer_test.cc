#include "fuse/packed_layer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "fs/erofs_format.h"
#include "fs/erofs_reader.h"
#include "fs/xxhash.h"
#include "fuse/directory_view.h"
#include "fuse/tree_layer.h"
#include "tests/support/erofs_builder.h"
#include "tests/support/packed_image.h"
#include "tests/support/temp_dir.h"

namespace snap::fuse {
namespace {

using snap::test::ErofsBuilder;
using snap::test::TempDir;

constexpr auto kRoot = LayerTree::kRoot;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

Layer Open(PackedLayerFiles files, uint64_t max_held_bytes = kMaxHeldMetadata) {
  auto layer = OpenPackedLayer(std::move(files), max_held_bytes);
  EXPECT_TRUE(layer.ok()) << layer.error().message();
  return *layer;
}

PackedLayerFiles Files(FdRef image, std::vector<FdRef> devices = {}) {
  PackedLayerFiles files;
  files.image = *sys::Dup(image);
  for (const FdRef device : devices) files.devices.push_back(*sys::Dup(device));
  files.name = "layer";
  return files;
}

LayerName Find(LayerDir& directory, const std::string& name) {
  const auto names = directory.List();
  const auto found = std::find_if(names->begin(), names->end(), [&](const LayerName& n) { return n.name == name; });
  EXPECT_NE(found, names->end()) << name;
  return found == names->end() ? LayerName{} : *found;
}

/// In pieces of an odd size.
std::string ReadAll(LayerFile& file, size_t piece = 701) {
  std::string all;
  std::vector<std::byte> buffer(piece);
  for (;;) {
    const auto got = file.Read(all.size(), buffer);
    EXPECT_TRUE(got.ok());
    if (!got.ok() || *got == 0) return all;
    all.append(reinterpret_cast<const char*>(buffer.data()), *got);
  }
}
std::string ReadAll(LayerDir& directory, const std::string& name) {
  const auto file = directory.OpenFile(Find(directory, name));
  EXPECT_TRUE(file.ok()) << name;
  return file.ok() ? ReadAll(**file) : "";
}

/// What a file is, as text; the same for a tree and what was packed from it.
std::string Describe(LayerDir& directory, const LayerName& name) {
  const FileStat stat = *directory.Stat(name);
  std::string text = fmt::format("{:o} {} {} {}.{:09}", stat.st.st_mode, stat.st.st_uid, stat.st.st_gid, stat.st.st_mtim.tv_sec,
                                 stat.st.st_mtim.tv_nsec);
  if (!S_ISDIR(stat.st.st_mode)) {
    text += fmt::format(" size={} links={} device={}", stat.st.st_size, stat.st.st_nlink, stat.st.st_rdev);
  }
  if (S_ISLNK(stat.st.st_mode)) text += " -> " + *directory.ReadLink(name);
  std::map<std::string, std::string> xattrs;
  for (const std::string& xattr : *directory.ListXattr(name)) xattrs[xattr] = *directory.GetXattr(name, xattr);
  for (const auto& [xattr, value] : xattrs) text += fmt::format(" {}={}", xattr, value);
  if (S_ISREG(stat.st.st_mode)) text += fmt::format(" content={:x}", Xxh3Of64(ReadAll(**directory.OpenFile(name)), 0));
  return text;
}
void DescribeAll(LayerDir& directory, const std::string& path, std::map<std::string, std::string>& out) {
  const auto names = directory.List();
  for (const LayerName& name : *names) {
    out[path + name.name] = Describe(directory, name);
    // Whoever does not know the number finds the same.
    EXPECT_EQ(directory.Stat(name)->st.st_ino, directory.Stat({name.name, 0, FileType::kRegular})->st.st_ino);
    EXPECT_EQ(name.inode, directory.Stat(name)->st.st_ino);
    if (name.type != FileType::kDirectory) continue;
    const auto child = *directory.OpenDir(name);
    EXPECT_EQ(name.inode, child->StatSelf()->st.st_ino);
    DescribeAll(*child, path + name.name + "/", out);
  }
}

void Write(FdRef dir, const std::string& path, std::string_view content) {
  const UniqueFd file = *sys::OpenAt(dir, path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0640);
  ASSERT_TRUE(sys::WriteAll(file, content).ok());
}

void FillTree(FdRef tree) {
  Write(tree, "empty", "");
  Write(tree, "tiny", "tiny");
  Write(tree, "small", std::string(1000, 's'));
  Write(tree, "large", std::string(100000, 'l'));
  Write(tree, "zeros", std::string(70000, '\0') + "end");
  ASSERT_TRUE(sys::LinkAt(tree, "large", tree, "hard link").ok());
  ASSERT_TRUE(sys::SymlinkAt("to/somewhere", tree, "link").ok());
  ASSERT_TRUE(sys::MknodAt(tree, "fifo", S_IFIFO | 0600, 0).ok());
  ASSERT_TRUE(sys::MkdirAt(tree, "dir", 0711).ok());
  ASSERT_TRUE(sys::MkdirAt(tree, "dir/sub", 0755).ok());
  for (int i = 0; i < 300; ++i) Write(tree, "dir/sub/file" + std::to_string(i), std::string(static_cast<size_t>(i) * 7, 'x'));
  (void)sys::SetXattrAt(tree, "small", "user.small", Bytes("value"));  // where there are none, there are none to compare
  (void)sys::SetXattrAt(tree, "large", "user.large", Bytes("value"));
  ASSERT_TRUE(sys::SetTimesAt(tree, "tiny", {{1, 2}, {-3, 4}}).ok());
}

class PackedTree : public ::testing::TestWithParam<std::pair<size_t, uint64_t>> {};
INSTANTIATE_TEST_SUITE_P(PackedLayer, PackedTree,
                         testing::Values(std::pair{size_t{0}, kMaxHeldMetadata}, std::pair{size_t{0}, uint64_t{0}},
                                         std::pair{size_t{3}, kMaxHeldMetadata}, std::pair{size_t{3}, uint64_t{0}}),
                         [](const auto& test) {
                           return std::to_string(test.param.first) + "Devices" + (test.param.second != 0 ? "Held" : "NotHeld");
                         });

TEST_P(PackedTree, ShowsWhatTheTreeHasThatItWasPackedFrom) {
  const auto [devices, held] = GetParam();
  const TempDir dir;
  const UniqueFd tree = dir.MakeDir("tree"), images = dir.MakeDir("images"), objects = dir.MakeDir("objects");
  FillTree(tree);
  PackTree(tree, images, "image", objects, {.object_bytes = 65536, .devices = devices});
  PackedLayerFiles files;
  files.image = *sys::OpenAt(images, "image", O_RDONLY);
  for (size_t i = 1; i <= devices; ++i) {
    files.devices.push_back(*sys::OpenAt(images, ("image." + std::to_string(i)).c_str(), O_RDONLY));
  }
  files.objects = std::make_shared<const UniqueFd>(*sys::Dup(objects));
  const Layer packed = Open(std::move(files), held);
  DirFds fds(16);
  const Layer plain = *OpenTreeLayer(*sys::Dup(tree), fds);

  std::map<std::string, std::string> expected, shown;
  DescribeAll(*plain.root, "", expected);
  DescribeAll(*packed.root, "", shown);
  EXPECT_EQ(310U, shown.size());
  EXPECT_EQ(expected, shown);
  EXPECT_EQ(Find(*packed.root, "large").inode, Find(*packed.root, "hard link").inode);
  EXPECT_EQ(Errno(ENOENT), packed.root->Stat({"none", 0, FileType::kRegular}).error());
  EXPECT_EQ(Errno(EOPNOTSUPP), packed.root->OriginOf(Find(*packed.root, "tiny")).error());
  EXPECT_EQ(Errno(EOPNOTSUPP), packed.root->OriginSelf().error());
  EXPECT_TRUE(packed.root->StatFs().ok());
  // Large files are objects, small ones lie in images.
  EXPECT_TRUE((*packed.root->OpenFile(Find(*packed.root, "large")))->descriptor().has_value());
  EXPECT_FALSE((*packed.root->OpenFile(Find(*packed.root, "small")))->descriptor().has_value());
  EXPECT_EQ(Errno(EINVAL), packed.root->OpenFile(Find(*packed.root, "fifo")).error());
  EXPECT_EQ(Errno(ENOTDIR), packed.root->OpenDir(Find(*packed.root, "tiny")).error());
}

TEST(PackedLayer, HeldMetadataNeedsNoSystemCalls) {
  ErofsBuilder builder;
  const auto dir = builder.Directory(kRoot, "dir");
  builder.Xattrs(builder.File(dir, "file", "content"), {Xattr{"user.a", "b"}});
  builder.Symlink(dir, "link", "target");
  ASSERT_TRUE(builder.Write().ok());
  const Layer layer = Open(Files(builder.file()));
  ASSERT_TRUE(sys::Truncate(builder.file(), 0).ok());  // nothing can be read any more
  const auto opened = *layer.root->OpenDir(Find(*layer.root, "dir"));
  EXPECT_EQ(7, opened->Stat(Find(*opened, "file"))->st.st_size);
  EXPECT_EQ("b", *opened->GetXattr(Find(*opened, "file"), "user.a"));
  EXPECT_EQ("target", *opened->ReadLink(Find(*opened, "link")));
  EXPECT_TRUE(opened->Stat({"file", 0, FileType::kRegular}).ok());
  // Data is read from the image.
  const auto file = *opened->OpenFile(Find(*opened, "file"));
  std::vector<std::byte> buffer(10);
  EXPECT_EQ(Errno(EIO), file->Read(0, buffer).error());
}

TEST(PackedLayer, ReadsHolesAndSaysWhereTheyAre) {
  ErofsBuilder builder;
  const std::string a(1024, 'a'), b(512, 'b'), c(100, 'c');
  builder.Sparse(kRoot, "sparse", 8192 + 100, {{1024, a}, {4096, b}, {8192, c}});
  builder.Sparse(kRoot, "hole", 5000, {});
  builder.File(kRoot, "full", std::string(2000, 'f'));
  builder.File(kRoot, "empty", "");
  ASSERT_TRUE(builder.Write().ok());
  const Layer layer = Open(Files(builder.file()));
  const auto sparse = *layer.root->OpenFile(Find(*layer.root, "sparse"));
  const std::string expected =
      std::string(1024, '\0') + a + std::string(2048, '\0') + b + std::string(8192 - 4608, '\0') + c;
  for (const size_t piece : {size_t{1}, size_t{100}, size_t{512}, size_t{3000}, size_t{100000}}) {
    EXPECT_EQ(expected, ReadAll(*sparse, piece)) << piece;
  }
  const auto data = [&](uint64_t offset) { return *sparse->Seek(offset, SEEK_DATA); };
  const auto hole = [&](uint64_t offset) { return *sparse->Seek(offset, SEEK_HOLE); };
  EXPECT_EQ(1024U, data(0));
  EXPECT_EQ(1500U, data(1500));
  EXPECT_EQ(4096U, data(2048));
  EXPECT_EQ(8192U, data(4608));
  EXPECT_EQ(8291U, data(8291));
  EXPECT_EQ(0U, hole(0));
  EXPECT_EQ(2048U, hole(1024));
  EXPECT_EQ(2048U, hole(2047));
  EXPECT_EQ(2048U, hole(2048));
  EXPECT_EQ(8292U, hole(8192));
  EXPECT_EQ(Errno(ENXIO), sparse->Seek(8292, SEEK_DATA).error());
  EXPECT_EQ(Errno(ENXIO), sparse->Seek(8292, SEEK_HOLE).error());
  EXPECT_EQ(Errno(EINVAL), sparse->Seek(0, SEEK_SET).error());
  std::vector<std::byte> buffer(10);
  EXPECT_EQ(0U, *sparse->Read(8292, buffer));
  EXPECT_EQ(0U, *sparse->Read(UINT64_MAX, buffer));

  const auto all_hole = *layer.root->OpenFile(Find(*layer.root, "hole"));
  EXPECT_EQ(std::string(5000, '\0'), ReadAll(*all_hole));
  EXPECT_EQ(Errno(ENXIO), all_hole->Seek(0, SEEK_DATA).error());
  EXPECT_EQ(0U, *all_hole->Seek(0, SEEK_HOLE));
  const auto full = *layer.root->OpenFile(Find(*layer.root, "full"));
  EXPECT_EQ(0U, *full->Seek(0, SEEK_DATA));
  EXPECT_EQ(2000U, *full->Seek(0, SEEK_HOLE));
  EXPECT_EQ("", ReadAll(*layer.root, "empty"));
}

TEST(PackedLayer, RunsThatFollowEachOtherAreNoHole) {
  ErofsBuilder builder(9, 1);
  const UniqueFd device = snap::test::NewImageFile();
  ASSERT_TRUE(sys::PWriteAll(device, Bytes(std::string(512, 'd')), 0).ok());
  builder.options.devices = {{"", 1}};
  LayerTree::Inode inode;
  inode.size = 1024;
  inode.data_kind = LayerTree::Inode::Data::kRuns;
  const uint64_t block = builder.Store(std::string(512, 'i'));
  inode.data = builder.tree.AddRuns({{0, 512, block, 0}, {512, 512, 0, 1}});
  builder.tree.AddEntry(kRoot, "two", builder.tree.AddInode(inode));
  ASSERT_TRUE(builder.Write().ok());
  const Layer layer = Open(Files(builder.file(), {device}));
  EXPECT_EQ(std::string(512, 'i') + std::string(512, 'd'), ReadAll(*layer.root, "two"));
  const auto file = *layer.root->OpenFile(Find(*layer.root, "two"));
  EXPECT_EQ(1024U, *file->Seek(0, SEEK_HOLE));
  // A device that has become shorter is an error.
  ASSERT_TRUE(sys::Truncate(device, 100).ok());
  std::vector<std::byte> buffer(1024);
  EXPECT_EQ(Errno(EIO), file->Read(0, buffer).error());
}

TEST(PackedLayer, WhiteoutsAndOpaqueMarksAreReadThroughTheView) {
  ErofsBuilder builder;
  builder.Whiteout(kRoot, "gone");
  builder.Node(kRoot, "null", FileType::kCharDevice, 0x103);
  const auto opaque = builder.Directory(kRoot, "opaque");
  builder.tree.inode(opaque).opaque = true;
  builder.Directory(kRoot, "plain");
  builder.File(kRoot, ".wh.other", "");
  ASSERT_TRUE(builder.Write().ok());
  const Layer layer = Open(Files(builder.file()));
  const std::vector<std::shared_ptr<LayerDir>> dirs{layer.root};
  const auto view = *DirectoryView::Build(dirs);
  std::vector<std::string> names;
  view->ForEach([&](std::string_view name) { names.emplace_back(name); });
  std::sort(names.begin(), names.end());
  EXPECT_EQ((std::vector<std::string>{"null", "opaque", "plain"}), names);
  EXPECT_FALSE(*IsOpaque(*layer.root));
  EXPECT_TRUE(*IsOpaque(**layer.root->OpenDir(Find(*layer.root, "opaque"))));
  EXPECT_FALSE(*IsOpaque(**layer.root->OpenDir(Find(*layer.root, "plain"))));
}

class PackedObjects : public ::testing::Test {
 protected:
  PackedObjects() : objects_(dir_.MakeDir("objects")) {
    id_.hash[0] = 0xab;
    id_.size = 5;
    const auto file = builder_.Object(kRoot, "file", id_);
    builder_.tree.inode(file).size = id_.size;
    EXPECT_TRUE(builder_.Write().ok());
    EXPECT_TRUE(sys::MkdirAt(objects_, "ab", 0755).ok());
  }
  SysResult<std::shared_ptr<LayerFile>> OpenFile(bool with_objects = true) {
    PackedLayerFiles files = Files(builder_.file());
    if (with_objects) files.objects = std::make_shared<const UniqueFd>(*sys::Dup(objects_));
    const Layer layer = Open(std::move(files));
    return layer.root->OpenFile(Find(*layer.root, "file"));
  }
  std::string path() const { return id_.Path(); }

  TempDir dir_;
  UniqueFd objects_;
  ErofsBuilder builder_;
  ObjectId id_;
};

TEST_F(PackedObjects, AreTheBytesOfLargeFiles) {
  Write(objects_, path(), "bytes");
  const auto file = *OpenFile();
  EXPECT_EQ("bytes", ReadAll(*file));
  EXPECT_EQ(sys::StatAt(objects_, path().c_str())->st_ino, sys::FStat(*file->descriptor())->st_ino);
  EXPECT_EQ(O_RDONLY, ::fcntl(file->descriptor()->get(), F_GETFL) & O_ACCMODE);
  EXPECT_EQ(5U, *file->Seek(0, SEEK_HOLE));
  EXPECT_EQ(Errno(ENXIO), file->Seek(UINT64_MAX, SEEK_DATA).error());
  // An object that becomes shorter while it is open is no short file.
  ASSERT_TRUE(sys::Truncate(*sys::OpenAt(objects_, path().c_str(), O_WRONLY), 3).ok());
  std::vector<std::byte> buffer(5);
  EXPECT_EQ(Errno(EIO), file->Read(0, buffer).error());
}

TEST_F(PackedObjects, TheMarksThatLeadToThemAreNotShown) {
  Write(objects_, path(), "bytes");
  const Layer layer = Open(Files(builder_.file()));
  const LayerName name = Find(*layer.root, "file");
  EXPECT_TRUE(layer.root->ListXattr(name)->empty());
  EXPECT_EQ(Errno(ENODATA), layer.root->GetXattr(name, "trusted.overlay.redirect").error());
  EXPECT_EQ(Errno(ENODATA), layer.root->GetXattr(name, "trusted.overlay.metacopy").error());
  EXPECT_EQ(5, layer.root->Stat(name)->st.st_size);
}

TEST_F(PackedObjects, ThatAreMissingOrNotWhatTheyShouldBeAreAnError) {
  EXPECT_EQ(Errno(EIO), OpenFile().error());
  EXPECT_EQ(Errno(EIO), OpenFile(false).error());
  Write(objects_, path(), "longer");
  EXPECT_EQ(Errno(EIO), OpenFile().error());
  ASSERT_TRUE(sys::UnlinkAt(objects_, path().c_str()).ok());
  Write(objects_, "other", "bytes");
  ASSERT_TRUE(sys::SymlinkAt("../other", objects_, path().c_str()).ok());
  EXPECT_EQ(Errno(EIO), OpenFile().error());
  ASSERT_TRUE(sys::UnlinkAt(objects_, path().c_str()).ok());
  ASSERT_TRUE(sys::MknodAt(objects_, path().c_str(), S_IFIFO | 0600, 0).ok());
  EXPECT_EQ(Errno(EIO), OpenFile().error());
  ASSERT_TRUE(sys::UnlinkAt(objects_, path().c_str()).ok());
  // A shard that leads elsewhere.
  ASSERT_TRUE(sys::UnlinkAt(objects_, "ab", AT_REMOVEDIR).ok());
  const UniqueFd elsewhere = dir_.MakeDir("elsewhere");
  Write(elsewhere, path().substr(3), "bytes");
  ASSERT_TRUE(sys::SymlinkAt("../elsewhere", objects_, "ab").ok());
  EXPECT_EQ(Errno(EIO), OpenFile().error());
}

/// Changes a text in an image that is there once to one of the same length.
void PatchText(FdRef image, std::string_view from, std::string_view to) {
  ASSERT_EQ(from.size(), to.size());
  std::vector<std::byte> bytes(static_cast<size_t>(sys::FStat(image)->st_size));
  ASSERT_EQ(bytes.size(), *sys::PRead(image, bytes, 0));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string_view::npos) << from;
  ASSERT_EQ(text.find(from, at + 1), std::string_view::npos) << from;
  ASSERT_TRUE(sys::PWriteAll(image, Bytes(to), at).ok());
}

TEST(PackedLayer, RedirectsThatAreNoObjectsAreAnError) {
  const TempDir dir;
  const UniqueFd objects = dir.MakeDir("objects");
  ASSERT_TRUE(sys::MkdirAt(objects, "ab", 0755).ok());
  ASSERT_TRUE(sys::MkdirAt(objects, "secrets", 0755).ok());
  const std::string name(30, '0');
  Write(objects, "ab/" + name + "-5", "12345");
  Write(objects, "ab/" + name + "-6", "123456");
  Write(objects, "secrets/" + name.substr(5) + "-5", "12345");
  const auto open = [&](const std::string& from, const std::string& to) {
    ErofsBuilder builder;
    ObjectId id;
    id.hash[0] = 0xab;
    id.size = 5;
    builder.tree.inode(builder.Object(kRoot, "file", id)).size = 5;
    EXPECT_TRUE(builder.Write().ok());
    PatchText(builder.file(), from, to);
    PackedLayerFiles files = Files(builder.file());
    files.objects = std::make_shared<const UniqueFd>(*sys::Dup(objects));
    const Layer layer = Open(std::move(files));
    return layer.root->OpenFile(Find(*layer.root, "file"));
  };
  const std::string good = "/ab/" + name + "-5";
  EXPECT_TRUE(open(good, good).ok());
  for (const std::string& to : {"/ab/" + name + "-6",                  // an object of another size
                                "/secrets/" + name.substr(5) + "-5",   // there, and no object
                                "/../objects/ab/" + name.substr(11) + "-5", "xab/" + name + "-5", "//b/" + name + "-5",
                                "/AB/" + name + "-5", "/ab/" + name.substr(1) + "g-5",
                                "/ab/" + name + "-" + std::string(1, '\0'),
                                std::string(good.size(), '/'), std::string(good.size(), '\0')}) {
    EXPECT_EQ(Errno(EIO), open(good, to).error()) << to;
  }
  EXPECT_EQ(Errno(EIO), open("overlay.redirect", "overlay.redirecx").error());
}

TEST(PackedLayer, IsToldApartByItsName) {
  ErofsBuilder builder;
  ASSERT_TRUE(builder.Write().ok());
  const auto number = [&](const std::string& name) {
    PackedLayerFiles files = Files(builder.file());
    files.name = name;
    return Open(std::move(files)).file_system;
  };
  EXPECT_EQ(number("a"), number("a"));
  EXPECT_NE(number("a"), number("b"));
  EXPECT_EQ(number(""), number(""));
  EXPECT_NE(0U, number("a") >> 63U);  // no device has such a number
  const Layer layer = Open(Files(builder.file()));
  EXPECT_EQ(layer.file_system, layer.root->file_system());
  EXPECT_NE(0U, layer.root->StatSelf()->st.st_ino);
}

TEST(PackedLayer, RefusesWhatIsNoLayer) {
  const UniqueFd empty = snap::test::NewImageFile();
  EXPECT_EQ(ErrorCode::kCorrupt, OpenPackedLayer(Files(empty)).error().code());
  ErofsBuilder builder;
  ASSERT_TRUE(builder.Write().ok());
  EXPECT_EQ(ErrorCode::kInvalidArgument, OpenPackedLayer(Files(builder.file(), {empty})).error().code());
}

// --- hostile images

/// Changes the first bytes of an inode.
void PatchInode(FdRef image, uint64_t nid, const std::function<void(erofs::InodeExtended&)>& change) {
  std::vector<std::byte> super(sizeof(erofs::SuperBlock)), inode(sizeof(erofs::InodeExtended));
  ASSERT_TRUE(sys::PRead(image, super, erofs::kSuperOffset).ok());
  const auto block = erofs::Read<erofs::SuperBlock>(super);
  const uint64_t offset = (uint64_t{block.meta_block} << block.block_bits) + nid * erofs::kInodeSlot;
  ASSERT_TRUE(sys::PRead(image, inode, offset).ok());
  auto raw = erofs::Read<erofs::InodeExtended>(inode);
  change(raw);
  std::memcpy(inode.data(), &raw, sizeof(raw));
  ASSERT_TRUE(sys::PWriteAll(image, inode, offset).ok());
}

TEST(PackedLayer, AnInodeOfAnotherTypeThanItsNameIsAnError) {
  ErofsBuilder builder;
  builder.Symlink(kRoot, "link", "in the inode");
  ASSERT_TRUE(builder.Write().ok());
  const auto reader = ErofsReader::Open(builder.file(), "image");
  PatchInode(builder.file(), **reader->Lookup(reader->root(), "link"),
             [](erofs::InodeExtended& raw) { raw.mode = static_cast<uint16_t>(S_IFREG | 0644U); });
  const Layer layer = Open(Files(builder.file()));
  LayerName name = Find(*layer.root, "link");
  EXPECT_EQ(FileType::kSymlink, name.type);
  EXPECT_EQ(Errno(EIO), layer.root->Stat(name).error());
  EXPECT_EQ(Errno(EIO), layer.root->ReadLink(name).error());
  EXPECT_EQ(Errno(EIO), layer.root->OpenFile(name).error());
  // Taken as what it is: a file whose bytes lie beside its inode, which other writers of EROFS make.
  name.type = FileType::kRegular;
  const auto file = *layer.root->OpenFile(name);
  EXPECT_EQ("in the inode", ReadAll(*file, 5));
  EXPECT_EQ(0U, *file->Seek(0, SEEK_DATA));
  EXPECT_EQ(12U, *file->Seek(0, SEEK_HOLE));
}

TEST(PackedLayer, ADirectoryThatContainsItselfEnds) {
  ErofsBuilder builder;
  builder.Directory(kRoot, "dir");
  ASSERT_TRUE(builder.Write().ok());
  const Layer layer = Open(Files(builder.file()));
  // A name that leads back to the root, as a damaged directory may have.
  const LayerName loop{"dir", layer.root->StatSelf()->st.st_ino, FileType::kDirectory};
  std::shared_ptr<LayerDir> at = layer.root;
  for (size_t depth = 0;; ++depth) {
    ASSERT_LE(depth, RelPath::kMaxDepth);
    auto next = at->OpenDir(loop);
    if (!next.ok()) {
      EXPECT_EQ(Errno(EIO), next.error());
      break;
    }
    at = *next;
  }
}

TEST(PackedLayer, NumbersThatAreNoInodesAreAnError) {
  ErofsBuilder builder;
  builder.File(kRoot, "file", "content");
  ASSERT_TRUE(builder.Write().ok());
  const Layer layer = Open(Files(builder.file()));
  for (const uint64_t inode : {uint64_t{1} << 20U, uint64_t{1} << 63U, UINT64_MAX}) {
    const LayerName name{"file", inode, FileType::kRegular};
    EXPECT_EQ(Errno(EIO), layer.root->Stat(name).error());
    EXPECT_EQ(Errno(EIO), layer.root->OpenFile(name).error());
    EXPECT_EQ(Errno(EIO), layer.root->ListXattr(name).error());
  }
}

TEST(PackedLayer, AnImageThatBecomesShorterIsAnError) {
  ErofsBuilder builder;
  builder.File(kRoot, "file", std::string(3000, 'x'));
  ASSERT_TRUE(builder.Write().ok());
  const Layer layer = Open(Files(builder.file()), 0);
  const LayerName name = Find(*layer.root, "file");
  const auto file = *layer.root->OpenFile(name);
  ASSERT_TRUE(sys::Truncate(builder.file(), 1).ok());
  std::vector<std::byte> buffer(100);
  EXPECT_EQ(Errno(EIO), file->Read(0, buffer).error());
  EXPECT_EQ(Errno(EIO), layer.root->Stat(name).error());
  EXPECT_EQ(Errno(EIO), layer.root->List().error());
}

}  // namespace
}  // namespace snap::fuse
