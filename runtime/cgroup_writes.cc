// The specification speaks of v1's files; v2 gets what comes closest, by the conversions that runc and crun agree on.
#include <algorithm>

#include "fs/base/quote.h"
#include "runtime/cgroup.h"

namespace snap::runtime {
namespace {

class Writes {
 public:
  explicit Writes(std::vector<CgroupWrite>& out) : out_(out) {}
  void Add(const char* controller, std::string file, std::string value, bool optional = false) {
    out_.push_back({controller, std::move(file), std::move(value), optional});
  }
  template <typename Number>
  void Add(const char* controller, const char* file, const std::optional<Number>& value, bool optional = false) {
    if (value) Add(controller, file, std::to_string(*value), optional);
  }

 private:
  std::vector<CgroupWrite>& out_;
};

std::string DeviceLine(int64_t major, int64_t minor, uint64_t value) { return fmt::format("{}:{} {}", major, minor, value); }
std::string MaxOr(int64_t value) { return value < 0 ? "max" : std::to_string(value); }

void AddRdma(const ResourcesSpec& resources, const char* controller, Writes& writes) {
  for (const auto& [device, limit] : resources.rdma) {
    std::string line = device;
    if (limit.hca_handles) line += fmt::format(" hca_handle={}", *limit.hca_handles);
    if (limit.hca_objects) line += fmt::format(" hca_object={}", *limit.hca_objects);
    writes.Add(controller, "rdma.max", line);
  }
}

}  // namespace

Result<std::vector<CgroupWrite>> PlanCgroupV1(const ResourcesSpec& resources) {
  std::vector<CgroupWrite> out;
  Writes writes(out);
  const auto& memory = resources.memory;
  writes.Add("memory", "memory.limit_in_bytes", memory.limit);
  // Without swap accounting the file is not there, and nothing can be limited.
  writes.Add("memory", "memory.memsw.limit_in_bytes", memory.swap, true);
  writes.Add("memory", "memory.soft_limit_in_bytes", memory.reservation);
  writes.Add("memory", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp, true);
  writes.Add("memory", "memory.swappiness", memory.swappiness);
  if (memory.disable_oom_killer.value_or(false)) writes.Add("memory", "memory.oom_control", "1");
  const auto& cpu = resources.cpu;
  if (cpu.shares.value_or(0) != 0) writes.Add("cpu", "cpu.shares", cpu.shares);
  if (cpu.period.value_or(0) != 0) writes.Add("cpu", "cpu.cfs_period_us", cpu.period);
  if (cpu.quota.value_or(0) != 0) writes.Add("cpu", "cpu.cfs_quota_us", cpu.quota);
  writes.Add("cpu", "cpu.cfs_burst_us", cpu.burst);
  if (cpu.realtime_period.value_or(0) != 0) writes.Add("cpu", "cpu.rt_period_us", cpu.realtime_period);
  if (cpu.realtime_runtime.value_or(0) != 0) writes.Add("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime);
  writes.Add("cpu", "cpu.idle", cpu.idle);
  if (!cpu.cpus.empty()) writes.Add("cpuset", "cpuset.cpus", cpu.cpus);
  if (!cpu.mems.empty()) writes.Add("cpuset", "cpuset.mems", cpu.mems);
  if (resources.pids_limit && *resources.pids_limit != 0) writes.Add("pids", "pids.max", MaxOr(*resources.pids_limit));
  const auto& io = resources.block_io;
  if (io.weight.value_or(0) != 0) {
    writes.Add("blkio", "blkio.weight", std::to_string(*io.weight), true);  // of CFQ, gone since 5.0
    writes.Add("blkio", "blkio.bfq.weight", std::to_string(*io.weight), true);
  }
  for (const WeightDevice& device : io.weight_devices) {
    if (device.weight) writes.Add("blkio", "blkio.bfq.weight_device", DeviceLine(device.major, device.minor, *device.weight));
  }
  const std::pair<const char*, const std::vector<ThrottleDevice>*> throttles[] = {
      {"blkio.throttle.read_bps_device", &io.read_bps},
      {"blkio.throttle.write_bps_device", &io.write_bps},
      {"blkio.throttle.read_iops_device", &io.read_iops},
      {"blkio.throttle.write_iops_device", &io.write_iops}};
  for (const auto& [file, devices] : throttles) {
    for (const ThrottleDevice& device : *devices) writes.Add("blkio", file, DeviceLine(device.major, device.minor, device.rate));
  }
  for (const HugepageLimit& limit : resources.hugepages) {
    writes.Add("hugetlb", fmt::format("hugetlb.{}.limit_in_bytes", limit.page_size), std::to_string(limit.limit_bytes));
    writes.Add("hugetlb", fmt::format("hugetlb.{}.rsvd.limit_in_bytes", limit.page_size), std::to_string(limit.limit_bytes), true);
  }
  writes.Add("net_cls", "net_cls.classid", resources.network.class_id);
  for (const auto& [name, priority] : resources.network.priorities) {
    writes.Add("net_prio", "net_prio.ifpriomap", fmt::format("{} {}", name, priority));
  }
  AddRdma(resources, "rdma", writes);
  if (!resources.unified.empty()) {
    return MakeError(ErrorCode::kUnsupported, "linux.resources.unified: this host has cgroup v1");
  }
  return out;
}

Result<std::vector<CgroupWrite>> PlanCgroupV2(const ResourcesSpec& resources) {
  std::vector<CgroupWrite> out;
  Writes writes(out);
  const auto& memory = resources.memory;
  if (memory.limit && *memory.limit != 0) writes.Add("", "memory.max", MaxOr(*memory.limit));
  if (memory.reservation && *memory.reservation != 0) writes.Add("", "memory.low", MaxOr(*memory.reservation));
  if (memory.swap && *memory.swap != 0) {
    // v1 limits memory and swap together, v2 swap alone.
    if (*memory.swap > 0 && !memory.limit) {
      return MakeError(ErrorCode::kInvalidArgument, "linux.resources.memory.swap: it needs a limit of memory beside it");
    }
    if (*memory.swap > 0 && *memory.limit > 0 && *memory.swap < *memory.limit) {
      return MakeError(ErrorCode::kInvalidArgument, "linux.resources.memory.swap: it is memory and swap together, and less than the memory");
    }
    const int64_t alone = *memory.swap < 0 || *memory.limit < 0 ? -1 : *memory.swap - *memory.limit;
    writes.Add("", "memory.swap.max", MaxOr(alone), alone < 0);
  }
  const auto& cpu = resources.cpu;
  if (cpu.shares.value_or(0) != 0) {
    // 2..262144 to 1..10000
    const uint64_t shares = std::clamp<uint64_t>(*cpu.shares, 2, 262144);
    writes.Add("", "cpu.weight", std::to_string(1 + (shares - 2) * 9999 / 262142));
  }
  if ((cpu.quota && *cpu.quota != 0) || cpu.period.value_or(0) != 0) {
    const std::string quota = cpu.quota && *cpu.quota > 0 ? std::to_string(*cpu.quota) : "max";
    const uint64_t period = cpu.period.value_or(0);
    writes.Add("", "cpu.max", period != 0 ? fmt::format("{} {}", quota, period) : quota);
  }
  writes.Add("", "cpu.max.burst", cpu.burst);
  writes.Add("", "cpu.idle", cpu.idle);
  if (cpu.realtime_period.value_or(0) != 0 || cpu.realtime_runtime.value_or(0) != 0) {
    return MakeError(ErrorCode::kUnsupported, "linux.resources.cpu.realtimeRuntime: cgroup v2 has none");
  }
  if (!cpu.cpus.empty()) writes.Add("", "cpuset.cpus", cpu.cpus);
  if (!cpu.mems.empty()) writes.Add("", "cpuset.mems", cpu.mems);
  if (resources.pids_limit && *resources.pids_limit != 0) writes.Add("", "pids.max", MaxOr(*resources.pids_limit));
  const auto& io = resources.block_io;
  if (io.weight.value_or(0) != 0) {
    writes.Add("", "io.bfq.weight", std::to_string(*io.weight), true);
    // 10..1000 to 1..10000
    const uint64_t weight = std::clamp<uint64_t>(*io.weight, 10, 1000);
    writes.Add("", "io.weight", std::to_string(1 + (weight - 10) * 9999 / 990), true);
  }
  for (const WeightDevice& device : io.weight_devices) {
    if (device.weight) writes.Add("", "io.bfq.weight", DeviceLine(device.major, device.minor, *device.weight));
  }
  const std::pair<const char*, const std::vector<ThrottleDevice>*> throttles[] = {
      {"rbps", &io.read_bps}, {"wbps", &io.write_bps}, {"riops", &io.read_iops}, {"wiops", &io.write_iops}};
  for (const auto& [key, devices] : throttles) {
    for (const ThrottleDevice& device : *devices) {
      writes.Add("", "io.max", fmt::format("{}:{} {}={}", device.major, device.minor, key, device.rate));
    }
  }
  for (const HugepageLimit& limit : resources.hugepages) {
    writes.Add("", fmt::format("hugetlb.{}.max", limit.page_size), std::to_string(limit.limit_bytes));
    writes.Add("", fmt::format("hugetlb.{}.rsvd.max", limit.page_size), std::to_string(limit.limit_bytes), true);
  }
  if (resources.network.class_id || !resources.network.priorities.empty()) {
    return MakeError(ErrorCode::kUnsupported, "linux.resources.network: cgroup v2 has none");
  }
  AddRdma(resources, "", writes);
  for (const auto& [file, value] : resources.unified) {
    if (file.find('/') != std::string::npos || file.find('.') == std::string::npos || file.starts_with("cgroup.")) {
      return MakeError(ErrorCode::kInvalidArgument, "linux.resources.unified {}: not a file of a controller", Quote(file));
    }
    writes.Add("", file, value);
  }
  return out;
}

}  // namespace snap::runtime
