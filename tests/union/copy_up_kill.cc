// SIGKILL of the server: before every system call that it makes for a change, and at random moments under
// load. Then the next mount, the program's own and the kernel's on the same upper, shows the tree as it was
// before the change or after one of its steps: never a mix, nothing left over. Whoever was working gets an
// error and does not hang. No lower is changed, the work directory is emptied.
//   usage: copy_up_kill PROGRAM [--change NAME] [--call N] [--every N] [--random N] [--seed N] [--directory
//   DIR]
// --every N: only each Nth call, from a random one on; --random: how many kills at random moments.
// Exit status: 0 all fine, 1 not, 2 the test could not be run.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "fs/base/unique_fd.h"
#include "tests/union/traced_server.h"
#include "tests/union/tree.h"
#include "tests/union/union_mount.h"

namespace snap::test {
namespace {

namespace files = std::filesystem;

struct Settings {
  std::string program, directory, change;
  int64_t call = 0, every = 1, random = 20;
  uint64_t seed = 1;
};

/// Steps of a change, run in the root of the mount: after each of them the tree may be found. `also`: makes
/// one more tree that may be found, from the last.
struct Change {
  const char* name;
  std::vector<std::function<bool()>> steps;
  std::function<bool()> also = nullptr;
};

bool Write(const char* path, int flags, size_t size, off_t offset) {
  const UniqueFd file(open(path, flags | O_CLOEXEC, 0640));
  const std::string data(size, 'w');
  return file && pwrite(file.get(), data.data(), size, offset) == static_cast<ssize_t>(size);
}
bool Opened(const char* path, int flags) { return UniqueFd(open(path, flags | O_CLOEXEC, 0640)).valid(); }

// Copied up without the content that is about to go, with the times that it had.
bool OldTimes() {
  const timespec times[2] = {{1000, 0}, {2000, 345}};
  return utimensat(AT_FDCWD, "large", times, 0) == 0;
}

const std::vector<Change>& Changes() {
  static const std::vector<Change> kChanges = {
      {"write",
       {[] { return Opened("d/sub/file", O_RDWR); }, [] { return Write("d/sub/file", O_RDWR, 500, 100); }}},
      {"write_large",
       {[] { return Opened("large", O_RDWR); }, [] { return Write("large", O_RDWR, 4096, 8192); }}},
      {"truncate_on_open", {[] { return Opened("large", O_WRONLY | O_TRUNC); }}, OldTimes},
      {"truncate", {[] { return truncate("large", 1234) == 0; }}, OldTimes},
      {"chmod", {[] { return chmod("d/sub/file", 0711) == 0; }}},
      {"chown", {[] { return chown("d/sub/file", 7, 8) == 0; }}},
      {"set_xattr", {[] { return setxattr("d/sub/file", "user.new", "value", 5, 0) == 0; }}},
      {"chmod_directory", {[] { return chmod("d/sub", 0711) == 0; }}},
      {"create", {[] { return Opened("d/sub/fresh", O_WRONLY | O_CREAT | O_EXCL); }}},
      {"create_over_whiteout",
       {[] { return unlink("d/sub/file") == 0; },
        [] { return Opened("d/sub/file", O_WRONLY | O_CREAT | O_EXCL); }}},
      {"unlink", {[] { return unlink("d/sub/file") == 0; }}},
      {"unlink_of_two_layers", {[] { return unlink("both") == 0; }}},
      {"make_directory", {[] { return mkdir("d/sub/newdir", 0750) == 0; }}},
      {"make_directory_over_whiteout",
       {[] { return unlink("both") == 0; }, [] { return mkdir("both", 0750) == 0; }}},
      {"remove_directory", {[] { return unlink("d2/one") == 0; }, [] { return rmdir("d2") == 0; }}},
      {"recreate_directory",
       {[] { return unlink("d2/one") == 0; }, [] { return rmdir("d2") == 0; },
        [] { return mkdir("d2", 0755) == 0; }}},
      {"rename", {[] { return rename("d/sub/file", "d/moved") == 0; }}},
      {"rename_over", {[] { return rename("d/sub/file", "both") == 0; }}},
      {"rename_new_over_lower",
       {[] { return Write("fresh", O_WRONLY | O_CREAT, 0, 0); },
        [] { return Write("fresh", O_WRONLY, 300, 0); }, [] { return rename("fresh", "d/sub/file") == 0; }}},
      {"exchange",
       {[] { return renameat2(AT_FDCWD, "d/sub/file", AT_FDCWD, "both", RENAME_EXCHANGE) == 0; }}},
      {"link", {[] { return link("d/sub/file", "d/linked") == 0; }}},
      {"symlink", {[] { return symlink("target", "d/sub/link") == 0; }}},
      {"chown_symlink", {[] { return lchown("d/lnk", 7, 8) == 0; }}},
      {"make_node", {[] { return mknod("d/sub/fifo", S_IFIFO | 0600, 0) == 0; }}},
      {"unnamed_file", {[] {
         const UniqueFd file(open("d/sub", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
         return file && pwrite(file.get(), "unnamed", 7, 0) == 7 &&
                linkat(file.get(), "", AT_FDCWD, "d/sub/named", AT_EMPTY_PATH) == 0;
       }}},
  };
  return kChanges;
}

std::string Filled(size_t size, unsigned seed) {
  std::string out(size, '\0');
  std::minstd_rand random(seed + 1);
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

void MakeFile(const std::string& path, const std::string& content, mode_t mode) {
  files::create_directories(files::path(path).parent_path());
  const UniqueFd file(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (!file || write(file.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()) ||
      fchmod(file.get(), mode) != 0) {
    Die("make " + path);
  }
  const timespec times[2] = {{1000, 0}, {2000, 345}};
  if (futimens(file.get(), times) != 0) Die("set the times of " + path);
}

void MakeLowers(const std::string& dir) {
  MakeFile(dir + "/l1/d/sub/file", Filled(10'000, 1), 0644);
  MakeFile(dir + "/l1/d/other", "other", 04755);
  MakeFile(dir + "/l1/both", "below", 0600);
  MakeFile(dir + "/l1/d2/one", "one", 0644);
  MakeFile(dir + "/l0/both", "above", 0640);
  MakeFile(dir + "/l0/large", Filled(700'000, 2), 0644);
  MakeFile(dir + "/l0/d/top", "top", 0644);
  if (setxattr((dir + "/l1/d/sub/file").c_str(), "user.old", "kept", 4, 0) != 0) Die("set an xattr");
  if (symlink("sub/file", (dir + "/l1/d/lnk").c_str()) != 0) Die("make a link");
  for (int i = 0; i < 40; ++i)
    MakeFile(fmt::format("{}/l1/load/f{}", dir, i), Filled(100 + static_cast<size_t>(i) * 100, 7), 0644);
}

class Test {
 public:
  Test(const Settings& settings, std::string dir)
      : settings_(settings), dir_(std::move(dir)), random_(settings.seed) {
    MakeLowers(dir_);
    before_ = {Fingerprint(ReadTree(dir_ + "/l0")), Fingerprint(ReadTree(dir_ + "/l1"))};
  }

  int failures() const { return failures_; }

  void KillAtEveryCall(const Change& change) {
    const std::vector<Tree> allowed = TreesOf(change);
    int64_t kills = 0;
    const int64_t first = settings_.call != 0
                              ? settings_.call
                              : 1 + static_cast<int64_t>(random_() % static_cast<uint64_t>(settings_.every));
    for (int64_t call = first;; call += settings_.every) {
      const std::string what = fmt::format("{} --call {}", change.name, call);
      UnionMount mount = Fresh(settings_.program);
      const pid_t worker = StartWorker(mount.mountpoint(), [&] {
        return std::all_of(change.steps.begin(), change.steps.end(), [](const auto& step) { return step(); });
      });
      TracedServer server(mount.server());
      Release();
      const TracedServer::End end = server.RunUntil(worker, call);
      if (end.worker_hangs) Fail(what, "the process that made the change hangs after the server was killed");
      if (!end.killed) {
        if (!WIFEXITED(end.worker_status) || WEXITSTATUS(end.worker_status) != 0)
          Fail(what, "the change fails although nothing was killed");
        const Result<void> unmounted = mount.Unmount();
        if (!unmounted.ok()) Fail(what, unmounted.error().message());
        break;
      }
      ++kills;
      AfterKill(std::move(mount), what, allowed);
      if (settings_.call != 0) break;
    }
    fmt::print("{}: {} kills\n", change.name, kills);
  }

  // Every file of load/ is certified: whole content of one version, which its first bytes name.
  void KillAtRandom() {
    for (int64_t i = 0; i < settings_.random; ++i) {
      const std::string what = fmt::format("random kill {} (--seed {})", i, settings_.seed);
      UnionMount mount = Fresh(settings_.program);
      const auto seed = static_cast<unsigned>(random_());
      const pid_t worker = StartWorker(mount.mountpoint(), [seed] { return Load(seed); });
      Release();
      usleep(static_cast<useconds_t>(random_() % 30'000));
      kill(mount.server(), SIGKILL);
      int status = 0;
      if (waitpid(mount.server(), nullptr, 0) < 0) Die("wait for the server");
      bool hangs = true;
      for (int waited = 0; waited < 10'000 && hangs; ++waited) {
        hangs = waitpid(worker, &status, WNOHANG) == 0;
        if (hangs) usleep(1000);
      }
      if (hangs) {
        Fail(what, "the working process hangs after the server was killed");
        kill(worker, SIGKILL);
      }
      AfterKill(std::move(mount), what, {});
    }
    fmt::print("random: {} kills\n", settings_.random);
  }

 private:
  void Fail(const std::string& what, const std::string& message) {
    fmt::print("FAIL {}: {}\n", what, message);
    ++failures_;
  }

  UnionDirs Dirs() const { return {{dir_ + "/l0", dir_ + "/l1"}, dir_ + "/u", dir_ + "/w"}; }

  UnionMount Mounted(const std::string& program) {
    Result<UnionMount> mount = UnionMount::Mount(program, Dirs(), dir_ + "/m");
    if (!mount.ok()) Die(mount.error().message());
    return std::move(mount).value();
  }

  UnionMount Fresh(const std::string& program) {
    files::remove_all(dir_ + "/u");
    files::remove_all(dir_ + "/w");
    for (const char* sub : {"/u", "/w", "/m"}) files::create_directories(dir_ + sub);
    return Mounted(program);
  }

  // What the kernel shows before the change and after each of its steps.
  std::vector<Tree> TreesOf(const Change& change) {
    UnionMount mount = Fresh("kernel");
    std::vector<Tree> trees = {ReadTree(mount.mountpoint())};
    std::vector<std::function<bool()>> steps = change.steps;
    if (change.also) steps.push_back(change.also);
    for (const auto& step : steps) {
      if (chdir(mount.mountpoint().c_str()) != 0 || !step())
        Die(fmt::format("{}: the kernel refuses: {}", change.name, strerror(errno)));
      if (chdir("/") != 0) Die("chdir /");
      trees.push_back(ReadTree(mount.mountpoint()));
    }
    (void)mount.Unmount();  // detached otherwise
    return trees;
  }

  // A child that waits for Release, then works in the mount and ends with 0 when `work` says true.
  template <typename Work>
  pid_t StartWorker(const std::string& mountpoint, const Work& work) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) Die("pipe");
    UniqueFd gate(ends[0]);
    release_ = UniqueFd(ends[1]);
    std::fflush(stdout);
    const pid_t pid = fork();
    if (pid < 0) Die("fork");
    if (pid == 0) {
      release_.Reset();
      char byte = 0;
      (void)!read(gate.get(), &byte, 1);
      _exit(chdir(mountpoint.c_str()) == 0 && work() ? 0 : 1);
    }
    return pid;
  }
  void Release() { release_.Reset(); }

  static std::string Version(int file, unsigned version) {
    std::string content = Filled(100 + static_cast<size_t>(file) * 100, version);
    return content;
  }

  static bool Load(unsigned seed) {
    std::minstd_rand random(seed);
    for (int i = 0; i < 100'000; ++i) {
      const int file = static_cast<int>(random() % 40);
      const std::string path = fmt::format("load/f{}", file),
                        content = Version(file, static_cast<unsigned>(random() % 5 + 7));
      bool fine = true;
      switch (random() % 5) {
        case 0:
          fine = chmod(path.c_str(), 0600 + static_cast<mode_t>(random() % 64)) == 0 || errno == ENOENT;
          break;
        case 1: {  // in place, in one write
          const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
          fine =
              fd ? pwrite(fd.get(), content.data(), content.size(), 0) == static_cast<ssize_t>(content.size())
                 : errno == ENOENT;
          break;
        }
        case 2: {
          const std::string fresh = fmt::format("load/new{}", file);
          const UniqueFd fd(open(fresh.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
          fine = fd &&
                 write(fd.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()) &&
                 rename(fresh.c_str(), path.c_str()) == 0;
          break;
        }
        case 3:
          fine = file % 4 != 0 || unlink(path.c_str()) == 0 || errno == ENOENT;
          break;
        default: {
          const std::string dir = fmt::format("load/dir{}", file % 5);
          fine = (mkdir(dir.c_str(), 0700) == 0 || errno == EEXIST) &&
                 (random() % 2 == 0 || rmdir(dir.c_str()) == 0);
        }
      }
      if (!fine) return false;  // the server has been killed
    }
    return true;
  }

  // What is wrong with the tree after a random kill; "" when nothing.
  static std::string CheckLoad(const std::string& mountpoint) {
    for (const auto& entry : files::directory_iterator(mountpoint + "/load")) {
      const std::string name = entry.path().filename();
      if (!name.starts_with('f')) {
        if (!name.starts_with("new") && !name.starts_with("dir"))
          return fmt::format("a file '{}' that nobody made", name);
        continue;
      }
      const int file = std::atoi(name.c_str() + 1);
      const UniqueFd fd(open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
      std::string got(8192, '\0');
      const ssize_t length = fd ? read(fd.get(), got.data(), got.size()) : -1;
      if (length < 0) return fmt::format("'{}' cannot be read: {}", name, strerror(errno));
      got.resize(static_cast<size_t>(length));
      bool known = false;
      for (unsigned version = 7; version < 12; ++version) known |= got == Version(file, version);
      if (!known) return fmt::format("'{}' has {} bytes that are no version of it", name, length);
    }
    for (int file = 0; file < 40; ++file) {
      if (file % 4 != 0 && !files::exists(fmt::format("{}/load/f{}", mountpoint, file)))
        return fmt::format("'f{}' has gone", file);
    }
    return "";
  }

  void AfterKill(UnionMount mount, const std::string& what, const std::vector<Tree>& allowed) {
    // A name that nobody has asked for: the kernel cannot know it. What waits while the connection goes down
    // gets other errors.
    struct stat info {};
    const std::string name = mount.mountpoint() + "/never-asked-for";
    int answer = 0;
    for (int waited = 0; waited < 10'000 && answer != ENOTCONN; ++waited) {
      if (waited > 0) usleep(1000);
      answer = stat(name.c_str(), &info) == 0 ? 0 : errno;
      if (answer == 0 || answer == ENOENT) break;
    }
    if (answer != ENOTCONN) Fail(what, fmt::format("the dead mount answers {}, not ENOTCONN", answer));
    mount.ForgetServer();
    for (const std::string& program : {settings_.program, std::string("kernel")}) {
      UnionMount again = Mounted(program);
      const std::string wrong =
          allowed.empty() ? CheckLoad(again.mountpoint()) : Differs(ReadTree(again.mountpoint()), allowed);
      if (!wrong.empty()) Fail(what, fmt::format("mounted again ({}): {}", program, wrong));
      if (program != "kernel") {
        // The shared whiteout may lie there.
        const auto left =
            std::distance(files::directory_iterator(dir_ + "/w/work"), files::directory_iterator());
        if (left > 1) Fail(what, fmt::format("the next mount leaves {} names in the work directory", left));
      }
      const Result<void> unmounted = again.Unmount();
      if (!unmounted.ok()) Fail(what, unmounted.error().message());
    }
    if (Fingerprint(ReadTree(dir_ + "/l0")) != before_[0] ||
        Fingerprint(ReadTree(dir_ + "/l1")) != before_[1]) {
      Fail(what, "A LOWER WAS CHANGED");
    }
  }

  // "" when the tree is one of those allowed; otherwise how it differs from the nearest.
  static std::string Differs(const Tree& tree, const std::vector<Tree>& allowed) {
    std::string nearest;
    size_t fewest = SIZE_MAX;
    for (const Tree& candidate : allowed) {
      std::vector<std::string> differences;
      for (const auto& [path, record] : tree) {
        const auto other = candidate.find(path);
        for (const std::string& wrong : record.contradictions) {
          if (!wrong.starts_with("d_ino"))
            differences.push_back(fmt::format("'{}' {}", Printable(path), wrong));
        }
        if (other == candidate.end()) {
          differences.push_back(fmt::format("'{}' is there: {}", Printable(path), Describe(record)));
          continue;
        }
        for (const std::string& field : DifferentFields(other->second, record, 1'000'000'000)) {
          // The time of a directory may be of a name that was prepared in it and has gone.
          if (S_ISDIR(record.mode) && field == "mtime") continue;
          if (field == "extents") continue;
          differences.push_back(fmt::format("'{}' {}: {}", Printable(path), field, Describe(record)));
        }
      }
      for (const auto& [path, record] : candidate) {
        if (!tree.contains(path)) differences.push_back(fmt::format("'{}' is missing", Printable(path)));
      }
      if (differences.empty()) return "";
      if (differences.size() >= fewest) continue;
      fewest = differences.size();
      nearest = differences.front();
    }
    return nearest;
  }

  const Settings& settings_;
  std::string dir_;
  std::mt19937_64 random_;
  std::vector<std::vector<std::string>> before_;
  UniqueFd release_;
  int failures_ = 0;
};

int Main(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (!argument.starts_with("--")) {
      settings.program = argument;
      continue;
    }
    if (++i >= argc) Die("no value for " + argument);
    const int64_t number = std::strtoll(argv[i], nullptr, 10);
    if (argument == "--directory")
      settings.directory = argv[i];
    else if (argument == "--change")
      settings.change = argv[i];
    else if (argument == "--call")
      settings.call = number;
    else if (argument == "--every")
      settings.every = std::max<int64_t>(1, number);
    else if (argument == "--random")
      settings.random = number;
    else if (argument == "--seed")
      settings.seed = static_cast<uint64_t>(number);
    else
      Die("unknown argument " + argument);
  }
  if (settings.program.empty() || settings.program == "kernel")
    Die("usage: copy_up_kill PROGRAM [...] (a FUSE program; see the source)");
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const Workplace workplace(settings.directory);
  settings.directory = workplace.path();
  const std::string dir = settings.directory + "/kill";
  files::remove_all(dir);
  files::create_directories(dir);
  umask(022);
  int failures = 0;
  {
    Test test(settings, dir);
    for (const Change& change : Changes()) {
      if (settings.change.empty() || settings.change == change.name) test.KillAtEveryCall(change);
    }
    if (settings.change.empty()) test.KillAtRandom();
    failures = test.failures();
  }
  files::remove_all(dir);
  fmt::print("{}: {} failures\n", settings.program, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace snap::test

int main(int argc, char** argv) { return snap::test::Main(argc, argv); }
