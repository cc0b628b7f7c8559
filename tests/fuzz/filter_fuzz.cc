// Filters of List calls, one a line. What parses can be asked about any snapshot; a filter with an empty one
// beside it selects everything.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fs/base/check.h"
#include "snapshotter/grpc/filter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> texts;
  for (size_t start = 0; start <= input.size();) {
    const size_t end = std::min(input.find('\n', start), input.size());
    texts.push_back(input.substr(start, end - start));
    start = end + 1;
  }
  const auto filter = snap::SnapshotFilter::Parse(texts);
  const std::vector<snap::SnapshotInfo> infos = {
      {"base", "", snap::SnapshotKind::kCommitted, 0, 0, {{"a.b", "x"}, {input, "y"}}},
      {input, "base", snap::SnapshotKind::kView, 0, 0, {}},
  };
  if (filter.ok()) {
    for (const auto& info : infos) (void)filter->Matches(info);  // must come back
  }
  texts.emplace_back();
  const auto all = snap::SnapshotFilter::Parse(texts);
  SNAP_CHECK(all.ok() == filter.ok());
  if (all.ok()) {
    for (const auto& info : infos) SNAP_CHECK(all->Matches(info));
  }
  return 0;
}
