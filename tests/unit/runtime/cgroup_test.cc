// What the host has, what limits become, and which devices a filter lets pass. No cgroup is made here.
#include "runtime/cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/cgroup_devices.h"

namespace snap::runtime {
namespace {

using testing::ElementsAre;

constexpr const char* kHybrid =
    "30 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "31 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 30 0:30 /part /mnt rw - cgroup cgroup rw,memory\n"
    "34 30 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "35 30 0:32 / /sys/fs/cgroup/a\\040b rw - cgroup2 cgroup2 rw\n";

TEST(CgroupLayout, HybridHostsHaveBoth) {
  const CgroupLayout layout = ParseCgroupLayout(kHybrid, "5:cpu,cpuacct:/one\n4:memory:/two\n1:name=systemd:/three\n0::/four\n");
  ASSERT_EQ(layout.hierarchies.size(), 3U);
  EXPECT_EQ(layout.hierarchies[0].name, "cpu,cpuacct");
  EXPECT_THAT(layout.hierarchies[0].controllers, ElementsAre("cpu", "cpuacct"));
  EXPECT_EQ(layout.hierarchies[0].own_path, "/one");
  EXPECT_EQ(layout.hierarchies[1].mount_point, "/sys/fs/cgroup/memory") << "not the mount of a part of it";
  EXPECT_THAT(layout.hierarchies[2].controllers, ElementsAre("name=systemd"));
  ASSERT_TRUE(layout.unified);
  EXPECT_EQ(layout.unified->mount_point, "/sys/fs/cgroup/a b");
  EXPECT_EQ(layout.unified->own_path, "/four");
  EXPECT_FALSE(layout.IsUnified());
}

TEST(CgroupLayout, UnifiedHostsHaveOne) {
  const CgroupLayout layout = ParseCgroupLayout("31 23 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/user.slice\n");
  EXPECT_TRUE(layout.IsUnified());
  EXPECT_EQ(layout.unified->own_path, "/user.slice");
}

std::vector<std::string> Lines(const std::vector<CgroupWrite>& writes) {
  std::vector<std::string> out;
  for (const CgroupWrite& write : writes) out.push_back(write.file + "=" + write.value);
  return out;
}
ResourcesSpec Resources(const char* json) {
  auto parsed = ParseResources(json);
  EXPECT_TRUE(parsed.ok());
  return *std::move(parsed);
}

TEST(CgroupWrites, V1GetsTheFilesAsTheyAre) {
  const auto writes = PlanCgroupV1(Resources(R"({"memory":{"limit":100,"swap":200},"cpu":{"shares":5,"quota":10,"period":20,"cpus":"0-1"},
    "pids":{"limit":-1},"blockIO":{"throttleWriteBpsDevice":[{"major":8,"minor":1,"rate":9}]}})"));
  ASSERT_TRUE(writes.ok());
  EXPECT_THAT(Lines(*writes), ElementsAre("memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=200", "cpu.shares=5",
                                          "cpu.cfs_period_us=20", "cpu.cfs_quota_us=10", "cpuset.cpus=0-1", "pids.max=max",
                                          "blkio.throttle.write_bps_device=8:1 9"));
  EXPECT_FALSE(PlanCgroupV1(Resources(R"({"unified":{"memory.max":"1"}})")).ok());
}

TEST(CgroupWrites, V2GetsWhatComesClosest) {
  const auto lines = [](const char* json) { return Lines(*PlanCgroupV2(Resources(json))); };
  EXPECT_THAT(lines(R"({"memory":{"limit":100,"swap":300,"reservation":50}})"),
              ElementsAre("memory.max=100", "memory.low=50", "memory.swap.max=200"));
  EXPECT_THAT(lines(R"({"memory":{"limit":-1,"swap":-1}})"), ElementsAre("memory.max=max", "memory.swap.max=max"));
  EXPECT_THAT(lines(R"({"cpu":{"shares":2}})"), ElementsAre("cpu.weight=1"));
  EXPECT_THAT(lines(R"({"cpu":{"shares":262144}})"), ElementsAre("cpu.weight=10000"));
  EXPECT_THAT(lines(R"({"cpu":{"shares":1024}})"), ElementsAre("cpu.weight=39"));
  EXPECT_THAT(lines(R"({"cpu":{"quota":50000,"period":100000}})"), ElementsAre("cpu.max=50000 100000"));
  EXPECT_THAT(lines(R"({"cpu":{"quota":-1}})"), ElementsAre("cpu.max=max"));
  EXPECT_THAT(lines(R"({"blockIO":{"weight":1000,"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":5}]}})"),
              ElementsAre("io.bfq.weight=1000", "io.weight=10000", "io.max=8:0 riops=5"));
  EXPECT_THAT(lines(R"({"unified":{"memory.high":"7"}})"), ElementsAre("memory.high=7"));
  for (const char* refused : {R"({"unified":{"../x.y":"1"}})", R"({"unified":{"cgroup.procs":"1"}})", R"({"unified":{"nodot":"1"}})",
                              R"({"memory":{"swap":5}})", R"({"memory":{"limit":10,"swap":5}})", R"({"network":{"classID":1}})"}) {
    EXPECT_FALSE(PlanCgroupV2(Resources(refused)).ok()) << refused;
  }
}

TEST(CgroupPath, NothingLeadsUpwards) {
  CgroupLayout none;
  for (const char* path : {"../x", "/..", "a/../../b", "/a/../..", "/"}) {
    EXPECT_FALSE(Cgroup::Create(none, path, "id", false).ok()) << path;
  }
  EXPECT_TRUE(Cgroup::Create(none, "/a/b", "id", false).ok()) << "a host without cgroups has none to make";
}

// --- the device filter, interpreted as the kernel would

bool Passes(const std::vector<bpf_insn>& program, char kind, unsigned access, uint32_t major, uint32_t minor) {
  const uint32_t context[3] = {(access << 16U) | static_cast<uint32_t>(kind == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR), major, minor};
  uint64_t r[11] = {};
  for (size_t pc = 0; pc < program.size(); ++pc) {
    const bpf_insn& in = program[pc];
    const auto imm = static_cast<uint32_t>(in.imm);
    switch (in.code) {
      case BPF_LDX | BPF_MEM | BPF_W: r[in.dst_reg] = context[in.off / 4]; break;
      case BPF_ALU | BPF_AND | BPF_K: r[in.dst_reg] = static_cast<uint32_t>(r[in.dst_reg]) & imm; break;
      case BPF_ALU | BPF_RSH | BPF_K: r[in.dst_reg] = static_cast<uint32_t>(r[in.dst_reg]) >> imm; break;
      case BPF_ALU | BPF_MOV | BPF_X: r[in.dst_reg] = static_cast<uint32_t>(r[in.src_reg]); break;
      case BPF_ALU64 | BPF_MOV | BPF_K: r[in.dst_reg] = imm; break;
      case BPF_JMP32 | BPF_JNE | BPF_K:
        if (static_cast<uint32_t>(r[in.dst_reg]) != imm) pc += static_cast<size_t>(in.off);
        break;
      case BPF_JMP32 | BPF_JEQ | BPF_K:
        if (static_cast<uint32_t>(r[in.dst_reg]) == imm) pc += static_cast<size_t>(in.off);
        break;
      case BPF_JMP | BPF_EXIT: return r[0] != 0;
      default: ADD_FAILURE() << "instruction " << static_cast<int>(in.code); return false;
    }
  }
  ADD_FAILURE() << "the program does not end";
  return false;
}

TEST(DeviceFilter, TheLastRuleThatMatchesDecides) {
  constexpr unsigned kRead = BPF_DEVCG_ACC_READ, kWrite = BPF_DEVCG_ACC_WRITE, kMknod = BPF_DEVCG_ACC_MKNOD;
  const ResourcesSpec resources = Resources(R"({"devices":[{"allow":false},{"allow":true,"type":"c","major":10,"access":"rw"},
    {"allow":false,"type":"c","major":10,"minor":5,"access":"w"},{"allow":true,"type":"b","major":8,"minor":1,"access":"r"}]})");
  std::vector<DeviceRule> rules = resources.devices;
  std::vector<bpf_insn> program = BuildDeviceFilter(rules);
  EXPECT_TRUE(Passes(program, 'c', kRead | kWrite, 10, 4));
  EXPECT_TRUE(Passes(program, 'c', kRead, 10, 5));
  EXPECT_FALSE(Passes(program, 'c', kWrite, 10, 5));
  EXPECT_FALSE(Passes(program, 'c', kRead | kWrite, 10, 5)) << "a request that asks for any of what is denied";
  EXPECT_FALSE(Passes(program, 'c', kMknod, 10, 4));
  EXPECT_TRUE(Passes(program, 'b', kRead, 8, 1));
  EXPECT_FALSE(Passes(program, 'b', kRead | kWrite, 8, 1));
  EXPECT_FALSE(Passes(program, 'b', kRead, 8, 2));
  EXPECT_FALSE(Passes(program, 'c', kRead, 1, 3)) << "not yet";
  rules.insert(rules.end(), DefaultDeviceRules().begin(), DefaultDeviceRules().end());
  program = BuildDeviceFilter(rules);
  EXPECT_TRUE(Passes(program, 'c', kRead | kWrite, 1, 3));
  EXPECT_TRUE(Passes(program, 'c', kRead, 136, 77)) << "any pty";
  EXPECT_TRUE(Passes(program, 'b', kMknod, 8, 2)) << "a node by itself gives nothing";
  EXPECT_FALSE(Passes(program, 'b', kRead, 8, 2));
  EXPECT_TRUE(Passes(BuildDeviceFilter(Resources(R"({"devices":[{"allow":true}]})").devices), 'b', kWrite, 8, 0));
}

}  // namespace
}  // namespace snap::runtime
