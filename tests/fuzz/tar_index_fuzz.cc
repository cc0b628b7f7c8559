// Any bytes as a tar index: as they are, and as the records of an index whose checksums match, which no
// mutation would hit.
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "fs/base/check.h"
#include "fs/base/sys_file.h"
#include "fs/tar_index.h"
#include "tests/support/tar_index_builder.h"

namespace snap {
namespace {

constexpr uint64_t kMostTar = uint64_t{1} << 20U;

struct Outcome {
  std::vector<std::byte> tar;
  bool whole = false;
};

Outcome ReadAll(FdRef index, size_t step) {
  test::PatternContent content;
  Outcome out;
  const auto source = MakeTarSource(index, content, "fuzz");
  if (!source.ok()) return out;
  std::vector<std::byte> buffer(step);
  while (out.tar.size() <= kMostTar) {  // a raw index may honestly describe a tar that is larger
    const Result<size_t> got = source.value()->Read(buffer);
    if (!got.ok()) {
      SNAP_CHECK(got.error().code() == ErrorCode::kCorrupt);
      return out;
    }
    out.whole = *got == 0;
    if (out.whole) return out;
    out.tar.insert(out.tar.end(), buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(*got));
  }
  return out;
}

void Check(std::span<const std::byte> index, size_t step) {
  const auto file = sys::MemfdCreate("fuzz", MFD_CLOEXEC);
  SNAP_CHECK(file.ok() && sys::PWriteAll(*file, index, 0).ok());
  (void)ReadTarIndexObjects(*file, "fuzz");
  const Outcome once = ReadAll(*file, step);
  const Outcome again = ReadAll(*file, 65536);
  SNAP_CHECK(once.whole == again.whole);
  if (once.whole) {
    SNAP_CHECK(once.tar == again.tar);
    SNAP_CHECK(CheckTarIndex(*file, "fuzz").ok());
  }
}

}  // namespace
}  // namespace snap

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const size_t step = 1 + size % 613;
  snap::Check(input, step);
  snap::Check(snap::test::IndexOfCorpusFile(input), step);
  return 0;
}
