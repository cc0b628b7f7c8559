// TreeFile: the data of one open file, of exactly the size that was announced, holes left out on request.
// Invariant: a file that changes its size while it is read is an error; what was given out until then is
// right.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fs/base/error.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_entry.h"

namespace snap {

/// kBusy: "read 'PATH': shrank while it was being read".
Error ChangedWhileRead(const std::string& quoted_path, std::string_view how);

/// Runs of data in the first `size` bytes, as the file system tells them, for tar::AppendHeader: `sparse` is
/// false and there are none when the file has no holes, or when a tar cannot say it (unaligned or too many
/// runs). `quoted_path` is for errors. Errors: kBusy when the file shrinks meanwhile.
struct FoundHoles {
  bool sparse = false;
  std::vector<DataExtent> extents;
};
Result<FoundHoles> FindHoles(FdRef file, uint64_t size, const std::string& quoted_path);

/// Threads: one at a time.
class TreeFile {
 public:
  /// Nothing is open.
  TreeFile() = default;
  /// `extents` ascend within `size`; what is between them is not read.
  TreeFile(UniqueFd file, uint64_t size, std::vector<DataExtent> extents, std::string quoted_path)
      : file_(std::move(file)),
        size_(size),
        extents_(std::move(extents)),
        quoted_path_(std::move(quoted_path)) {}

  bool is_open() const { return file_.valid(); }
  /// Fills the front of a non-empty buffer; 0 when all data was given, and the file is then closed.
  /// Errors: kBusy when the file shrinks or grows. Cost: one read(2), for a file smaller than the buffer too.
  Result<size_t> Read(std::span<std::byte> buffer);

 private:
  UniqueFd file_;
  uint64_t size_ = 0;
  std::vector<DataExtent> extents_;
  std::string quoted_path_;
  size_t next_extent_ = 0;
  uint64_t in_extent_ = 0;
  bool end_seen_ = false;  ///< a read has found nothing behind the last byte
};

}  // namespace snap
