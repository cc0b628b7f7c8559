#include "tools/snap/context.h"

#include "fs/base/log.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "tools/snap/backend.h"

namespace snap::cli {
namespace {

const FdRef kStdout(1);
const FdRef kStderr(2);

bool UseColor(ColorMode mode, FdRef fd) {
  if (mode == ColorMode::kAuto) return sys::IsTerminal(fd);
  return mode == ColorMode::kAlways;
}

}  // namespace

Context::Context(Settings settings, const CommandTree& tree, const CommandTree::Parsed& parsed)
    : settings_(std::move(settings)),
      tree_(tree),
      command_(parsed.command),
      json_(tree.global().format == "json"),
      json_errors_(json_ && tree.global().format_given),
      failure_status_(parsed.verb != nullptr ? parsed.verb->failure_status : 0) {}

bool Context::color_output() const { return UseColor(settings_.color, kStdout); }
bool Context::color_errors() const { return UseColor(settings_.color, kStderr); }

Result<void> Context::ChooseBackend(const std::string& flag) {
  Flags flags = tree_.global().flags;
  flags.backend = flag;
  SNAP_TRY(settings_, LoadSettings(flags, ProcessEnvironment()));
  return {};
}

Result<Store*> Context::OpenStore() {
  if (store_) return &*store_;
  StoreOptions options;
  options.root = settings_.root;
  options.on_wait = [this](std::optional<int64_t> holder) {
    Note(holder ? fmt::format("snap: waiting for the store, which process {} is using\n", *holder)
                : std::string("snap: waiting for the store, which another process is using\n"));
  };
  const auto note = [this](std::string_view text) { Note(fmt::format("snap: {}\n", text)); };
  SNAP_TRY(Store store, Store::Open(std::move(options), MakeBackend(settings_, note)));
  // Not before: a new store's directory must be empty. Without it every process probes the kernel again.
  if (const Result<void> made = MakeRunDirectory(settings_.run_dir); !made.ok()) {
    log::Debug("{}, going on without", made.error().message());
  }
  store_.emplace(std::move(store));
  return &*store_;
}

Result<MountsRegistry*> Context::OpenMounts() {
  if (mounts_) return &*mounts_;
  SNAP_TRY_VOID(OpenStore());
  SNAP_TRY(MountsRegistry mounts, MountsRegistry::Open(settings_.run_dir));
  mounts_.emplace(std::move(mounts));
  return &*mounts_;
}

Result<void> Context::Flush() {
  const std::string text = std::move(out_);
  out_.clear();
  if (text.empty()) return {};
  SNAP_TRY_SYS_VOID(sys::WriteAll(kStdout, text), "write to standard output");
  return {};
}

void Context::Note(std::string_view line) const {
  (void)sys::WriteAll(kStderr, line);  // there is nobody left to tell
}

void Context::Report(const Error& error) {
  const int status = PrintError(error, hint_, json_errors_, color_errors(), failure_status_);
  if (reported_status_ == 0) reported_status_ = status;
  hint_.clear();
}

int PrintError(const Error& error, std::string_view hint, bool json, bool color, int failure_status) {
  ErrorReport report;
  report.code = error.code();
  report.message = error.message();
  report.hint = hint.empty() ? GeneralHint(error.code(), sys::EffectiveUid() == 0) : hint;
  report.exit_status = failure_status != 0 ? failure_status : ExitStatusOf(error.code());
  std::string text = RenderErrorText(report, color);
  if (json) text += RenderErrorJson(report);
  (void)sys::WriteAll(kStderr, text);  // there is nobody left to tell
  return report.exit_status;
}

Result<ImageRecord> FindImage(Context& context, Store& store, std::string_view reference) {
  Result<ImageRecord> image = store.FindImage(reference);
  if (!image.ok() && image.error().code() == ErrorCode::kNotFound) {
    context.SetHint("'snap images' lists what there is, 'snap import' adds more");
  }
  return image;
}

Result<ContainerRecord> FindContainer(Context& context, Store& store, std::string_view reference) {
  Result<ContainerRecord> container = store.FindContainer(reference);
  if (!container.ok() && container.error().code() == ErrorCode::kNotFound) {
    context.SetHint("'snap ps -a' lists all containers");
  }
  return container;
}

}  // namespace snap::cli
