// Capturing exchanges this process' own standard streams for the moment of the clone: the launcher hands on 0, 1, 2.
#include "tests/unit/runtime/testing.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "fs/base/fault.h"
#include "fs/base/sys_file.h"

namespace snap::runtime {
namespace {

class PrivateMounts : public testing::Environment {
 public:
  void SetUp() override {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0) << "these tests need root";
    ASSERT_TRUE(sys::Mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr).ok());
    ASSERT_TRUE(sys::Mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr).ok());
  }
};
const auto* const g_private_mounts = testing::AddGlobalTestEnvironment(new PrivateMounts);

std::vector<uint64_t> MountIds() {
  std::vector<uint64_t> ids;
  const auto mounts = sys::ListMounts();
  for (const sys::MountInfo& mount : mounts.value()) ids.push_back(mount.id);
  return ids;
}

size_t OpenDescriptors() {
  return sys::ListDir(*sys::OpenAt(FdRef::Cwd(), "/proc/self/fd", O_RDONLY | O_DIRECTORY))->size();
}

// Exchanges a standard stream and puts it back.
class Redirected {
 public:
  Redirected(int fd, FdRef replacement) : fd_(fd), saved_(::fcntl(fd, F_DUPFD_CLOEXEC, 100)) {
    ::dup2(replacement.get(), fd);
  }
  ~Redirected() { ::dup2(saved_.get(), fd_); }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;

 private:
  int fd_;
  UniqueFd saved_;
};

}  // namespace

Json Outcome::Of(const char* verb, const char* arg) const {
  for (Json line : lines) {
    if (line["verb"] == verb && (arg == nullptr || line["arg"] == arg)) return line;
  }
  ADD_FAILURE() << "no answer to " << verb << " " << (arg == nullptr ? "" : arg) << " in: " << out << Message();
  return Json::object();
}

void ContainerTest::SetUp() {
  char path[] = "/tmp/snap-runtime-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  path_ = path;
  ASSERT_EQ(::chmod(path, 0755), 0);
  dir_ = *sys::OpenAt(FdRef::Cwd(), path, O_RDONLY | O_DIRECTORY);
  for (const char* dir : {"root", "root/bin", "root/etc", "canary"}) MakeDir(dir);
  InstallProbe("root/bin/probe");
  WriteFile("root/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\n"
            "app:x:1000:1001:App:/home/app:/bin/sh\n");
  WriteFile("root/etc/group", "root:x:0:\naudio:x:29:app\nvideo:x:44:app\napp:x:1001:\n");
  mounts_before_ = MountIds();
  fds_before_ = OpenDescriptors();
}

void ContainerTest::TearDown() {
  ASSERT_TRUE(fault::Arm("").ok());
  EXPECT_EQ(MountIds(), mounts_before_) << "a mount of a container reached its host";
  EXPECT_EQ(OpenDescriptors(), fds_before_) << "the launcher leaked descriptors";
  siginfo_t info{};
  EXPECT_EQ(::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1) << "a child is left";
  EXPECT_EQ(errno, ECHILD);
  EXPECT_TRUE(sys::ListDir(*sys::OpenAt(dir_, "canary", O_RDONLY))->empty()) << "something escaped";
  EXPECT_TRUE(sys::RemoveTree(FdRef::Cwd(), path_.c_str()).ok());
}

ContainerSpec ContainerTest::Probe(std::vector<std::string> words) {
  ContainerSpec spec;
  spec.id = "0123456789abcdef";
  spec.hostname = "box";
  spec.args = {"/bin/probe"};
  spec.args.insert(spec.args.end(), words.begin(), words.end());
  return spec;
}

UniqueFd ContainerTest::Tree() const {
  auto tree = sys::OpenTree(dir_, "root", OPEN_TREE_CLONE | AT_RECURSIVE);
  EXPECT_TRUE(tree.ok());
  return std::move(tree).value();
}

Outcome ContainerTest::Run(const ContainerSpec& spec, UniqueFd rootfs) {
  Outcome outcome;
  const UniqueFd out = *sys::MemfdCreate("output", 0);
  const UniqueFd null = *sys::OpenAt(FdRef::Cwd(), "/dev/null", O_RDWR);
  auto container = [&] {
    const Redirected stdin_stream(0, null);
    const Redirected stdout_stream(1, out);
    const Redirected stderr_stream(2, out);
    return Container::Start(spec, std::move(rootfs));
  }();
  if (container.ok()) {
    outcome.status = *container->Wait();
  } else {
    outcome.launch_error = std::move(container).error();
  }
  EXPECT_TRUE(sys::Seek(out, 0, SEEK_SET).ok());
  outcome.out = *sys::ReadAll(out, size_t{16} << 20U);
  for (std::string_view rest = outcome.out; !rest.empty();) {
    const size_t end = rest.find('\n');
    const Json line = Json::parse(rest.substr(0, end), nullptr, false);
    if (line.is_object()) outcome.lines.push_back(line);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return outcome;
}

void ContainerTest::MakeDir(const std::string& path) const {
  ASSERT_TRUE(sys::MkdirAt(dir_, path.c_str(), 0755).ok()) << path;
  ASSERT_TRUE(sys::FChmodAt(dir_, path.c_str(), 0755).ok());
}

void ContainerTest::WriteFile(const std::string& path, std::string_view text, mode_t mode) const {
  const UniqueFd fd = *sys::OpenAt(dir_, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, mode);
  ASSERT_TRUE(sys::WriteAll(fd, text).ok());
  ASSERT_TRUE(sys::FChmod(fd, mode).ok());
}

void ContainerTest::Link(const std::string& target, const std::string& path) const {
  ASSERT_TRUE(sys::SymlinkAt(target.c_str(), dir_, path.c_str()).ok()) << path;
}

std::optional<std::string> ContainerTest::Read(const std::string& path) const {
  auto text = sys::ReadFileAt(dir_, path.c_str(), 1U << 20U);
  return text.ok() ? std::optional(*std::move(text)) : std::nullopt;
}

void ContainerTest::InstallProbe(const std::string& path) const {
  const std::string probe = *sys::ReadFileAt(FdRef::Cwd(), SNAP_PROBE, size_t{16} << 20U);
  WriteFile(path, probe, 0755);
}

}  // namespace snap::runtime
