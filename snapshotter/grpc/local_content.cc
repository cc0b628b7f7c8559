#include "snapshotter/grpc/local_content.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/sys_file.h"

namespace snap {

std::optional<UniqueFd> OpenLocalBlob(const std::vector<std::string>& roots, const Digest& digest,
                                      uint64_t size) {
  for (const std::string& root : roots) {
    const std::string path = root + "/blobs/sha256/" + digest.Hex();
    // Not blocking: a fifo there must not hold the call up before its type is known.
    auto file = sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (!file.ok()) continue;
    const auto found = sys::FStat(*file);
    if (!found.ok() || !S_ISREG(found->st_mode) || static_cast<uint64_t>(found->st_size) != size) continue;
    return *std::move(file);
  }
  return std::nullopt;
}

}  // namespace snap
