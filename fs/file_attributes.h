// Owner, permissions, xattrs and times copied from one open file to another; what the union mount itself
// wrote is not part of them.
#pragma once

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_entry.h"

namespace snap {

/// Makes `target` a faithful copy of `source` in all but content: owner, mode, xattrs (those that `source`
/// lacks are removed; overlay's own are left alone) and mtime. Both are open for reading, of the same type.
Result<void> CopyAttributes(FdRef source, FdRef target);
/// The same for what cannot be opened (symlinks, devices, fifos), by name.
Result<void> CopyAttributesAt(FdRef source_dir, const char* source, FdRef target_dir, const char* target);

/// What a layer would say about the file: everything but overlay's own xattrs. Symlinks are not followed.
Result<Attributes> ReadAttributesAt(FdRef directory, const char* name);

}  // namespace snap
