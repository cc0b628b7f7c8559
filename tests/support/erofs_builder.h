// ErofsBuilder: a layer tree with an image file for its data, and what a tree looks like, as text: from a
// LayerTree, and from a mount. Both sides say the same about the same tree.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/unique_fd.h"
#include "fs/erofs_writer.h"
#include "fs/layer_tree.h"

namespace snap::test {

/// A new file without a name in TMPDIR or /tmp.
UniqueFd NewImageFile();

class ErofsBuilder {
 public:
  explicit ErofsBuilder(unsigned block_bits = 9, size_t devices = 0);

  LayerTree tree;
  ErofsOptions options;

  FdRef file() const { return file_; }
  /// Where metadata will begin; grows with data.
  uint64_t next_block() const { return next_block_; }

  LayerTree::InodeId Directory(LayerTree::InodeId parent, std::string_view name);
  LayerTree::InodeId File(LayerTree::InodeId parent, std::string_view name, std::string_view content);
  /// `pieces`: offset and content; all but one that ends the file have whole blocks.
  LayerTree::InodeId Sparse(LayerTree::InodeId parent, std::string_view name, uint64_t size,
                            const std::vector<std::pair<uint64_t, std::string>>& pieces);
  LayerTree::InodeId Symlink(LayerTree::InodeId parent, std::string_view name, std::string_view target);
  LayerTree::InodeId Node(LayerTree::InodeId parent, std::string_view name, FileType type,
                          uint64_t device = 0);
  LayerTree::InodeId Object(LayerTree::InodeId parent, std::string_view name, const ObjectId& object);
  LayerTree::InodeId Whiteout(LayerTree::InodeId parent, std::string_view name) {
    return Node(parent, name, FileType::kCharDevice, 0);
  }
  void Xattrs(LayerTree::InodeId inode, const std::vector<Xattr>& xattrs) {
    tree.inode(inode).xattrs = tree.InternXattrs(xattrs);
  }

  /// Puts data into the image and returns its first block.
  uint64_t Store(std::string_view content);
  /// Writes the metadata; the image's bytes.
  Result<uint64_t> Write();

 private:
  LayerTree::InodeId Add(LayerTree::InodeId parent, std::string_view name, LayerTree::Inode inode);
  UniqueFd file_;
  uint64_t next_block_ = 0;
};

struct RandomTreeOptions {
  unsigned entries = 200;
  bool whiteouts = false;  ///< whiteouts and opaque directories
  bool objects = false;    ///< files whose data is an object, named by their content
};
/// Any tree. Names come from a small set, so that trees of different seeds share many.
/// `object` stores an object's bytes and says its id.
void FillRandomTree(ErofsBuilder& builder, std::mt19937& random, const RandomTreeOptions& options,
                    const std::function<ObjectId(std::string_view)>& object = {});

/// What of a listing is wanted: overlayfs shows other link counts, and hides its xattrs.
struct ListingOptions {
  bool links = true;
  bool overlay_xattrs = true;
};
using Listing = std::map<std::string, std::string>;  // path -> description
/// The root is ".". `devices`: the images that runs are in, the tree's own first; objects are shown by name.
Listing ListLayerTree(const LayerTree& tree, unsigned block_bits, const std::vector<FdRef>& devices,
                      const ListingOptions& options = {});
/// By system calls.
Listing ListMounted(FdRef root, const ListingOptions& options = {});
/// Only in one of them or different, as text; "" when they are equal.
std::string Difference(const Listing& a, const Listing& b);

}  // namespace snap::test
