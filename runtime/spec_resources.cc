// "linux.resources": limits, in the terms of cgroup v1.
#include "runtime/spec_parse.h"

namespace snap::runtime {
namespace {

Result<void> ReadDeviceRules(const SpecReader& in, ResourcesSpec& out) {
  return in.EachObject("devices", [&](const SpecReader& item) -> Result<void> {
    DeviceRule& rule = out.devices.emplace_back();
    std::string type, access;
    SNAP_TRY_VOID(item.Read("allow", rule.allow));
    SNAP_TRY_VOID(item.Read("type", type));
    SNAP_TRY_VOID(item.Read("major", rule.major));
    SNAP_TRY_VOID(item.Read("minor", rule.minor));
    SNAP_TRY_VOID(item.Read("access", access));
    if (!type.empty() && type != "a" && type != "b" && type != "c") return item.Refuse("type", Quote(type) + " is not a, b or c");
    rule.kind = type.empty() ? 'a' : type[0];
    for (const char c : access) {
      if (c == 'r') rule.read = true;
      else if (c == 'w') rule.write = true;
      else if (c == 'm') rule.mknod = true;
      else return item.Refuse("access", Quote(access) + " is not made of r, w and m");
    }
    if (access.empty()) rule.read = rule.write = rule.mknod = true;
    return {};
  });
}

Result<void> ReadThrottles(const SpecReader& in, const char* key, std::vector<ThrottleDevice>& out) {
  return in.EachObject(key, [&](const SpecReader& item) -> Result<void> {
    ThrottleDevice& device = out.emplace_back();
    SNAP_TRY_VOID(item.Read("major", device.major));
    SNAP_TRY_VOID(item.Read("minor", device.minor));
    return item.Read("rate", device.rate);
  });
}

Result<void> ReadBlockIo(const SpecReader& in, ResourcesSpec::BlockIo& out) {
  SNAP_TRY_VOID(in.Read("weight", out.weight));
  SNAP_TRY_VOID(in.EachObject("weightDevice", [&](const SpecReader& item) -> Result<void> {
    WeightDevice& device = out.weight_devices.emplace_back();
    SNAP_TRY_VOID(item.Read("major", device.major));
    SNAP_TRY_VOID(item.Read("minor", device.minor));
    return item.Read("weight", device.weight);
  }));
  SNAP_TRY_VOID(ReadThrottles(in, "throttleReadBpsDevice", out.read_bps));
  SNAP_TRY_VOID(ReadThrottles(in, "throttleWriteBpsDevice", out.write_bps));
  SNAP_TRY_VOID(ReadThrottles(in, "throttleReadIOPSDevice", out.read_iops));
  return ReadThrottles(in, "throttleWriteIOPSDevice", out.write_iops);
}

}  // namespace

Result<void> ReadResources(const SpecReader& in, ResourcesSpec& out) {
  SNAP_TRY_VOID(ReadDeviceRules(in, out));
  SNAP_TRY_VOID(in.Object("memory", [&](const SpecReader& memory) -> Result<void> {
    SNAP_TRY_VOID(memory.Read("limit", out.memory.limit));
    SNAP_TRY_VOID(memory.Read("reservation", out.memory.reservation));
    SNAP_TRY_VOID(memory.Read("swap", out.memory.swap));
    SNAP_TRY_VOID(memory.Read("kernel", out.memory.kernel));  // gone from the kernel; engines that are old still give it
    SNAP_TRY_VOID(memory.Read("kernelTCP", out.memory.kernel_tcp));
    SNAP_TRY_VOID(memory.Read("swappiness", out.memory.swappiness));
    const Json* const killer = memory.Find("disableOOMKiller");
    if (killer != nullptr) SNAP_TRY_VOID(memory.Read("disableOOMKiller", out.memory.disable_oom_killer.emplace()));
    return {};
  }));
  SNAP_TRY_VOID(in.Object("cpu", [&](const SpecReader& cpu) -> Result<void> {
    SNAP_TRY_VOID(cpu.Read("shares", out.cpu.shares));
    SNAP_TRY_VOID(cpu.Read("quota", out.cpu.quota));
    SNAP_TRY_VOID(cpu.Read("burst", out.cpu.burst));
    SNAP_TRY_VOID(cpu.Read("period", out.cpu.period));
    SNAP_TRY_VOID(cpu.Read("realtimeRuntime", out.cpu.realtime_runtime));
    SNAP_TRY_VOID(cpu.Read("realtimePeriod", out.cpu.realtime_period));
    SNAP_TRY_VOID(cpu.Read("idle", out.cpu.idle));
    SNAP_TRY_VOID(cpu.Read("cpus", out.cpu.cpus));
    return cpu.Read("mems", out.cpu.mems);
  }));
  SNAP_TRY_VOID(in.Object("pids", [&](const SpecReader& pids) { return pids.Read("limit", out.pids_limit); }));
  SNAP_TRY_VOID(in.Object("blockIO", [&](const SpecReader& io) { return ReadBlockIo(io, out.block_io); }));
  SNAP_TRY_VOID(in.EachObject("hugepageLimits", [&](const SpecReader& item) -> Result<void> {
    HugepageLimit& limit = out.hugepages.emplace_back();
    SNAP_TRY_VOID(item.Read("pageSize", limit.page_size));
    if (limit.page_size.empty() || limit.page_size.find_first_not_of("0123456789KMGTB") != std::string::npos) {
      return item.Refuse("pageSize", Quote(limit.page_size) + " is no size of pages");
    }
    return item.Read("limit", limit.limit_bytes);
  }));
  SNAP_TRY_VOID(in.Object("network", [&](const SpecReader& network) -> Result<void> {
    SNAP_TRY_VOID(network.Read("classID", out.network.class_id));
    return network.EachObject("priorities", [&](const SpecReader& item) -> Result<void> {
      auto& [name, priority] = out.network.priorities.emplace_back();
      SNAP_TRY_VOID(item.Read("name", name));
      return item.Read("priority", priority);
    });
  }));
  SNAP_TRY_VOID(in.EachMember("rdma", [&](const std::string& name, const Json& value, const std::string& path) -> Result<void> {
    const SpecReader limit(value, path);
    SNAP_TRY_VOID(limit.Read("hcaHandles", out.rdma[name].hca_handles));
    return limit.Read("hcaObjects", out.rdma[name].hca_objects);
  }));
  return in.EachMember("unified", [&](const std::string& name, const Json& value, const std::string& path) {
    return SpecReader::Text(value, path, out.unified[name]);
  });
}

}  // namespace snap::runtime
