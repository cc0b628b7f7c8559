// The count and the membership change together under the shard's lock: a lookup that finds a node which is just being forgotten
// either counts before and keeps it, or puts it back.
#include "fuse/node_table.h"

#include "fs/base/check.h"

namespace snap::fuse {

NodeRef NodeTable::Find(NodeId id) const {
  const Shard& shard = ShardOf(id);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.nodes.find(id);
  return found == shard.nodes.end() ? nullptr : found->second;
}

void NodeTable::CountLookup(const NodeRef& node) {
  Shard& shard = ShardOf(node->id);
  const std::lock_guard lock(shard.mutex);
  if (node->lookups.fetch_add(1, std::memory_order_relaxed) == 0) shard.nodes.emplace(node->id, node);
}

bool NodeTable::Forget(const NodeRef& node, uint64_t lookups) {
  if (node->id == kRootNode) return false;
  Shard& shard = ShardOf(node->id);
  const std::lock_guard lock(shard.mutex);
  const uint64_t before = node->lookups.load(std::memory_order_relaxed);
  const uint64_t taken = std::min(before, lookups);
  node->lookups.store(before - taken, std::memory_order_relaxed);
  if (before != taken || before == 0) return false;
  shard.nodes.erase(node->id);
  return true;
}

uint64_t NodeTable::size() const {
  uint64_t nodes = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    nodes += shard.nodes.size();
  }
  return nodes;
}

NodeRef NodeTable::ShareLinked(const FileKey& key, const NodeRef& node) {
  const std::lock_guard lock(linked_mutex_);
  std::weak_ptr<Node>& place = linked_[key];
  NodeRef known = place.lock();
  if (known != nullptr) return known;
  place = node;
  return node;
}

}  // namespace snap::fuse
