// Differential: trees archived by GNU tar in every format it knows; what our reader sees must be what is on
// disk. Needs root for devices, owners and trusted xattrs.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "fs/base/quote.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "tests/support/tar_contents.h"

namespace snap {
namespace {

using test::TarItem;
using Kind = TarEntry::Kind;
using Runs = std::vector<std::pair<uint64_t, std::string>>;

template <typename T>
T Must(Result<T, Errno> result) {
  if (!result.ok()) throw std::runtime_error(result.error().Message());
  return std::move(result).value();
}
void Must(const Result<void, Errno>& result) {
  if (!result.ok()) throw std::runtime_error(result.error().Message());
}

// What a format can say.
struct Format {
  const char* options;
  bool long_names = true;     // and bytes of any length
  bool specials = true;       // devices and fifos
  bool large_numbers = true;  // negative times, ids above 2^21
  bool nanoseconds = false;
  bool xattrs = false;
  bool sparse = false;
};

class TarDifferential : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::geteuid(), 0U) << "this test makes devices and changes owners: run it as root";
    std::string name = "/tmp/snap-tar-gnu-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    base_ = name;
    Must(sys::MkdirAt(FdRef::Cwd(), (base_ + "/root").c_str(), 0755));
    root_ = Must(sys::OpenAt(FdRef::Cwd(), (base_ + "/root").c_str(), O_RDONLY | O_DIRECTORY));
  }
  void TearDown() override {
    if (base_.empty()) return;
    const UniqueFd tmp = Must(sys::OpenAt(FdRef::Cwd(), "/tmp", O_RDONLY | O_DIRECTORY));
    Must(sys::RemoveTree(tmp, base_.substr(5).c_str()));
  }

  void Directory(const std::string& name) { Must(sys::MkdirAt(root_, name.c_str(), 0755)); }
  void File(const std::string& name, const std::string& data, mode_t mode = 0644) {
    const UniqueFd fd = Must(sys::OpenAt(root_, name.c_str(), O_WRONLY | O_CREAT | O_EXCL, mode));
    Must(sys::WriteAll(fd, std::string_view(data)));
    Must(sys::FChmod(fd, mode));
  }
  void SparseFile(const std::string& name, const Runs& runs, uint64_t size) {
    const UniqueFd fd = Must(sys::OpenAt(root_, name.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644));
    Must(sys::Truncate(fd, size));
    for (const auto& [offset, data] : runs) Must(sys::PWriteAll(fd, std::as_bytes(std::span(data)), offset));
    sparse_[name] = runs;
  }
  void Times(const std::string& name, time_t seconds, long nanoseconds) {
    Must(sys::SetTimesAt(root_, name.c_str(), {{0, 0}, {seconds, nanoseconds}}));
  }
  void Xattr(const std::string& name, const char* xattr, std::string_view value) {
    Must(sys::SetXattrAt(root_, name.c_str(), xattr, std::as_bytes(std::span(value))));
  }

  void MakeTree(const Format& format);
  void MakeSparseFiles();
  void Check(const Format& format);
  void CheckItem(const Format& format, const TarItem& item, const std::string& path);
  void CheckData(const TarItem& item, const std::string& path, uint64_t size);

  std::string base_;
  UniqueFd root_;
  std::map<std::string, Runs> sparse_;        // what was written where; the rest are holes
  std::map<ino_t, std::string> first_names_;  // of files with several links, as the archive gives them
};

void TarDifferential::MakeTree(const Format& format) {
  Directory("etc");
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{511}, size_t{512}, size_t{513}, size_t{10240}, size_t{300'000}}) {
    std::string data(size, '\0');
    for (size_t i = 0; i < size; ++i) data[i] = static_cast<char>((i * 31 + size) % 251);
    File("etc/" + std::to_string(size), data);
  }
  File("setuid", "x", 04755);
  File("secret", "x", 0);
  Directory("sticky");
  Must(sys::FChmodAt(root_, "sticky", 01777));
  for (const char* odd : {"new\nline", "tab\t", "esc\x1b[2J", "\xff\xfe\x80", " space ", "*?[\\", "'\"$`;|&",
                          "-rf", ".hidden", "F\xc5\x91tan\xc3\xbas", "a=b", "100%"}) {
    File(odd, odd);
  }
  Must(sys::SymlinkAt("../etc/passwd", root_, "etc/link"));
  Must(sys::SymlinkAt("\xff\n x", root_, "odd-target"));
  Must(sys::SymlinkAt(std::string(100, 't').c_str(), root_, "target-of-100"));
  Must(sys::LinkAt(root_, "etc/513", root_, "hard"));
  Must(sys::LinkAt(root_, "etc/513", root_, "z-hard"));
  Must(sys::FChownAt(root_, "etc/1", 12345, 2'097'151));
  File(std::string(97, 'n'), "97");  // with "./" in front all that v7 takes
  Times("etc/1", 0, 0);
  Times("etc/link", 1'000'000'000, 0);
  Times("etc/511", 1'234'567'890, 999'999'999);
  Times("sticky", 8'589'934'591, 1);

  if (format.specials) {
    Must(sys::MknodAt(root_, "fifo", S_IFIFO | 0600, 0));
    Must(sys::MknodAt(root_, "null", S_IFCHR | 0666, makedev(1, 3)));
    Must(sys::MknodAt(root_, "whiteout", S_IFCHR, makedev(0, 0)));
    Must(sys::MknodAt(root_, "disk", S_IFBLK | 0660, makedev(259, 70000)));
  }
  if (format.long_names) {
    File(std::string(100, 'm'), "100");
    File(std::string(255, 'x'), "255");
    std::string deep = "deep";
    Directory(deep);
    for (int i = 0; i < 10; ++i) {
      deep += "/" + std::string(200, static_cast<char>('a' + i));
      Directory(deep);
      File(deep + "/file", deep);
    }
    File("deep/linked", "data");
    Must(sys::LinkAt(root_, (deep + "/file").c_str(), root_, "z-long-hard"));
    Must(sys::SymlinkAt(std::string(101, 't').c_str(), root_, "target-of-101"));
    Must(sys::SymlinkAt(std::string(4000, 't').c_str(), root_, "target-of-4000"));
  }
  if (format.large_numbers) {
    Must(sys::FChownAt(root_, "etc/512", 2'097'152, 4'294'967'294U));
    Times("etc/513", -1, 0);
    Times("etc/0", -1, 500'000'000);
    Times("etc/10240", -2'000'000'000, 123'456'789);
    Times("etc/300000", 8'589'934'592, 0);
  }
  if (format.xattrs) {
    Xattr("etc/1", "user.empty", "");
    Xattr("etc/1", "user.bytes", std::string("\0\n=\xff", 4));
    Xattr("etc/1", "user.long", std::string(2000, 'v'));
    Xattr("sticky", "trusted.overlay.opaque", "y");
    Xattr("setuid", "security.capability", std::string("\1\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20));
    Xattr("target-of-100", "trusted.on-symlink", "z");
    Xattr(std::string(255, 'x'), "user.with-long-name", "1");
  }
}

void TarDifferential::MakeSparseFiles() {
  Directory("sparse");
  SparseFile("sparse/hole", {}, 1U << 20U);
  SparseFile("sparse/tail", {{1'000'000, "end"}}, 1'000'003);
  SparseFile("sparse/head", {{0, "head"}}, 5'000'000);
  SparseFile("sparse/large", {{0, "a"}, {uint64_t{5} << 30U, "middle"}, {(uint64_t{9} << 30U) - 1, "z"}},
             uint64_t{9} << 30U);
  Runs many;
  for (uint64_t i = 0; i < 200; ++i)
    many.emplace_back(i * 16384, std::string(100, static_cast<char>('a' + i % 26)));
  SparseFile("sparse/many", many, 4'000'000);
  SparseFile("sparse/" + std::string(120, 's'), {{65536, "named"}}, 200'000);
}

void TarDifferential::CheckData(const TarItem& item, const std::string& path, uint64_t size) {
  EXPECT_EQ(item.entry.size, size);
  const auto written = sparse_.find(path);
  if (written == sparse_.end()) {
    ASSERT_FALSE(item.entry.sparse);
    EXPECT_EQ(item.data(), Must(sys::ReadFileAt(root_, path.c_str(), 1U << 20U)));
    return;
  }
  EXPECT_TRUE(item.entry.sparse);
  // The runs are as large as the file system's blocks: what was written must be there, and zeros around it.
  size_t non_zero = 0;
  for (const auto& [offset, data] : item.runs)
    non_zero += data.size() - static_cast<size_t>(std::count(data.begin(), data.end(), '\0'));
  for (const auto& [offset, data] : written->second) {
    non_zero -= data.size();
    const auto run = std::find_if(item.runs.begin(), item.runs.end(),
                                  [&, begin = offset, bytes = data.size()](const auto& r) {
                                    return r.first <= begin && begin + bytes <= r.first + r.second.size();
                                  });
    ASSERT_NE(run, item.runs.end()) << offset;
    EXPECT_EQ(run->second.substr(static_cast<size_t>(offset - run->first), data.size()), data) << offset;
  }
  EXPECT_EQ(non_zero, 0U);
}

void TarDifferential::CheckItem(const Format& format, const TarItem& item, const std::string& path) {
  const TarEntry& entry = item.entry;
  const struct stat st = Must(sys::StatAt(root_, path.empty() ? "." : path.c_str(), AT_SYMLINK_NOFOLLOW));
  const auto [first, is_first] = S_ISDIR(st.st_mode) || st.st_nlink == 1
                                     ? std::pair(first_names_.end(), true)
                                     : first_names_.emplace(st.st_ino, path);
  if (!is_first) {
    EXPECT_EQ(entry.kind, Kind::kHardLink);
    EXPECT_EQ(RelPath::Parse(entry.link_target).value().str(), first->second);
    return;
  }
  const std::map<mode_t, Kind> kinds = {{S_IFREG, Kind::kRegular},    {S_IFDIR, Kind::kDirectory},
                                        {S_IFLNK, Kind::kSymlink},    {S_IFIFO, Kind::kFifo},
                                        {S_IFCHR, Kind::kCharDevice}, {S_IFBLK, Kind::kBlockDevice}};
  EXPECT_EQ(entry.kind, kinds.at(st.st_mode & S_IFMT));
  EXPECT_EQ(entry.attributes.permissions, st.st_mode & 07777U);
  EXPECT_EQ(entry.attributes.uid, st.st_uid);
  EXPECT_EQ(entry.attributes.gid, st.st_gid);
  EXPECT_EQ(entry.attributes.mtime.tv_sec, st.st_mtim.tv_sec);
  EXPECT_EQ(entry.attributes.mtime.tv_nsec, format.nanoseconds ? st.st_mtim.tv_nsec : 0);
  if (S_ISREG(st.st_mode)) CheckData(item, path, static_cast<uint64_t>(st.st_size));
  if (S_ISLNK(st.st_mode)) {
    EXPECT_EQ(entry.link_target, Must(sys::ReadLinkAt(root_, path.c_str())));
  }
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
    EXPECT_EQ(entry.device_major, major(st.st_rdev));
    EXPECT_EQ(entry.device_minor, minor(st.st_rdev));
  }
  std::map<std::string, std::string> on_disk;
  if (format.xattrs && !path.empty()) {
    for (const std::string& name : Must(sys::ListXattrAt(root_, path.c_str()))) {
      on_disk[name] = Must(sys::GetXattrAt(root_, path.c_str(), name.c_str()));
    }
  }
  std::map<std::string, std::string> in_archive;
  for (const auto& xattr : entry.attributes.xattrs) in_archive[xattr.name] = xattr.value;
  EXPECT_EQ(in_archive, on_disk);
}

void TarDifferential::Check(const Format& format) {
  const std::string command = fmt::format(
      "cd {0}/root && LC_ALL=C TAR_OPTIONS= tar {1} --sort=name --numeric-owner -cf {0}/out.tar .", base_,
      format.options);
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  const UniqueFd out = Must(sys::OpenAt(FdRef::Cwd(), (base_ + "/out.tar").c_str(), O_RDONLY));
  const std::string tar = Must(sys::ReadAll(out, 64U << 20U));

  std::set<std::string> on_disk = {""};
  std::vector<std::string> directories = {""};
  while (!directories.empty()) {
    const std::string directory = std::move(directories.back());
    directories.pop_back();
    const UniqueFd fd =
        Must(sys::OpenAt(root_, directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY));
    for (const auto& child : Must(sys::ListDir(fd))) {
      const std::string path = directory.empty() ? child.name : directory + "/" + child.name;
      on_disk.insert(path);
      if (child.type == DT_DIR) directories.push_back(path);
    }
  }

  const auto items = test::ReadTar(tar, 100'000);
  ASSERT_TRUE(items.ok()) << items.error().message();
  std::set<std::string> in_archive;
  for (const TarItem& item : items.value()) {
    const auto path = RelPath::Parse(item.entry.path);
    ASSERT_TRUE(path.ok()) << path.error().message();
    SCOPED_TRACE(Quote(path.value().str().substr(0, 100)) + " with " + format.options);
    EXPECT_TRUE(in_archive.insert(path.value().str()).second) << "named twice";
    CheckItem(format, item, path.value().str());
  }
  EXPECT_EQ(in_archive, on_disk);
}

constexpr Format kV7{
    .options = "--format=v7", .long_names = false, .specials = false, .large_numbers = false};
constexpr Format kUstar{.options = "--format=ustar", .long_names = false, .large_numbers = false};
constexpr Format kOldGnu{.options = "--format=oldgnu"};
constexpr Format kGnu{.options = "--format=gnu"};
constexpr Format kPax{
    .options = "--format=pax --xattrs --xattrs-include='*'", .nanoseconds = true, .xattrs = true};
constexpr Format kOldGnuSparse{.options = "--format=oldgnu --sparse", .sparse = true};
constexpr Format kGnuSparse{.options = "--format=gnu --sparse", .sparse = true};
constexpr Format kPax00{
    .options = "--format=pax --sparse --sparse-version=0.0", .nanoseconds = true, .sparse = true};
constexpr Format kPax01{
    .options = "--format=pax --sparse --sparse-version=0.1", .nanoseconds = true, .sparse = true};
constexpr Format kPax10{.options = "--format=pax --sparse --sparse-version=1.0 --xattrs --xattrs-include='*'",
                        .nanoseconds = true,
                        .xattrs = true,
                        .sparse = true};

#define SNAP_TAR_FORMAT(NAME)                         \
  TEST_F(TarDifferential, NAME##IsReadAsItIsOnDisk) { \
    MakeTree(k##NAME);                                \
    if (k##NAME.sparse) MakeSparseFiles();            \
    Check(k##NAME);                                   \
  }
SNAP_TAR_FORMAT(V7)
SNAP_TAR_FORMAT(Ustar)
SNAP_TAR_FORMAT(OldGnu)
SNAP_TAR_FORMAT(Gnu)
SNAP_TAR_FORMAT(Pax)
SNAP_TAR_FORMAT(OldGnuSparse)
SNAP_TAR_FORMAT(GnuSparse)
SNAP_TAR_FORMAT(Pax00)
SNAP_TAR_FORMAT(Pax01)
SNAP_TAR_FORMAT(Pax10)

}  // namespace
}  // namespace snap
