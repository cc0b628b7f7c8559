#include "runtime/capabilities.h"

#include <gtest/gtest.h>

#include <bit>
#include <string>

#include "runtime/container.h"

namespace snap::runtime {
namespace {

TEST(Capabilities, DefaultIsDockersFourteen) {
  uint64_t expected = 0;
  for (const char* name :
       {"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
        "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"}) {
    ASSERT_TRUE(CapabilityNumber(name).has_value()) << name;
    expected |= uint64_t{1} << *CapabilityNumber(name);
  }
  EXPECT_EQ(std::popcount(expected), 14);
  EXPECT_EQ(DefaultCapabilities(), expected);
  EXPECT_EQ(DefaultCapabilities(), 0xa80425fbU) << "as Docker's containers show in /proc/self/status";
}

TEST(Capabilities, NamesAndNumbersRoundTrip) {
  for (unsigned number = 0; number <= 40; ++number) {
    const std::string name(CapabilityName(number));
    ASSERT_TRUE(name.starts_with("CAP_")) << number;
    EXPECT_EQ(CapabilityNumber(name), number);
    EXPECT_EQ(CapabilityNumber(name.substr(4)), number);
  }
  EXPECT_EQ(CapabilityNumber("net_admin"), 12U);
  EXPECT_EQ(CapabilityNumber("cap_checkpoint_restore"), 40U);
  EXPECT_EQ(CapabilityName(41), "");
}

TEST(Capabilities, UnknownNamesAreNone) {
  for (const char* name : {"", "CAP_", "ALL", "CAP_CAP_KILL", "KILL ", "21"}) {
    EXPECT_FALSE(CapabilityNumber(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace snap::runtime
