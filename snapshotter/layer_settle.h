// Settling: completing a layer's tree with what only the layers below know. Layers are extracted without
// their lowers, all at once; a stream that relies on them (directories it never names, hard links to lower
// files) is finished here.
#pragma once

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_editor.h"
#include "fs/layer_writer.h"

namespace snap {

/// `layer` edits the layer itself, `lowers` is the root of the merged, read-only mount of what is below it.
/// - An implied directory gets the attributes of the lower directory of that name; where there is none it stays as it is.
/// - Where the lower entry is a symlink to a directory, the entries move to where it leads (inside the image), as they would
///   when Docker extracts the layer over its parents; a directory in the symlink's place would hide everything behind it.
///   Exception: a link that leads nowhere, to no directory, or to something this layer replaces.
/// - A hard link to a lower file makes a copy of that file in this layer, under its own name, and links to it.
/// - The root, when the stream did not name it, gets the lower root's attributes.
/// Adds what was copied to summary.usage.
/// Errors: kInvalidArgument when a hard link's target does not exist or is a directory.
Result<void> SettleLayer(LayerEditor& layer, FdRef lowers, LayerSummary& summary);

}  // namespace snap
