// Tree: what a directory tree shows, as a value that can be compared with another: of two unions, or of one
// before and after.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <ctime>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/base/unique_fd.h"

namespace snap::test {

/// One file under one of its names.
struct FileRecord {
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  nlink_t nlink = 0;
  uint64_t size = 0, device = 0, inode = 0;
  timespec mtime{}, ctime{};
  std::string content;  ///< of a regular file: hash and extents of data; of a link: its target
  std::map<std::string, std::string> xattrs;
  /// What reading it showed that cannot be: a call that failed, d_ino or d_type that differ from stat's, a
  /// name listed twice.
  std::vector<std::string> contradictions;
};

/// Path relative to the root ("" is the root itself) -> file.
using Tree = std::map<std::string, FileRecord>;

/// Reads everything below, all xattrs included; never fails: what cannot be read is a contradiction of its
/// record.
Tree ReadTree(FdRef root);
Tree ReadTree(const std::string& path);

/// One line for people: everything of the record, text without control characters.
std::string Describe(const FileRecord& record);
/// Escapes what is not printable; of a long text the ends, its length and hash.
std::string Printable(std::string_view text);

uint64_t HashBytes(std::string_view bytes, uint64_t seed = 0);
/// "123+456,..." where SEEK_DATA and SEEK_HOLE see data, "" when all is; "?" with the errno when they do not
/// work.
std::string DataExtents(int fd, uint64_t size);
/// All xattrs of a file, links not followed except /proc/self/fd/N itself. Appends what fails to
/// `contradictions`.
std::map<std::string, std::string> ReadXattrs(const std::string& path,
                                              std::vector<std::string>& contradictions);

/// The fields in which two records differ, e.g. "mode", "xattr user.a". Not compared: inode, ctime. Times not
/// before `started` are all the same: now.
std::vector<std::string> DifferentFields(const FileRecord& a, const FileRecord& b, time_t started);

/// A fingerprint that changes with anything that a write to a layer would change, ctime included; without
/// atime. One line for each file, sorted by path.
std::vector<std::string> Fingerprint(const Tree& tree);

}  // namespace snap::test
