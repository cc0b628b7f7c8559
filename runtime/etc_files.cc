// The host's files are trusted but read with a limit, so that a mistake there cannot fill the container's tmpfs.
#include "runtime/etc_files.h"

#include <fmt/format.h>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap::runtime {
namespace {

constexpr size_t kMaxHostFile = size_t{1} << 20U;

constexpr std::string_view kLocalhost =
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n";

std::string HostFile(const char* path) {
  SysResult<std::string> text = sys::ReadFileAt(FdRef::Cwd(), path, kMaxHostFile);
  if (!text.ok()) return {};
  if (!text->empty() && !text->ends_with('\n')) *text += '\n';
  return *std::move(text);
}

bool HoldsName(std::string_view hosts, std::string_view name) {
  constexpr std::string_view kSpace = " \t\n";
  for (size_t at = hosts.find(name); at != std::string_view::npos; at = hosts.find(name, at + 1)) {
    const size_t end = at + name.size();
    if (at > 0 && kSpace.find(hosts[at - 1]) != std::string_view::npos &&
        (end == hosts.size() || kSpace.find(hosts[end]) != std::string_view::npos)) {
      return true;
    }
  }
  return false;
}

}  // namespace

EtcFiles MakeEtcFiles(std::string_view hostname, Network network) {
  EtcFiles files;
  files.hostname = fmt::format("{}\n", hostname);
  if (network == Network::kHost) {
    files.hosts = HostFile("/etc/hosts");
    files.resolv_conf = HostFile("/etc/resolv.conf");
  }
  if (files.hosts.empty()) files.hosts = kLocalhost;
  if (!HoldsName(files.hosts, hostname)) files.hosts += fmt::format("127.0.0.1\t{}\n", hostname);
  if (network == Network::kNone) files.resolv_conf = "# no network, no name servers\n";
  return files;
}

Result<void> CheckHostname(std::string_view hostname) {
  const auto edge = [](char c) { return c == '-' || c == '.'; };
  bool valid = !hostname.empty() && hostname.size() <= 64 && !edge(hostname.front()) && !edge(hostname.back());
  for (const char c : hostname) {
    valid = valid && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || edge(c));
  }
  if (valid) return {};
  return MakeError(ErrorCode::kInvalidArgument,
                   "hostname {} is not 1 to 64 letters, digits, '-' and '.' between letters or digits",
                   Quote(hostname));
}

}  // namespace snap::runtime
