// Copying a committed layer into a LayerWriter of another format, as it is: settled, with its whiteouts and opaque directories.
#pragma once

#include "fs/erofs_reader.h"
#include "fs/layer_writer.h"
#include "fs/object_store.h"

namespace snap {

/// The writer's Finish is left to the caller. Errors: kCorrupt (an image that cannot be a layer, an object that is gone), and
/// what the writer returns. Cost: O(bytes).
Result<void> CopyPackedLayer(const ErofsReader& image, const ObjectStore& objects, LayerWriter& writer);
/// `tree`: the root of a layer directory. Nothing in it is followed.
Result<void> CopyTreeLayer(FdRef tree, LayerWriter& writer);

}  // namespace snap
