// What --format json prints. docs/cli-json.md is the schema: keys are added, never renamed or removed.
// Invariant: one document, an object or an array, with a newline at its end; times are RFC 3339 in UTC or "",
// sizes are bytes, ids are whole.
#pragma once

#include <string>
#include <vector>

#include "fs/base/json.h"
#include "fs/oci_image.h"
#include "snapshotter/store.h"
#include "tools/snap/mounts_registry.h"

namespace snap::cli {

/// Indented by two spaces; bytes that are not UTF-8 become U+FFFD.
std::string RenderJson(const Json& document);

/// One row of `snap images`.
Json ImageRowJson(const ImageRecord& image, const std::string& created, uint64_t size_bytes);
/// The whole of `snap inspect IMAGE`.
Json ImageJson(const ImageRecord& image, const oci::ImageConfig& config,
               const std::vector<ImageLayer>& layers);
/// `number` counts from 1 at the bottom.
Json ImageLayerJson(const ImageLayer& layer, size_t number);
Json LayerManifestToJson(const LayerManifest& manifest, std::optional<uint32_t> references);
Json ContainerJson(const ContainerRecord& container, bool running);
Json MountJson(const MountRecord& record, MountsRegistry::State state);

/// "running", "exited" or "created".
std::string_view ContainerState(const ContainerRecord& container, bool running);
/// Exit status; 137 for a container whose launcher was killed before it could tell.
int ContainerExitCode(const ContainerRecord& container);

}  // namespace snap::cli
