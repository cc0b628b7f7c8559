// Applying a tar to a LayerWriter: what an archive says becomes what a layer holds, and nothing else gets
// through. Invariant: a writer only sees paths that are RelPaths, whiteouts as calls and never as names or
// devices, and xattrs that a layer may set.
#pragma once

#include <cstdint>

#include "fs/base/result.h"
#include "fs/layer_writer.h"
#include "fs/tar_reader.h"

namespace snap {

struct ApplyOptions {
  uint64_t max_entries = 10'000'000;  ///< names of any kind, whiteouts and ignored ones included
};

/// What was seen and what was left out; for `inspect`.
struct ApplyReport {
  uint64_t entries =
      0;  ///< names in the archive; the sum of the following six and of whiteouts, opaque and ignored
  uint64_t files = 0;
  uint64_t directories = 0;
  uint64_t symlinks = 0;
  uint64_t hard_links = 0;
  uint64_t devices = 0;
  uint64_t fifos = 0;
  uint64_t whiteouts = 0;
  uint64_t opaque = 0;
  uint64_t ignored = 0;     ///< bookkeeping of AUFS, e.g. ".wh..wh.plnk"
  uint64_t duplicates = 0;  ///< entries whose name came before (the last one counts). Told by 64-bit hashes:
                            ///< who makes them collide spoils this count and nothing else
  uint64_t data_bytes = 0;  ///< of regular files as stored, holes not counted

  // xattrs left out, by reason. See the rules at JudgeXattr in layer_xattrs.h.
  uint64_t stripped_overlay = 0;   ///< "trusted.overlay.*", "user.overlay.*"
  uint64_t stripped_security = 0;  ///< "security.*" except "security.capability"
  uint64_t stripped_other =
      0;  ///< other "trusted.*", unknown namespaces, and what the type of file cannot hold
  uint64_t stripped() const { return stripped_overlay + stripped_security + stripped_other; }
};

/// Reads the archive to its end marker and passes every entry on, in order. LayerWriter::Finish is left to
/// the caller, who usually has a digest to compare first. Errors: "apply entry 'PATH': ..." with the code of
/// the reason. kInvalidArgument: a name with '..' or NUL, a whiteout of nothing, a hard link to itself, to
/// the root or to a whiteout, a root that is no directory, a device number that is a whiteout or that Linux
/// cannot represent; kLimitExceeded: a path or target too long or deep, too many entries; and everything that
/// the reader and the writer return. After an error the writer is only to be destroyed. Cost: O(archive);
/// eight bytes of memory per entry.
Result<ApplyReport> ApplyTar(TarReader& reader, LayerWriter& writer, const ApplyOptions& options = {});

}  // namespace snap
