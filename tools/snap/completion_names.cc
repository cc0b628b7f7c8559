// The part of completion that looks into the store.
#include "overlay/overlay_backend.h"
#include "snapshotter/store.h"
#include "tools/snap/completion.h"
#include "tools/snap/containers.h"
#include "tools/snap/mounts_registry.h"

namespace snap::cli {
namespace {

std::vector<Candidate> ImageNames(Store& store) {
  std::vector<Candidate> found;
  const auto images = store.Images();
  if (!images.ok()) return found;
  for (const ImageRecord& image : *images) {
    for (const std::string& name : image.names) found.push_back({name, image.id.digest.Short()});
    found.push_back({image.id.digest.Short(), image.names.empty() ? "" : image.names.front()});
  }
  return found;
}

std::vector<Candidate> ContainerNames(Store& store) {
  std::vector<Candidate> found;
  const auto containers = store.Containers();
  if (!containers.ok()) return found;
  for (const ContainerRecord& container : *containers) {
    found.push_back({container.name, container.image_name});
    found.push_back({ShortId(container.id), container.name});
  }
  return found;
}

std::vector<Candidate> LayerNames(Store& store) {
  std::vector<Candidate> found;
  const auto layers = store.layers().List();
  if (!layers.ok()) return found;
  for (const LayerId& layer : *layers) found.push_back({layer.digest.Short(), "layer"});
  return found;
}

std::vector<Candidate> MountNames(const std::string& run_dir) {
  std::vector<Candidate> found;
  const auto registry = MountsRegistry::Open(run_dir);
  if (!registry.ok()) return found;
  const auto records = registry->List();
  if (!records.ok()) return found;
  for (const MountRecord& record : *records) {
    found.push_back({record.id, record.target});
    found.push_back({record.target, record.image_name});
  }
  return found;
}

}  // namespace

NameSource StoreNames(const CommandTree& tree, const std::vector<std::string>& words) {
  Flags flags;
  const CommandTree::Words read = tree.Read(words);
  for (size_t i = 0; i + 1 < read.normal.size(); ++i) {
    if (read.normal[i] == "--root") flags.root = read.normal[i + 1];
  }
  return [flags](std::string_view kind) -> std::vector<Candidate> {
    const auto settings = LoadSettings(flags, ProcessEnvironment());
    if (!settings.ok()) return {};
    StoreOptions options;
    options.root = settings->root;
    options.create = false;
    auto store = Store::Open(std::move(options), MakeOverlayBackend());
    if (!store.ok()) return {};
    if (kind == "IMAGE") return ImageNames(*store);
    if (kind == "CONTAINER") return ContainerNames(*store);
    if (kind == "LAYER") return LayerNames(*store);
    if (kind == "MOUNT") return MountNames(settings->run_dir);
    return {};
  };
}

}  // namespace snap::cli
