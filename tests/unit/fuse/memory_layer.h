// MemoryDir: a directory of a layer that is only in memory, for tests of what is made of layers.
#pragma once

#include <sys/stat.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fuse/layer.h"

namespace snap::fuse::test {

class MemoryDir final : public LayerDir {
 public:
  struct File {
    FileType type = FileType::kRegular;
    dev_t device = 0;
    uint64_t size = 1;
    std::map<std::string, std::string> xattrs;
    std::shared_ptr<MemoryDir> directory;
  };
  static std::shared_ptr<MemoryDir> Make() { return std::make_shared<MemoryDir>(); }

  void Add(const std::string& name) { Add(name, File()); }
  void Add(const std::string& name, File file) {
    const uint64_t inode = ++last_inode_;
    listed_.push_back({name, inode, file.type});
    files_[name] = {inode, std::move(file)};
  }
  std::shared_ptr<MemoryDir> AddDir(const std::string& name) {
    auto directory = Make();
    Add(name, {FileType::kDirectory, 0, 0, {}, directory});
    return directory;
  }
  void AddWhiteout(const std::string& name) { Add(name, {FileType::kCharDevice, 0, 0, {}, {}}); }
  /// Lists a name again, as a damaged image may.
  void ListAgain(const std::string& name) { listed_.push_back({name, 999, files_[name].file.type}); }

  std::map<std::string, std::string> xattrs;
  size_t questions = 0;  ///< but for List
  int fail_list = 0;     ///< errno

  uint64_t file_system() const override { return 1; }
  SysResult<struct statvfs> StatFs() override { return Errno(ENOSYS); }
  SysResult<std::vector<LayerName>> List() override {
    if (fail_list != 0) return Errno(fail_list);
    return listed_;
  }
  SysResult<FileStat> StatSelf() override {
    FileStat stat;
    stat.st.st_mode = S_IFDIR | 0755;
    return stat;
  }
  SysResult<std::string> GetXattrSelf(const std::string& xattr) override { return Get(xattrs, xattr); }
  SysResult<std::vector<std::string>> ListXattrSelf() override { return Names(xattrs); }
  SysResult<std::shared_ptr<LayerDir>> OpenDir(const LayerName& name) override {
    SNAP_TRY(const File* file, Find(name));
    if (file->directory == nullptr) return Errno(ENOTDIR);
    return std::shared_ptr<LayerDir>(file->directory);
  }
  SysResult<FileStat> Stat(const LayerName& name) override {
    SNAP_TRY(const File* file, Find(name));
    FileStat stat;
    const mode_t type = file->type == FileType::kDirectory    ? S_IFDIR
                        : file->type == FileType::kCharDevice ? S_IFCHR
                                                              : S_IFREG;
    stat.st.st_mode = type | 0644U;
    stat.st.st_rdev = file->device;
    stat.st.st_size = static_cast<off_t>(file->size);
    return stat;
  }
  SysResult<std::string> ReadLink(const LayerName&) override { return Errno(EINVAL); }
  SysResult<std::string> GetXattr(const LayerName& name, const std::string& xattr) override {
    SNAP_TRY(const File* file, Find(name));
    return Get(file->xattrs, xattr);
  }
  SysResult<std::vector<std::string>> ListXattr(const LayerName& name) override {
    SNAP_TRY(const File* file, Find(name));
    return Names(file->xattrs);
  }
  SysResult<std::shared_ptr<LayerFile>> OpenFile(const LayerName&) override { return Errno(ENOSYS); }
  SysResult<std::string> OriginOf(const LayerName&) override { return Errno(EOPNOTSUPP); }
  SysResult<std::string> OriginSelf() override { return Errno(EOPNOTSUPP); }

 private:
  struct Listed {
    uint64_t inode = 0;
    File file;
  };
  using Xattrs = std::map<std::string, std::string>;
  SysResult<std::string> Get(const Xattrs& from, const std::string& xattr) {
    ++questions;
    const auto found = from.find(xattr);
    if (found == from.end()) return Errno(ENODATA);
    return found->second;
  }
  SysResult<std::vector<std::string>> Names(const Xattrs& from) {
    ++questions;
    std::vector<std::string> names;
    for (const auto& [name, value] : from) names.push_back(name);
    return names;
  }
  /// Insists on the number that was listed, as a packed layer does.
  SysResult<const File*> Find(const LayerName& name) {
    ++questions;
    const auto found = files_.find(name.name);
    if (found == files_.end()) return Errno(ENOENT);
    if (name.inode != 0 && name.inode != found->second.inode) return Errno(EIO);
    return static_cast<const File*>(&found->second.file);
  }

  std::vector<LayerName> listed_;
  std::map<std::string, Listed> files_;
  uint64_t last_inode_ = 0;
};

}  // namespace snap::fuse::test
