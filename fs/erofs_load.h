// A whole image as a LayerTree.
#pragma once

#include "fs/base/result.h"
#include "fs/erofs_image.h"
#include "fs/layer_tree.h"

namespace snap::erofs {

/// See ErofsReader::Load. Cost: O(metadata), read in a few large pieces and held in memory meanwhile.
Result<LayerTree> LoadTree(const ErofsImage& image);

}  // namespace snap::erofs
