// NodeTable: nodes by number, for as long as the kernel knows them, and upper files with several names by inode.
// Invariant: a node is in the table exactly while its lookup count is not zero (the root: always).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "fuse/node.h"

namespace snap::fuse {

/// Threads: safe. Its locks are innermost: nothing is called with them held.
class NodeTable {
 public:
  /// The next number; never given twice.
  NodeId NewId() { return next_id_.fetch_add(1, std::memory_order_relaxed); }

  /// nullptr when the kernel does not know it (any more).
  NodeRef Find(NodeId id) const;
  /// Counts a lookup and puts the node in the table if that was the first.
  void CountLookup(const NodeRef& node);
  /// Takes lookups back. True when that were the last: the node has left the table, and the caller cleans up after it.
  bool Forget(const NodeRef& node, uint64_t lookups);
  uint64_t size() const;

  /// Upper files with more than one name, so that all names lead to one node.
  struct FileKey {
    uint64_t device = 0, inode = 0;
    friend auto operator<=>(const FileKey&, const FileKey&) = default;
  };
  /// The node that is known under the key and lives; else `node`, which is known under it from now on.
  NodeRef ShareLinked(const FileKey& key, const NodeRef& node);

 private:
  static constexpr size_t kShards = 64;
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<NodeId, NodeRef> nodes;  // guarded by mutex
  };
  Shard& ShardOf(NodeId id) { return shards_[id % kShards]; }
  const Shard& ShardOf(NodeId id) const { return shards_[id % kShards]; }

  std::array<Shard, kShards> shards_;
  std::atomic<NodeId> next_id_{kRootNode};
  std::mutex linked_mutex_;
  std::map<FileKey, std::weak_ptr<Node>> linked_;  // guarded by linked_mutex_
};

}  // namespace snap::fuse
