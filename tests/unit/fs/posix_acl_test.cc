#include "fs/posix_acl.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <random>

#include "fs/base/sys_file.h"
#include "tests/support/temp_dir.h"

namespace snap {
namespace {

// The kernel is asked about the same values.
TEST(PosixAcl, AcceptsWhatTheKernelAccepts) {
  const test::TempDir temp;
  const UniqueFd file = *sys::OpenAt(temp.fd(), "f", O_RDWR | O_CREAT, 0600);
  std::mt19937 random(3);
  const auto pick = [&](unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random); };
  size_t accepted = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string value("\2\0\0\0", 4);
    if (pick(50) == 0) value[pick(4)] = static_cast<char>(pick(4));
    const auto add = [&](unsigned tag, unsigned permissions) {
      value += std::string{static_cast<char>(tag), 0, static_cast<char>(permissions), 0, static_cast<char>(pick(3)), 0, 0, 0};
    };
    // Mostly in the right order, with something missing, doubled or strange now and then.
    for (const unsigned tag : {1U, 2U, 4U, 8U, 16U, 32U}) {
      for (unsigned count = tag == 2 || tag == 8 || tag == 16 ? pick(2) : (pick(20) == 0 ? pick(3) : 1); count > 0; --count) {
        add(pick(40) == 0 ? 1U << pick(7) : tag, pick(40) == 0 ? 8 : pick(8));
      }
    }
    if (pick(30) == 0) value.pop_back();
    const bool kernel = sys::FSetXattr(file, "system.posix_acl_access", std::as_bytes(std::span(value))).ok();
    ASSERT_EQ(IsValidPosixAcl(value), kernel) << round;
    accepted += kernel ? 1U : 0U;
  }
  EXPECT_GT(accepted, 500U);
  EXPECT_FALSE(IsValidPosixAcl(""));
}

}  // namespace
}  // namespace snap
