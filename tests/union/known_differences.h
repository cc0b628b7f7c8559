// Where a union may differ from the kernel's overlayfs and still be right: the whole list, with the reasons.
// Everything else that differs is a failure.
//   What ReadTree and operations do not compare at all:
//   - the number of links, the size and the blocks of directories: overlayfs says 1 for merged ones, others
//   count
//   - st_dev, st_ino itself (what is compared: that it stays over a copy-up wherever the kernel's stays, that
//   names share it
//     where the kernel's do, and that d_ino is the same), atime, ctime, birth time, times after the start of
//     the test
//   - removing a directory that shows nothing because of whiteouts that are files with overlay.whiteout: the
//   kernel says ENOTEMPTY, so
//     seeds with such whiteouts have no removals of directories
//   - what a read-only mapping of a lower file shows after the copy-up: the kernel's keeps the old pages,
//   others may do better
#pragma once

#include <string>

#include "tests/union/operation.h"
#include "tests/union/tree.h"

namespace snap::test {

/// What holds where the test works. `on_tmpfs`: the layers are on a tmpfs.
void SetCircumstances(bool on_tmpfs);

/// The reason why the outcomes may differ, or nullptr.
const char* MayDiffer(const Operation& operation, const Outcome& kernel, const Outcome& other);

/// The reason why a field of a file may differ, or nullptr.
const char* MayDiffer(const std::string& field, const FileRecord& kernel, const FileRecord& other);

/// The reason why what `program` shows may contradict itself (FileRecord::contradictions), or nullptr.
const char* MayContradict(const std::string& program, const std::string& contradiction);

}  // namespace snap::test
