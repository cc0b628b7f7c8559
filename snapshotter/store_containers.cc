// Container records and their uppers. Both change under the database's lock, so that a collector never sees
// an upper whose row is about to come.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/base/time.h"
#include "snapshotter/container_name.h"
#include "snapshotter/store_state.h"
#include "fs/new_file.h"
#include "snapshotter/layer_stack.h"

namespace snap {
namespace {

/// Alive, and not merely waiting to be reaped.
bool IsAlive(int64_t pid, uint64_t start_time) {
  if (pid <= 0) return false;
  const SysResult<uint64_t> started = sys::ProcessStartTime(static_cast<pid_t>(pid));
  if (!started.ok() || *started != start_time) return false;
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  const SysResult<std::string> text = sys::ReadFileAt(FdRef::Cwd(), path.c_str(), 4096);
  if (!text.ok()) return false;
  const size_t name_end = text->rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= text->size()) return false;
  const char state = (*text)[name_end + 2];
  return state != 'Z' && state != 'X';
}

/// [a-zA-Z0-9][a-zA-Z0-9_.-]*, as Docker has it; it becomes a host name and a command line argument.
Result<void> CheckContainerName(std::string_view name) {
  constexpr size_t kMaxBytes = 128;
  const auto is_alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const auto is_valid = [&](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; };
  if (name.empty() || name.size() > kMaxBytes || !is_alphanumeric(name.front()) ||
      !std::all_of(name.begin(), name.end(), is_valid)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "container name {}: must be 1 to 128 letters, digits, '_', '.' or '-', starting with a "
                     "letter or digit",
                     Quote(name));
  }
  return {};
}

/// A mounted root shows the upper's own attributes: they must be the image's.
Result<void> LookLikeLayer(LayerStore& layers, const LayerId& layer, const LayerStore::Upper& upper) {
  SNAP_TRY(const OpenedLayer top, OpenLayer(layers, layer));
  SNAP_TRY(const Attributes attributes, RootAttributes(top.manifest.format, top.content));
  SNAP_TRY_SYS(const struct stat made, sys::FStat(upper.fs), "look at the upper");
  return ApplyAttributesAt(upper.fs, ".", FileType::kDirectory, attributes, {made.st_uid, made.st_gid, 0},
                           made.st_mode & 07777U);
}

Result<ContainerRecord> Find(Metadata& metadata, std::string_view reference) {
  SNAP_TRY(std::optional<ContainerRecord> by_name, metadata.ContainerByName(reference));
  if (by_name) return std::move(*by_name);
  SNAP_TRY(std::vector<ContainerRecord> containers, metadata.Containers());
  std::erase_if(containers,
                [&](const ContainerRecord& c) { return reference.empty() || !c.id.starts_with(reference); });
  if (containers.size() == 1) return std::move(containers.front());
  if (containers.empty()) {
    return MakeError(ErrorCode::kNotFound, "find container {}: there is none", Quote(reference));
  }
  std::string candidates;
  for (const ContainerRecord& container : containers) {
    candidates +=
        fmt::format("{}{} ({})", candidates.empty() ? "" : ", ", container.id.substr(0, 12), container.name);
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   "find container {}: {} containers have an id that starts so: {}", Quote(reference),
                   containers.size(), candidates);
}

// The launcher itself is still alive when it removes its container, and a short container has ended before
// its pid 1 was recorded: only its own launcher may then say that it is gone.
bool MayBeRunning(const ContainerRecord& container) {
  const bool own = container.init_pid == 0 && container.launcher_pid == sys::Pid();
  return !own && Store::IsRunning(container);
}

}  // namespace

bool Store::IsRunning(const ContainerRecord& container) {
  if (!container.finished.empty()) return false;
  const SysResult<std::string> boot_id = sys::BootId();
  if (!boot_id.ok() || container.boot_id != *boot_id) return false;
  return container.init_pid != 0 ? IsAlive(container.init_pid, container.init_start_time)
                                 : IsAlive(container.launcher_pid, container.launcher_start_time);
}

bool IsOrphan(const ContainerRecord& container) {
  return container.init_pid != 0 && Store::IsRunning(container) &&
         !IsAlive(container.launcher_pid, container.launcher_start_time);
}

void EndOrphan(const ContainerRecord& container) {
  const SysResult<UniqueFd> init = sys::PidfdOpen(static_cast<pid_t>(container.init_pid));
  if (!init.ok() || !IsOrphan(container)) return;  // asked again with the process held: its number was not reused
  (void)sys::PidfdSendSignal(*init, SIGKILL);      // gone in between is as good
  const FdRef ended[] = {*init};
  (void)sys::PollReadable(ended, std::chrono::seconds(1));  // one that hangs in the kernel is found again next time
}

Result<ContainerRecord> Store::CreateContainer(ContainerRecord record) {
  if (!record.name.empty()) SNAP_TRY_VOID(CheckContainerName(record.name));
  if (record.id.empty()) record.id = sys::RandomHex128() + sys::RandomHex128();
  if (record.created.empty()) record.created = NowRfc3339();
  if (record.launcher_pid == 0) {
    // Who creates it looks after it until somebody else says so: otherwise a collector could not tell a
    // container that is about to start from one whose creator died.
    SNAP_TRY_SYS(record.boot_id, sys::BootId(), "read the boot id");
    record.launcher_pid = sys::Pid();
    SNAP_TRY_SYS(record.launcher_start_time, sys::ProcessStartTime(sys::Pid()), "read own start time");
  }
  SNAP_TRY(const LayerStage busy, state_->MarkBusy());
  bool found_dead = false;
  {
    SNAP_TRY(Metadata metadata, state_->Write());
    SNAP_TRY(const std::optional<ImageRecord> image, metadata.ImageById(record.image));
    if (!image || image->layers.empty()) {
      return MakeError(ErrorCode::kNotFound, "create container: image {} is gone", record.image.ToString());
    }
    for (unsigned attempt = 0; record.name.empty(); ++attempt) {
      const std::string name = RandomContainerName(attempt);
      SNAP_TRY(const std::optional<ContainerRecord> taken, metadata.ContainerByName(name));
      if (!taken) record.name = name;
    }
    SNAP_TRY(const std::optional<ContainerRecord> taken, metadata.ContainerByName(record.name));
    if (taken) {
      return MakeError(ErrorCode::kExists, "create container {}: container {} has that name",
                       Quote(record.name), taken->id.substr(0, 12));
    }
    SNAP_TRY(const LayerStore::Upper upper, state_->layers.CreateUpper(record.id, !record.remove_at_exit));
    const auto finish = [&]() -> Result<void> {
      SNAP_TRY_VOID(LookLikeLayer(state_->layers, image->layers.back(), upper));
      SNAP_FAULT_POINT("store.create_container.before_database");
      return metadata.PutContainer(record);
    };
    if (const Result<void> finished = finish(); !finished.ok()) {
      (void)state_->layers.DiscardUpper(record.id);  // an upper without a row is garbage anyway
      return finished.error();
    }
    SNAP_TRY(const std::vector<ContainerRecord> containers, metadata.Containers());
    found_dead = std::any_of(containers.begin(), containers.end(),
                             [](const ContainerRecord& c) { return IsOrphan(c) || (c.remove_at_exit && !IsRunning(c)); });
  }
  // Launchers that were killed could not clean up; the next start does. Their remains must not fail this one.
  if (found_dead) (void)CollectGarbage(false);
  return record;
}

Result<void> Store::CreateMountUpper(const ImageRecord& image, size_t top, const std::string& name) {
  SNAP_CHECK(name.starts_with(kMountUpperPrefix) && top <= image.layers.size());
  if (image.layers.empty())
    return MakeError(ErrorCode::kInvalidArgument, "make upper {}: no layers", Quote(name));
  SNAP_TRY(const LayerStore::Upper upper, state_->layers.CreateUpper(name, false));
  Result<void> made =
      LookLikeLayer(state_->layers, image.layers[top == 0 ? image.layers.size() - 1 : top - 1], upper);
  if (!made.ok())
    (void)state_->layers.DiscardUpper(name);  // its owner may try again; the first error is what counts
  return made;
}

Result<void> Store::UpdateContainer(const ContainerRecord& record) {
  SNAP_TRY(Metadata metadata, state_->Write());
  SNAP_TRY(const std::optional<ContainerRecord> known, metadata.Container(record.id));
  if (!known) return MakeError(ErrorCode::kNotFound, "update container {}: it is gone", Quote(record.name));
  if (record.name != known->name) SNAP_TRY_VOID(CheckContainerName(record.name));
  return metadata.PutContainer(record);
}

Result<std::vector<ContainerRecord>> Store::Containers() {
  SNAP_TRY(Metadata metadata, state_->Read());
  return metadata.Containers();
}

Result<ContainerRecord> Store::FindContainer(std::string_view reference) {
  SNAP_TRY(Metadata metadata, state_->Read());
  return Find(metadata, reference);
}

Result<void> Store::RemoveContainer(std::string_view reference) {
  SNAP_TRY(const LayerStage busy, state_->MarkBusy());
  {
    SNAP_TRY(Metadata metadata, state_->Write());
    SNAP_TRY(const ContainerRecord container, Find(metadata, reference));
    if (MayBeRunning(container)) {
      return MakeError(ErrorCode::kBusy, "remove container {}: it is running", Quote(container.name));
    }
    SNAP_TRY_VOID(metadata.RemoveContainer(container.id));
    SNAP_FAULT_POINT("store.remove_container.after_database");
    const Result<void> discarded = state_->layers.DiscardUpper(container.id);
    if (!discarded.ok() && discarded.error().code() != ErrorCode::kNotFound) return discarded.error();
  }
  state_->EmptyTrash();
  return {};
}

}  // namespace snap
