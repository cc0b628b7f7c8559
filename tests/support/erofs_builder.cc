#include "tests/support/erofs_builder.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <span>

#include "fs/base/check.h"
#include "fs/base/digest.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/whiteout.h"

namespace snap::test {
namespace {

using Inode = LayerTree::Inode;
using InodeId = LayerTree::InodeId;

/// SHA-256 of a file of any size: only what is data is read, with its place.
class ContentDigest {
 public:
  void Data(uint64_t offset, std::span<const std::byte> bytes) {
    // Zeros and holes are the same content: pages of zeros are left out.
    constexpr size_t kPiece = 512;
    for (size_t at = 0; at < bytes.size(); at += kPiece) {
      const auto piece = bytes.subspan(at, std::min(kPiece, bytes.size() - at));
      if (std::all_of(piece.begin(), piece.end(), [](std::byte b) { return b == std::byte{0}; })) continue;
      const uint64_t place = offset + at;
      sha_.Update(std::as_bytes(std::span(&place, 1)));
      sha_.Update(piece);
    }
  }
  std::string Finish() && { return std::move(sha_).Finish().Short(); }

 private:
  Sha256 sha_;
};

std::string DescribeAttributes(const char* type, unsigned permissions, uint32_t uid, uint32_t gid,
                               int64_t mtime, uint32_t mtime_ns) {
  return fmt::format("{} {:04o} {}:{} {}.{:09}", type, permissions, uid, gid, mtime, mtime_ns);
}

const char* TypeName(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "dir";
    case S_IFLNK:
      return "symlink";
    case S_IFCHR:
      return "char";
    case S_IFBLK:
      return "block";
    case S_IFIFO:
      return "fifo";
    default:
      return "socket";
  }
}

mode_t ModeOf(FileType type) {
  switch (type) {
    case FileType::kRegular:
      return S_IFREG;
    case FileType::kDirectory:
      return S_IFDIR;
    case FileType::kSymlink:
      return S_IFLNK;
    case FileType::kCharDevice:
      return S_IFCHR;
    case FileType::kBlockDevice:
      return S_IFBLK;
    case FileType::kFifo:
      return S_IFIFO;
    case FileType::kSocket:
      break;
  }
  return S_IFSOCK;
}

std::string DescribeXattrs(std::vector<Xattr> xattrs, const ListingOptions& options) {
  std::sort(xattrs.begin(), xattrs.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
  std::string out;
  for (const Xattr& xattr : xattrs) {
    if (!options.overlay_xattrs && whiteout::IsOverlayXattr(xattr.name)) continue;
    out += fmt::format(" {}={}", Quote(xattr.name), Quote(xattr.value));
  }
  return out;
}

class TreeLister {
 public:
  TreeLister(const LayerTree& tree, unsigned block_bits, const std::vector<FdRef>& devices,
             const ListingOptions& options)
      : tree_(tree), block_bits_(block_bits), devices_(devices), options_(options) {}
  Listing List() {
    out_["."] = Describe(LayerTree::kRoot);
    Below(LayerTree::kRoot, "");
    return std::move(out_);
  }

 private:
  void Below(InodeId directory, const std::string& prefix) {
    for (const LayerTree::EntryId entry : tree_.SortedChildren(directory)) {
      const std::string path = prefix + std::string(tree_.Name(entry));
      const InodeId inode = tree_.entry(entry).inode;
      out_[path] = Describe(inode);
      if (tree_.inode(inode).type == FileType::kDirectory) Below(inode, path + "/");
    }
  }
  std::string Describe(InodeId id) {
    const Inode& inode = tree_.inode(id);
    const bool is_directory = inode.type == FileType::kDirectory;
    std::string out = DescribeAttributes(TypeName(ModeOf(inode.type)), inode.permissions, inode.uid,
                                         inode.gid, inode.mtime, inode.mtime_ns);
    std::vector<Xattr> xattrs = tree_.Xattrs(inode.xattrs);
    uint32_t links = inode.links;
    if (is_directory) {
      links = 2;
      bool whiteouts = false;
      for (const LayerTree::EntryId entry : tree_.SortedChildren(id)) {
        const Inode& child = tree_.inode(tree_.entry(entry).inode);
        if (child.type == FileType::kDirectory) ++links;
        whiteouts = whiteouts || child.IsWhiteout();
      }
      if (inode.opaque) xattrs.push_back({"trusted.overlay.opaque", "y"});
      if (whiteouts) xattrs.push_back({"trusted.overlay.origin", ""});
    }
    if (options_.links) out += fmt::format(" links {}", links);
    if (inode.type == FileType::kCharDevice || inode.type == FileType::kBlockDevice) {
      out += fmt::format(" {}:{}", major(inode.device), minor(inode.device));
    }
    if (inode.type == FileType::kSymlink) out += " -> " + Quote(tree_.Target(inode));
    if (inode.type == FileType::kRegular) {
      const bool is_object = inode.data_kind == Inode::Data::kObject;
      if (is_object) {
        xattrs.push_back({"trusted.overlay.metacopy", ""});
        xattrs.push_back({"trusted.overlay.redirect", "/" + tree_.Object(inode).Path()});
      }
      ContentDigest digest;
      for (const LayerTree::Run& run : tree_.Runs(inode)) {
        std::string bytes(run.size, '\0');
        const auto buffer = std::as_writable_bytes(std::span(bytes));
        SNAP_CHECK(*sys::PRead(devices_.at(run.device), buffer, run.block << block_bits_) == run.size);
        digest.Data(run.offset, buffer);
      }
      out += fmt::format(" size {} {}", inode.size, std::move(digest).Finish());
    }
    return out + DescribeXattrs(xattrs, options_);
  }

  const LayerTree& tree_;
  unsigned block_bits_;
  const std::vector<FdRef>& devices_;
  ListingOptions options_;
  Listing out_;
};

std::string DescribeMounted(FdRef dir, const char* name, const ListingOptions& options) {
  const auto found = sys::StatAt(dir, name);
  if (!found.ok()) return "stat: " + found.error().Message();
  const struct stat& stat = *found;
  std::string out =
      DescribeAttributes(TypeName(stat.st_mode), stat.st_mode & 07777U, stat.st_uid, stat.st_gid,
                         stat.st_mtim.tv_sec, static_cast<uint32_t>(stat.st_mtim.tv_nsec));
  if (options.links) out += fmt::format(" links {}", stat.st_nlink);
  if (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode)) {
    out += fmt::format(" {}:{}", major(stat.st_rdev), minor(stat.st_rdev));
  }
  if (S_ISLNK(stat.st_mode)) {
    const auto target = sys::ReadLinkAt(dir, name);
    out += " -> " + (target.ok() ? Quote(*target) : target.error().Message());
  }
  if (S_ISREG(stat.st_mode)) {
    const auto file = sys::OpenAt(dir, name, O_RDONLY | O_NOFOLLOW);
    if (!file.ok()) return out + " open: " + file.error().Message();
    ContentDigest digest;
    std::vector<std::byte> buffer(1U << 18U);
    for (uint64_t at = 0;;) {
      const auto data = sys::Seek(*file, static_cast<int64_t>(at), SEEK_DATA);
      if (!data.ok()) break;
      at = *data / 512 * 512;
      const auto hole = sys::Seek(*file, static_cast<int64_t>(*data), SEEK_HOLE);
      while (hole.ok() && at < *hole) {
        const auto got =
            sys::PRead(*file, std::span(buffer).first(std::min<uint64_t>(buffer.size(), *hole - at)), at);
        if (!got.ok() || *got == 0) return out + " read: " + (got.ok() ? "short" : got.error().Message());
        digest.Data(at, std::span(buffer).first(*got));
        at += *got;
      }
    }
    out += fmt::format(" size {} {}", stat.st_size, std::move(digest).Finish());
  }
  std::vector<Xattr> xattrs;
  const auto names = sys::ListXattrAt(dir, name);
  if (!names.ok()) return out + " listxattr: " + names.error().Message();
  for (const std::string& xattr : *names) {
    const auto value = sys::GetXattrAt(dir, name, xattr.c_str());
    xattrs.push_back({xattr, value.ok() ? *value : "getxattr: " + value.error().Message()});
  }
  return out + DescribeXattrs(std::move(xattrs), options);
}

void MountedBelow(FdRef dir, const std::string& prefix, const ListingOptions& options, Listing& out) {
  const auto entries = sys::ListDir(dir);
  if (!entries.ok()) {
    out[prefix] = "readdir: " + entries.error().Message();
    return;
  }
  for (const sys::DirEntry& entry : *entries) {
    const std::string path = prefix + entry.name;
    std::string& text = out[path];
    if (!text.empty()) text += " listed twice ";
    text += DescribeMounted(dir, entry.name.c_str(), options);
    const auto child = sys::OpenAt(dir, entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (child.ok()) MountedBelow(*child, path + "/", options, out);
  }
}

}  // namespace

// Not a memfd: EROFS mounts no file of a tmpfs, which has no read_folio.
UniqueFd NewImageFile() {
  const char* base = std::getenv("TMPDIR");
  return *sys::OpenAt(FdRef::Cwd(), base != nullptr ? base : "/tmp", O_TMPFILE | O_RDWR, 0600);
}

ErofsBuilder::ErofsBuilder(unsigned block_bits, size_t devices) : file_(NewImageFile()) {
  options.block_bits = block_bits;
  next_block_ = ErofsDataStart(block_bits, devices);
}

InodeId ErofsBuilder::Add(InodeId parent, std::string_view name, Inode inode) {
  inode.permissions = inode.type == FileType::kDirectory ? 0755
                      : inode.type == FileType::kSymlink ? 0777
                                                         : 0644;
  inode.mtime = 1'700'000'000;
  const InodeId id = tree.AddInode(inode);
  tree.AddEntry(parent, name, id);
  return id;
}

InodeId ErofsBuilder::Directory(InodeId parent, std::string_view name) {
  Inode inode;
  inode.type = FileType::kDirectory;
  return Add(parent, name, inode);
}

InodeId ErofsBuilder::File(InodeId parent, std::string_view name, std::string_view content) {
  Inode inode;
  inode.size = content.size();
  if (!content.empty()) {
    inode.data_kind = Inode::Data::kContiguous;
    inode.block = Store(content);
  }
  return Add(parent, name, inode);
}

InodeId ErofsBuilder::Sparse(InodeId parent, std::string_view name, uint64_t size,
                             const std::vector<std::pair<uint64_t, std::string>>& pieces) {
  Inode inode;
  inode.size = size;
  std::vector<LayerTree::Run> runs;
  runs.reserve(pieces.size());
  for (const auto& [offset, content] : pieces) runs.push_back({offset, content.size(), Store(content), 0});
  if (!runs.empty()) {
    inode.data_kind = Inode::Data::kRuns;
    inode.data = tree.AddRuns(std::move(runs));
  }
  return Add(parent, name, inode);
}

InodeId ErofsBuilder::Symlink(InodeId parent, std::string_view name, std::string_view target) {
  Inode inode;
  inode.type = FileType::kSymlink;
  inode.size = target.size();
  inode.data = tree.AddTarget(target);
  return Add(parent, name, inode);
}

InodeId ErofsBuilder::Node(InodeId parent, std::string_view name, FileType type, uint64_t device) {
  Inode inode;
  inode.type = type;
  inode.device = device;
  return Add(parent, name, inode);
}

InodeId ErofsBuilder::Object(InodeId parent, std::string_view name, const ObjectId& object) {
  Inode inode;
  inode.size = object.size;
  inode.data_kind = Inode::Data::kObject;
  inode.data = tree.AddObject(object);
  return Add(parent, name, inode);
}

uint64_t ErofsBuilder::Store(std::string_view content) {
  const uint64_t block = next_block_;
  SNAP_CHECK(sys::PWriteAll(file_, std::as_bytes(std::span(content)), block << options.block_bits).ok());
  const uint64_t block_bytes = uint64_t{1} << options.block_bits;
  next_block_ += (content.size() + block_bytes - 1) / block_bytes;
  return block;
}

Result<uint64_t> ErofsBuilder::Write() {
  options.first_free_block = next_block_;
  return WriteErofs(file_, tree, options);
}

// --- random trees
// --------------------------------------------------------------------------------------------

void FillRandomTree(ErofsBuilder& builder, std::mt19937& random, const RandomTreeOptions& options,
                    const std::function<ObjectId(std::string_view)>& object) {
  LayerTree& tree = builder.tree;
  const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
  const auto name = [&] {
    std::string out = fmt::format("{}{}", "!-.abz"[below(6)], below(12));
    if (below(20) == 0) out += std::string(255 - out.size(), static_cast<char>(0x80 + below(100)));
    return out;
  };
  const std::vector<std::vector<Xattr>> xattr_sets = {
      {},
      {},
      {},
      {{"user.one", "1"}},
      {{"security.capability", std::string("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)}},
      {{"user.one", "1"}, {"user.large", std::string(2000, 'l')}, {"security.note", ""}},
      {{"trusted.mine", fmt::format("{}", below(1000))}}};
  const auto dress = [&](InodeId id) {
    Inode& inode = tree.inode(id);
    inode.permissions = static_cast<uint16_t>(below(010000));
    if (inode.type == FileType::kSymlink) inode.permissions = 0777;
    inode.uid = below(3) == 0 ? 4'000'000'000U : below(1000);
    inode.gid = below(1000);
    inode.mtime = below(4) == 0 ? -static_cast<int64_t>(below(1U << 30U)) : below(1U << 31U);
    inode.mtime_ns = below(1'000'000'000);
    const std::vector<Xattr>& xattrs = xattr_sets[below(static_cast<unsigned>(xattr_sets.size()))];
    // Like a layer's: user xattrs only where the kernel lets files have them.
    if (inode.type == FileType::kRegular || inode.type == FileType::kDirectory) builder.Xattrs(id, xattrs);
  };
  const uint64_t block_bytes = uint64_t{1} << builder.options.block_bits;
  std::vector<InodeId> directories{LayerTree::kRoot};
  std::vector<InodeId> files;
  tree.inode(LayerTree::kRoot).implied = false;
  dress(LayerTree::kRoot);
  for (unsigned i = 0; i < options.entries; ++i) {
    const InodeId parent = directories[below(static_cast<unsigned>(directories.size()))];
    const std::string child = name();
    if (tree.Find(parent, child) != LayerTree::kNone) continue;
    InodeId made = LayerTree::kNone;
    switch (below(12)) {
      case 0:
      case 1:
      case 2:
        made = builder.Directory(parent, child);
        directories.push_back(made);
        if (options.whiteouts && below(5) == 0) tree.inode(made).opaque = true;
        break;
      case 3:
      case 4:
        made = builder.File(parent, child, std::string(below(3000), static_cast<char>('a' + below(26))));
        files.push_back(made);
        break;
      case 5: {
        const uint64_t gap = (1 + below(20)) * block_bytes;
        made = builder.Sparse(parent, child, 3 * gap + 100,
                              {{gap, std::string(gap, 'x')}, {3 * gap, std::string(100, 'y')}});
        files.push_back(made);
        break;
      }
      case 6:
        made = builder.Symlink(parent, child, std::string(1 + below(below(4) == 0 ? 4000 : 60), 't'));
        break;
      case 7:
        made = builder.Node(parent, child, below(2) == 0 ? FileType::kCharDevice : FileType::kBlockDevice,
                            makedev(1 + below(4000), below(1U << 20U)));
        break;
      case 8:
        made = builder.Node(parent, child, below(2) == 0 ? FileType::kFifo : FileType::kSocket);
        break;
      case 9:
        if (!files.empty()) tree.AddEntry(parent, child, files[below(static_cast<unsigned>(files.size()))]);
        continue;
      case 10:
        if (options.whiteouts) builder.Whiteout(parent, child);
        continue;
      case 11:
        if (!options.objects) continue;
        made = builder.Object(parent, child,
                              object(std::string(1 + below(100'000), static_cast<char>('A' + below(26)))));
        files.push_back(made);
        break;
      default:
        continue;
    }
    dress(made);
  }
}

// --- listings
// ------------------------------------------------------------------------------------------------

Listing ListLayerTree(const LayerTree& tree, unsigned block_bits, const std::vector<FdRef>& devices,
                      const ListingOptions& options) {
  return TreeLister(tree, block_bits, devices, options).List();
}

Listing ListMounted(FdRef root, const ListingOptions& options) {
  Listing out;
  out["."] = DescribeMounted(root, ".", options);
  MountedBelow(root, "", options, out);
  return out;
}

std::string Difference(const Listing& a, const Listing& b) {
  std::set<std::string> paths;
  for (const auto& [path, text] : a) paths.insert(path);
  for (const auto& [path, text] : b) paths.insert(path);
  std::string out;
  constexpr int kShown = 5;
  int different = 0;
  for (const std::string& path : paths) {
    const auto in_a = a.find(path);
    const auto in_b = b.find(path);
    const std::string left = in_a == a.end() ? "nothing" : in_a->second;
    const std::string right = in_b == b.end() ? "nothing" : in_b->second;
    if (left == right) continue;
    if (++different > kShown) return out + "and more\n";
    out += fmt::format("{}\n  {}\n  {}\n", Quote(path), left.substr(0, 300), right.substr(0, 300));
  }
  return out;
}

}  // namespace snap::test
