// Layers are read from the top, and a name is settled by the first that says anything about it: whiteouts take part as items
// that are left out at the end. Only directories go on collecting, until something else has their name.
// Layers are hostile: names are hashed with a secret, so that nobody can make them collide.
#include "fuse/directory_view.h"

#include <algorithm>
#include <array>
#include <limits>

#include "fs/base/sys_process.h"
#include "fs/whiteout.h"
#include "fs/xxhash.h"

namespace snap::fuse {
namespace {

constexpr std::array<const char*, 3> kOpaqueXattrs = {whiteout::kOpaqueXattr, whiteout::kUserOpaqueXattr,
                                                      "user.fuseoverlayfs.opaque"};
constexpr std::string_view kXattrWhiteoutsValue = "x";
constexpr std::array<const char*, 2> kWhiteoutXattrs = {"trusted.overlay.whiteout", "user.overlay.whiteout"};

bool SaysNothing(Errno error) { return error == ENODATA || error == EOPNOTSUPP || error == EPERM || error == EACCES; }

/// What the opaque xattrs of a directory say; the names are listed first since nearly no directory has any.
struct Marks {
  bool opaque = false;           ///< "y"
  bool xattr_whiteouts = false;  ///< "x"
};
SysResult<Marks> ReadMarks(LayerDir& directory) {
  Marks marks;
  const SysResult<std::vector<std::string>> names = directory.ListXattrSelf();
  if (!names.ok()) {
    if (SaysNothing(names.error())) return marks;
    return names.error();
  }
  for (const std::string& name : *names) {
    if (std::find(kOpaqueXattrs.begin(), kOpaqueXattrs.end(), name) == kOpaqueXattrs.end()) continue;
    const SysResult<std::string> value = directory.GetXattrSelf(name);
    if (!value.ok()) {
      if (SaysNothing(value.error())) continue;
      return value.error();
    }
    if (*value == whiteout::kOpaqueValue) marks.opaque = true;
    if (*value == kXattrWhiteoutsValue) marks.xattr_whiteouts = true;
  }
  return marks;
}

SysResult<bool> IsXattrWhiteout(LayerDir& directory, const LayerName& name) {
  SNAP_TRY(const FileStat stat, directory.Stat(name));
  if (stat.st.st_size != 0) return false;
  for (const char* mark : kWhiteoutXattrs) {
    const SysResult<std::string> value = directory.GetXattr(name, mark);
    if (value.ok()) return true;
    if (!SaysNothing(value.error())) return value.error();
  }
  return false;
}

uint64_t HashOf(std::string_view name) {
  static const uint64_t kSecret = [] {
    std::array<uint64_t, 1> secret{};
    sys::FillRandom(std::as_writable_bytes(std::span(secret)));
    return secret[0];
  }();
  return Xxh3Of64(name, kSecret);
}

/// Open addressing: the bucket that has the name, or the free one where it would go.
template <typename Item>
size_t BucketOf(const std::vector<uint32_t>& buckets, const std::vector<Item>& items, std::string_view names,
                std::string_view name) {
  const size_t mask = buckets.size() - 1;
  size_t bucket = HashOf(name) & mask;
  while (buckets[bucket] != 0) {
    const Item& item = items[buckets[bucket] - 1];
    if (names.substr(item.name_offset, item.name_size) == name) break;
    bucket = (bucket + 1) & mask;
  }
  return bucket;
}

/// A quarter of the buckets stays free at least.
bool HasRoom(size_t buckets, size_t items) { return 4 * items <= 3 * buckets; }

template <typename Item>
std::vector<uint32_t> MakeBuckets(size_t capacity, const std::vector<Item>& items, std::string_view names) {
  size_t size = 4;
  while (!HasRoom(size, capacity)) size *= 2;
  std::vector<uint32_t> buckets(size);
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string_view name = names.substr(items[i].name_offset, items[i].name_size);
    buckets[BucketOf(buckets, items, names, name)] = static_cast<uint32_t>(i + 1);
  }
  return buckets;
}

}  // namespace

class DirectoryView::Builder {
 public:
  SysResult<void> Add(LayerDir& directory, uint16_t layer) {
    SNAP_TRY(std::vector<LayerName> all, directory.List());
    if (names_.size() + all.size() * 256 > std::numeric_limits<uint32_t>::max()) return Errno(EOVERFLOW);
    const size_t capacity = items_.size() + all.size();
    if (!HasRoom(buckets_.size(), capacity)) buckets_ = MakeBuckets(capacity, items_, names_);
    // Whiteouts after the rest: one beside an entry of its name, as ".wh." files can be, speaks of the layers below.
    std::vector<std::string> whiteouts;
    std::optional<Marks> marks;
    for (LayerName& name : all) {
      if (name.name.starts_with(whiteout::kPrefix)) {  // ".wh..wh..opq" is IsOpaque's
        whiteouts.push_back(name.name.substr(whiteout::kPrefix.size()));
        continue;
      }
      bool hides = false;
      if (name.type == FileType::kCharDevice) {
        SNAP_TRY(const FileStat stat, directory.Stat(name));
        hides = whiteout::IsOverlayWhiteout(stat.st.st_mode, stat.st.st_rdev);
      } else if (name.type == FileType::kRegular) {
        if (!marks) {
          SNAP_TRY(marks, ReadMarks(directory));
        }
        if (marks->xattr_whiteouts) {
          SNAP_TRY(hides, IsXattrWhiteout(directory, name));
        }
      }
      if (hides) {
        whiteouts.push_back(std::move(name.name));
      } else {
        Show(name, layer);
      }
    }
    for (const std::string& name : whiteouts) Hide(name, layer);
    return {};
  }

  std::shared_ptr<const DirectoryView> Finish() {
    auto view = std::make_shared<DirectoryView>();
    view->items_.reserve(shown_);
    view->names_.reserve(shown_bytes_);
    uint32_t first_part = 0;
    for (Draft& draft : items_) {
      if (draft.hidden) continue;
      Item item;
      item.inode = draft.inode;
      item.name_offset = static_cast<uint32_t>(view->names_.size());
      item.first_part = first_part;
      item.layer = draft.layer;
      item.name_size = draft.name_size;
      item.type = draft.type;
      first_part += draft.parts;
      view->names_.append(names_, draft.name_offset, draft.name_size);
      draft.item = static_cast<uint32_t>(view->items_.size());
      view->items_.push_back(item);
    }
    // The parts of each item together, in the order in which they came.
    view->parts_.resize(parts_.size());
    for (const DraftPart& part : parts_) {
      Item& item = view->items_[items_[part.of].item];
      view->parts_[item.first_part + item.parts++] = part.part;
    }
    view->buckets_ = MakeBuckets(view->items_.size(), view->items_, view->names_);
    return view;
  }

 private:
  struct Draft {
    uint64_t inode = 0;
    uint32_t name_offset = 0;
    uint32_t item = 0;      // in the view
    uint16_t layer = 0;
    uint16_t seen_in = 0;   // the last layer that spoke of it
    uint16_t parts = 0;
    uint8_t name_size = 0;
    FileType type = FileType::kRegular;
    bool hidden = false;    // a whiteout
    bool settled = false;   // layers further down do not matter
  };
  struct DraftPart {
    uint32_t of = 0;  // in items_
    Part part;
  };

  /// The item of the name, nullptr when this is the first layer that speaks of it: it is made then.
  Draft* FindOrAdd(std::string_view name, uint16_t layer) {
    uint32_t& bucket = buckets_[BucketOf(buckets_, items_, names_, name)];
    if (bucket != 0) return &items_[bucket - 1];
    Draft draft;
    draft.name_offset = static_cast<uint32_t>(names_.size());
    draft.name_size = static_cast<uint8_t>(name.size());
    draft.layer = draft.seen_in = layer;
    names_ += name;
    items_.push_back(draft);
    bucket = static_cast<uint32_t>(items_.size());
    return nullptr;
  }
  void Show(const LayerName& name, uint16_t layer) {
    Draft* const known = FindOrAdd(name.name, layer);
    if (known == nullptr) {
      Draft& added = items_.back();
      added.inode = name.inode;
      added.type = name.type;
      added.settled = name.type != FileType::kDirectory;
      ++shown_;
      shown_bytes_ += name.name.size();
      return;
    }
    if (known->settled || known->seen_in == layer) return;  // a layer cannot have a name twice: the first counts
    if (name.type != FileType::kDirectory) {
      known->settled = true;
      return;
    }
    known->seen_in = layer;
    ++known->parts;
    parts_.push_back({static_cast<uint32_t>(known - items_.data()), {name.inode, layer}});
  }
  void Hide(std::string_view name, uint16_t layer) {
    if (name.size() > std::numeric_limits<uint8_t>::max()) return;
    Draft* known = FindOrAdd(name, layer);
    if (known == nullptr) {
      known = &items_.back();
      known->hidden = true;
    }
    known->settled = true;
  }

  std::vector<Draft> items_;
  std::vector<DraftPart> parts_;
  std::string names_;
  std::vector<uint32_t> buckets_;
  size_t shown_ = 0, shown_bytes_ = 0;
};

SysResult<bool> IsOpaque(LayerDir& directory) {
  SNAP_TRY(const Marks marks, ReadMarks(directory));
  if (marks.opaque) return true;
  const SysResult<FileStat> file = directory.Stat({std::string(whiteout::kOpaqueName), 0, FileType::kRegular});
  if (file.ok()) return true;
  if (!(file.error() == ENOENT)) return file.error();
  return false;
}

SysResult<std::shared_ptr<const DirectoryView>> DirectoryView::Build(
    std::span<const std::shared_ptr<LayerDir>> dirs_top_first) {
  if (dirs_top_first.size() > std::numeric_limits<uint16_t>::max()) return Errno(EOVERFLOW);
  Builder builder;
  for (size_t i = 0; i < dirs_top_first.size(); ++i) {
    SNAP_TRY_VOID(builder.Add(*dirs_top_first[i], static_cast<uint16_t>(i)));
  }
  return builder.Finish();
}

std::optional<DirectoryView::Found> DirectoryView::Find(std::string_view name) const {
  const uint32_t found = buckets_[BucketOf(buckets_, items_, names_, name)];
  if (found == 0) return std::nullopt;
  const Item& item = items_[found - 1];
  return Found{{std::string(name), item.inode, item.type}, item.layer, std::span(parts_).subspan(item.first_part, item.parts)};
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
