// The v2 program asks the rules from the last to the first, since the first that matches then decides; what none matches is denied.
#include "runtime/cgroup_devices.h"

#include <fcntl.h>

#include <cerrno>

#include "fs/base/quote.h"
#include "fs/base/sys_bpf.h"
#include "fs/base/sys_file.h"

namespace snap::runtime {
namespace {

DeviceRule Allow(char kind, std::optional<int64_t> major, std::optional<int64_t> minor, bool use) {
  return {true, kind, major, minor, use, use, true};
}

std::string RuleText(const DeviceRule& rule) {
  const auto number = [](const std::optional<int64_t>& value) { return value && *value >= 0 ? std::to_string(*value) : std::string("*"); };
  std::string access;
  if (rule.read) access += 'r';
  if (rule.write) access += 'w';
  if (rule.mknod) access += 'm';
  return fmt::format("{} {}:{} {}", rule.kind, number(rule.major), number(rule.minor), access);
}

bool IsEverything(const DeviceRule& rule) {
  const auto any = [](const std::optional<int64_t>& value) { return !value || *value < 0; };
  return rule.kind == 'a' && any(rule.major) && any(rule.minor);
}

bpf_insn Insn(unsigned code, unsigned dst, unsigned src, int offset, int32_t imm) {
  bpf_insn insn{};
  insn.code = static_cast<uint8_t>(code);
  insn.dst_reg = static_cast<uint8_t>(dst & 15U);
  insn.src_reg = static_cast<uint8_t>(src & 15U);
  insn.off = static_cast<int16_t>(offset);
  insn.imm = imm;
  return insn;
}

}  // namespace

const std::vector<DeviceRule>& DefaultDeviceRules() {
  static const std::vector<DeviceRule> rules = {
      Allow('c', std::nullopt, std::nullopt, false), Allow('b', std::nullopt, std::nullopt, false),
      Allow('c', 1, 3, true), Allow('c', 1, 5, true), Allow('c', 1, 7, true), Allow('c', 1, 8, true), Allow('c', 1, 9, true),
      Allow('c', 5, 0, true), Allow('c', 5, 1, true), Allow('c', 5, 2, true), Allow('c', 136, std::nullopt, true)};
  return rules;
}

Result<void> WriteDeviceRules(const std::string& directory, const std::vector<DeviceRule>& rules) {
  const auto write = [&](bool allow, const std::string& text) -> Result<void> {
    const std::string path = directory + (allow ? "/devices.allow" : "/devices.deny");
    SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_WRONLY), "open {}", Quote(path));
    SNAP_TRY_SYS_VOID(sys::WriteAll(file, text), "write {} to {}", Quote(text), Quote(path));
    return {};
  };
  if (rules.empty() || !IsEverything(rules.front())) SNAP_TRY_VOID(write(false, "a"));
  for (const DeviceRule& rule : rules) {
    if (IsEverything(rule)) {
      SNAP_TRY_VOID(write(rule.allow, "a"));
    } else if (rule.kind == 'a') {
      for (const char kind : {'c', 'b'}) {
        DeviceRule one = rule;
        one.kind = kind;
        SNAP_TRY_VOID(write(rule.allow, RuleText(one)));
      }
    } else {
      SNAP_TRY_VOID(write(rule.allow, RuleText(rule)));
    }
  }
  return {};
}

std::vector<bpf_insn> BuildDeviceFilter(const std::vector<DeviceRule>& rules) {
  // struct bpf_cgroup_dev_ctx: access_type (type in the low half, access in the high one), major, minor.
  constexpr unsigned kType = 2, kAccess = 3, kMajor = 4, kMinor = 5;
  std::vector<bpf_insn> program = {
      Insn(BPF_LDX | BPF_MEM | BPF_W, kType, 1, 0, 0),
      Insn(BPF_ALU | BPF_AND | BPF_K, kType, 0, 0, 0xffff),
      Insn(BPF_LDX | BPF_MEM | BPF_W, kAccess, 1, 0, 0),
      Insn(BPF_ALU | BPF_RSH | BPF_K, kAccess, 0, 0, 16),
      Insn(BPF_LDX | BPF_MEM | BPF_W, kMajor, 1, 4, 0),
      Insn(BPF_LDX | BPF_MEM | BPF_W, kMinor, 1, 8, 0),
  };
  for (size_t i = rules.size(); i-- > 0;) {
    const DeviceRule& rule = rules[i];
    std::vector<bpf_insn> block;
    std::vector<size_t> jumps;  // to behind the block, when something does not match
    const auto unless_equal = [&](unsigned reg, int64_t value) {
      jumps.push_back(block.size());
      block.push_back(Insn(BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, 0, static_cast<int32_t>(value)));
    };
    if (rule.kind != 'a') unless_equal(kType, rule.kind == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    const int32_t access = (rule.mknod ? BPF_DEVCG_ACC_MKNOD : 0) | (rule.read ? BPF_DEVCG_ACC_READ : 0) |
                           (rule.write ? BPF_DEVCG_ACC_WRITE : 0);
    constexpr int32_t kAll = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
    if (access != kAll) {
      block.push_back(Insn(BPF_ALU | BPF_MOV | BPF_X, 1, kAccess, 0, 0));
      // An allowance covers a request that asks for nothing else; a denial one that asks for any of it.
      block.push_back(Insn(BPF_ALU | BPF_AND | BPF_K, 1, 0, 0, rule.allow ? kAll & ~access : access));
      jumps.push_back(block.size());
      block.push_back(Insn(BPF_JMP32 | (rule.allow ? unsigned{BPF_JNE} : unsigned{BPF_JEQ}) | BPF_K, 1, 0, 0, 0));
    }
    if (rule.major && *rule.major >= 0) unless_equal(kMajor, *rule.major);
    if (rule.minor && *rule.minor >= 0) unless_equal(kMinor, *rule.minor);
    block.push_back(Insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, rule.allow ? 1 : 0));
    block.push_back(Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
    for (const size_t jump : jumps) block[jump].off = static_cast<int16_t>(block.size() - jump - 1);
    program.insert(program.end(), block.begin(), block.end());
    if (jumps.empty()) return program;  // nothing behind it is ever reached, which the kernel would refuse
  }
  program.push_back(Insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0));
  program.push_back(Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  return program;
}

Result<void> AttachDeviceFilter(const std::string& directory, const std::vector<DeviceRule>& rules) {
  SNAP_TRY_SYS(const UniqueFd cgroup, sys::OpenAt(FdRef::Cwd(), directory.c_str(), O_RDONLY | O_DIRECTORY), "open cgroup {}",
               Quote(directory));
  const SysResult<UniqueFd> program = sys::LoadCgroupDeviceProgram(BuildDeviceFilter(rules));
  if (!program.ok() && program.error() == ENOSYS) {
    return MakeError(ErrorCode::kUnsupported, "limit devices: this kernel has no BPF");
  }
  if (!program.ok()) return Error(program.error(), "load the filter of devices");
  SNAP_TRY_SYS_VOID(sys::ReplaceCgroupDeviceProgram(cgroup, *program), "attach the filter of devices to cgroup {}", Quote(directory));
  return {};
}

}  // namespace snap::runtime
