// The documents of a saved image, as pure functions from values to text. Internal to oci_writer.cc.
// Invariant: keys are in one order, so the same image gives the same text and digest.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/json.h"
#include "fs/base/result.h"
#include "fs/oci_image.h"

namespace snap::oci {

struct SavedBlob {
  Digest digest;
  uint64_t size_bytes = 0;
};

std::string MakeManifestJson(const SavedBlob& config, const std::vector<SavedBlob>& layers_bottom_first,
                             Compression compression);

/// Descriptors of one manifest for an index: one for each name, or one without. A name goes into
/// org.opencontainers.image.ref.name as it is, which is what podman and skopeo look for, and in full
/// ("docker.io/library/debian:12") into io.containerd.image.name.
std::vector<Json> MakeIndexDescriptors(const SavedBlob& manifest, const Platform& platform,
                                       const std::vector<std::string>& names);

/// An index of these, added to `existing` if there is one: all that it has stays, known or not, except that a
/// name is moved. Errors: kCorrupt, kLimitExceeded (`existing`; `what` names it).
Result<std::string> MakeIndexJson(const std::vector<Json>& descriptors,
                                  const std::optional<std::string>& existing, std::string_view what);

/// The manifest.json of `docker load`.
struct DockerImage {
  std::string config_path;
  std::vector<std::string> names, layer_paths;
};
std::string MakeDockerManifestJson(const std::vector<DockerImage>& images);

}  // namespace snap::oci
