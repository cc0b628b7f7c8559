// Containers and their names.
#include <algorithm>

#include "fs/base/quote.h"
#include "snapshotter/metadata_state.h"

namespace snap {

Result<void> Metadata::PutContainer(const ContainerRecord& container) {
  const std::lock_guard guard(state_->mutex);
  DatabaseChanges batch;
  SNAP_TRY(const std::optional<std::string> before, state_->Get(Key(Table::kContainer, container.id)));
  if (before) {
    SNAP_TRY(const ContainerRecord old, codec::DecodeContainer(container.id, *before));
    if (old.name != container.name) batch.Delete(Key(Table::kContainerName, old.name));
  }
  SNAP_TRY(const std::optional<std::string> owner, state_->Get(Key(Table::kContainerName, container.name)));
  if (owner && *owner != container.id) {
    return MakeError(ErrorCode::kExists, "name container {}: container {} has that name",
                     Quote(container.name), owner->substr(0, 12));
  }
  batch.Put(Key(Table::kContainer, container.id), codec::EncodeContainer(container));
  batch.Put(Key(Table::kContainerName, container.name), container.id);
  return state_->Write(batch, !container.remove_at_exit);
}

Result<std::vector<ContainerRecord>> Metadata::Containers() {
  const std::lock_guard guard(state_->mutex);
  std::vector<ContainerRecord> containers;
  SNAP_TRY_VOID(
      state_->Scan(Key(Table::kContainer), [&](std::string_view key, std::string_view value) -> Result<bool> {
        SNAP_TRY(ContainerRecord container, codec::DecodeContainer(key, value));
        containers.push_back(std::move(container));
        return true;
      }));
  return containers;
}

Result<std::optional<ContainerRecord>> Metadata::Container(std::string_view id) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kContainer, id)));
  if (!value) return std::optional<ContainerRecord>();
  SNAP_TRY(ContainerRecord container, codec::DecodeContainer(id, *value));
  return std::optional(std::move(container));
}

Result<std::optional<ContainerRecord>> Metadata::ContainerByName(std::string_view name) {
  std::optional<std::string> id;
  {
    const std::lock_guard guard(state_->mutex);
    SNAP_TRY(id, state_->Get(Key(Table::kContainerName, name)));
  }
  if (!id) return std::optional<ContainerRecord>();
  return Container(*id);
}

Result<void> Metadata::RemoveContainer(std::string_view id) {
  const std::lock_guard guard(state_->mutex);
  SNAP_TRY(const std::optional<std::string> value, state_->Get(Key(Table::kContainer, id)));
  if (!value) return {};
  DatabaseChanges batch;
  batch.Delete(Key(Table::kContainer, id));
  SNAP_TRY(const ContainerRecord container, codec::DecodeContainer(id, *value));
  batch.Delete(Key(Table::kContainerName, container.name));
  return state_->Write(batch, !container.remove_at_exit);
}

}  // namespace snap
