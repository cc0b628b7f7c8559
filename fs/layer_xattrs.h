// Which extended attributes a layer may set; asked when one is applied and when one is made.
#pragma once

#include <cstdint>
#include <string_view>

#include "fs/tar_reader.h"

namespace snap {

enum class XattrVerdict : uint8_t { kKeep, kOverlay, kSecurity, kOther };

/// kKeep for what programs inside a container can see or need:
///   user.*                on files and directories; the kernel has none on other types, where setting it
///   fails security.capability   of regular files (ping); the kernel checks the value when it is used
///   system.posix_acl_*    grants nothing that mode bits could not grant as well; not on symlinks, a default
///                         ACL only on directories, as in the kernel
/// The others say why not:
///   kOverlay     *.overlay.*: redirect, metacopy and opaque would let a layer reach other layers' files
///   kSecurity    security.* otherwise (ima, evm, selinux, SMACK): the host's policy, not the image's
///   kOther       trusted.* otherwise (how privileged programs of a host talk to themselves; nobody in a
///                container can read it), and namespaces that Linux lacks, e.g. "com.apple.quarantine"
XattrVerdict JudgeXattr(std::string_view name, TarEntry::Kind kind);

}  // namespace snap
