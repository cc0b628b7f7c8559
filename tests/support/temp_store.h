// What tests of the store share: listings to compare, and children that may die.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "fs/base/sys_file.h"
#include "tests/support/temp_dir.h"

namespace snap::test {

/// Relative path -> type, mode, size; without the database, whose files are RocksDB's business.
inline std::map<std::string, std::string> Listing(const std::string& root) {
  namespace fs = std::filesystem;
  std::map<std::string, std::string> out;
  for (fs::recursive_directory_iterator it(root), end; it != end; ++it) {
    const std::string name = fs::relative(it->path(), root).string();
    if (name == "db") {
      it.disable_recursion_pending();
      continue;
    }
    struct stat st {};
    if (::lstat(it->path().c_str(), &st) != 0) std::abort();
    // The size of a directory depends on its history.
    const long long size = S_ISDIR(st.st_mode) ? 0 : static_cast<long long>(st.st_size);
    out[name] = fmt::format("{:o} {}:{} {}", st.st_mode, st.st_uid, st.st_gid, size);
  }
  return out;
}

/// Entries of one directory of the store ("layers", "trash", ...).
inline size_t CountEntries(const std::string& directory) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    (void)entry;
    ++count;
  }
  return count;
}

/// Runs `body` in a child process and gives its wait status. The child fails (exit 1) when an expectation in
/// it did.
inline int RunInChild(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) std::abort();
  if (child == 0) {
    body();
    std::fflush(nullptr);
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}
/// For tests that fork, as their first statement: `if (ReRunAlone()) return;`. RocksDB's threads do not come
/// along with a fork and are never started again, so a child only works when nothing in this process has
/// opened a database before. Runs the test in a process of its own, unless it is alone already, as it is
/// under ctest.
inline bool ReRunAlone() {
  const ::testing::UnitTest& all = *::testing::UnitTest::GetInstance();
  if (all.test_to_run_count() == 1) return false;
  const ::testing::TestInfo& test = *all.current_test_info();
  const std::string filter = std::string("--gtest_filter=") + test.test_suite_name() + "." + test.name();
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) std::abort();
  if (child == 0) {
    ::execl("/proc/self/exe", "test", filter.c_str(), "--gtest_brief=1", static_cast<char*>(nullptr));
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  EXPECT_EQ(status, 0) << "alone: " << filter;
  return true;
}
inline bool WasKilled(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
inline bool Succeeded(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

template <typename T, typename E>
::testing::AssertionResult IsOk(const Result<T, E>& result) {
  if (result.ok()) return ::testing::AssertionSuccess();
  if constexpr (std::is_same_v<E, Error>) {
    return ::testing::AssertionFailure()
           << ErrorCodeName(result.error().code()) << ": " << result.error().message();
  } else {
    return ::testing::AssertionFailure() << result.error().Message();
  }
}

}  // namespace snap::test
