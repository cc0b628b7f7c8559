// Whiteouts: how a layer says that something of the layers below is gone, in its two spellings.
//   OCI layers (tar names):         ".wh.NAME" removes NAME; ".wh..wh..opq" hides all lower entries of its directory;
//                                   other ".wh..wh.*" names are AUFS bookkeeping and are ignored.
//   overlayfs (on disk, kernel):    a character device 0:0 called NAME; xattr "trusted.overlay.opaque" = "y" on the
//                                   directory ("user.overlay." when mounted with userxattr).
// Sources: OCI image-spec, layer.md, "Whiteouts"; Linux Documentation/filesystems/overlayfs.rst.
// Invariant: this is the only table; every reader and writer of layers goes through it.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "fs/base/rel_path.h"
#include "fs/base/result.h"

namespace snap::whiteout {

inline constexpr std::string_view kPrefix = ".wh.";
inline constexpr std::string_view kOpaqueName = ".wh..wh..opq";
inline constexpr const char* kOpaqueXattr = "trusted.overlay.opaque";
inline constexpr const char* kUserOpaqueXattr = "user.overlay.opaque";
inline constexpr std::string_view kOpaqueValue = "y";
/// On a directory that holds whiteouts, with an empty value ("copied up from somewhere"). overlayfs filters whiteouts only
/// out of directories that it merges or that carry this mark; without it, a directory that no lower layer has, or that is
/// opaque, lists them as unreadable names (ovl_path_check_origin_xattr in fs/overlayfs/inode.c).
inline constexpr const char* kOriginXattr = "trusted.overlay.origin";
inline constexpr const char* kUserOriginXattr = "user.overlay.origin";
/// On a regular file whose bytes are elsewhere: metacopy, with an empty value, says so, and redirect where: "/PATH" in a
/// data-only layer below.
inline constexpr const char* kMetacopyXattr = "trusted.overlay.metacopy";
inline constexpr const char* kRedirectXattr = "trusted.overlay.redirect";

enum class Kind { kNone, kWhiteout, kOpaque, kIgnored };
struct Parsed {
  Kind kind = Kind::kNone;
  RelPath path;  ///< kWhiteout: what is removed; kOpaque: the directory; otherwise the path itself
};
/// Reads a tar name. Errors: kInvalidArgument for a whiteout of nothing, '.', '..' (".wh.", ".wh..", ".wh...") or
/// with a whiteout prefix in a directory component.
Result<Parsed> FromTarName(const RelPath& path);
/// ".wh.NAME" beside NAME; the inverse of FromTarName. kLimitExceeded when the name becomes longer than 255 bytes.
Result<RelPath> WhiteoutTarName(const RelPath& removed);
RelPath OpaqueTarName(const RelPath& directory);

/// True for what overlayfs takes as a whiteout.
bool IsOverlayWhiteout(mode_t mode, dev_t device);
/// What an xattr tells an overlay mount about the file that carries it.
enum class Mark {
  kNone,
  kOpaque,          ///< of a directory: lower layers are not looked at
  kXattrWhiteouts,  ///< of a directory: empty files in it with kWhiteout are whiteouts (since Linux 6.7)
  kWhiteout,
  kMetacopy,        ///< of a file: its data is below
  kRedirect,        ///< of a directory: its lower part has another name, since it was renamed
};
/// A mount looks at one spelling only: "user.overlay." if mounted with userxattr, otherwise "trusted.overlay.". The other
/// one is then anybody's, a container's own overlay mounts for example, and is kNone.
Mark ReadMark(std::string_view name, std::string_view value, bool user_xattr);
/// True for xattrs that direct an overlay mount ("trusted.overlay.*", "user.overlay.*"): never taken from a layer,
/// since redirect and metacopy would let a layer reach other layers' files.
bool IsOverlayXattr(std::string_view name);

}  // namespace snap::whiteout
