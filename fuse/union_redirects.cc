// Redirects: an upper that the kernel's overlayfs wrote with redirect_dir or metacopy says in "overlay.redirect" where below a renamed
// directory or file comes from: "/path" from the root of the lowers, or another name in the same directory. We follow them and write
// none. Source: Documentation/filesystems/overlayfs.rst. Invariant: what is followed stays in the layers: names, never "..", symlinks
// or marks.
#include <string_view>

#include "fuse/union_impl.h"

namespace snap::fuse {
namespace {

bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." && name.find('/') == std::string_view::npos;
}

}  // namespace

SysResult<std::optional<std::string>> UnionFs::Impl::RedirectOf(const UpperFile& file) const {
  if (layers_.empty()) return std::optional<std::string>();
  SysResult<std::string> value = file.GetXattr(upper_->MarkName("redirect"));
  if (value.ok()) return std::optional(*std::move(value));
  if (value.error() == ENODATA || value.error() == EOPNOTSUPP) return std::optional<std::string>();
  return value.error();
}

SysResult<std::optional<UnionFs::Impl::LowerPlace>> UnionFs::Impl::FollowRedirect(const NodeRef& directory,
                                                                                  std::string_view redirect) {
  if (!redirect.starts_with('/')) {
    if (!IsPlainName(redirect)) return Errno(EIO);
    if (directory->directory->lowers.empty()) return std::optional<LowerPlace>();
    SNAP_TRY(std::shared_ptr<const DirectoryView> view, ViewOf(directory));
    std::optional<DirectoryView::Found> found = view->Find(redirect);
    if (!found) return std::optional<LowerPlace>();
    return std::optional(LowerPlace{directory->directory->lowers, std::move(view), *std::move(found)});
  }
  LowerPlace place;
  place.parents = root_->directory->lowers;
  for (std::string_view rest = redirect.substr(1);;) {
    const size_t slash = rest.find('/');
    const std::string_view name = rest.substr(0, slash);
    if (!IsPlainName(name)) return Errno(EIO);
    if (place.parents.empty()) return std::optional<LowerPlace>();
    SNAP_TRY(place.view, DirectoryView::Build(place.parents));
    std::optional<DirectoryView::Found> found = place.view->Find(name);
    if (!found) return std::optional<LowerPlace>();
    place.found = *std::move(found);
    if (slash == std::string_view::npos) return std::optional(std::move(place));
    if (place.found.name.type != FileType::kDirectory) return std::optional<LowerPlace>();
    SNAP_TRY(place.parents, DirectoryView::ResolveDirectory(place.found, place.parents));
    rest.remove_prefix(slash + 1);
  }
}

}  // namespace snap::fuse
