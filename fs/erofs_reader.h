// ErofsReader: an EROFS image read in user space, without mounting it: names, attributes, xattrs, data.
// Invariant: the image is hostile (bit rot, a changed file): every offset and count is checked against the image before it is
// used, no work or memory grows beyond what the image's size allows, loops end.
// Supports what ErofsWriter writes: uncompressed, extended and compact inodes, plain, inline and chunk-based data, shared xattrs,
// further devices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_entry.h"
#include "fs/layer_tree.h"

namespace snap {

/// Threads: safe (no state changes after Open and HoldMetadata).
class ErofsReader {
 public:
  using NodeId = uint64_t;

  struct Node {
    NodeId id = 0;
    FileType type = FileType::kRegular;
    uint32_t permissions = 0;  ///< the 07777 bits
    uint32_t uid = 0, gid = 0, links = 0;
    timespec mtime{};
    uint64_t size = 0;         ///< bytes; of directories: of their blocks
    uint64_t tail_bytes = 0;   ///< of a regular file: this many at its end lie beside its inode and are in no run
    dev_t device = 0;
  };
  struct DirEntry {
    std::string name;
    NodeId id = 0;
    FileType type = FileType::kRegular;  ///< as the directory says; Stat's word counts
  };

  /// `image` must outlive the reader. `name` is for errors. Checks magic, checksum, features and sizes.
  /// Errors: kCorrupt, kUnsupported (a feature that this reader does not know).
  static Result<ErofsReader> Open(FdRef image, std::string name);
  ErofsReader(ErofsReader&&) noexcept;
  ErofsReader& operator=(ErofsReader&&) noexcept;
  ~ErofsReader();

  /// Reads the metadata into memory when it has at most `max_bytes`: then no question but ReadFile needs a system call. Says
  /// whether it did. Errors: kCorrupt, kIo. Threads: before others use the reader.
  Result<bool> HoldMetadata(uint64_t max_bytes);

  NodeId root() const;
  FdRef image() const;
  unsigned block_bits() const;
  uint64_t blocks() const;
  uint64_t inode_count() const;
  size_t device_count() const;

  /// All errors are kCorrupt with the image's name and the node, or kIo.
  Result<Node> Stat(NodeId node) const;
  /// Without '.' and '..', in the image's order (bytewise).
  Result<std::vector<DirEntry>> List(NodeId directory) const;
  /// nullopt when there is no such name. O(log entries) blocks.
  Result<std::optional<NodeId>> Lookup(NodeId directory, std::string_view name) const;
  Result<std::string> ReadLink(NodeId symlink) const;
  /// All of them, overlay.* included, full names.
  Result<std::vector<Xattr>> Xattrs(NodeId node) const;
  /// Where a regular file's data is: ascending; holes left out. Inline tails are not runs: see ReadFile.
  /// Errors besides: kLimitExceeded for more than `max_runs`.
  Result<std::vector<LayerTree::Run>> Runs(NodeId file, size_t max_runs = SIZE_MAX) const;
  /// Data that is in this image (device 0) or a hole. Returns the bytes read, less than asked for only at the end of the file.
  /// Errors: kInvalidArgument for data on another device.
  Result<size_t> ReadFile(NodeId file, uint64_t offset, std::span<std::byte> buffer) const;

  /// Everything, with overlayfs' spellings turned back into whiteouts, opaque marks and objects. Refuses (kCorrupt) what a tree
  /// cannot be: a directory with two names, a loop, '/' or NUL in a name, two equal names, wrong link counts.
  /// Errors besides: kLimitExceeded for more than 1 GiB of metadata (about ten million files) or 256 MiB of different xattrs.
  /// Directories are not `implied`: an image does not say. Cost: O(metadata); the metadata is in memory meanwhile.
  Result<LayerTree> Load() const;

 private:
  struct State;
  explicit ErofsReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace snap
