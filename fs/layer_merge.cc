// Goes down all layers' copies of a directory at once, top first; where only one layer has a directory its
// content is copied. Invariant: a name is decided by the topmost layer that has it; layers below add to it
// only while all of them have a directory there and none is opaque.
#include "fs/layer_merge.h"

#include <algorithm>
#include <limits>
#include <span>
#include <string_view>
#include <unordered_map>

#include "fs/base/check.h"
#include "fs/base/sys_process.h"
#include "fs/xxhash.h"

namespace snap {
namespace {

using Inode = LayerTree::Inode;
using InodeId = LayerTree::InodeId;
using EntryId = LayerTree::EntryId;

class Merger {
 public:
  Merger(const std::vector<const LayerTree*>& layers_bottom_first, const std::vector<uint16_t>& first_device)
      : layers_(layers_bottom_first), first_device_(first_device) {
    for (const LayerTree* layer : layers_) {
      inode_of_.emplace_back(layer->inode_count(), LayerTree::kNone);
      objects_.emplace_back();
      xattrs_.emplace_back();
    }
    sys::FillRandom(std::as_writable_bytes(std::span(&hash_.seed, 1)));
  }

  Result<LayerTree> Merge() {
    Directory root;
    for (size_t i = layers_.size(); i-- > 0;) {
      root.parts.push_back({i, LayerTree::kRoot});
      if (layers_[i]->inode(LayerTree::kRoot).opaque) break;
    }
    if (!root.parts.empty()) {
      const uint32_t links = tree_.inode(LayerTree::kRoot).links;
      SNAP_TRY(Inode inode, ConvertDirectory(root.parts));
      inode.links = links;
      tree_.inode(LayerTree::kRoot) = inode;
    }
    waiting_.push_back(std::move(root));
    while (!waiting_.empty()) {
      const Directory next = std::move(waiting_.back());
      waiting_.pop_back();
      SNAP_TRY_VOID(MergeDirectory(next));
    }
    return std::move(tree_);
  }

 private:
  struct Part {
    size_t layer = 0;
    InodeId inode = LayerTree::kNone;
  };
  /// A directory of the result and where its content comes from, top first.
  struct Directory {
    InodeId id = LayerTree::kRoot;
    std::vector<Part> parts;
  };
  /// Names come from layers, so the table needs a secret.
  struct NameHash {
    uint64_t seed = 0;
    size_t operator()(std::string_view name) const { return Xxh3Of64(name, seed); }
  };
  /// A name of a directory that several layers have.
  struct Name {
    bool closed = false;  // what lower layers have there is hidden
    std::vector<Part> directories;
  };

  Result<void> MergeDirectory(const Directory& directory);
  Result<void> AddDirectory(InodeId parent, std::string_view name, std::vector<Part> parts);
  Result<void> AddFile(InodeId parent, std::string_view name, Part part);
  /// The inode without what depends on its type's content.
  Inode CopyAttributes(const Part& part);
  Result<Inode> ConvertDirectory(const std::vector<Part>& parts_top_first);
  Result<Inode> ConvertFile(const Part& part);
  Result<uint16_t> Device(size_t layer, uint16_t device) const;

  const std::vector<const LayerTree*>& layers_;
  const std::vector<uint16_t>& first_device_;
  LayerTree tree_;
  std::vector<std::vector<InodeId>> inode_of_;  // by layer and its inode: for hard links
  std::vector<std::unordered_map<uint32_t, uint32_t>> xattrs_;
  std::vector<std::unordered_map<uint32_t, uint32_t>> objects_;
  std::vector<Directory> waiting_;
  NameHash hash_;
};

Result<void> Merger::MergeDirectory(const Directory& directory) {
  const bool alone = directory.parts.size() == 1;
  std::unordered_map<std::string_view, Name, NameHash> names(0, hash_);
  for (const Part& part : directory.parts) {
    const LayerTree& layer = *layers_[part.layer];
    for (EntryId id = layer.FirstChild(part.inode); id != LayerTree::kNone; id = layer.entry(id).next) {
      const InodeId child = layer.entry(id).inode;
      if (child == LayerTree::kNone) continue;
      const Inode& inode = layer.inode(child);
      const std::string_view text = layer.Name(id);
      const Part here{part.layer, child};
      if (alone) {
        if (inode.type == FileType::kDirectory) {
          SNAP_TRY_VOID(AddDirectory(directory.id, text, {here}));
        } else if (!inode.IsWhiteout()) {
          SNAP_TRY_VOID(AddFile(directory.id, text, here));
        }
        continue;
      }
      Name& name = names[text];
      if (name.closed) continue;
      if (inode.type == FileType::kDirectory) {
        name.directories.push_back(here);
        name.closed = inode.opaque;
        continue;
      }
      name.closed = true;
      // Below a directory nothing else is seen of it than that it ends here.
      if (name.directories.empty() && !inode.IsWhiteout()) SNAP_TRY_VOID(AddFile(directory.id, text, here));
    }
  }
  for (auto& [text, name] : names) {
    if (!name.directories.empty())
      SNAP_TRY_VOID(AddDirectory(directory.id, text, std::move(name.directories)));
  }
  return {};
}

Result<void> Merger::AddDirectory(InodeId parent, std::string_view name, std::vector<Part> parts) {
  SNAP_TRY(const Inode inode, ConvertDirectory(parts));
  const InodeId id = tree_.AddInode(inode);
  tree_.AddEntry(parent, name, id);
  waiting_.push_back({id, std::move(parts)});
  return {};
}

Result<void> Merger::AddFile(InodeId parent, std::string_view name, Part part) {
  InodeId& known = inode_of_[part.layer][part.inode];
  if (known == LayerTree::kNone) {
    SNAP_TRY(const Inode inode, ConvertFile(part));
    known = tree_.AddInode(inode);
  }
  tree_.AddEntry(parent, name, known);
  return {};
}

Inode Merger::CopyAttributes(const Part& part) {
  const LayerTree& layer = *layers_[part.layer];
  Inode inode = layer.inode(part.inode);
  if (inode.xattrs != 0) {
    const auto [place, added] = xattrs_[part.layer].try_emplace(inode.xattrs, 0);
    if (added) place->second = tree_.InternXattrs(layer.Xattrs(inode.xattrs));
    inode.xattrs = place->second;
  }
  inode.links = 0;
  inode.data = LayerTree::kNone;
  return inode;
}

Result<Inode> Merger::ConvertDirectory(const std::vector<Part>& parts_top_first) {
  const auto named = std::find_if(parts_top_first.begin(), parts_top_first.end(), [this](const Part& part) {
    return !layers_[part.layer]->inode(part.inode).implied;
  });
  Inode inode = CopyAttributes(named == parts_top_first.end() ? parts_top_first.front() : *named);
  inode.opaque = false;
  return inode;
}

Result<Inode> Merger::ConvertFile(const Part& part) {
  const LayerTree& layer = *layers_[part.layer];
  const Inode& from = layer.inode(part.inode);
  Inode inode = CopyAttributes(part);
  if (from.type == FileType::kSymlink) inode.data = tree_.AddTarget(layer.Target(from));
  if (from.type != FileType::kRegular) return inode;
  switch (from.data_kind) {
    case Inode::Data::kNone:
      break;
    case Inode::Data::kContiguous: {
      SNAP_TRY(inode.run_device, Device(part.layer, from.run_device));
      break;
    }
    case Inode::Data::kRuns: {
      std::vector<LayerTree::Run> runs = layer.Runs(from);
      for (LayerTree::Run& run : runs) {
        SNAP_TRY(run.device, Device(part.layer, run.device));
      }
      inode.data = tree_.AddRuns(std::move(runs));
      break;
    }
    case Inode::Data::kObject: {
      const auto [place, added] = objects_[part.layer].try_emplace(from.data, 0);
      if (added) place->second = tree_.AddObject(layer.Object(from));
      inode.data = place->second;
      break;
    }
  }
  return inode;
}

Result<uint16_t> Merger::Device(size_t layer, uint16_t device) const {
  const uint32_t sum = uint32_t{first_device_[layer]} + device;
  if (sum > std::numeric_limits<uint16_t>::max()) {
    return MakeError(ErrorCode::kLimitExceeded, "merge layers: there are more than {} devices",
                     std::numeric_limits<uint16_t>::max());
  }
  return static_cast<uint16_t>(sum);
}

}  // namespace

Result<LayerTree> MergeLayers(const std::vector<const LayerTree*>& layers_bottom_first,
                              const std::vector<uint16_t>& first_device) {
  SNAP_CHECK(layers_bottom_first.size() == first_device.size());
  return Merger(layers_bottom_first, first_device).Merge();
}

}  // namespace snap
