// Gives the same random operations to two unions over the same lowers, one of them the kernel's overlayfs,
// and compares every result, the whole trees now and then, and at the end each upper under the other's
// program.
//   usage: differential PROGRAM [--seed N] [--rounds N] [--operations N] [--compare-every N] [--layers N]
//   [--until STEP]
//                       [--directory DIR] [--oracle PROGRAM] [--minimise] [--ignore TEXT]... [--log]
// PROGRAM: as in union_mount.h. A round is a fresh set of layers with `--operations` on it; round i of seed N
// is round 0 of seed N+i, so what a failure prints is enough to repeat it. --until ends there with the
// comparison of the trees; --minimise leaves out operations and lower files while the failure stays, and
// prints what is left. --directory: where to work (default: a tmpfs). Exit status: 0 no difference, 1 a
// difference, 2 the test could not be run.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <optional>
#include <thread>
#include <utility>

#include "tests/union/known_differences.h"
#include "tests/union/layers.h"
#include "tests/union/operation.h"
#include "tests/union/operation_source.h"
#include "tests/union/tree.h"
#include "tests/union/union_mount.h"

namespace snap::test {
namespace {

namespace files = std::filesystem;

struct Settings {
  std::string program, oracle = "kernel", directory;
  uint64_t seed = 1;
  int rounds = 1, layers = 8;
  int64_t operations = 5000, compare_every = 1000, until = -1;
  bool minimise = false, log = false;
  std::vector<std::string> ignored;
};

/// What is wrong, and a short form that says whether two failures are the same.
struct Failure {
  int64_t step = 0;  ///< how many operations had been run
  std::string signature, message, path;
};

/// Keeps the first failure that is not to be ignored.
class Findings {
 public:
  explicit Findings(const std::vector<std::string>& ignored) : ignored_(ignored) {}
  void Add(Failure failure) {
    const bool ignore = std::any_of(ignored_.begin(), ignored_.end(), [&](const std::string& text) {
      return failure.signature.find(text) != std::string::npos;
    });
    if (!ignore && !first_) first_ = std::move(failure);
  }
  bool any() const { return first_.has_value(); }
  std::optional<Failure> first() const { return first_; }

 private:
  const std::vector<std::string>& ignored_;
  std::optional<Failure> first_;
};

/// What is done in a round: replayed from these, it is the same round.
struct Script {
  std::vector<LayerItem> layers;
  std::vector<Operation> operations;
};

// --- watchdog: a hanging server must not hang the test.
std::atomic<int64_t> g_progress{0};
std::atomic<pid_t> g_server{-1};
std::string g_doing;  // written by the main thread only, read when it hangs

void WatchForHangs() {
  std::thread([] {
    int64_t last = -1;
    for (int quiet = 0;; ++quiet) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      if (const int64_t now = g_progress; now != last) {
        last = now;
        quiet = 0;
      }
      if (quiet == 60) {
        fmt::print("HANG: nothing moves for 60 seconds in: {}\n", g_doing);
        std::fflush(stdout);
        if (const pid_t server = g_server; server > 0) kill(server, SIGKILL);
        _exit(1);
      }
    }
  }).detach();
}

/// `program` shows `other`; `what` is where, and begins the short form.
void CompareTrees(const Tree& kernel, const Tree& other, time_t started, const std::string& what,
                  const std::string& program, Findings& findings) {
  const auto add = [&](const std::string& path, const std::string& kind, const std::string& detail) {
    findings.Add(
        {0, what + ": " + kind, fmt::format("{}: '{}': {}: {}", what, Printable(path), kind, detail), path});
  };
  for (const auto& [path, record] : other) {
    if (!kernel.contains(path)) add(path, "extra", Describe(record));
    for (const std::string& contradiction : record.contradictions) {
      if (MayContradict(program, contradiction) == nullptr) add(path, "contradiction", Describe(record));
    }
  }
  for (const auto& [path, record] : kernel) {
    const auto found = other.find(path);
    if (found == other.end()) {
      add(path, "missing", "oracle has " + Describe(record));
      continue;
    }
    for (const std::string& field : DifferentFields(record, found->second, started)) {
      if (MayDiffer(field, record, found->second) != nullptr) continue;
      add(path, field,
          fmt::format("\n    oracle {}\n    other  {}", Describe(record), Describe(found->second)));
    }
  }
}

/// Names that the oracle shows as one file are one file.
void CompareLinks(const Tree& kernel, const Tree& other, Findings& findings) {
  std::map<uint64_t, std::pair<uint64_t, std::string>> pairs;
  for (const auto& [path, record] : kernel) {
    const auto found = other.find(path);
    if (found == other.end()) continue;
    const uint64_t inode = found->second.inode;
    const auto [entry, fresh] = pairs.emplace(record.inode, std::pair(inode, path));
    if (fresh || entry->second.first == inode) continue;
    findings.Add({0, "tree: link",
                  fmt::format("'{}' and '{}' are one file for the oracle only (st_ino {} and {})",
                              Printable(entry->second.second), Printable(path), entry->second.first, inode),
                  path});
  }
}

class Round {
 public:
  Round(const Settings& settings, std::string directory) : settings_(settings), dir_(std::move(directory)) {}

  /// `next` gives the operations; nullopt: the end. Returns the first failure.
  std::optional<Failure> Run(const std::vector<LayerItem>& items,
                             const std::function<std::optional<Operation>()>& next, OperationSource* source,
                             std::vector<Operation>* done) {
    started_ = time(nullptr) - 1;
    files::remove_all(dir_);
    for (const char* name : {"a/u", "a/w", "a/m", "b/u", "b/w", "b/m", "x/w", "x/m", "x/empty", "x/w2"})
      files::create_directories(dir_ + "/" + name);
    for (const char* name : {"a/u", "b/u"}) chmod((dir_ + "/" + name).c_str(), 0777);
    lowers_ = BuildLayers(dir_ + "/l", settings_.layers, items);
    RemoveStrayWhiteouts();
    const std::vector<std::vector<std::string>> before = Fingerprints();
    std::optional<Failure> failure = RunMounted(next, source, done);
    const std::vector<std::vector<std::string>> after = Fingerprints();
    for (size_t i = 0; i < before.size(); ++i) {
      if (before[i] == after[i]) continue;
      const auto [old_line, new_line] =
          std::mismatch(before[i].begin(), before[i].end(), after[i].begin(), after[i].end());
      // Worse than whatever else was seen, and never ignored.
      return Failure{failure ? failure->step : static_cast<int64_t>(done->size()), "lower changed",
                     fmt::format("LOWER LAYER {} CHANGED:\n    before {}\n    after  {}", i,
                                 old_line == before[i].end() ? "-" : *old_line,
                                 new_line == after[i].end() ? "-" : *new_line),
                     ""};
    }
    return failure;
  }

 private:
  std::vector<std::vector<std::string>> Fingerprints() const {
    std::vector<std::vector<std::string>> out;
    out.reserve(lowers_.size());
    for (const std::string& lower : lowers_) out.push_back(Fingerprint(ReadTree(lower)));
    return out;
  }

  UnionMount Mounted(const std::string& program, const std::string& upper, const std::string& work,
                     const std::string& at) {
    Result<UnionMount> mounted =
        UnionMount::Mount(program, {lowers_, dir_ + "/" + upper, dir_ + "/" + work}, dir_ + "/" + at);
    if (!mounted.ok()) Die(mounted.error().message());
    if (mounted->server() > 0) g_server = mounted->server();
    return std::move(mounted).value();
  }

  // In a directory that one layer alone has, the kernel lists whiteouts and then does not find them. Such
  // layers are not compared.
  void RemoveStrayWhiteouts() {
    for (bool removed = true; removed;) {
      removed = false;
      UnionMount mount = Mounted("kernel", "x/empty", "x/w2", "x/m");
      const Tree tree = ReadTree(mount.mountpoint());
      (void)mount.Unmount();  // detached otherwise
      for (const auto& [path, record] : tree) {
        if (record.contradictions.empty()) continue;
        for (const std::string& lower : lowers_) {
          struct stat info {};
          const std::string name = lower + "/" + path;
          if (lstat(name.c_str(), &info) != 0) continue;
          const bool device = S_ISCHR(info.st_mode) && info.st_rdev == 0;
          if (device || lgetxattr(name.c_str(), "trusted.overlay.whiteout", nullptr, 0) >= 0)
            removed |= unlink(name.c_str()) == 0;
        }
      }
    }
  }

  std::optional<Failure> RunMounted(const std::function<std::optional<Operation>()>& next,
                                    OperationSource* source, std::vector<Operation>* done) {
    Findings findings(settings_.ignored);
    UnionMount a = Mounted(settings_.oracle, "a/u", "a/w", "a/m");
    UnionMount b = Mounted(settings_.program, "b/u", "b/w", "b/m");
    {
      Side side_a(a.mountpoint(), started_), side_b(b.mountpoint(), started_);
      Compare(side_a, side_b, source, findings);
      while (!findings.any()) {
        const std::optional<Operation> operation = next();
        if (!operation) break;
        done->push_back(*operation);
        ++g_progress;
        g_doing = Describe(*operation);
        Step(*operation, side_a, side_b, a, b, source, findings);
        if (static_cast<int64_t>(done->size()) % settings_.compare_every == 0)
          Compare(side_a, side_b, source, findings);
      }
      if (!findings.any()) Compare(side_a, side_b, source, findings);
    }
    if (!findings.any()) AfterUnmount(std::move(a), std::move(b), findings);
    std::optional<Failure> failure = findings.first();
    if (failure) failure->step = static_cast<int64_t>(done->size());
    return failure;
  }

  void Step(const Operation& operation, Side& side_a, Side& side_b, UnionMount& a, UnionMount& b,
            OperationSource* source, Findings& findings) {
    if (operation.kind == Kind::kDropCaches) {
      for (UnionMount* mount : {&a, &b}) {
        const Result<void> dropped = mount->DropCaches();
        if (!dropped.ok()) findings.Add({0, "drop caches", dropped.error().message(), ""});
      }
      return;
    }
    const Outcome want = side_a.Run(operation);
    const Outcome got = side_b.Run(operation);
    if (source != nullptr) source->Note(operation, want);
    ForgetNumbers(operation);
    if (settings_.log) {
      fmt::print("{:6} {} = {} {}\n", ++logged_, Describe(operation), want.result,
                 want.detail.substr(0, 100));
    }
    if (!got.broken.empty()) {
      findings.Add({0, fmt::format("{} broken", KindName(operation.kind)),
                    fmt::format("{}: {}", Describe(operation), got.broken), operation.path});
    }
    if (want.result == got.result && want.detail == got.detail) return;
    if (MayDiffer(operation, want, got) != nullptr) return;
    const auto text = [](const Outcome& outcome) {
      return outcome.result < 0 ? std::string(strerrorname_np(static_cast<int>(-outcome.result)))
                                : fmt::format("{}", outcome.result);
    };
    const bool by_result = want.result != got.result;
    findings.Add({0,
                  fmt::format("{}: {} instead of {}", KindName(operation.kind),
                              by_result ? text(got) : "other", by_result ? text(want) : "detail"),
                  fmt::format("{}\n    oracle {} {}\n    other  {} {}", Describe(operation), text(want),
                              want.detail, text(got), got.detail),
                  operation.path});
  }

  // Names that now may be other files: their numbers need not stay.
  void ForgetNumbers(const Operation& operation) {
    switch (operation.kind) {
      case Kind::kUnlink:
      case Kind::kRemoveDirectory:
      case Kind::kRename:
      case Kind::kListWhileChanging:
        if (operation.base >= 0) {
          numbers_.clear();
          return;
        }
        for (const std::string& path :
             {operation.path, operation.other, operation.path + "/" + operation.value}) {
          const std::string clean = path.starts_with("./") ? path.substr(2) : path;
          for (auto entry = numbers_.lower_bound(clean);
               entry != numbers_.end() && entry->first.starts_with(clean);) {
            entry = numbers_.erase(entry);
          }
        }
        break;
      default:
        break;
    }
  }

  void CompareNumbers(const Tree& kernel, const Tree& other, Findings& findings) {
    for (const auto& [path, numbers] : numbers_) {
      const auto now_a = kernel.find(path), now_b = other.find(path);
      if (now_a == kernel.end() || now_b == other.end()) continue;
      if (now_a->second.inode == numbers.first && now_b->second.inode != numbers.second) {
        findings.Add({0, "tree: st_ino",
                      fmt::format("'{}': st_ino was {}, is {}; the oracle's stayed; {}", Printable(path),
                                  numbers.second, now_b->second.inode, Describe(now_b->second)),
                      path});
      }
    }
    numbers_.clear();
    for (const auto& [path, record] : kernel) {
      if (const auto found = other.find(path); found != other.end()) {
        numbers_[path] = {record.inode, found->second.inode};
      }
    }
  }

  void Compare(Side& side_a, Side& side_b, OperationSource* source, Findings& findings) {
    g_doing = "reading the tree";
    last_a_ = ReadTree(side_a.root());
    ++g_progress;
    const Tree tree_b = ReadTree(side_b.root());
    ++g_progress;
    if (source != nullptr) source->Refresh(last_a_);
    CompareTrees(last_a_, tree_b, started_, "tree", settings_.program, findings);
    CompareLinks(last_a_, tree_b, findings);
    CompareNumbers(last_a_, tree_b, findings);
  }

  // Whatever is left: the servers' ends, the work directory, each upper under the other program, numbers over
  // a remount.
  void AfterUnmount(UnionMount a, UnionMount b, Findings& findings) {
    g_doing = "unmounting";
    for (UnionMount* mount : {&a, &b}) {
      const Result<void> unmounted = mount->Unmount();
      ++g_progress;
      if (!unmounted.ok()) {
        findings.Add({0, "unmount", unmounted.error().message(), ""});
        return;
      }
    }
    const auto numbers = std::exchange(numbers_, {});
    struct Crossing {
      const std::string& program;
      const char *upper, *what;
      bool remount;  // of the same upper under the same program
    };
    for (const Crossing& crossing :
         {Crossing{settings_.oracle, "b/u", "the other's upper under the oracle", false},
          Crossing{settings_.program, "b/u", "its own upper after a remount", true},
          Crossing{settings_.program, "a/u", "the oracle's upper under the other", false}}) {
      g_doing = crossing.what;
      files::remove_all(dir_ + "/x/w");
      files::create_directories(dir_ + "/x/w");
      UnionMount mount = Mounted(crossing.program, crossing.upper, "x/w", "x/m");
      const Tree seen = ReadTree(mount.mountpoint());
      const Result<void> unmounted = mount.Unmount();
      ++g_progress;
      if (!unmounted.ok()) findings.Add({0, "unmount", unmounted.error().message(), ""});
      CompareTrees(last_a_, seen, started_, crossing.what, crossing.program, findings);
      if (!crossing.remount || findings.any()) continue;
      for (const auto& [path, record] : seen) {
        const auto known = numbers.find(path);
        if (known == numbers.end() || known->second.second == record.inode) continue;
        findings.Add({0, "remount: st_ino",
                      fmt::format("'{}': st_ino was {}, is {} after a remount; {}", Printable(path),
                                  known->second.second, record.inode, Describe(record)),
                      path});
      }
    }
    FindBogusWhiteouts(findings);
  }

  // A whiteout in the upper hides something: leftovers are not seen, but fill the upper and confuse whoever
  // makes a layer of it.
  void FindBogusWhiteouts(Findings& findings) {
    const Tree upper = ReadTree(dir_ + "/b/u");
    UnionMount below = Mounted("kernel", "x/empty", "x/w2", "x/m");
    const Tree lower = ReadTree(below.mountpoint());
    (void)below.Unmount();  // detached otherwise
    for (const auto& [path, record] : upper) {
      const bool whiteout = S_ISCHR(record.mode) && record.device == 0;
      if (!whiteout || lower.contains(path)) continue;
      findings.Add({0, "bogus whiteout",
                    fmt::format("the upper has a whiteout '{}', and nothing is below it", Printable(path)),
                    path});
    }
  }

  const Settings& settings_;
  std::string dir_;
  std::vector<std::string> lowers_;
  time_t started_ = 0;
  Tree last_a_;
  std::map<std::string, std::pair<uint64_t, uint64_t>>
      numbers_;  // path -> st_ino on both sides when last compared
  int64_t logged_ = 0;
};

std::optional<Failure> Replay(const Settings& settings, const Script& script) {
  size_t at = 0;
  std::vector<Operation> done;
  Round round(settings, settings.directory + "/round");
  return round.Run(
      script.layers,
      [&]() -> std::optional<Operation> {
        return at < script.operations.size() ? std::optional(script.operations[at++]) : std::nullopt;
      },
      nullptr, &done);
}

// Delta debugging: leaves out ever smaller pieces as long as the same failure stays.
template <typename Item>
void Reduce(std::vector<Item>& items, const std::function<bool(const std::vector<Item>&)>& still_fails) {
  for (size_t piece = std::max<size_t>(1, items.size() / 2);; piece = std::max<size_t>(1, piece / 2)) {
    bool removed = false;
    for (size_t at = 0; at < items.size();) {
      std::vector<Item> fewer(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(at));
      const size_t end = std::min(items.size(), at + piece);
      fewer.insert(fewer.end(), items.begin() + static_cast<std::ptrdiff_t>(end), items.end());
      if (still_fails(fewer)) {
        items = std::move(fewer);
        removed = true;
      } else {
        at = end;
      }
    }
    if (piece == 1 && !removed) return;
  }
}

void Minimise(Settings settings, Script script, const Failure& failure) {
  settings.compare_every = 1'000'000'000;  // at the end only
  settings.log = false;
  const auto same = [&](const Script& trial) {
    const std::optional<Failure> again = Replay(settings, trial);
    return again && again->signature == failure.signature;
  };
  if (!same(script)) {
    fmt::print("the failure does not come back when it is replayed with one comparison at the end\n");
    return;
  }
  Reduce<Operation>(script.operations, [&](const auto& fewer) { return same({script.layers, fewer}); });
  Reduce<LayerItem>(script.layers, [&](const auto& fewer) { return same({fewer, script.operations}); });
  Reduce<Operation>(script.operations, [&](const auto& fewer) { return same({script.layers, fewer}); });
  fmt::print("\nsmallest case with this failure ({} lower files, {} operations):\n", script.layers.size(),
             script.operations.size());
  for (const LayerItem& item : script.layers) fmt::print("  {}\n", Describe(item));
  for (const Operation& operation : script.operations) fmt::print("  {}\n", Describe(operation));
  if (const std::optional<Failure> again = Replay(settings, script)) fmt::print("  => {}\n", again->message);
}

void PrintTail(const std::vector<Operation>& done, const Failure& failure) {
  // The last operations that have to do with the name or its directory, and the last few whatever they are.
  const std::string name = files::path(failure.path).filename();
  std::vector<std::string> lines;
  for (size_t i = done.size(); i > 0 && lines.size() < 25; --i) {
    const Operation& o = done[i - 1];
    const bool concerned =
        !name.empty() && (o.path.find(name) != std::string::npos || o.other.find(name) != std::string::npos);
    if (concerned || done.size() - i < 5) lines.push_back(fmt::format("  {:6} {}", i, Describe(o)));
  }
  std::reverse(lines.begin(), lines.end());
  for (const std::string& line : lines) fmt::print("{}\n", line);
}

bool RunSeed(const Settings& settings, uint64_t seed) {
  Random random(seed);
  Script script;
  const bool xattr_whiteouts = seed % 4 == 0;
  script.layers = RandomLayers(random, settings.layers, 25, xattr_whiteouts);
  OperationSource source(random, !xattr_whiteouts);
  const int64_t limit = settings.until >= 0 ? settings.until : settings.operations;
  Round round(settings, settings.directory + "/round");
  int64_t given = 0;
  const std::optional<Failure> failure = round.Run(
      script.layers,
      [&]() -> std::optional<Operation> {
        return given++ < limit ? std::optional(source.Next()) : std::nullopt;
      },
      &source, &script.operations);
  if (!failure) return true;
  fmt::print("FAIL seed {} step {}: {}\n{}\n", seed, failure->step, failure->signature, failure->message);
  PrintTail(script.operations, *failure);
  fmt::print("again: differential {} --seed {} --layers {} --operations {} --compare-every {} --until {}\n",
             settings.program, seed, settings.layers, settings.operations, settings.compare_every,
             failure->step);
  if (settings.minimise) Minimise(settings, script, *failure);
  return false;
}

Settings Parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--minimise") {
      settings.minimise = true;
    } else if (argument == "--log") {
      settings.log = true;
    } else if (!argument.starts_with("--")) {
      settings.program = argument;
    } else if (i + 1 < argc) {
      const std::string value = argv[++i];
      if (argument == "--directory") {
        settings.directory = value;
      } else if (argument == "--oracle") {
        settings.oracle = value;
      } else if (argument == "--ignore") {
        settings.ignored.push_back(value);
      } else {
        const int64_t number = std::strtoll(value.c_str(), nullptr, 10);
        if (argument == "--seed")
          settings.seed = static_cast<uint64_t>(number);
        else if (argument == "--rounds")
          settings.rounds = static_cast<int>(number);
        else if (argument == "--operations")
          settings.operations = number;
        else if (argument == "--compare-every")
          settings.compare_every = number;
        else if (argument == "--layers")
          settings.layers = static_cast<int>(number);
        else if (argument == "--until")
          settings.until = number;
        else
          Die("unknown argument " + argument);
      }
    } else {
      Die("unknown argument " + argument);
    }
  }
  if (settings.program.empty())
    Die("usage: differential PROGRAM [--seed N] [--rounds N] ... (see the source)");
  return settings;
}

int Main(int argc, char** argv) {
  Settings settings = Parse(argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) Die("ignore SIGPIPE");  // pipes without a reader answer EPIPE
  const Workplace workplace(settings.directory);
  settings.directory = workplace.path();
  struct statfs where {};
  if (statfs(settings.directory.c_str(), &where) != 0) Die("statfs " + settings.directory);
  SetCircumstances(where.f_type == 0x01021994);
  WatchForHangs();
  const auto start = std::chrono::steady_clock::now();
  int failed = 0;
  for (int i = 0; i < settings.rounds; ++i) {
    if (!RunSeed(settings, settings.seed + static_cast<uint64_t>(i))) ++failed;
    if (failed != 0 && settings.minimise) break;  // one at a time
  }
  files::remove_all(settings.directory + "/round");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{}: {} of {} rounds of {} operations failed, {:.1f} s\n", settings.program, failed,
             settings.rounds, settings.operations, seconds);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace snap::test

int main(int argc, char** argv) { return snap::test::Main(argc, argv); }
