// Which UnionBackend mounts for a command: the kernel's overlayfs, FUSE, or FUSE where the kernel's is not to be had.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "fs/union_backend.h"
#include "tools/snap/settings.h"

namespace snap::cli {

/// `note` gets one sentence, at most once, when a mount is made by FUSE because overlayfs was refused.
/// Layers are imported for the backend that was chosen: with BackendChoice::kAuto and no EROFS they become trees.
std::shared_ptr<UnionBackend> MakeBackend(const Settings& settings, std::function<void(std::string_view)> note);

}  // namespace snap::cli
