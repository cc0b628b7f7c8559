// Names and inodes in two flat arrays, one hash table from (directory, name) to the name's entry: a layer of a hundred thousand
// files is a few large blocks of memory. Removed entries stay in their directory's list, marked, until somebody walks past them.
#include "fs/layer_tree.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <deque>
#include <map>

#include "fs/base/sys_process.h"
#include "fs/base/check.h"
#include "fs/xxhash.h"

namespace snap {
namespace {

constexpr uint64_t kMixer = 0x9E3779B97F4A7C15ULL;  // 2^64 / golden ratio: spreads consecutive directory ids

uint64_t RandomSeed() {
  uint64_t seed = 0;
  sys::FillRandom(std::as_writable_bytes(std::span(&seed, 1)));
  return seed;
}

}  // namespace

struct LayerTree::State {
  // Names come from layers: without a secret in the hash whoever makes one could make all of them collide.
  const uint64_t seed = RandomSeed();
  std::vector<Inode> inodes;
  std::vector<Entry> entries;
  std::string names;
  std::vector<EntryId> table;  // open addressing, a power of two, at most half full; kNone: never used
  size_t used_slots = 0;       // removed entries included
  size_t live = 0;

  std::deque<std::vector<Xattr>> xattr_sets;  // references stay valid
  std::map<std::vector<Xattr>, uint32_t> xattr_ids;
  uint64_t xattr_bytes = 0;
  std::deque<std::string> targets;
  uint64_t target_bytes = 0;
  std::vector<std::vector<Run>> runs;
  uint64_t run_count = 0;
  std::vector<ObjectId> objects;

  std::string_view NameOf(const Entry& entry) const {
    return std::string_view(names).substr(entry.name_offset, entry.name_size);
  }
  uint64_t Hash(InodeId directory, std::string_view name) const {
    return Xxh3Of64(name, seed ^ (directory * kMixer));
  }
  /// The entry's slot, or the free one where it would go.
  size_t Slot(InodeId directory, std::string_view name) const {
    const size_t mask = table.size() - 1;
    for (size_t slot = Hash(directory, name) & mask;; slot = (slot + 1) & mask) {
      if (table[slot] == kNone) return slot;
      const Entry& entry = entries[table[slot]];
      // A removed name keeps its place in the chain but is never found.
      if (entry.inode != kNone && entry.directory == directory && NameOf(entry) == name) return slot;
    }
  }
  void Grow() {
    constexpr size_t kFirstSlots = 1024;
    if (!table.empty() && 2 * (used_slots + 1) <= table.size()) return;
    size_t slots = kFirstSlots;
    while (slots < 4 * (live + 1)) slots *= 2;
    table.assign(slots, kNone);
    used_slots = 0;
    for (EntryId id = 0; id < entries.size(); ++id) {
      const Entry& entry = entries[id];
      if (entry.inode == kNone) continue;
      table[Slot(entry.directory, NameOf(entry))] = id;
      ++used_slots;
    }
  }
};

LayerTree::LayerTree() : state_(std::make_unique<State>()) {
  state_->xattr_sets.emplace_back();
  state_->xattr_ids.emplace(std::vector<Xattr>(), 0);
  Inode root;
  root.type = FileType::kDirectory;
  root.implied = true;
  root.permissions = 0755;
  root.links = 1;
  state_->inodes.push_back(root);
}
LayerTree::LayerTree(LayerTree&&) noexcept = default;
LayerTree& LayerTree::operator=(LayerTree&&) noexcept = default;
LayerTree::~LayerTree() = default;

LayerTree::EntryId LayerTree::Find(InodeId directory, std::string_view name) const {
  const State& state = *state_;
  return state.table.empty() ? kNone : state.table[state.Slot(directory, name)];
}

LayerTree::EntryId LayerTree::AddEntry(InodeId directory, std::string_view name, InodeId inode) {
  State& state = *state_;
  SNAP_CHECK(!name.empty() && name.size() <= 255 && state.inodes[directory].type == FileType::kDirectory);
  SNAP_CHECK(state.entries.size() < kNone - 1 && state.names.size() < kNone - 256);
  state.Grow();
  const size_t slot = state.Slot(directory, name);
  SNAP_CHECK(state.table[slot] == kNone);
  const auto id = static_cast<EntryId>(state.entries.size());
  Inode& parent = state.inodes[directory];
  state.entries.push_back({directory, inode, parent.data, static_cast<uint32_t>(state.names.size()),
                           static_cast<uint8_t>(name.size())});
  state.names.append(name);
  parent.data = id;
  state.table[slot] = id;
  ++state.used_slots;
  ++state.live;
  ++state.inodes[inode].links;
  return id;
}

void LayerTree::RemoveEntry(EntryId id) {
  State& state = *state_;
  std::vector<EntryId> removed{id};
  while (!removed.empty()) {
    Entry& entry = state.entries[removed.back()];
    removed.pop_back();
    Inode& inode = state.inodes[entry.inode];
    --inode.links;
    --state.live;
    entry.inode = kNone;
    if (inode.type != FileType::kDirectory) continue;
    for (EntryId child = inode.data; child != kNone; child = state.entries[child].next) {
      if (state.entries[child].inode != kNone) removed.push_back(child);
    }
    inode.data = kNone;
  }
}

void LayerTree::MoveEntry(EntryId id, InodeId directory, std::string_view name) {
  const InodeId inode = state_->entries[id].inode;
  AddEntry(directory, name, inode);
  Entry& entry = state_->entries[id];
  entry.inode = kNone;  // not RemoveEntry: what is below stays
  --state_->inodes[inode].links;
  --state_->live;
}

LayerTree::InodeId LayerTree::AddInode(const Inode& inode) {
  SNAP_CHECK(state_->inodes.size() < kNone - 1);
  state_->inodes.push_back(inode);
  state_->inodes.back().links = 0;
  return static_cast<InodeId>(state_->inodes.size() - 1);
}

const LayerTree::Inode& LayerTree::inode(InodeId id) const { return state_->inodes[id]; }
LayerTree::Inode& LayerTree::inode(InodeId id) { return state_->inodes[id]; }
const LayerTree::Entry& LayerTree::entry(EntryId id) const { return state_->entries[id]; }
std::string_view LayerTree::Name(EntryId id) const { return state_->NameOf(state_->entries[id]); }
LayerTree::EntryId LayerTree::FirstChild(InodeId directory) const { return state_->inodes[directory].data; }
size_t LayerTree::inode_count() const { return state_->inodes.size(); }
size_t LayerTree::entry_count() const { return state_->entries.size(); }
size_t LayerTree::live_entries() const { return state_->live; }

std::vector<LayerTree::EntryId> LayerTree::SortedChildren(InodeId directory) const {
  std::vector<EntryId> children;
  for (EntryId id = FirstChild(directory); id != kNone; id = state_->entries[id].next) {
    if (state_->entries[id].inode != kNone) children.push_back(id);
  }
  std::sort(children.begin(), children.end(), [this](EntryId a, EntryId b) { return Name(a) < Name(b); });
  return children;
}

uint32_t LayerTree::InternXattrs(const std::vector<Xattr>& xattrs) {
  if (xattrs.empty()) return 0;
  State& state = *state_;
  const auto [place, added] = state.xattr_ids.emplace(xattrs, static_cast<uint32_t>(state.xattr_sets.size()));
  if (added) {
    state.xattr_sets.push_back(xattrs);
    for (const Xattr& xattr : xattrs) state.xattr_bytes += 2 * (sizeof(Xattr) + xattr.name.size() + xattr.value.size());
  }
  return place->second;
}
const std::vector<Xattr>& LayerTree::Xattrs(uint32_t id) const { return state_->xattr_sets[id]; }

uint32_t LayerTree::AddTarget(std::string_view target) {
  state_->targets.emplace_back(target);
  state_->target_bytes += sizeof(std::string) + target.size();
  return static_cast<uint32_t>(state_->targets.size() - 1);
}
std::string_view LayerTree::Target(const Inode& symlink) const { return state_->targets[symlink.data]; }

uint32_t LayerTree::AddRuns(std::vector<Run> runs) {
  state_->run_count += runs.size();
  state_->runs.push_back(std::move(runs));
  return static_cast<uint32_t>(state_->runs.size() - 1);
}
std::vector<LayerTree::Run> LayerTree::Runs(const Inode& file) const {
  switch (file.data_kind) {
    case Inode::Data::kContiguous:
      return {{0, file.size, file.block, file.run_device}};
    case Inode::Data::kRuns:
      return state_->runs[file.data];
    case Inode::Data::kNone:
    case Inode::Data::kObject:
      break;
  }
  return {};
}

uint32_t LayerTree::AddObject(const ObjectId& object) {
  state_->objects.push_back(object);
  return static_cast<uint32_t>(state_->objects.size() - 1);
}
const ObjectId& LayerTree::Object(const Inode& file) const { return state_->objects[file.data]; }

void LayerTree::SetAttributes(InodeId id, const Attributes& attributes) {
  const uint32_t xattrs = InternXattrs(attributes.xattrs);
  Inode& inode = state_->inodes[id];
  inode.permissions = static_cast<uint16_t>(attributes.permissions & 07777U);
  inode.uid = attributes.uid;
  inode.gid = attributes.gid;
  inode.mtime = attributes.mtime.tv_sec;
  inode.mtime_ns = static_cast<uint32_t>(attributes.mtime.tv_nsec);
  inode.xattrs = xattrs;
}

Attributes LayerTree::AttributesOf(InodeId id) const {
  const Inode& inode = state_->inodes[id];
  Attributes attributes;
  attributes.permissions = inode.permissions;
  attributes.uid = inode.uid;
  attributes.gid = inode.gid;
  attributes.mtime = {.tv_sec = inode.mtime, .tv_nsec = static_cast<long>(inode.mtime_ns)};
  attributes.xattrs = Xattrs(inode.xattrs);
  return attributes;
}

uint64_t LayerTree::memory_bytes() const {
  const State& state = *state_;
  return state.inodes.size() * sizeof(Inode) + state.entries.size() * sizeof(Entry) + state.names.size() +
         state.table.size() * sizeof(EntryId) + state.xattr_bytes + state.target_bytes + state.run_count * sizeof(Run) +
         state.runs.size() * sizeof(std::vector<Run>) + state.objects.size() * sizeof(ObjectId);
}

}  // namespace snap
