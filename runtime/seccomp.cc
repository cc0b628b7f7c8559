// libseccomp knows numbers and argument registers of every architecture; what it does not do, the answer to calls from the future, is
// put in front of what it makes.
#include "runtime/seccomp.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <memory>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_seccomp.h"

namespace snap::runtime {
namespace {

using Context = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

struct Architecture {
  std::string_view name;
  uint32_t token;
};
constexpr Architecture kArchitectures[] = {
    {"SCMP_ARCH_X86", SCMP_ARCH_X86},           {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},     {"SCMP_ARCH_X32", SCMP_ARCH_X32},
    {"SCMP_ARCH_ARM", SCMP_ARCH_ARM},           {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},   {"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS},
    {"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},     {"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32}, {"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL},
    {"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64}, {"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32}, {"SCMP_ARCH_PPC", SCMP_ARCH_PPC},
    {"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64},       {"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},   {"SCMP_ARCH_S390", SCMP_ARCH_S390},
    {"SCMP_ARCH_S390X", SCMP_ARCH_S390X},       {"SCMP_ARCH_PARISC", SCMP_ARCH_PARISC},     {"SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64},
    {"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64}};

struct Flag {
  std::string_view name;
  unsigned bit;
};
constexpr Flag kFlags[] = {{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
                           {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
                           {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
                           {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1U << 5U}};

uint32_t ActionOf(SeccompAction action, const std::optional<uint32_t>& errno_ret) {
  const uint32_t data = errno_ret.value_or(EPERM) & 0xffffU;
  switch (action) {
    case SeccompAction::kKillProcess: return SCMP_ACT_KILL_PROCESS;
    case SeccompAction::kKillThread: return SCMP_ACT_KILL_THREAD;
    case SeccompAction::kTrap: return SCMP_ACT_TRAP;
    case SeccompAction::kErrno: return SCMP_ACT_ERRNO(data);
    case SeccompAction::kTrace: return SCMP_ACT_TRACE(data);
    case SeccompAction::kAllow: return SCMP_ACT_ALLOW;
    case SeccompAction::kLog: return SCMP_ACT_LOG;
    case SeccompAction::kNotify: return SCMP_ACT_NOTIFY;
  }
  return SCMP_ACT_KILL_PROCESS;
}

constexpr scmp_compare kCompare[] = {SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE, SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ};

scmp_arg_cmp Compare(const SeccompArg& arg) {
  return {arg.index, kCompare[static_cast<size_t>(arg.op)], arg.value, arg.value_two};
}

Result<uint32_t> TokenOf(const std::string& name) {
  const auto* const found = std::find_if(std::begin(kArchitectures), std::end(kArchitectures), [&](const Architecture& a) { return a.name == name; });
  if (found == std::end(kArchitectures)) {
    return MakeError(ErrorCode::kInvalidArgument, "linux.seccomp.architectures: {} is not known", Quote(name));
  }
  return found->token;
}

Result<void> AddRule(scmp_filter_ctx context, const SeccompRule& rule, uint32_t default_action) {
  const uint32_t action = ActionOf(rule.action, rule.errno_ret);
  if (action == default_action) return {};  // says nothing, and libseccomp refuses it
  std::array<int, 6> uses{};
  for (const SeccompArg& arg : rule.args) ++uses[arg.index];
  const bool alternatives = std::any_of(uses.begin(), uses.end(), [](int count) { return count > 1; });
  std::vector<std::vector<scmp_arg_cmp>> conditions;
  if (alternatives) {
    for (const SeccompArg& arg : rule.args) conditions.push_back({Compare(arg)});
  } else {
    std::vector<scmp_arg_cmp>& all = conditions.emplace_back();
    for (const SeccompArg& arg : rule.args) all.push_back(Compare(arg));
  }
  for (const std::string& name : rule.names) {
    const int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) continue;
    for (const auto& condition : conditions) {
      const int added = seccomp_rule_add_array(context, action, number, static_cast<unsigned>(condition.size()), condition.data());
      // A condition on a call that an architecture has in another shape (socketcall) cannot be said there.
      if (added == 0 || added == -EEXIST || (added == -EINVAL && number < 0)) continue;
      return Error(Errno(-added), fmt::format("linux.seccomp.syscalls: rule for {}", Quote(name)));
    }
  }
  return {};
}

/// The largest number that the profile names, by AUDIT_ARCH of each architecture.
std::map<uint32_t, int> LargestNumbers(const SeccompSpec& spec, const std::vector<uint32_t>& tokens) {
  std::map<uint32_t, int> largest;
  for (const uint32_t token : tokens) {
    if (token == SCMP_ARCH_X32) continue;  // shares its AUDIT_ARCH with x86_64, behind a bit of the number
    int& max = largest[token];
    for (const SeccompRule& rule : spec.rules) {
      for (const std::string& name : rule.names) max = std::max(max, seccomp_syscall_resolve_name_arch(token, name.c_str()));
    }
  }
  return largest;
}

sock_filter Statement(unsigned code, uint32_t k) { return {static_cast<uint16_t>(code), 0, 0, k}; }
sock_filter Jump(unsigned code, uint32_t k, uint8_t yes, uint8_t no) { return {static_cast<uint16_t>(code), yes, no, k}; }

/// For each architecture: a number above the largest that the profile knows is ENOSYS. Falls through to what follows.
std::vector<sock_filter> AnswerToNewCalls(const std::map<uint32_t, int>& largest) {
  constexpr uint32_t kNumber = 0, kArch = 4;  // offsets in struct seccomp_data
  constexpr uint32_t kX32Bit = 0x40000000;
  std::vector<sock_filter> out;
  for (const auto& [token, max] : largest) {
    if (max <= 0) continue;
    out.push_back(Statement(BPF_LD | BPF_W | BPF_ABS, kArch));
    out.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, token, 0, 4));
    out.push_back(Statement(BPF_LD | BPF_W | BPF_ABS, kNumber));
    out.push_back(Jump(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, 2, 0));  // the filter behind judges it
    out.push_back(Jump(BPF_JMP | BPF_JGT | BPF_K, static_cast<uint32_t>(max), 0, 1));
    out.push_back(Statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
  }
  return out;
}

Result<std::vector<sock_filter>> Export(scmp_filter_ctx context) {
  SNAP_TRY_SYS(const UniqueFd file, sys::MemfdCreate("seccomp", 0), "make a memory file");
  if (const int failed = seccomp_export_bpf(context, file.get()); failed != 0) {
    return Error(Errno(-failed), "linux.seccomp: make a program");
  }
  SNAP_TRY_SYS(const struct stat status, sys::FStat(file), "stat a memory file");
  std::vector<sock_filter> program(static_cast<size_t>(status.st_size) / sizeof(sock_filter));
  const auto bytes = std::as_writable_bytes(std::span(program));
  size_t done = 0;
  while (done < bytes.size()) {
    SNAP_TRY_SYS(const size_t got, sys::PRead(file, bytes.subspan(done), done), "read a memory file");
    if (got == 0) break;
    done += got;
  }
  return program;
}

}  // namespace

Result<SeccompProgram> CompileSeccomp(const SeccompSpec& spec) {
  SeccompProgram program;
  const uint32_t default_action = ActionOf(spec.default_action, spec.default_errno_ret);
  if (spec.default_action == SeccompAction::kNotify) {
    return MakeError(ErrorCode::kInvalidArgument, "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default");
  }
  const Context context(seccomp_init(default_action), seccomp_release);
  if (context == nullptr) return MakeError(ErrorCode::kInternal, "linux.seccomp: libseccomp has no memory for a filter");
  (void)seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a tree, not a list; libseccomp before 2.5 has none
  // Numbers that the profile must not reach (x32, -1) are for the default action, not for a kill of its own.
  (void)seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

  std::vector<uint32_t> tokens = {seccomp_arch_native()};
  for (const std::string& name : spec.architectures) {
    SNAP_TRY(const uint32_t token, TokenOf(name));
    const int added = seccomp_arch_add(context.get(), token);
    if (added != 0 && added != -EEXIST) return Error(Errno(-added), fmt::format("linux.seccomp.architectures: add {}", Quote(name)));
    if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
  }
  for (const std::string& name : spec.flags) {
    const auto* const found = std::find_if(std::begin(kFlags), std::end(kFlags), [&](const Flag& flag) { return flag.name == name; });
    if (found == std::end(kFlags)) return MakeError(ErrorCode::kInvalidArgument, "linux.seccomp.flags: {} is not known", Quote(name));
    if (!sys::HasSeccompFlag(found->bit)) {
      return MakeError(ErrorCode::kUnsupported, "linux.seccomp.flags: this kernel does not know {}", Quote(name));
    }
    program.flags |= found->bit;
  }
  for (const SeccompRule& rule : spec.rules) {
    program.notifies = program.notifies || rule.action == SeccompAction::kNotify;
    SNAP_TRY_VOID(AddRule(context.get(), rule, default_action));
  }
  if (program.notifies && spec.listener_path.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs somebody to notify");
  }
  if (program.notifies) program.flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;

  const bool default_fails = spec.default_action == SeccompAction::kErrno || spec.default_action == SeccompAction::kKillProcess ||
                             spec.default_action == SeccompAction::kKillThread || spec.default_action == SeccompAction::kTrap;
  const bool explicit_errno = spec.default_action == SeccompAction::kErrno && spec.default_errno_ret.value_or(EPERM) != EPERM;
  if (default_fails && !explicit_errno) program.filter = AnswerToNewCalls(LargestNumbers(spec, tokens));
  SNAP_TRY(const std::vector<sock_filter> compiled, Export(context.get()));
  program.filter.insert(program.filter.end(), compiled.begin(), compiled.end());
  if (program.filter.size() > BPF_MAXINSNS) {
    return MakeError(ErrorCode::kLimitExceeded, "linux.seccomp: the program has {} instructions, the kernel takes {}",
                     program.filter.size(), BPF_MAXINSNS);
  }
  return program;
}

}  // namespace snap::runtime
