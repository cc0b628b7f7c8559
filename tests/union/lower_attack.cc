// Everything that could make a union write to a lower layer, or leave a reader behind: files of the lower
// that are open, mapped or executed while they are changed in every way there is. After each case the lower
// layer is as it was, and who opened the file before sees what was written since (as with the kernel's
// overlayfs since 4.19).
//   usage: lower_attack PROGRAM [--directory DIR] [CASE...]
// Exit status: 0 all cases passed, 1 one did not, 2 the test could not be run.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "fs/base/unique_fd.h"
#include "tests/union/tree.h"
#include "tests/union/union_mount.h"

namespace snap::test {
namespace {

namespace files = std::filesystem;

/// The files of the lower layer: name and size.
constexpr std::pair<const char*, size_t> kFiles[] = {
    {"empty", 0}, {"small", 100}, {"page", 4096}, {"large", 300'000}, {"huge", 5'000'000}};
constexpr int kWays = 13;

std::string Old(const std::string& name, size_t size) {
  std::string out(size, 'o');
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>('a' + (i + name.size()) % 26);
  return out;
}

/// One case in a mount of its own. Expectations that fail are printed and counted.
class Case {
 public:
  Case(std::string name, std::string mountpoint)
      : name_(std::move(name)), mountpoint_(std::move(mountpoint)) {}
  std::string Path(const std::string& file) const { return mountpoint_ + "/" + file; }
  UniqueFd Open(const std::string& file, int flags) {
    UniqueFd fd(open(Path(file).c_str(), flags | O_CLOEXEC, 0644));
    Expect(fd.valid(), fmt::format("open '{}' with flags {:o}: {}", file, flags, strerror(errno)));
    return fd;
  }
  void Expect(bool condition, const std::string& otherwise) {
    if (condition) return;
    fmt::print("FAIL {}: {}\n", name_, otherwise);
    ++failures_;
  }
  void ExpectContent(FdRef fd, std::string_view content, const std::string& who) {
    std::string got(content.size() + 1, '\0');
    const ssize_t length = pread(fd.get(), got.data(), got.size(), 0);
    if (length < 0) return Expect(false, fmt::format("{}: read: {}", who, strerror(errno)));
    got.resize(static_cast<size_t>(length));
    if (got == content) return;
    const auto at = std::mismatch(got.begin(), got.end(), content.begin(), content.end()).first - got.begin();
    Expect(false, fmt::format("{}: {} bytes instead of {}, the first difference at {}", who, got.size(),
                              content.size(), at));
  }
  /// The same, also when the kernel has nothing of the file in memory and must ask for all of it.
  void ExpectContentColdToo(FdRef fd, std::string_view content, const std::string& who) {
    ExpectContent(fd, content, who);
    if (fsync(fd.get()) != 0 || posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED) != 0)
      Expect(false, who + ": fsync and fadvise");
    ExpectContent(fd, content, who + " with nothing cached");
  }
  int failures() const { return failures_; }
  const std::string& mountpoint() const { return mountpoint_; }

 private:
  std::string name_, mountpoint_;
  int failures_ = 0;
};

const char* WayName(int way) {
  static constexpr const char* kNames[kWays] = {"pwrite",
                                                "append",
                                                "mapped write",
                                                "open with O_TRUNC",
                                                "truncate by path",
                                                "fallocate",
                                                "splice",
                                                "copy_file_range",
                                                "pwritev2",
                                                "O_SYNC write",
                                                "read-only open with O_TRUNC",
                                                "O_DIRECT write",
                                                "write by another process"};
  return kNames[way];
}

/// Changes the file in one of kWays and says what it holds then. `content` is what it holds now.
std::string Change(Case& test, const std::string& file, int way, std::string content) {
  const std::string data = fmt::format("written by {}", WayName(way));
  const auto put = [&](size_t at) {
    if (content.size() < at + data.size()) content.resize(at + data.size());
    content.replace(at, data.size(), data);
  };
  const auto wrote = [&](ssize_t count) {
    test.Expect(count == static_cast<ssize_t>(data.size()),
                fmt::format("{}: {} ({})", WayName(way), count, strerror(errno)));
  };
  switch (way) {
    case 0:
      wrote(pwrite(test.Open(file, O_RDWR).get(), data.data(), data.size(), 10));
      put(10);
      break;
    case 1:
      wrote(write(test.Open(file, O_WRONLY | O_APPEND).get(), data.data(), data.size()));
      content += data;
      break;
    case 2: {
      const UniqueFd fd = test.Open(file, O_RDWR);
      if (content.size() < data.size()) {
        test.Expect(ftruncate(fd.get(), static_cast<off_t>(data.size())) == 0, "ftruncate");
        content.resize(data.size());
      }
      void* map = mmap(nullptr, content.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
      test.Expect(map != MAP_FAILED, fmt::format("map: {}", strerror(errno)));
      if (map == MAP_FAILED) break;
      std::memcpy(map, data.data(), data.size());
      test.Expect(msync(map, content.size(), MS_SYNC) == 0, fmt::format("msync: {}", strerror(errno)));
      munmap(map, content.size());
      put(0);
      break;
    }
    case 3:
      wrote(write(test.Open(file, O_WRONLY | O_TRUNC).get(), data.data(), data.size()));
      content = data;
      break;
    case 4:
      test.Expect(truncate(test.Path(file).c_str(), 50) == 0, fmt::format("truncate: {}", strerror(errno)));
      content.resize(50);
      break;
    case 5: {
      const size_t size = content.size() + 1000;
      test.Expect(fallocate(test.Open(file, O_RDWR).get(), 0, 0, static_cast<off_t>(size)) == 0,
                  fmt::format("fallocate: {}", strerror(errno)));
      content.resize(size);
      break;
    }
    case 6: {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC) != 0) Die("pipe");
      const UniqueFd out(ends[0]), in(ends[1]);
      if (write(in.get(), data.data(), data.size()) != static_cast<ssize_t>(data.size()))
        Die("write to a pipe");
      off_t at = 0;
      wrote(splice(out.get(), nullptr, test.Open(file, O_RDWR).get(), &at, data.size(), 0));
      put(0);
      break;
    }
    case 7: {
      const UniqueFd source = test.Open("source", O_RDWR | O_CREAT | O_TRUNC);
      wrote(pwrite(source.get(), data.data(), data.size(), 0));
      off_t from = 0, to = 0;
      wrote(copy_file_range(source.get(), &from, test.Open(file, O_WRONLY).get(), &to, data.size(), 0));
      put(0);
      break;
    }
    case 8: {
      const iovec vector = {const_cast<char*>(data.data()), data.size()};
      wrote(pwritev2(test.Open(file, O_RDWR).get(), &vector, 1, 3, RWF_SYNC));
      put(3);
      break;
    }
    case 9:
      wrote(pwrite(test.Open(file, O_RDWR | O_SYNC).get(), data.data(), data.size(), 0));
      put(0);
      break;
    case 10:
      (void)test.Open(file, O_RDONLY | O_TRUNC);
      content.clear();
      break;
    case 11: {
      UniqueFd fd(open(test.Path(file).c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
      if (!fd) fd = test.Open(file, O_RDWR);  // a union need not have it
      alignas(4096) static char block[4096];
      std::memset(block, 'D', sizeof block);
      const ssize_t count = pwrite(fd.get(), block, sizeof block, 0);
      test.Expect(count == sizeof block, fmt::format("O_DIRECT write: {} ({})", count, strerror(errno)));
      if (content.size() < sizeof block) content.resize(sizeof block);
      content.replace(0, sizeof block, sizeof block, 'D');
      break;
    }
    default: {
      const pid_t pid = fork();
      if (pid == 0) {
        const int fd = open(test.Path(file).c_str(), O_RDWR);
        _exit(fd >= 0 && pwrite(fd, data.data(), data.size(), 0) == static_cast<ssize_t>(data.size()) ? 0
                                                                                                      : 1);
      }
      int status = 0;
      waitpid(pid, &status, 0);
      test.Expect(status == 0, "the other process could not write");
      put(0);
    }
  }
  return content;
}

/// A reader from before: a descriptor, and a mapping if `mapped`.
struct Reader {
  UniqueFd fd;
  void* map = MAP_FAILED;
  size_t length = 0;
  Reader(Case& test, const std::string& file, bool mapped, size_t size)
      : fd(test.Open(file, O_RDONLY)), length(size) {
    char byte = 0;
    (void)!pread(fd.get(), &byte, 1, 0);  // so that something is cached
    if (mapped && size > 0) map = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (map != MAP_FAILED) byte = *static_cast<volatile char*>(map);
  }
  Reader(Reader&&) = delete;
  ~Reader() {
    if (map != MAP_FAILED) munmap(map, length);
  }
};

void OpenReaderSeesWrites(Case& test, bool mapped) {
  for (const auto& [name, size] : kFiles) {
    for (int way = 0; way < kWays; ++way) {
      const std::string file = fmt::format("{}-{}", name, way);
      const Reader reader(test, file, mapped, size);
      const std::string content = Change(test, file, way, Old(name, size));
      const std::string what = fmt::format("'{}' after {}", file, WayName(way));
      test.ExpectContent(test.Open(file, O_RDONLY), content, what + ", opened again");
      test.ExpectContentColdToo(reader.fd, content, what + ", through the descriptor from before");
      struct stat info {};
      test.Expect(fstat(reader.fd.get(), &info) == 0 && static_cast<size_t>(info.st_size) == content.size(),
                  fmt::format("{}: the descriptor from before says size {}", what, info.st_size));
      const std::string twice = Change(test, file, 0, content);
      test.ExpectContentColdToo(reader.fd, twice, what + " and one more, through the descriptor from before");
      test.ExpectContent(test.Open(file, O_RDONLY), twice, what + " and one more, opened again");
    }
  }
}

void ManyReaders(Case& test) {
  const std::string old = Old("large", 300'000);
  std::vector<std::unique_ptr<Reader>> readers;
  for (int i = 0; i < 20; ++i)
    readers.push_back(std::make_unique<Reader>(test, "large-0", i % 2 == 0, old.size()));
  const UniqueFd writer = test.Open("large-0", O_RDWR);
  for (int i = 0; i < 20; ++i)
    readers.push_back(std::make_unique<Reader>(test, "large-0", i % 2 == 0, old.size()));
  std::string content = old;
  for (size_t i = 0; i < 50; ++i) {
    test.Expect(pwrite(writer.get(), "new", 3, static_cast<off_t>(i * 5000)) == 3, "write");
    content.replace(i * 5000, 3, "new");
    readers.erase(readers.begin() + static_cast<std::ptrdiff_t>(i % readers.size()));
    readers.push_back(std::make_unique<Reader>(test, "large-0", i % 3 == 0, old.size()));
    test.ExpectContent(readers[i % readers.size()]->fd, content, fmt::format("reader {}", i));
  }
}

// The magic link opens the same file again, without a lookup of the path in between.
void ReopenThroughProc(Case& test) {
  for (const auto& [name, size] : kFiles) {
    const std::string file = fmt::format("{}-0", name);
    const Reader reader(test, file, true, size);
    const UniqueFd writer(open(fmt::format("/proc/self/fd/{}", reader.fd.get()).c_str(), O_RDWR | O_CLOEXEC));
    test.Expect(writer.valid(),
                fmt::format("'{}': reopen for writing through /proc: {}", file, strerror(errno)));
    if (!writer) continue;
    std::string content = Old(name, size);
    test.Expect(pwrite(writer.get(), "proc", 4, 0) == 4, "write");
    content.resize(std::max<size_t>(content.size(), 4));
    content.replace(0, 4, "proc");
    test.ExpectContent(writer, content, file + ": the writer");
    test.ExpectContentColdToo(reader.fd, content, file + ": the reader");
    test.ExpectContent(test.Open(file, O_RDONLY), content, file + ": opened again");
  }
}

void ReopenPathDescriptor(Case& test) {
  const UniqueFd pin(open(test.Path("small-0").c_str(), O_PATH | O_CLOEXEC));
  const Reader reader(test, "small-0", true, 100);
  const UniqueFd writer(
      open(fmt::format("/proc/self/fd/{}", pin.get()).c_str(), O_RDWR | O_TRUNC | O_CLOEXEC));
  test.Expect(writer.valid(), fmt::format("reopen an O_PATH descriptor: {}", strerror(errno)));
  if (!writer) return;
  test.Expect(write(writer.get(), "pinned", 6) == 6, "write");
  test.ExpectContentColdToo(reader.fd, "pinned", "the reader");
}

void MetadataThroughReader(Case& test) {
  for (const auto& [name, size] : kFiles) {
    const std::string file = fmt::format("{}-0", name);
    const Reader reader(test, file, true, size);
    const timespec times[2] = {{1, 0}, {2, 0}};
    test.Expect(fchmod(reader.fd.get(), 0600) == 0, fmt::format("fchmod: {}", strerror(errno)));
    test.Expect(fchown(reader.fd.get(), 5, 6) == 0, fmt::format("fchown: {}", strerror(errno)));
    test.Expect(fsetxattr(reader.fd.get(), "user.x", "y", 1, 0) == 0,
                fmt::format("fsetxattr: {}", strerror(errno)));
    test.Expect(futimens(reader.fd.get(), times) == 0, fmt::format("futimens: {}", strerror(errno)));
    struct stat info {};
    test.Expect(fstat(reader.fd.get(), &info) == 0 && (info.st_mode & 07777) == 0600 && info.st_uid == 5 &&
                    info.st_gid == 6 && info.st_mtim.tv_sec == 2,
                fmt::format("'{}': the descriptor does not show its own changes: {:o} {}:{} {}", file,
                            info.st_mode, info.st_uid, info.st_gid, info.st_mtim.tv_sec));
    const std::string content = Change(test, file, 0, Old(name, size));
    test.ExpectContentColdToo(reader.fd, content, file + ": the reader after metadata and a write");
  }
}

void HardLinks(Case& test) {
  const std::string old = Old("large", 300'000);
  const Reader first(test, "linked", true, old.size()), second(test, "linked-too", true, old.size());
  const UniqueFd writer = test.Open("linked-too", O_RDWR);
  test.Expect(pwrite(writer.get(), "link", 4, 0) == 4, "write");
  std::string content = old;
  content.replace(0, 4, "link");
  test.ExpectContent(second.fd, content, "the reader of the written name");
  test.ExpectContent(test.Open("linked-too", O_RDONLY), content, "the written name");
  // The other name is the same file, or its own copy of the old one: never a mix.
  std::string other(content.size(), '\0');
  test.Expect(pread(test.Open("linked", O_RDONLY).get(), other.data(), other.size(), 0) ==
                  static_cast<ssize_t>(other.size()),
              "read");
  test.Expect(other == old || other == content, "the other name of a hard link shows a mix");
}

void UnlinkedAndReplaced(Case& test) {
  const std::string old = Old("large", 300'000);
  const Reader reader(test, "large-0", true, old.size());
  test.Expect(unlink(test.Path("large-0").c_str()) == 0, "unlink");
  test.ExpectContentColdToo(reader.fd, old, "the reader after unlink");
  const UniqueFd fresh = test.Open("large-0", O_RDWR | O_CREAT | O_EXCL);
  test.Expect(write(fresh.get(), "new", 3) == 3, "write");
  test.ExpectContentColdToo(reader.fd, old, "the reader after another file has the name");
  test.Expect(std::memcmp(reader.map, old.data(), old.size()) == 0,
              "the mapping after another file has the name");
  const UniqueFd writer(open(fmt::format("/proc/self/fd/{}", reader.fd.get()).c_str(), O_RDWR | O_CLOEXEC));
  if (writer)
    test.Expect(pwrite(writer.get(), "gone", 4, 0) == 4,
                fmt::format("write to the unlinked file: {}", strerror(errno)));
  test.ExpectContent(test.Open("large-0", O_RDONLY), "new", "the new file");
}

void RenamedAway(Case& test) {
  const Reader reader(test, "page-0", true, 4096);
  test.Expect(rename(test.Path("page-0").c_str(), test.Path("moved").c_str()) == 0,
              fmt::format("rename: {}", strerror(errno)));
  const std::string content = Change(test, "moved", 0, Old("page", 4096));
  test.ExpectContentColdToo(reader.fd, content, "the reader of the renamed file");
}

void Executed(Case& test) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) Die("pipe");
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[0], 0);
    execl(test.Path("program").c_str(), "cat", nullptr);
    _exit(127);
  }
  const UniqueFd in(ends[1]);
  close(ends[0]);
  for (std::string name; name != test.Path("program");) {  // until it runs
    std::error_code ignored;
    name = files::read_symlink(fmt::format("/proc/{}/exe", pid), ignored);
    if (waitpid(pid, nullptr, WNOHANG) != 0)
      return test.Expect(false, "a program of the lower cannot be executed");
  }
  // ETXTBSY is as good as an answer as a copy.
  const UniqueFd writer(open(test.Path("program").c_str(), O_RDWR | O_CLOEXEC));
  if (writer) {
    const std::string zeros(1 << 20, '\0');
    (void)!pwrite(writer.get(), zeros.data(), zeros.size(), 0);
  }
  close(ends[1]);
  (void)const_cast<UniqueFd&>(in).Release();
  int status = -1;
  waitpid(pid, &status, 0);
  test.Expect(status == 0,
              fmt::format("the running program ended with status {:x} when its file was written", status));
}

void Ioctls(Case& test) {
  for (const int flags : {O_RDONLY, O_RDWR}) {
    const UniqueFd fd = test.Open(flags == O_RDONLY ? "small-1" : "small-2", flags);
    long attributes = 0;
    if (ioctl(fd.get(), FS_IOC_GETFLAGS, &attributes) == 0) {
      attributes |= FS_APPEND_FL | FS_NODUMP_FL;
      (void)ioctl(fd.get(), FS_IOC_SETFLAGS, &attributes);
      attributes &= ~(FS_APPEND_FL | FS_NODUMP_FL);
      (void)ioctl(fd.get(), FS_IOC_SETFLAGS, &attributes);
    }
    test.Expect(errno != EIO, "FS_IOC_SETFLAGS answers EIO");
    const UniqueFd source = test.Open("large-1", O_RDONLY);
    (void)ioctl(fd.get(), FICLONE, source.get());
  }
}

// Many at once open the same lower file to write while others read it: one copy is made, and all have it.
void ConcurrentCopyUp(Case& test) {
  constexpr int kThreads = 8;
  for (const auto& [name, size] : kFiles) {
    for (int way = 0; way < 6; ++way) {
      const std::string file = fmt::format("{}-{}", name, way), path = test.Path(file);
      std::vector<std::thread> threads;
      std::atomic<int> wrong{0};
      for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&, i] {
          const UniqueFd reader(open(path.c_str(), O_RDONLY | O_CLOEXEC));
          const UniqueFd writer(open(path.c_str(), O_RDWR | O_CLOEXEC));
          const char byte = static_cast<char>('0' + i);
          char got = 0;
          if (!reader || !writer || pwrite(writer.get(), &byte, 1, 20 + i) != 1 ||
              pread(reader.get(), &got, 1, 20 + i) != 1 || got != byte)
            ++wrong;
        });
      }
      for (std::thread& thread : threads) thread.join();
      test.Expect(wrong == 0,
                  fmt::format("'{}': {} of {} threads could not write, or did not read what they wrote", file,
                              wrong, kThreads));
      std::string content = Old(name, size);
      content.resize(std::max<size_t>(content.size(), 20 + kThreads));
      content.replace(20, kThreads, "01234567");
      test.ExpectContent(test.Open(file, O_RDONLY), content,
                         fmt::format("'{}' after {} writers", file, kThreads));
    }
  }
}

struct Entry {
  const char* name;
  std::function<void(Case&)> run;
};
const std::vector<Entry>& Cases() {
  static const std::vector<Entry> kCases = {
      {"open_reader_sees_writes", [](Case& test) { OpenReaderSeesWrites(test, false); }},
      {"mapped_reader_sees_writes", [](Case& test) { OpenReaderSeesWrites(test, true); }},
      {"many_readers", ManyReaders},
      {"reopen_through_proc", ReopenThroughProc},
      {"reopen_path_descriptor", ReopenPathDescriptor},
      {"metadata_through_reader", MetadataThroughReader},
      {"hard_links", HardLinks},
      {"unlinked_and_replaced", UnlinkedAndReplaced},
      {"renamed_away", RenamedAway},
      {"executed", Executed},
      {"ioctls", Ioctls},
      {"concurrent_copy_up", ConcurrentCopyUp},
  };
  return kCases;
}

void MakeLower(const std::string& lower) {
  const auto write_file = [&](const std::string& name, const std::string& content) {
    const UniqueFd file(open((lower + "/" + name).c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
    if (!file || write(file.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
      Die("write " + name);
  };
  for (const auto& [name, size] : kFiles) {
    for (int i = 0; i < kWays; ++i) write_file(fmt::format("{}-{}", name, i), Old(name, size));
  }
  write_file("linked", Old("large", 300'000));
  files::create_hard_link(lower + "/linked", lower + "/linked-too");
  files::copy_file("/bin/cat", lower + "/program");
}

int RunCase(const Entry& entry, const std::string& program, const std::string& dir) {
  files::remove_all(dir + "/u");
  files::remove_all(dir + "/w");
  for (const char* sub : {"/u", "/w", "/m"}) files::create_directories(dir + sub);
  const std::vector<std::string> before = Fingerprint(ReadTree(dir + "/l"));
  Result<UnionMount> mount = UnionMount::Mount(program, {{dir + "/l"}, dir + "/u", dir + "/w"}, dir + "/m");
  if (!mount.ok()) Die(mount.error().message());
  Case test(entry.name, dir + "/m");
  entry.run(test);
  const Result<void> unmounted = mount->Unmount();
  test.Expect(unmounted.ok(), unmounted.ok() ? "" : unmounted.error().message());
  const std::vector<std::string> after = Fingerprint(ReadTree(dir + "/l"));
  for (size_t i = 0; i < before.size(); ++i) {
    const std::string now = i < after.size() ? after[i] : "nothing";
    test.Expect(now == before[i],
                fmt::format("THE LOWER WAS CHANGED:\n  before {}\n  after  {}", before[i], now));
  }
  // A whiteout to be linked where one is needed may lie there, as the kernel's does.
  const auto left = std::distance(files::directory_iterator(dir + "/w/work"), files::directory_iterator());
  test.Expect(left <= 1, fmt::format("{} names are left in the work directory", left));
  fmt::print("{} {}\n", test.failures() == 0 ? "ok  " : "FAIL", entry.name);
  return test.failures();
}

int Main(int argc, char** argv) {
  std::string program, dir;
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--directory" && i + 1 < argc) {
      dir = argv[++i];
    } else if (program.empty()) {
      program = argv[i];
    } else {
      wanted.emplace_back(argv[i]);
    }
  }
  if (program.empty()) Die("usage: lower_attack PROGRAM [--directory DIR] [CASE...]");
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const Workplace workplace(dir);
  dir = workplace.path();
  const std::string base = dir + "/attack";
  files::remove_all(base);
  files::create_directories(base + "/l");
  MakeLower(base + "/l");
  int failures = 0;
  for (const Entry& entry : Cases()) {
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), entry.name) != wanted.end())
      failures += RunCase(entry, program, base);
  }
  files::remove_all(base);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace snap::test

int main(int argc, char** argv) { return snap::test::Main(argc, argv); }
