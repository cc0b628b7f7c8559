// PackTree: a packed layer with the content of a directory, for tests of what reads packed layers.
#pragma once

#include <cstdint>
#include <string>

#include "fs/base/unique_fd.h"

namespace snap {

struct PackTreeOptions {
  uint64_t object_bytes = 8;  ///< files from this size on become objects
  size_t devices =
      0;  ///< data of small files goes to these further images in turn, not into the image itself
};

/// Writes the image "NAME" (and "NAME.1", "NAME.2", ... for devices) into `directory` and the objects of
/// large files into `objects`. Whiteouts, opaque marks, hard links, xattrs and devices are what they are in
/// `tree`. Every failure is a failed expectation.
void PackTree(FdRef tree, FdRef directory, const std::string& name, FdRef objects,
              const PackTreeOptions& options = {});

}  // namespace snap
