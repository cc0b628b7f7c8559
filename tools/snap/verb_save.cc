// snap save: writes images where other tools read them.
#include <algorithm>
#include <unordered_set>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/oci_writer.h"
#include "tools/snap/context.h"
#include "tools/snap/verb_progress.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

const FdRef kStdout(1);

struct SaveArgs {
  std::vector<std::string> images;
  std::string output, format, compress;
  std::optional<unsigned> parallel_layers;
  bool force = false, quiet = false;
};

Result<oci::SaveOptions> OptionsOf(Context& context, const SaveArgs& args) {
  oci::SaveOptions options;
  options.format = args.format == "oci"           ? oci::SaveFormat::kOciLayout
                   : args.format == "oci-archive" ? oci::SaveFormat::kOciArchive
                                                  : oci::SaveFormat::kDockerArchive;
  const bool is_docker = options.format == oci::SaveFormat::kDockerArchive;
  if (is_docker && !args.compress.empty() && args.compress != "none") {
    context.SetHint("--format oci-archive can hold compressed layers");
    return MakeError(ErrorCode::kInvalidArgument,
                     "save with --compress {}: a docker archive has plain layers", args.compress);
  }
  options.compression = args.compress == "zstd"                ? Compression::kZstd
                        : args.compress == "none" || is_docker ? Compression::kNone
                                                               : Compression::kGzip;
  options.replace = args.force;
  return options;
}

Result<oci::SavedImage> Describe(Context& context, Store& store, const std::string& reference,
                                 std::unordered_set<DiffId>& checked) {
  SNAP_TRY(const ImageRecord image, FindImage(context, store, reference));
  SNAP_TRY(const std::vector<ImageLayer> layers, store.ImageLayers(image));
  oci::SavedImage saved{.config_json = image.config_json, .names = {}, .layers = {}};
  const Result<std::string> name = NormalizeImageName(reference);
  if (name.ok() && std::find(image.names.begin(), image.names.end(), *name) != image.names.end()) {
    saved.names.push_back(*name);
  }
  for (const ImageLayer& layer : layers) {
    const LayerManifest& manifest = layer.manifest;
    // A layer that cannot be saved is found before anything is written.
    if (checked.insert(manifest.diff_id).second) SNAP_TRY_VOID(store.LayerTar(manifest));
    saved.layers.push_back({.diff_id = manifest.diff_id,
                            .tar_bytes = manifest.tar_bytes,
                            .open = [&store, manifest] { return store.LayerTar(manifest); }});
  }
  return saved;
}

Result<int> Save(Context& context, const SaveArgs& args) {
  SNAP_TRY(oci::SaveOptions options, OptionsOf(context, args));
  Flags flags = context.tree().global().flags;
  flags.parallel_layers = args.parallel_layers;
  SNAP_TRY(const Settings settings, LoadSettings(flags, ProcessEnvironment()));
  options.parallel_layers = settings.parallel_layers;
  const bool to_stdout = args.output.empty() || args.output == "-";
  if (to_stdout && options.format == oci::SaveFormat::kOciLayout) {
    context.SetHint("-o DIR says where, --format oci-archive writes a stream");
    return Error(ErrorCode::kInvalidArgument, "save to standard output: an OCI layout is a directory");
  }
  if (to_stdout && sys::IsTerminal(kStdout)) {
    context.SetHint("-o FILE says where, or redirect standard output");
    return Error(ErrorCode::kInvalidArgument, "save to standard output: it is a terminal");
  }

  SNAP_TRY(Store* const store, context.OpenStore());
  std::vector<oci::SavedImage> images;
  std::unordered_set<DiffId> checked;
  for (const std::string& reference : args.images) {
    Result<oci::SavedImage> image = Describe(context, *store, reference, checked);
    if (!image.ok()) {
      if (image.error().code() == ErrorCode::kNotFound) return std::move(image).error();
      return std::move(image).error().Wrap("save " + Quote(reference));
    }
    images.push_back(*std::move(image));
  }

  const std::unique_ptr<ProgressView> progress = MakeProgress(context, args.quiet);
  if (progress) {
    options.on_progress = [&](const oci::SaveOptions::Progress& event) {
      ProgressView::Event shown;
      shown.phase = event.done ? ProgressView::Event::Phase::kDone : ProgressView::Event::Phase::kSaving;
      shown.layer = event.layer;
      shown.layer_count = event.layer_count;
      shown.label = event.label;
      shown.bytes = event.bytes;
      shown.total_bytes = event.total_bytes;
      progress->Update(shown, ProgressView::Clock::now());
    };
  }
  Result<oci::SaveReport> saved = to_stdout ? oci::SaveImages(images, kStdout, "standard output", options)
                                            : oci::SaveImages(images, args.output, options);
  if (progress) progress->Finish();
  if (!saved.ok()) {
    if (saved.error().code() == ErrorCode::kExists && options.format != oci::SaveFormat::kOciLayout) {
      context.SetHint("--force replaces it");
    }
    return std::move(saved).error();
  }
  if (!args.quiet) {
    context.Note(fmt::format("{}: {} {}, {} {}, {}\n",
                             to_stdout ? "standard output" : EscapeUnprintable(args.output), saved->images,
                             saved->images == 1 ? "image" : "images", saved->layers,
                             saved->layers == 1 ? "layer" : "layers", HumanSize(saved->layer_bytes)));
  }
  return kExitOk;
}

}  // namespace

void AddSave(CommandTree& tree) {
  tree.AddVerb(
      {.name = "save",
       .usage = "[OPTIONS] IMAGE...",
       .summary = "Write images to a file that other tools read",
       .description =
           "Every layer is the exact tar that was imported, verified against its digest on the way, "
           "so the image keeps "
           "its id wherever it is loaded. Several images share their layers. An image that is given "
           "by name is saved "
           "under that name, one that is given by id without a name.\n"
           "\n"
           "Formats:\n"
           "  docker-archive   what 'docker load' and 'podman load' read; plain layers\n"
           "  oci-archive      an OCI image layout in a tar file\n"
           "  oci              an OCI image layout, a directory; one that exists gets the images added\n"
           "\n"
           "A file that exists is only replaced with --force; an image in a layout, by one of the same name. "
           "What is written appears when it is "
           "whole, readable by its "
           "owner alone. Layers that are stored as trees do not keep their tar and cannot be saved.",
       .examples = {{"snap save -o app.tar app:1.4", "For 'docker load -i app.tar'."},
                    {"snap save app:1.4 | ssh host docker load", "Without a file in between."},
                    {"snap save --format oci --compress zstd -o /srv/layout app:1.4 debian:12",
                     "Two images in one layout, for 'skopeo copy oci:/srv/layout:app:1.4 ...'."}}},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<SaveArgs>();
        options.Operands("IMAGE", args->images, true, "Names or ids of images");
        options.Text("-o,--output", args->output, "FILE",
                     "Where to; without it or with '-', standard output");
        options.Choice("--format", args->format, {"docker-archive", "oci-archive", "oci"},
                       "What to write; without it, docker-archive");
        options.Choice("--compress", args->compress, {"none", "gzip", "zstd"},
                       "Compression of layers; without it, gzip in OCI formats");
        options.Number("--parallel", args->parallel_layers, 1,
                       "Layers to compress at a time; without it, as many as processors");
        options.Flag("-f,--force", args->force, "Replace a file that exists");
        options.Flag("-q,--quiet", args->quiet, "No progress, no summary");
        return [args](Context& context) { return Save(context, *args); };
      });
}

}  // namespace snap::cli
