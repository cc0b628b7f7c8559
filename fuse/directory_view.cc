// Entries of all layers are collected, sorted by name and layer, and reduced to the topmost of each name. A whiteout takes part as an entry
// that is dropped at the end.
#include "fuse/directory_view.h"

#include <algorithm>

#include "fs/whiteout.h"

namespace snap::fuse {
namespace {

constexpr std::string_view kFusePrefixOpaque = "user.fuseoverlayfs.opaque";

bool SaysNothing(Errno error) { return error == ENODATA || error == EOPNOTSUPP || error == EPERM || error == EACCES; }

SysResult<std::string> Mark(LayerDir& directory, const std::string& name) {
  SysResult<std::string> value = directory.GetXattrSelf(name);
  if (!value.ok() && SaysNothing(value.error())) return std::string();
  return value;
}

/// Names that a layer's directory removes from those below it, and those that it has.
struct Listed {
  std::vector<LayerName> names;
  std::vector<std::string> whiteouts;
};

SysResult<bool> HasXattrWhiteouts(LayerDir& directory) {
  for (const char* mark : {whiteout::kOpaqueXattr, whiteout::kUserOpaqueXattr}) {
    SNAP_TRY(const std::string value, Mark(directory, mark));
    if (value == "x") return true;
  }
  return false;
}

SysResult<bool> IsXattrWhiteout(LayerDir& directory, const LayerName& name) {
  SNAP_TRY(const FileStat stat, directory.Stat(name));
  if (stat.st.st_size != 0) return false;
  for (const char* mark : {"trusted.overlay.whiteout", "user.overlay.whiteout"}) {
    const SysResult<std::string> value = directory.GetXattr(name, mark);
    if (value.ok()) return true;
    if (!SaysNothing(value.error())) return value.error();
  }
  return false;
}

SysResult<Listed> Read(LayerDir& directory) {
  SNAP_TRY(std::vector<LayerName> all, directory.List());
  Listed listed;
  listed.names.reserve(all.size());
  std::optional<bool> xattr_whiteouts;
  for (LayerName& name : all) {
    if (name.name.starts_with(whiteout::kPrefix)) {  // ".wh..wh..opq" is IsOpaque's
      listed.whiteouts.push_back(name.name.substr(whiteout::kPrefix.size()));
    } else if (name.type == FileType::kCharDevice) {
      SNAP_TRY(const FileStat stat, directory.Stat(name));
      if (whiteout::IsOverlayWhiteout(stat.st.st_mode, stat.st.st_rdev)) {
        listed.whiteouts.push_back(std::move(name.name));
      } else {
        listed.names.push_back(std::move(name));
      }
    } else if (name.type == FileType::kRegular) {
      if (!xattr_whiteouts) {
        SNAP_TRY(xattr_whiteouts, HasXattrWhiteouts(directory));
      }
      bool hides = false;
      if (*xattr_whiteouts) {
        SNAP_TRY(hides, IsXattrWhiteout(directory, name));
      }
      if (hides) {
        listed.whiteouts.push_back(std::move(name.name));
      } else {
        listed.names.push_back(std::move(name));
      }
    } else {
      listed.names.push_back(std::move(name));
    }
  }
  return listed;
}

}  // namespace

SysResult<bool> IsOpaque(LayerDir& directory) {
  for (const std::string& mark : {std::string(whiteout::kOpaqueXattr), std::string(whiteout::kUserOpaqueXattr),
                                  std::string(kFusePrefixOpaque)}) {
    SNAP_TRY(const std::string value, Mark(directory, mark));
    if (value == whiteout::kOpaqueValue) return true;
  }
  const SysResult<FileStat> file = directory.Stat({std::string(whiteout::kOpaqueName), 0, FileType::kRegular});
  if (file.ok()) return true;
  if (!(file.error() == ENOENT)) return file.error();
  return false;
}

SysResult<std::shared_ptr<const DirectoryView>> DirectoryView::Build(
    std::span<const std::shared_ptr<LayerDir>> dirs_top_first) {
  struct Candidate {
    LayerName name;
    uint16_t layer;
    bool is_whiteout;
  };
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < dirs_top_first.size(); ++i) {
    SNAP_TRY(Listed listed, Read(*dirs_top_first[i]));
    const auto layer = static_cast<uint16_t>(i);
    for (LayerName& name : listed.names) candidates.push_back({std::move(name), layer, false});
    for (std::string& name : listed.whiteouts) candidates.push_back({{std::move(name), 0, FileType::kCharDevice}, layer, true});
  }
  // Within a layer an entry beats a ".wh." file of the same name: that one speaks of the layers below.
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    if (const int order = a.name.name.compare(b.name.name); order != 0) return order < 0;
    if (a.layer != b.layer) return a.layer < b.layer;
    return a.is_whiteout < b.is_whiteout;
  });
  auto view = std::make_shared<DirectoryView>();
  for (size_t i = 0; i < candidates.size();) {
    size_t end = i + 1;
    while (end < candidates.size() && candidates[end].name.name == candidates[i].name.name) ++end;
    const Candidate& top = candidates[i];
    if (!top.is_whiteout) {
      Item item;
      item.inode = top.name.inode;
      item.name_offset = static_cast<uint32_t>(view->names_.size());
      item.name_size = static_cast<uint8_t>(top.name.name.size());
      item.type = top.name.type;
      item.layer = top.layer;
      item.first_part = static_cast<uint32_t>(view->parts_.size());
      // A directory merges with those below it until something else has the name, or nothing may show any more.
      const auto merges = [](const Candidate& part) { return !part.is_whiteout && part.name.type == FileType::kDirectory; };
      for (size_t part = i + 1; part < end && merges(top) && merges(candidates[part]); ++part) {
        view->parts_.push_back({candidates[part].name.inode, candidates[part].layer});
        ++item.parts;
      }
      view->items_.push_back(item);
      view->names_ += top.name.name;
    }
    i = end;
  }
  view->items_.shrink_to_fit();
  view->names_.shrink_to_fit();
  view->parts_.shrink_to_fit();
  return std::shared_ptr<const DirectoryView>(std::move(view));
}

std::optional<DirectoryView::Found> DirectoryView::Find(std::string_view name) const {
  const auto found = std::lower_bound(items_.begin(), items_.end(), name,
                                      [this](const Item& item, std::string_view wanted) { return NameOf(item) < wanted; });
  if (found == items_.end() || NameOf(*found) != name) return std::nullopt;
  return Found{{std::string(name), found->inode, found->type},
               found->layer,
               std::span(parts_).subspan(found->first_part, found->parts)};
}

void DirectoryView::ForEach(const std::function<void(std::string_view)>& visit) const {
  for (const Item& item : items_) visit(NameOf(item));
}

SysResult<std::vector<std::shared_ptr<LayerDir>>> DirectoryView::ResolveDirectory(
    const Found& found, std::span<const std::shared_ptr<LayerDir>> dirs_top_first) {
  std::vector<std::shared_ptr<LayerDir>> parts;
  SNAP_TRY(std::shared_ptr<LayerDir> top, dirs_top_first[found.layer]->OpenDir(found.name));
  parts.push_back(std::move(top));
  for (const Part& below : found.below) {
    SNAP_TRY(const bool opaque, IsOpaque(*parts.back()));
    if (opaque) break;
    SNAP_TRY(std::shared_ptr<LayerDir> part,
             dirs_top_first[below.layer]->OpenDir({found.name.name, below.inode, FileType::kDirectory}));
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace snap::fuse
