// Target: where the files of an image layout or archive go. Internal to oci_writer.cc.
// Invariant: nothing of it is visible to others before Commit, except blobs in a layout that existed before.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/byte_source.h"
#include "fs/output_file.h"

namespace snap::oci {

/// Threads: one at a time, except Spool. Dropping it without Commit takes back everything.
class Target {
 public:
  virtual ~Target() = default;
  /// Adds a file of exactly `size` bytes. Reads `bytes` to its end, so that what it checks there is checked.
  virtual Result<void> Add(const std::string& name, uint64_t size, ByteSource& bytes) = 0;
  /// A file for content whose name or size is not known before it is there. Threads: safe.
  virtual Result<OutputFile> Spool() = 0;
  /// The same as Add, with the content of a file from Spool.
  virtual Result<void> AddSpooled(const std::string& name, OutputFile file, uint64_t size) = 0;
  /// The index.json of the layout that this adds to, if there is one.
  virtual Result<std::optional<std::string>> ExistingIndex() = 0;
  /// Adds the last file, which says what the others are, and makes everything visible. Durable on return.
  virtual Result<void> Commit(const std::string& last_name, std::string_view last_content) = 0;
};

/// A tar archive at `path`. Errors: kExists unless `replace`.
Result<std::unique_ptr<Target>> MakeArchiveFileTarget(const std::string& path, bool replace);
/// A tar archive on a stream that belongs to somebody else.
Result<std::unique_ptr<Target>> MakeArchiveStreamTarget(FdRef stream, const std::string& name);
/// An OCI layout: new, or one that exists, which is locked (flock) until the target goes.
Result<std::unique_ptr<Target>> MakeLayoutTarget(const std::string& path);

}  // namespace snap::oci
