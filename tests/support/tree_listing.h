// ListTree: everything a tree on disk says about its files, as text, so that trees can be compared and
// differences read.
#pragma once

#include <dirent.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap::test {

/// Where the file system says there is data: "0+4096 1048576+4096". The bytes there are given to `digest`.
inline std::string DataExtents(FdRef file, Sha256* digest = nullptr) {
  std::string out;
  for (uint64_t at = 0;;) {
    const auto data = sys::Seek(file, static_cast<int64_t>(at), SEEK_DATA);
    if (!data.ok()) return out;
    const auto hole = sys::Seek(file, static_cast<int64_t>(*data), SEEK_HOLE);
    if (!hole.ok()) return out + "?";
    out += fmt::format("{}{}+{}", out.empty() ? "" : " ", *data, *hole - *data);
    std::vector<std::byte> buffer(1U << 20U);
    for (at = *data; digest != nullptr && at < *hole;) {
      const size_t size = *sys::PRead(file, std::span(buffer).first(std::min(buffer.size(), *hole - at)), at);
      if (size == 0) return out + "?";
      digest->Update(std::span(buffer).first(size));
      at += size;
    }
    at = *hole;
  }
}

inline std::string DescribeFile(FdRef dir, const char* name) {
  const auto found = sys::StatAt(dir, name);
  if (!found.ok()) return "missing: " + found.error().Message();
  const struct stat& stat = *found;
  std::string out = fmt::format("mode {:06o} owner {}:{} mtime {}.{:09}", stat.st_mode, stat.st_uid,
                                stat.st_gid, stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec);
  if (!S_ISDIR(stat.st_mode)) out += fmt::format(" links {} size {}", stat.st_nlink, stat.st_size);
  if (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode)) {
    out += fmt::format(" device {}:{}", major(stat.st_rdev), minor(stat.st_rdev));
  }
  if (S_ISLNK(stat.st_mode)) out += " -> " + Quote(*sys::ReadLinkAt(dir, name));
  if (S_ISREG(stat.st_mode)) {
    const UniqueFd file = *sys::OpenAt(dir, name, O_RDONLY | O_NOFOLLOW);
    Sha256 digest;
    out += fmt::format(" data [{}]", DataExtents(file, &digest));
    out += " sha256 " + std::move(digest).Finish().Hex();
  }
  std::vector<std::string> xattrs = *sys::ListXattrAt(dir, name);
  std::sort(xattrs.begin(), xattrs.end());
  for (const std::string& xattr : xattrs) {
    out += fmt::format(" {}={}", xattr, Quote(*sys::GetXattrAt(dir, name, xattr.c_str())));
  }
  return out;
}

inline void ListTreeInto(FdRef dir, const std::string& prefix, std::map<std::string, std::string>& out) {
  const auto entries = sys::ListDir(dir);
  ASSERT_TRUE(entries.ok());
  for (const sys::DirEntry& entry : *entries) {
    const std::string path = prefix + entry.name;
    out[path] = DescribeFile(dir, entry.name.c_str());
    if (entry.type != DT_DIR) continue;
    const UniqueFd child = *sys::OpenAt(dir, entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    ListTreeInto(child, path + "/", out);
  }
}

/// Path below `dir` -> description; "." is the directory itself.
inline std::map<std::string, std::string> ListTree(FdRef dir) {
  std::map<std::string, std::string> out;
  out["."] = DescribeFile(dir, ".");
  ListTreeInto(dir, "", out);
  return out;
}

}  // namespace snap::test
