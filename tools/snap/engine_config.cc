// Text, not a TOML writer: what is printed is to be read, with its reasons beside it. Sources: containerd's
// cmd/containerd/server/config, plugins/transfer, docs/cri/config.md; Docker's daemon/config.
#include "tools/snap/engine_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "fs/base/json.h"
#include "fs/base/quote.h"

namespace snap::cli {
namespace {

constexpr size_t kMaxNameBytes = 70;  // containerd allows 76, the differ's name has five more
/// More would not be faster: each layer in flight takes two threads of the daemon's.
constexpr int kConcurrentUnpacks = 4;

bool IsAlnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/// A TOML basic string.
std::string Toml(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04X}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// Part of a TOML key.
std::string TomlKey(std::string_view name) {
  const bool bare =
      std::all_of(name.begin(), name.end(), [](char c) { return IsAlnum(c) || c == '-' || c == '_'; });
  return bare ? std::string(name) : Toml(name);
}

std::string Capabilities(const ContainerdTraits& traits) {
  std::string text = "  # remap-ids: user namespaces without a copy of every file.";
  if (traits.rebase) text += " rebase: layers are unpacked in parallel.";
  return text + fmt::format("\n  capabilities = [\"remap-ids\"{}]\n", traits.rebase ? ", \"rebase\"" : "");
}

std::string ProxyPlugins(const EngineConfigInput& input, const ContainerdTraits& traits) {
  const std::string key = TomlKey(input.name);
  std::string text =
      fmt::format("[proxy_plugins.{}]\n  type = \"snapshot\"\n  address = {}\n", key, Toml(input.address));
  if (traits.exports) text += fmt::format("  platform = {}\n", Toml(input.platform));
  if (traits.capabilities) text += Capabilities(traits);
  if (traits.exports) {
    text += fmt::format(
        "  [proxy_plugins.{}.exports]\n    # Whose file system kubelet watches for space.\n    root = {}\n",
        key, Toml(input.store_root));
  }
  if (traits.diff_proxy) {
    text += fmt::format(
        "\n# Extracts layers; containerd's own would write every file on its own.\n"
        "[proxy_plugins.{}]\n  type = \"diff\"\n  address = {}\n",
        TomlKey(input.name + "-diff"), Toml(input.address));
  }
  return text;
}

std::string Differs(const EngineConfigInput& input, const ContainerdTraits& traits) {
  const std::string differ = Toml(input.name + "-diff");
  std::string text = fmt::format(
      "\n# Asked in this order; ours leaves other snapshotters' layers to the next.\n"
      "[plugins.\"io.containerd.service.v1.diff-service\"]\n  default = [{}, \"walking\"]\n",
      differ);
  if (!traits.exports) return text;
  text +=
      "\n# Pulls by ctr, and by Kubernetes from containerd 2.1 on. This list replaces the built-in one.\n"
      "[plugins.\"io.containerd.transfer.v1.local\"]\n";
  if (traits.rebase) text += fmt::format("  max_concurrent_unpacks = {}\n", kConcurrentUnpacks);
  const auto unpack = [&](std::string_view snapshotter, std::string_view quoted_differ) {
    return fmt::format(
        "  [[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\n    platform = {}\n"
        "    snapshotter = {}\n    differ = {}\n",
        Toml(input.platform), Toml(snapshotter), quoted_differ);
  };
  return text + unpack(input.name, differ) + unpack("overlayfs", "\"walking\"");
}

std::string Cri(const EngineConfigInput& input, const ContainerdTraits& traits) {
  if (traits.config_version < 3) {
    return fmt::format(
        "\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  snapshotter = {}\n"
        "  # Other programs may need the blobs; the store does not.\n"
        "  discard_unpacked_layers = false\n",
        Toml(input.name));
  }
  return fmt::format(
      "\n[plugins.\"io.containerd.cri.v1.images\"]\n  snapshotter = {}\n"
      "  # Each of these the other way makes pulls go past the transfer service and its unpack_config.\n"
      "  disable_snapshot_annotations = true\n  discard_unpacked_layers = false\n"
      "  image_pull_with_sync_fs = false\n",
      Toml(input.name));
}

}  // namespace

Result<void> CheckEngineConfigInput(const EngineConfigInput& input) {
  static constexpr std::array<std::string_view, 8> kTaken = {"overlayfs", "native", "btrfs",     "zfs",
                                                             "devmapper", "erofs",  "blockfile", "aufs"};
  const std::string& name = input.name;
  const bool allowed = !name.empty() && name.size() <= kMaxNameBytes && IsAlnum(name.front()) &&
                       IsAlnum(name.back()) && std::all_of(name.begin(), name.end(), [](char c) {
                         return IsAlnum(c) || c == '.' || c == '-' || c == '_';
                       });
  if (!allowed) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "name {} is not letters and digits with '.', '-' or '_' between them, at most {}",
                     Quote(name), kMaxNameBytes);
  }
  if (std::find(kTaken.begin(), kTaken.end(), name) != kTaken.end()) {
    return MakeError(ErrorCode::kInvalidArgument, "name {} is that of containerd's own snapshotter",
                     Quote(name));
  }
  if (!input.address.starts_with('/') || !IsUtf8(input.address)) {
    return MakeError(ErrorCode::kInvalidArgument, "address {} is not the absolute path of a socket",
                     Quote(input.address));
  }
  return {};
}

Result<std::string> ContainerdConfigText(const EngineConfigInput& input, const EngineVersion& version,
                                         bool cri) {
  if (version < kOldestContainerd) {
    return MakeError(ErrorCode::kUnsupported, "containerd {} is older than {}, the oldest that works",
                     version.ToString(), kOldestContainerd.ToString());
  }
  const ContainerdTraits traits = TraitsOf(version);
  std::string text =
      fmt::format("# For containerd {}.{}: merge into /etc/containerd/config.toml.\nversion = {}\n\n",
                  version.major, version.minor, traits.config_version);
  text += ProxyPlugins(input, traits);
  if (traits.diff_proxy) text += Differs(input, traits);
  if (cri) text += Cri(input, traits);
  return text;
}

Result<std::string> DockerConfigText(const EngineConfigInput& input, const EngineVersion& version) {
  if (version < kOldestDocker) {
    return MakeError(ErrorCode::kUnsupported,
                     "Docker Engine {} has no containerd image store, which came with {}", version.ToString(),
                     kOldestDocker.ToString());
  }
  const Json config = {{"features", {{"containerd-snapshotter", true}}}, {"storage-driver", input.name}};
  return config.dump(2) + "\n";
}

std::vector<std::string> ContainerdNotes(const EngineConfigInput& input, const EngineVersion& version,
                                         bool cri) {
  const ContainerdTraits traits = TraitsOf(version);
  std::vector<std::string> notes;
  notes.push_back("start snapshotterd, then: systemctl restart containerd; 'snap doctor' checks the result");
  if (!traits.diff_proxy) {
    notes.emplace_back(
        "containerd before 1.7 cannot be given a differ: it extracts layers itself, which works but is "
        "slower");
  } else if (!traits.capabilities) {
    notes.emplace_back(
        "containerd before 1.7.23 does not read capabilities: user namespaces copy every file of an image "
        "once");
  }
  if (cri) {
    notes.emplace_back(
        "images that Kubernetes has pulled stay with their old snapshotter: pull them again, or drain the "
        "node first");
  } else {
    notes.push_back(fmt::format("use it with 'ctr image pull --snapshotter {0}', 'nerdctl --snapshotter {0}'",
                                input.name));
  }
  notes.emplace_back(
      "keep the name: containerd's images refer to it, and under another one they are orphans");
  return notes;
}

std::vector<std::string> DockerNotes(const EngineConfigInput& input) {
  return {"merge into /etc/docker/daemon.json; images of the old store are not seen until it is put back",
          fmt::format(
              "the containerd that Docker uses needs its part too: 'snap engine-config containerd --name {}'",
              input.name),
          "dockerd must use that containerd: run it with --containerd=/run/containerd/containerd.sock, as "
          "packages do",
          "then: systemctl restart containerd docker; 'docker info' names the driver, 'snap doctor' checks "
          "the rest"};
}

}  // namespace snap::cli
