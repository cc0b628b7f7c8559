// TempDir: a directory of one test, removed with everything in it.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "fs/base/sys_file.h"

namespace snap::test {

class TempDir {
 public:
  TempDir() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/snap-test-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) std::abort();
    fd_ = *sys::OpenAt(FdRef::Cwd(), path_.c_str(), O_RDONLY | O_DIRECTORY);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() { EXPECT_TRUE(sys::RemoveTree(FdRef::Cwd(), path_.c_str()).ok()) << path_; }

  const std::string& path() const { return path_; }
  FdRef fd() const { return fd_; }
  /// A new empty directory inside.
  UniqueFd MakeDir(const char* name) const {
    EXPECT_TRUE(sys::MkdirAt(fd_, name, 0755).ok()) << name;
    return *sys::OpenAt(fd_, name, O_RDONLY | O_DIRECTORY);
  }

 private:
  std::string path_;
  UniqueFd fd_;
};

}  // namespace snap::test
