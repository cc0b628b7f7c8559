// One file that starts in a lower layer, changed at random and compared with a model in memory: read, write,
// truncate, shared mappings, fallocate, copy_file_range, reopening. Meanwhile a reader has it mapped:
// whatever it sees was written by somebody at that place. And whoever opened the file before the first change
// reads what was written since.
//   usage: fsx PROGRAM [--seed N] [--files N] [--operations N (each file)] [--directory DIR]
// Words of eight bytes are written whole and certify themselves: the upper half follows from the lower half
// and the offset in the page. Exit status: 0 equal, 1 a difference, 2 the test could not be run.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fs/base/unique_fd.h"
#include "tests/union/tree.h"
#include "tests/union/union_mount.h"

namespace snap::test {
namespace {

namespace files = std::filesystem;
constexpr uint64_t kPage = 4096, kWord = 8, kMaxSize = 512 * 1024;

uint64_t CertifiedWord(uint32_t value, uint64_t offset) {
  const uint64_t check = (value * 0x9E3779B97F4A7C15U + (offset % kPage) * 0xD6E8FEB86659FD93U) >> 32U;
  return check << 32U | value;
}
bool IsCertified(uint64_t word, uint64_t offset) {
  return word == 0 || word == CertifiedWord(static_cast<uint32_t>(word), offset);
}

std::string Words(std::mt19937_64& random, uint64_t offset, uint64_t length) {
  std::string out(length, '\0');
  for (uint64_t at = 0; at + kWord <= length; at += kWord) {
    const uint64_t word = CertifiedWord(static_cast<uint32_t>(random()) | 1U, offset + at);
    std::memcpy(out.data() + at, &word, kWord);
  }
  return out;
}

/// Has the file mapped as it was when opened, and looks at all of it again and again until it ends. Its own
/// descriptor, so a mapping of a lower file may stay at the old content: certified all the same.
class MappingReader {
 public:
  explicit MappingReader(const std::string& path)
      : file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)), copy_(memfd_create("fsx", MFD_CLOEXEC)) {
    if (!file_ || !copy_) Die("open for the mapping reader");
    map_ = mmap(nullptr, kMaxSize, PROT_READ, MAP_SHARED, file_.get(), 0);
    if (map_ == MAP_FAILED) Die("map for the mapping reader");
    thread_ = std::thread([this] { Look(); });
  }
  MappingReader(MappingReader&&) = delete;
  ~MappingReader() {
    stop_ = true;
    thread_.join();
    munmap(map_, kMaxSize);
  }
  /// "": nothing wrong.
  std::string wrong() const { return failed_ ? wrong_ : ""; }
  int fd() const { return file_.get(); }

 private:
  void Look() {
    std::vector<uint64_t> words(kPage / kWord);
    for (uint64_t page = 0; !stop_ && !failed_; page = (page + kPage) % kMaxSize) {
      // Through a system call, which says EFAULT where the mapping has no file behind it; a load would be a
      // SIGBUS.
      const ssize_t got = pwrite(copy_.get(), static_cast<const char*>(map_) + page, kPage, 0);
      if (got != static_cast<ssize_t>(kPage)) continue;
      if (pread(copy_.get(), words.data(), kPage, 0) != static_cast<ssize_t>(kPage)) continue;
      for (uint64_t i = 0; i < words.size(); ++i) {
        if (IsCertified(words[i], i * kWord)) continue;
        wrong_ = fmt::format("the mapping shows {:016x} at {}, which nobody wrote there", words[i],
                             page + i * kWord);
        failed_ = true;
        return;
      }
    }
  }

  UniqueFd file_, copy_;
  void* map_ = nullptr;
  std::string wrong_;  // before failed_
  std::atomic<bool> stop_{false}, failed_{false};
  std::thread thread_;
};

class Exerciser {
 public:
  Exerciser(UnionMount& mount, std::string name, std::string content, uint64_t seed)
      : mount_(mount),
        path_(mount.mountpoint() + "/" + name),
        model_(std::move(content)),
        random_(seed),
        early_(path_) {
    Reopen();
  }

  /// "": all equal.
  std::string Run(int64_t operations) {
    for (int64_t i = 0; i < operations; ++i) {
      last_ = "";
      const std::string wrong = Operate();
      const std::string seen = wrong.empty() ? early_.wrong() : wrong;
      if (!seen.empty()) return fmt::format("operation {}: {}: {}\n{}", i, last_, seen, Tail());
      tail_.push_back(last_);
      if (tail_.size() > 20) tail_.erase(tail_.begin());
      if (i % 500 == 499) {
        if (std::string whole = CompareAll(); !whole.empty())
          return fmt::format("after operation {}: {}\n{}", i, whole, Tail());
      }
    }
    return CompareAll();
  }

 private:
  uint64_t Below(uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }
  uint64_t Aligned(uint64_t limit) { return Below(limit / kWord + 1) * kWord; }
  std::string Tail() const {
    std::string out = "the last operations:";
    for (const std::string& line : tail_) out += "\n  " + line;
    return out;
  }

  void Reopen() {
    file_ = UniqueFd(open(path_.c_str(), O_RDWR | O_CLOEXEC));
    if (!file_) Die(fmt::format("open {}: {}", path_, strerror(errno)));
  }

  std::string Different(std::string_view got, uint64_t offset, const char* who) const {
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i] != model_[offset + i]) {
        uint64_t word = 0;
        std::memcpy(&word, got.data() + i / kWord * kWord, std::min(kWord, got.size() - i / kWord * kWord));
        return fmt::format("{} differs from the model first at {} of {} (word {:016x}, {})", who, offset + i,
                           model_.size(), word,
                           word == 0                                         ? "zero"
                           : IsCertified(word, (offset + i) / kWord * kWord) ? "an older one"
                                                                             : "foreign");
      }
    }
    return "";
  }

  std::string CompareThrough(int fd, const char* who) {
    struct stat info {};
    if (fstat(fd, &info) != 0) return fmt::format("{}: stat: {}", who, strerror(errno));
    if (static_cast<uint64_t>(info.st_size) != model_.size()) {
      return fmt::format("{}: size {} instead of {}", who, info.st_size, model_.size());
    }
    std::string got(model_.size() + 1, '\0');
    const ssize_t length = pread(fd, got.data(), got.size(), 0);
    if (length != static_cast<ssize_t>(model_.size()))
      return fmt::format("{}: read {} of {} bytes", who, length, model_.size());
    got.resize(model_.size());
    return Different(got, 0, who);
  }

  std::string CompareAll() {
    const UniqueFd fresh(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fresh) return fmt::format("open: {}", strerror(errno));
    if (std::string wrong = CompareThrough(fresh.get(), "a new descriptor"); !wrong.empty()) return wrong;
    if (std::string wrong = CompareThrough(early_.fd(), "a descriptor from before the first change");
        !wrong.empty())
      return wrong;
    if (model_.empty()) return "";
    void* map = mmap(nullptr, model_.size(), PROT_READ, MAP_SHARED, fresh.get(), 0);
    if (map == MAP_FAILED) return fmt::format("map: {}", strerror(errno));
    const std::string got(static_cast<const char*>(map), model_.size());
    munmap(map, model_.size());
    return Different(got, 0, "a new mapping");
  }

  std::string Operate() {
    const uint64_t offset = Aligned(kMaxSize * 3 / 4);
    const uint64_t length = std::min(kMaxSize - offset, Below(4) == 0 ? Aligned(64 * 1024) : Aligned(3000));
    const int fd = file_.get();
    switch (Below(14)) {
      case 0:
      case 1:
      case 2: {
        last_ = fmt::format("read {}+{}", offset, length);
        std::string got(length, '\0');
        const ssize_t count = pread(fd, got.data(), length, static_cast<off_t>(offset));
        const uint64_t expected = offset >= model_.size() ? 0 : std::min(length, model_.size() - offset);
        if (count != static_cast<ssize_t>(expected))
          return fmt::format("{} bytes instead of {}", count, expected);
        got.resize(expected);
        return Different(got, offset, "read");
      }
      case 3:
      case 4:
      case 5: {
        last_ = fmt::format("write {}+{}", offset, length);
        const std::string data = Words(random_, offset, length);
        const ssize_t count = pwrite(fd, data.data(), length, static_cast<off_t>(offset));
        if (count != static_cast<ssize_t>(length))
          return fmt::format("{} bytes instead of {}: {}", count, length, strerror(errno));
        Put(offset, data);
        return "";
      }
      case 6:
        last_ = fmt::format("truncate {}", offset);
        if (ftruncate(fd, static_cast<off_t>(offset)) != 0) return strerror(errno);
        model_.resize(offset);
        return "";
      case 7:
      case 8:
        return WriteMapped(offset, length, Below(2) == 0);
      case 9:
        return Allocate(offset, length + kWord);
      case 10:
        return CopyRange(length);
      case 11:
        last_ = "fsync";
        return Below(4) != 0 || fsync(fd) == 0 ? "" : strerror(errno);
      case 12:
        last_ = "reopen";
        Reopen();
        return "";
      default:
        if (Below(20) != 0) return "";
        last_ = "drop caches";
        const Result<void> dropped = mount_.DropCaches();
        return dropped.ok() ? "" : dropped.error().message();
    }
  }

  void Put(uint64_t offset, std::string_view data) {
    if (data.empty()) return;
    if (model_.size() < offset + data.size()) model_.resize(offset + data.size());
    model_.replace(offset, data.size(), data);
  }

  std::string WriteMapped(uint64_t offset, uint64_t length, bool sync) {
    if (offset >= model_.size()) return "";
    length = std::min(length, model_.size() - offset) / kWord * kWord;
    if (length == 0) return "";
    last_ = fmt::format("write mapped {}+{}{}", offset, length, sync ? " and sync" : "");
    const uint64_t start = offset / kPage * kPage;
    auto* map = static_cast<char*>(mmap(nullptr, offset - start + length, PROT_READ | PROT_WRITE, MAP_SHARED,
                                        file_.get(), static_cast<off_t>(start)));
    if (map == MAP_FAILED) return fmt::format("map: {}", strerror(errno));
    std::string wrong = Different({map + (offset - start), length}, offset, "the mapping");
    const std::string data = Words(random_, offset, length);
    std::memcpy(map + (offset - start), data.data(), length);
    if (sync && msync(map, offset - start + length, MS_SYNC) != 0)
      wrong = fmt::format("msync: {}", strerror(errno));
    munmap(map, offset - start + length);
    Put(offset, data);
    return wrong;
  }

  std::string Allocate(uint64_t offset, uint64_t length) {
    static constexpr int kModes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_ZERO_RANGE};
    const int mode = kModes[Below(4)];
    last_ = fmt::format("fallocate mode {} {}+{}", mode, offset, length);
    if (fallocate(file_.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
      return errno == EOPNOTSUPP && mode == FALLOC_FL_ZERO_RANGE ? "" : strerror(errno);  // tmpfs cannot
    }
    const bool zeroes = mode == FALLOC_FL_ZERO_RANGE || (mode & FALLOC_FL_PUNCH_HOLE) != 0;
    const uint64_t end = zeroes ? std::min(model_.size(), offset + length) : offset;
    if (end > offset)
      std::fill(model_.begin() + static_cast<std::ptrdiff_t>(offset),
                model_.begin() + static_cast<std::ptrdiff_t>(end), '\0');
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && model_.size() < offset + length) model_.resize(offset + length);
    return "";
  }

  // By whole pages, so that words stay certified where they arrive.
  std::string CopyRange(uint64_t length) {
    const uint64_t in = Below(64) * kPage, out = Below(128) * kPage;
    if (in >= model_.size() || (out < in + length && in < out + length) || out + length > kMaxSize ||
        length == 0)
      return "";
    last_ = fmt::format("copy_file_range {}+{} to {}", in, length, out);
    off_t from = static_cast<off_t>(in), to = static_cast<off_t>(out);
    const ssize_t count = copy_file_range(file_.get(), &from, file_.get(), &to, length, 0);
    if (count < 0) return strerror(errno);
    const uint64_t possible = std::min(length, model_.size() - in);
    if (count == 0 || static_cast<uint64_t>(count) > possible)
      return fmt::format("copied {} bytes of {}", count, possible);
    const std::string data = model_.substr(in, static_cast<size_t>(count));
    Put(out, data);
    return "";
  }

  UnionMount& mount_;
  std::string path_;
  std::string model_;
  std::mt19937_64 random_;
  MappingReader early_;  // from before the first change
  UniqueFd file_;
  std::string last_;
  std::vector<std::string> tail_;
};

struct Settings {
  std::string program, directory;
  uint64_t seed = 1;
  int64_t files = 10, operations = 2000;
};

Settings Parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (!argument.starts_with("--")) {
      settings.program = argument;
      continue;
    }
    if (++i >= argc) Die("no value for " + argument);
    if (argument == "--directory")
      settings.directory = argv[i];
    else if (argument == "--seed")
      settings.seed = std::strtoull(argv[i], nullptr, 10);
    else if (argument == "--files")
      settings.files = std::strtoll(argv[i], nullptr, 10);
    else if (argument == "--operations")
      settings.operations = std::strtoll(argv[i], nullptr, 10);
    else
      Die("unknown argument " + argument);
  }
  if (settings.program.empty())
    Die("usage: fsx PROGRAM [--seed N] [--files N] [--operations N] [--directory DIR]");
  return settings;
}

// The content of a file of the lower layer: some with a hole, some empty.
std::string LowerContent(uint64_t seed) {
  std::mt19937_64 random(seed);
  if (seed % 7 == 0) return "";
  std::string out = Words(random, 0, random() % (kMaxSize / 2) / kWord * kWord);
  if (seed % 3 == 0 && out.size() > 5 * kPage) std::fill_n(out.begin() + kPage, 3 * kPage, '\0');
  return out;
}

void WriteSparse(const std::string& path, const std::string& content) {
  const UniqueFd file(open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  if (!file || ftruncate(file.get(), static_cast<off_t>(content.size())) != 0) Die("make " + path);
  for (size_t at = 0; at < content.size(); at += kPage) {
    const std::string_view page = std::string_view(content).substr(at, kPage);
    if (page.find_first_not_of('\0') == std::string_view::npos) continue;
    if (pwrite(file.get(), page.data(), page.size(), static_cast<off_t>(at)) !=
        static_cast<ssize_t>(page.size()))
      Die("write " + path);
  }
}

int Main(int argc, char** argv) {
  Settings settings = Parse(argc, argv);
  const Workplace workplace(settings.directory);
  settings.directory = workplace.path();
  const std::string dir = settings.directory + "/fsx";
  files::remove_all(dir);
  for (const char* sub : {"/l", "/u", "/w", "/m"}) files::create_directories(dir + sub);
  for (int64_t i = 0; i < settings.files; ++i) {
    WriteSparse(fmt::format("{}/l/f{}", dir, i), LowerContent(settings.seed + static_cast<uint64_t>(i)));
  }
  const std::vector<std::string> before = Fingerprint(ReadTree(dir + "/l"));
  int status = 0;
  {
    Result<UnionMount> mount =
        UnionMount::Mount(settings.program, {{dir + "/l"}, dir + "/u", dir + "/w"}, dir + "/m");
    if (!mount.ok()) Die(mount.error().message());
    const auto start = std::chrono::steady_clock::now();
    int64_t done = 0;
    for (int64_t i = 0; i < settings.files && status == 0; ++i, done += settings.operations) {
      const uint64_t seed = settings.seed + static_cast<uint64_t>(i);
      Exerciser exerciser(*mount, fmt::format("f{}", i), LowerContent(seed), seed);
      const std::string wrong = exerciser.Run(settings.operations);
      if (wrong.empty()) continue;
      fmt::print("FAIL file f{} (--seed {} --files 1): {}\n", i, seed, wrong);
      status = 1;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    fmt::print("{}: {} operations on {} files, {:.1f} s\n", settings.program, done, settings.files, seconds);
    const Result<void> unmounted = mount->Unmount();
    if (!unmounted.ok()) {
      fmt::print("FAIL {}\n", unmounted.error().message());
      status = 1;
    }
  }
  if (Fingerprint(ReadTree(dir + "/l")) != before) {
    fmt::print("FAIL the lower layer was changed\n");
    status = 1;
  }
  files::remove_all(dir);
  return status;
}

}  // namespace
}  // namespace snap::test

int main(int argc, char** argv) { return snap::test::Main(argc, argv); }
