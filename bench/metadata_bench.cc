// One transaction of the database as a command makes it: take the store's lock, open, ask or change, close.
// Alone (the files are opened each time) and with a daemon's service, which here is a thread of this process.
// On TMPDIR (or /tmp).
#include <benchmark/benchmark.h>
#include <fcntl.h>

#include <cstdlib>
#include <filesystem>

#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "snapshotter/database_service.h"
#include "snapshotter/metadata.h"

namespace snap {
namespace {

class Bench {
 public:
  explicit Bench(bool served) {
    const char* const tmp = std::getenv("TMPDIR");
    path_ = std::string(tmp != nullptr ? tmp : "/tmp") + "/snap-bench-" + sys::RandomHex128();
    std::filesystem::create_directory(path_);
    root_ = sys::OpenAt(FdRef::Cwd(), path_.c_str(), O_RDONLY | O_DIRECTORY).value();
    if (served) service_ = DatabaseService::Start(root_, path_, {}).value();
    Metadata metadata = Open(Metadata::Access::kWrite);
    for (int i = 0; i < 100; ++i) metadata.PutContainer(Record(i)).value();
  }
  ~Bench() {
    service_.reset();
    std::filesystem::remove_all(path_);
  }
  Metadata Open(Metadata::Access access) { return Metadata::Open(root_, path_, {.access = access}).value(); }
  static ContainerRecord Record(int number) {
    ContainerRecord record;
    record.id = "id" + std::to_string(number);
    record.name = "name" + std::to_string(number);
    record.args = {"/bin/sh", "-c", "true"};
    return record;
  }

 private:
  std::string path_;
  UniqueFd root_;
  std::unique_ptr<DatabaseService> service_;
};

void ListContainers(benchmark::State& state) {
  Bench bench(state.range(0) == 1);
  for (auto _ : state)
    benchmark::DoNotOptimize(bench.Open(Metadata::Access::kRead).Containers().value().size());
}
void PutContainer(benchmark::State& state) {
  Bench bench(state.range(0) == 1);
  for (auto _ : state) bench.Open(Metadata::Access::kWrite).PutContainer(Bench::Record(7)).value();
}

BENCHMARK(ListContainers)->ArgName("daemon")->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(PutContainer)->ArgName("daemon")->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace
}  // namespace snap
