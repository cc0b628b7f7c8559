// snap import: reads an image from disk into the store.
#include "tools/snap/context.h"
#include "tools/snap/json_output.h"
#include "tools/snap/verb_progress.h"
#include "tools/snap/verbs.h"

namespace snap::cli {
namespace {

struct ImportArgs {
  std::string source, name, platform, durability, io_engine, layer_format;
  std::optional<unsigned> parallel_layers;
  bool quiet = false;
};

Result<int> Import(Context& context, const ImportArgs& args) {
  // The verb's own flags are merged like the global ones, so that they win over environment and file.
  Flags flags = context.tree().global().flags;
  flags.durability = args.durability;
  flags.io_engine = args.io_engine;
  flags.layer_format = args.layer_format;
  flags.parallel_layers = args.parallel_layers;
  SNAP_TRY(const Settings settings, LoadSettings(flags, ProcessEnvironment()));

  ImportOptions options;
  if (!args.name.empty()) {
    SNAP_TRY(options.name, NormalizeImageName(args.name));
  }
  if (!args.platform.empty()) {
    SNAP_TRY(options.platform, oci::Platform::Parse(args.platform));
  }
  options.durability = settings.durability;
  options.engine = settings.io_engine;
  options.format = settings.layer_format;
  options.parallel_layers = settings.parallel_layers;

  Result<oci::SourceName> name = oci::SourceName::Parse(args.source);
  if (!name.ok()) {
    context.SetHint(
        "a source is oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], tar:FILE or dir:DIR");
    return std::move(name).error();
  }
  SNAP_TRY(const std::unique_ptr<oci::ImageSource> source, oci::ImageSource::Open(*name));
  SNAP_TRY(Store* const store, context.OpenStore());
  const std::unique_ptr<ProgressView> progress = MakeProgress(context, args.quiet);
  if (progress) {
    options.on_progress = [&](const ImportOptions::Progress& event) {
      progress->Update(event, ProgressView::Clock::now());
    };
  }
  Result<ImportResult> imported = store->Import(*source, args.source, options);
  if (progress) progress->Finish();
  SNAP_TRY(const ImportResult result, std::move(imported));

  if (context.json()) {
    context.Print(RenderJson({{"id", result.image.id.ToString()},
                              {"names", result.image.names},
                              {"layers_new", result.layers_new},
                              {"layers_shared", result.layers_shared},
                              {"replaced_names", result.replaced_names}}));
    return kExitOk;
  }
  if (!args.quiet) {
    for (const std::string& replaced : result.replaced_names) {
      context.Note(fmt::format("{} now names the new image; the old one keeps its id\n", replaced));
    }
    std::string name_of_image = options.name;
    if (name_of_image.empty()) {
      name_of_image =
          result.image.names.empty() ? result.image.id.digest.Short() : result.image.names.front();
    }
    context.Note(fmt::format("{}: {} new {}, {} shared\n", name_of_image, result.layers_new,
                             result.layers_new == 1 ? "layer" : "layers", result.layers_shared));
  }
  context.Print(result.image.id.ToString() + "\n");
  return kExitOk;
}

}  // namespace

void AddImport(CommandTree& tree) {
  tree.AddVerb(
      {.name = "import",
       .usage = "[OPTIONS] SOURCE [NAME]",
       .summary = "Read an image from disk into the store",
       .description =
           "SOURCE is one of\n"
           "  oci:DIR[:REF]               an OCI image layout\n"
           "  oci-archive:FILE[:REF]      the same in a tar file\n"
           "  docker-archive:FILE[:REF]   what 'docker save' writes\n"
           "  tar:FILE                    a root file system as a tar file; '-' is standard input\n"
           "  dir:DIR                     a root file system as a directory\n"
           "\n"
           "Every layer is verified against its digest while it is extracted; nothing is kept of an image "
           "that does "
           "not match. Layers that the store has already are not extracted again. Prints the image's id.",
       .examples = {{"snap import oci:/srv/images/debian:12 debian:12",
                     "One image of a layout, under a name of your own."},
                    {"docker save -o app.tar app:1.4 && snap import docker-archive:app.tar",
                     "From Docker, under its name there."},
                    {"debootstrap bookworm /tmp/root && snap import dir:/tmp/root debian:bookworm",
                     "A directory becomes an image with one layer."}},
       .default_format = "table"},
      [](OptionSet& options) -> CommandTree::Action {
        const auto args = std::make_shared<ImportArgs>();
        options.Operand("SOURCE", args->source, true, "Where the image is");
        options.Operand("NAME", args->name, false, "What to call it; without it, the source's own name");
        options.Text("--platform", args->platform, "OS/ARCH[/VARIANT]",
                     "Choose this platform; without it, this machine's");
        options.Choice(
            "--durability", args->durability, {"full", "none"},
            "full: layers survive a power cut (default); none: fast, for machines that are thrown away");
        options.Choice("--layer-format", args->layer_format, {"auto", "packed", "tree"},
                       "packed: one image and shared objects; tree: a directory; auto: packed where it can be mounted");
        options.Choice("--io-engine", args->io_engine, {"auto", "plain", "uring"}, "How files are written");
        options.Number("--parallel", args->parallel_layers, 1,
                       "Layers to extract at a time; without it, as many as processors");
        options.Flag("-q,--quiet", args->quiet, "Print the id only, no progress");
        return [args](Context& context) { return Import(context, *args); };
      });
}

}  // namespace snap::cli
