// What a container or a build step changed, as a layer's archive: made from the upper directory of its mount,
// without looking at the layers below. What is in the archive and in which order: TreeEntries.
// Invariant: applied over the same lower layers, the archive gives the tree that the mount showed.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/byte_source.h"
#include "fs/layer_entry.h"
#include "fs/tar_writer.h"

namespace snap {

struct UpperTarOptions {
  std::string name = "upper";  ///< for errors
  bool user_xattr = false;     ///< the upper was written by a mount with userxattr
  /// Holes as GNU sparse members, which not every engine's tar reader knows. Off, they are zeros.
  bool keep_sparse = false;
  /// The root's attributes in the layers below: the root is left out if all but its time is still so.
  /// Without, it is always written ("./"): a mount shows its upper's root, whoever made it and whatever the
  /// layers say, and only the caller knows them. (containerd's walking differ never writes a root.)
  std::optional<Attributes> unchanged_root;
};

/// The whole archive. `merged` is the root of a mount that shows the upper over its lower layers, best a
/// read-only one; it may be nullopt where the upper has neither metacopy files nor renamed directories
/// (kInvalidArgument otherwise). Both are duplicated. Errors, costs: TreeEntries. Names of a hard-linked
/// lower file that overlayfs changes without copying them up ("index=on") are not in the upper, and so not in
/// the archive. A container that runs meanwhile gives a mixture of states, or kBusy; freeze it for one state.
Result<std::unique_ptr<ByteSource>> MakeUpperTarSource(FdRef upper, std::optional<FdRef> merged,
                                                       const UpperTarOptions& options = {});

/// The same entries into `out`; its Finish is left to the caller, who may have more to say.
/// Errors: also those of the writer's sink. Memory: 1 MiB.
Result<void> WriteUpperTar(FdRef upper, std::optional<FdRef> merged, TarWriter& out,
                           const UpperTarOptions& options = {});

}  // namespace snap
