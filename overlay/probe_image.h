// ProbeImage: the smallest packed layer, for finding out whether the kernel can mount one.
#pragma once

#include <array>
#include <cstddef>

namespace snap::overlay {

/// An EROFS image of three blocks of 512 bytes, as packed layers have them, with one file: "file", 4 bytes,
/// whose data overlayfs shall take from "/object" in a data-only layer. Read without overlayfs it says
/// "hole".
using ProbeImage = std::array<std::byte, 1536>;
extern const ProbeImage kProbeImage;

}  // namespace snap::overlay
