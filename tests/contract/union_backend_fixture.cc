#include "tests/contract/union_backend_fixture.h"

#include <linux/mount.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_process.h"
#include "tests/support/packed_image.h"

namespace snap {
namespace {

class OwnMountNamespace : public testing::Environment {
 public:
  void SetUp() override {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0) << "these tests run as root";
    ASSERT_TRUE(sys::Mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr).ok());
    sys::RaiseOpenFileLimit();
    sys::ClearUmask();
  }
};
const auto* const g_environment = testing::AddGlobalTestEnvironment(new OwnMountNamespace);

}  // namespace

namespace tree {

std::string Join(std::string_view parent, std::string_view name) {
  return fmt::format("{}/{}", parent, name);
}

void MakeDir(FdRef dir, const std::string& path, mode_t mode) {
  const auto made = sys::MkdirAt(dir, path.c_str(), mode);
  EXPECT_TRUE(made.ok()) << Quote(path) << ": " << made.error().Message();
}

void Write(FdRef dir, const std::string& path, std::string_view text, mode_t mode) {
  const auto file = sys::OpenAt(dir, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, mode);
  ASSERT_TRUE(file.ok()) << Quote(path) << ": " << file.error().Message();
  const auto written = sys::WriteAll(*file, text);
  EXPECT_TRUE(written.ok()) << Quote(path) << ": " << written.error().Message();
}

std::string Read(FdRef dir, const std::string& path) {
  const auto text = sys::ReadFileAt(dir, path.c_str(), size_t{1} << 24U);
  return text.ok() ? *text : "<" + text.error().Message() + ">";
}

void MakeWhiteout(FdRef dir, const std::string& path) {
  const auto made = sys::MknodAt(dir, path.c_str(), S_IFCHR, 0);
  EXPECT_TRUE(made.ok()) << Quote(path) << ": " << made.error().Message();
}

void MakeOpaque(FdRef dir, const std::string& path, const char* xattr) {
  const auto set = sys::SetXattrAt(dir, path.c_str(), xattr, AsBytes("y"));
  EXPECT_TRUE(set.ok()) << Quote(path) << ": " << set.error().Message();
}

UniqueFd Open(FdRef dir, const std::string& path) {
  auto fd = sys::OpenAt(dir, path.c_str(), O_RDONLY | O_NOFOLLOW);
  EXPECT_TRUE(fd.ok()) << Quote(path) << ": " << fd.error().Message();
  return fd.ok() ? std::move(fd).value() : UniqueFd();
}

std::set<std::string> Names(FdRef dir, const std::string& path) {
  std::set<std::string> names;
  const auto list = sys::ListDir(Open(dir, path));
  EXPECT_TRUE(list.ok()) << Quote(path);
  if (!list.ok()) return names;
  for (const sys::DirEntry& entry : *list) {
    EXPECT_TRUE(names.insert(entry.name).second) << "listed twice: " << Quote(entry.name);
  }
  return names;
}

bool IsGone(FdRef dir, const std::string& parent, const std::string& name) {
  const auto status = sys::StatAt(dir, Join(parent, name).c_str());
  return !status.ok() && status.error() == ENOENT && !Names(dir, parent).contains(name);
}

std::vector<std::string> Describe(FdRef root) {
  std::vector<std::string> lines;
  std::vector<std::string> pending{"."};
  while (!pending.empty()) {
    const std::string parent = std::move(pending.back());
    pending.pop_back();
    for (const std::string& name : Names(root, parent)) {
      const std::string path = Join(parent, name);
      const auto status = sys::StatAt(root, path.c_str());
      if (!status.ok()) {
        lines.push_back(path + " " + status.error().Message());
        continue;
      }
      const bool is_directory = S_ISDIR(status->st_mode);
      std::string line = fmt::format("{} {:o} {}:{} {} {:x}", path, status->st_mode, status->st_uid,
                                     status->st_gid, is_directory ? 0 : status->st_nlink, status->st_rdev);
      // A directory's size and time belong to the layers' file systems, not to the tree.
      if (!is_directory) {
        line += fmt::format(" {} {}.{:09}", status->st_size, status->st_mtim.tv_sec, status->st_mtim.tv_nsec);
      }
      if (S_ISLNK(status->st_mode)) line += " -> " + *sys::ReadLinkAt(root, path.c_str());
      if (S_ISREG(status->st_mode)) line += " " + Quote(Read(root, path));
      const UniqueFd parent_fd = Open(root, parent);
      if (auto xattrs = sys::ListXattrAt(parent_fd, name.c_str()); xattrs.ok()) {
        std::sort(xattrs->begin(), xattrs->end());
        for (const std::string& xattr : *xattrs) {
          line +=
              fmt::format(" {}={}", xattr, Quote(*sys::GetXattrAt(parent_fd, name.c_str(), xattr.c_str())));
        }
      }
      lines.push_back(std::move(line));
      if (is_directory) pending.push_back(path);
    }
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

}  // namespace tree

std::vector<std::string> MountLines() {
  std::vector<std::string> lines;
  const auto mounts = sys::ListMounts();
  EXPECT_TRUE(mounts.ok());
  for (const sys::MountInfo& mount : *mounts) {
    lines.push_back(
        fmt::format("{} {} {} {} {}", mount.id, mount.mount_point, mount.fs_type, mount.source, mount.root));
  }
  return lines;
}

size_t OpenDescriptors() { return tree::Names(FdRef::Cwd(), "/proc/self/fd").size(); }

void PrintTo(const BackendCase& backend, std::ostream* out) { *out << backend.name; }

void UnionBackendTest::SetUp() {
  char path[] = "/tmp/snap-union-XXXXXX";
  ASSERT_NE(::mkdtemp(path), nullptr);
  scratch_path_ = path;
  scratch_ = tree::Open(FdRef::Cwd(), path);
  backend_ = GetParam().make();
}

void UnionBackendTest::TearDown() {
  backend_.reset();
  CloseLayers();
  EXPECT_TRUE(sys::RemoveTree(FdRef::Cwd(), scratch_path_.c_str()).ok());
}

void UnionBackendTest::CloseLayers() {
  layers_.clear();
  images_.clear();
  objects_.Reset();
  upper_.Reset();
  work_.Reset();
}

FdRef UnionBackendTest::AddLayerNamed(const std::string& name) {
  tree::MakeDir(scratch_, name);
  auto layer = sys::OpenAt(scratch_, name.c_str(), O_PATH | O_DIRECTORY);
  EXPECT_TRUE(layer.ok()) << Quote(name);
  layers_.push_back(std::move(layer).value());
  return layers_.back();
}

FdRef UnionBackendTest::objects() {
  if (!objects_) {
    tree::MakeDir(scratch_, "objects");
    objects_ = *sys::OpenAt(scratch_, "objects", O_PATH | O_DIRECTORY);
  }
  return objects_;
}

UniqueFd UnionBackendTest::Pack(size_t layer, const std::string& name) {
  PackTree(layers_[layer], scratch_, name, objects());
  return tree::Open(scratch_, name);
}

MountStack UnionBackendTest::ReadOnlyStack() {
  MountStack stack;
  for (size_t i = layers_.size(); i-- > 0;) {
    if (IsPacked(i)) {
      images_.push_back(Pack(i, "image" + std::to_string(packed_++)));
      stack.lowers_top_first.push_back({images_.back(), {}});
    } else {
      stack.lowers_top_first.push_back(layers_[i]);
    }
  }
  if (objects_ && !tree::Names(objects_).empty()) stack.objects = objects_;
  return stack;
}

MountStack UnionBackendTest::WritableStack() {
  if (!upper_) {
    tree::MakeDir(scratch_, "upper");
    tree::MakeDir(scratch_, "work");
    upper_ = *sys::OpenAt(scratch_, "upper", O_PATH | O_DIRECTORY);
    work_ = *sys::OpenAt(scratch_, "work", O_PATH | O_DIRECTORY);
  }
  MountStack stack = ReadOnlyStack();
  stack.upper = MountStack::Upper{upper_, work_};
  return stack;
}

Mount UnionBackendTest::MountOf(const MountStack& stack, const MountOptions& options) {
  auto mount = backend_->MountStacked(stack, options);
  if (mount.ok()) return std::move(mount).value();
  ADD_FAILURE() << mount.error().message();
  return Mount(UniqueFd());
}

Error UnionBackendTest::FailureOf(const MountStack& stack, const MountOptions& options) {
  auto mount = backend_->MountStacked(stack, options);
  if (!mount.ok()) return std::move(mount).error();
  ADD_FAILURE() << "the mount succeeded";
  return {ErrorCode::kInternal, ""};
}

}  // namespace snap
