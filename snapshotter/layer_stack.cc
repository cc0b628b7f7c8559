#include "snapshotter/layer_stack.h"

#include <set>

#include "fs/erofs_reader.h"
#include "fs/file_attributes.h"
#include "fs/whiteout.h"

namespace snap {

Result<OpenedLayer> OpenLayer(const LayerStore& layers, const LayerId& id) {
  SNAP_TRY(const LayerManifest manifest, layers.Find(id));
  OpenedLayer opened{manifest, UniqueFd()};
  SNAP_TRY(opened.content, manifest.format == LayerFormat::kTree ? layers.OpenTree(id) : layers.OpenImage(id));
  return opened;
}

StackedLayer OpenedLayer::Stacked() const {
  return {manifest.id, manifest.format, content, manifest.checksums, manifest.usage.entries};
}

MountStack StackLayers(const LayerStore& layers, const std::vector<StackedLayer>& layers_top_first) {
  MountStack stack;
  std::set<LayerId> seen;
  for (const StackedLayer& layer : layers_top_first) {
    if (!seen.insert(layer.id).second) continue;
    if (layer.format == LayerFormat::kTree) {
      stack.lowers_top_first.emplace_back(layer.content);
    } else {
      stack.lowers_top_first.emplace_back(layer.content, std::vector<FdRef>(), layer.id.Hex());
      stack.objects = layers.objects().directory();
    }
  }
  return stack;
}

Result<Attributes> RootAttributes(LayerFormat format, FdRef content) {
  if (format == LayerFormat::kTree) return ReadAttributesAt(content, ".");
  SNAP_TRY(const ErofsReader reader, ErofsReader::Open(content, "layer.erofs"));
  SNAP_TRY(const ErofsReader::Node root, reader.Stat(reader.root()));
  Attributes attributes;
  attributes.permissions = root.permissions;
  attributes.uid = root.uid;
  attributes.gid = root.gid;
  attributes.mtime = root.mtime;
  SNAP_TRY(attributes.xattrs, reader.Xattrs(root.id));
  std::erase_if(attributes.xattrs, [](const Xattr& xattr) { return whiteout::IsOverlayXattr(xattr.name); });
  return attributes;
}

}  // namespace snap
