// config.json is hostile: what is taken, what is refused, and that the error names the member.
#include "runtime/spec.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "fs/base/json.h"
#include "runtime/default_spec.h"

namespace snap::runtime {
namespace {

Json Base() {
  return Json::parse(R"({"ociVersion":"1.0.2","root":{"path":"rootfs"},
    "process":{"args":["true"],"cwd":"/","user":{"uid":0,"gid":0}},
    "linux":{"namespaces":[{"type":"mount"},{"type":"pid"},{"type":"ipc"},{"type":"network"},{"type":"uts"}]}})");
}
Result<Spec> With(const char* pointer, const char* value) {
  Json json = Base();
  json[Json::json_pointer(pointer)] = Json::parse(value);
  return ParseSpec(json.dump());
}

TEST(ParseSpec, TheDefaultsOfSpecAreTaken) {
  for (const bool rootless : {false, true}) {
    const Result<Spec> spec = ParseSpec(DefaultSpecJson(rootless));
    ASSERT_TRUE(spec.ok()) << spec.error().message();
    EXPECT_EQ(spec->process->args, std::vector<std::string>{"sh"});
    EXPECT_TRUE(spec->process->no_new_privileges);
    EXPECT_EQ(spec->process->capabilities->permitted, (uint64_t{1} << 29U) | (uint64_t{1} << 5U) | (uint64_t{1} << 10U));
    EXPECT_EQ(spec->linux_.Find(NamespaceKind::kUser) != nullptr, rootless);
    EXPECT_EQ(spec->mounts.size(), 7U);
  }
}

TEST(ParseSpec, EverythingThatIsReadArrives) {
  const Result<Spec> spec = ParseSpec(R"({"ociVersion":"1.2.0","root":{"path":"/r","readonly":true},"hostname":"h","domainname":"d",
    "process":{"terminal":true,"consoleSize":{"height":5,"width":7},"user":{"uid":1,"gid":2,"umask":18,"additionalGids":[3,4]},
      "args":["a","b"],"env":["X=1","NOVALUE"],"cwd":"/w","noNewPrivileges":true,"oomScoreAdj":-7,
      "capabilities":{"bounding":["CAP_CHOWN","CAP_OF_THE_FUTURE"],"ambient":["CAP_KILL"]},
      "rlimits":[{"type":"RLIMIT_NOFILE","soft":10,"hard":20}],"apparmorProfile":"p","selinuxLabel":"l",
      "ioPriority":{"class":"IOPRIO_CLASS_BE","priority":3},
      "scheduler":{"policy":"SCHED_BATCH","nice":5,"flags":["SCHED_FLAG_RESET_ON_FORK"]},
      "execCPUAffinity":{"initial":"0-1","final":"1"}},
    "mounts":[{"destination":"/m","type":"tmpfs","source":"t","options":["ro","size=1m"]},
      {"destination":"/i","source":"/s","options":["bind"],"uidMappings":[{"containerID":0,"hostID":5,"size":1}],
       "gidMappings":[{"containerID":0,"hostID":6,"size":2}]}],
    "hooks":{"prestart":[{"path":"/h","args":["h","x"],"env":["A=b"],"timeout":3}],"poststop":[{"path":"/p"}]},
    "annotations":{"k":"v"},
    "linux":{"namespaces":[{"type":"user"},{"type":"mount","path":"/proc/1/ns/mnt"},{"type":"time"},{"type":"ipc"},{"type":"network"}],
      "uidMappings":[{"containerID":0,"hostID":1000,"size":10}],"gidMappings":[{"containerID":0,"hostID":1000,"size":10}],
      "timeOffsets":{"monotonic":{"secs":-5,"nanosecs":6}},"cgroupsPath":"/a/b","rootfsPropagation":"rslave",
      "maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"],"personality":{"domain":"LINUX32"},
      "sysctl":{"net.core.somaxconn":"7","kernel.shmmax":"1"},
      "devices":[{"path":"/dev/x","type":"c","major":1,"minor":3,"fileMode":8630,"uid":1,"gid":2}],
      "resources":{"devices":[{"allow":true,"type":"c","major":1,"access":"rw"}],"memory":{"limit":10,"swap":-1},
        "cpu":{"shares":5,"quota":-1,"cpus":"0"},"pids":{"limit":9},"blockIO":{"weight":10,
        "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}]},"hugepageLimits":[{"pageSize":"2MB","limit":4}],
        "network":{"classID":3,"priorities":[{"name":"eth0","priority":2}]},"rdma":{"d":{"hcaHandles":1}},"unified":{"memory.max":"5"}},
      "seccomp":{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64"],"flags":["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":2,"valueTwo":3,"op":"SCMP_CMP_MASKED_EQ"}]}]}}})");
  ASSERT_TRUE(spec.ok()) << spec.error().message();
  const ProcessSpec& process = *spec->process;
  EXPECT_EQ(process.console_size.width, 7);
  EXPECT_EQ(process.user.umask, 022U);
  EXPECT_EQ(process.user.additional_gids, (std::vector<uint32_t>{3, 4}));
  EXPECT_EQ(process.capabilities->bounding, 1U) << "a capability of a newer kernel is left out";
  EXPECT_EQ(process.rlimits[0].resource, RLIMIT_NOFILE);
  EXPECT_EQ(process.io_priority, (2U << 13U) | 3U);
  EXPECT_EQ(process.scheduler->policy, 3U);
  EXPECT_EQ(process.scheduler->flags, 1U);
  EXPECT_EQ(process.oom_score_adj, -7);
  EXPECT_EQ(process.exec_cpu_affinity_final, "1");
  EXPECT_EQ(spec->mounts[1].gid_mappings[0].host_id, 6U);
  EXPECT_EQ(spec->hooks.prestart[0].timeout_seconds, 3U);
  EXPECT_EQ(spec->linux_.Find(NamespaceKind::kMount)->path, "/proc/1/ns/mnt");
  EXPECT_EQ(spec->linux_.time_offsets.at("monotonic").first, -5);
  EXPECT_EQ(spec->linux_.rootfs_propagation, Propagation::kRSlave);
  EXPECT_EQ(spec->linux_.devices[0].mode, 0666U) << "the type's bits are not its mode";
  EXPECT_EQ(*spec->linux_.resources.memory.swap, -1);
  EXPECT_EQ(spec->linux_.resources.block_io.read_bps[0].rate, 7U);
  EXPECT_EQ(spec->linux_.resources.devices[0].minor, std::nullopt);
  EXPECT_EQ(spec->linux_.resources.unified.at("memory.max"), "5");
  EXPECT_EQ(spec->linux_.seccomp->rules[0].args[0].value_two, 3U);
  EXPECT_EQ(spec->linux_.personality, 8U);
  EXPECT_EQ(spec->annotations.at("k"), "v");
}

struct Refused {
  const char *pointer, *value, *names;
};
class ParseSpecRefuses : public testing::TestWithParam<Refused> {};
TEST_P(ParseSpecRefuses, WithTheMembersName) {
  const Result<Spec> spec = With(GetParam().pointer, GetParam().value);
  ASSERT_FALSE(spec.ok());
  EXPECT_NE(spec.error().message().find(GetParam().names), std::string::npos) << spec.error().message();
}
INSTANTIATE_TEST_SUITE_P(
    Members, ParseSpecRefuses,
    testing::Values(
        Refused{"/ociVersion", "\"2.0\"", "ociVersion"}, Refused{"/root/path", "\"\"", "root.path"}, Refused{"/root/path", "7", "root.path"},
        Refused{"/process/user/uid", "-1", "process.user.uid"}, Refused{"/process/user/uid", "4294967296", "process.user.uid"},
        Refused{"/process/user/uid", "4294967295", "is no id"}, Refused{"/process/user/uid", "\"0\"", "process.user.uid"},
        Refused{"/process/user/uid", "1.5", "process.user.uid"}, Refused{"/process/user/additionalGids", "[1,-1]", "additionalGids[1]"},
        Refused{"/process/user/umask", "512", "umask"}, Refused{"/process/args", "[]", "process.args"},
        Refused{"/process/args", "[\"a\\u0000b\"]", "process.args[0]"}, Refused{"/process/env", "[\"=x\"]", "process.env"},
        Refused{"/process/cwd", "\"relative\"", "process.cwd"}, Refused{"/process/oomScoreAdj", "1001", "oomScoreAdj"},
        Refused{"/process/capabilities", "{\"bounding\":[7]}", "process.capabilities.bounding"},
        Refused{"/process/rlimits", "[{\"type\":\"RLIMIT_X\",\"soft\":1,\"hard\":1}]", "process.rlimits[0].type"},
        Refused{"/process/rlimits", "[{\"type\":\"RLIMIT_CPU\",\"soft\":2,\"hard\":1}]", "process.rlimits[0].soft"},
        Refused{"/process/rlimits", "[{\"type\":\"RLIMIT_CPU\"},{\"type\":\"RLIMIT_CPU\"}]", "twice"},
        Refused{"/process/ioPriority", "{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":8}", "ioPriority.priority"},
        Refused{"/hostname", "\"0123456789012345678901234567890123456789012345678901234567890123456789\"", "hostname"},
        Refused{"/mounts", "[{\"type\":\"tmpfs\"}]", "mounts[0].destination"},
        Refused{"/hooks", "{\"prestart\":[{\"path\":\"x\"}]}", "hooks.prestart[0].path"},
        Refused{"/hooks", "{\"prestart\":[{\"path\":\"/x\",\"timeout\":0}]}", "timeout"},
        Refused{"/linux/namespaces", "[{\"type\":\"pid\"},{\"type\":\"pid\"}]", "twice"},
        Refused{"/linux/namespaces", "[{\"type\":\"strange\"}]", "linux.namespaces[0].type"},
        Refused{"/linux/namespaces", "[{\"type\":\"pid\",\"path\":\"x\"}]", "linux.namespaces[0].path"},
        Refused{"/linux/uidMappings", "[{\"containerID\":0,\"hostID\":0,\"size\":0}]", "linux.uidMappings[0].size"},
        Refused{"/linux/uidMappings", "[{\"containerID\":2,\"hostID\":0,\"size\":4294967295}]", "linux.uidMappings[0].size"},
        Refused{"/linux/timeOffsets", "{\"realtime\":{}}", "timeOffsets"},
        Refused{"/linux/devices", "[{\"path\":\"/dev/x\",\"type\":\"q\"}]", "linux.devices[0].type"},
        Refused{"/linux/devices", "[{\"path\":\"/dev/x\",\"type\":\"c\",\"major\":-1}]", "linux.devices[0].major"},
        Refused{"/linux/rootfsPropagation", "\"sideways\"", "rootfsPropagation"}, Refused{"/linux/maskedPaths", "[\"x\"]", "maskedPaths"},
        Refused{"/linux/mountLabel", "\"x\"", "mountLabel"}, Refused{"/linux/personality", "{\"domain\":\"BSD\"}", "personality"},
        Refused{"/linux/intelRdt", "{\"closID\":\"x\"}", "linux.intelRdt"}, Refused{"/linux/memoryPolicy", "{\"mode\":\"x\"}", "memoryPolicy"},
        Refused{"/vm", "{\"kernel\":{}}", "vm"}, Refused{"/windows", "{\"x\":1}", "windows"},
        Refused{"/linux/seccomp", "{\"defaultAction\":\"SCMP_ACT_X\"}", "linux.seccomp.defaultAction"},
        Refused{"/linux/seccomp", "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[],\"action\":\"SCMP_ACT_ERRNO\"}]}", "names"},
        Refused{"/linux/resources", "{\"devices\":[{\"type\":\"x\"}]}", "linux.resources.devices[0].type"},
        Refused{"/linux/resources", "{\"devices\":[{\"access\":\"rx\"}]}", "access"},
        Refused{"/linux/resources", "{\"pids\":{\"limit\":\"many\"}}", "linux.resources.pids.limit"},
        Refused{"/linux/resources", "{\"hugepageLimits\":[{\"pageSize\":\"../x\",\"limit\":1}]}", "pageSize"}));

// What would change the host, whoever writes it how (CVE-2022-0811).
TEST(ParseSpec, SysctlsAreOfNamespacesThatTheContainerOwns) {
  for (const char* name : {"kernel.core_pattern", "kernel.modprobe", "kernel/core_pattern", "kernel.shm_rmid_forced+x", "vm.swappiness",
                           "kernel..shmmax", "net/../kernel/core_pattern", ".net.x", "kernel.shmmax\\nkernel.core_pattern", "kernel.hostname",
                           "user.max_user_namespaces", "fs.file-max"}) {
    const Result<Spec> spec = With("/linux/sysctl", (std::string("{\"") + name + "\":\"1\"}").c_str());
    EXPECT_FALSE(spec.ok()) << name;
  }
  for (const char* name : {"net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/forwarding", "kernel.shmmax", "kernel.sem", "fs.mqueue.msg_max",
                           "kernel.domainname"}) {
    const Result<Spec> spec = With("/linux/sysctl", (std::string("{\"") + name + "\":\"1\"}").c_str());
    EXPECT_TRUE(spec.ok()) << name << ": " << spec.error().message();
  }
  Json json = Base();
  json["linux"]["namespaces"] = Json::parse(R"([{"type":"mount"}])");
  for (const char* name : {"net.ipv4.ip_forward", "kernel.shmmax", "kernel.domainname"}) {
    json["linux"]["sysctl"] = {{name, "1"}};
    EXPECT_FALSE(ParseSpec(json.dump()).ok()) << name << " without a namespace of its own";
  }
}

TEST(ParseSpec, WhatIsNoJsonOrSaysThingsTwiceIsRefused) {
  EXPECT_FALSE(ParseSpec("").ok());
  EXPECT_FALSE(ParseSpec("[]").ok());
  EXPECT_FALSE(ParseSpec(R"({"ociVersion":"1.0","ociVersion":"1.1"})").ok());
  EXPECT_FALSE(ParseSpec("{\"ociVersion\":\"1.0\xff\"}").ok());
}

}  // namespace
}  // namespace snap::runtime
