// OutputFile: a file that has no name before it is whole.
// Invariant: whatever happens to the process, the name shows the old file or the whole new one.
#pragma once

#include <sys/types.h>

#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap {

/// Threads: one at a time. Dropping it leaves nothing (where the file system has no unnamed files, a killed
/// process leaves a
/// ".snap-*.tmp").
class OutputFile {
 public:
  /// A new, empty file, open for reading and writing, on the file system of `dir`, which must outlive this.
  /// `where` is the directory's name for errors.
  static Result<OutputFile> Create(FdRef dir, mode_t mode, std::string where);
  OutputFile(OutputFile&&) noexcept;
  OutputFile& operator=(OutputFile&&) noexcept;
  ~OutputFile();

  FdRef fd() const { return file_; }
  /// Gives it its name, in `dir` or below (not a path of strangers). Errors: kExists, unless it may `replace`
  /// what has the name. Durability: none; flush before.
  Result<void> Publish(const std::string& name, bool replace);

 private:
  OutputFile(FdRef dir, UniqueFd file, std::string where, std::string temporary)
      : dir_(dir), file_(std::move(file)), where_(std::move(where)), temporary_(std::move(temporary)) {}
  void Discard();

  FdRef dir_;
  UniqueFd file_;
  std::string where_;
  std::string temporary_;  ///< its name before it is published; "" for an unnamed file
};

}  // namespace snap
