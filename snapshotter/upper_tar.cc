// Two ways to take the same entries: pulled by a pipeline that reads layers, or pushed into an archive.
#include "snapshotter/upper_tar.h"

#include <utility>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/directory_tar.h"
#include "fs/tree_entries.h"

namespace snap {
namespace {

constexpr uint64_t kBufferBytes = uint64_t{1} << 20U;

Result<std::unique_ptr<TreeEntries>> Open(FdRef upper, std::optional<FdRef> merged,
                                          const UpperTarOptions& options) {
  UpperView view{.merged = {}, .user_xattr = options.user_xattr, .unchanged_root = options.unchanged_root};
  SNAP_TRY_SYS(UniqueFd root, sys::Dup(upper), "read {}", Quote(options.name));
  if (merged) {
    SNAP_TRY_SYS(view.merged, sys::Dup(*merged), "read {}", Quote(options.name));
  }
  return std::make_unique<TreeEntries>(
      std::move(root), options.name,
      TreeEntriesOptions{.keep_holes = options.keep_sparse, .upper = std::move(view)});
}

}  // namespace

Result<std::unique_ptr<ByteSource>> MakeUpperTarSource(FdRef upper, std::optional<FdRef> merged,
                                                       const UpperTarOptions& options) {
  SNAP_TRY(std::unique_ptr<TreeEntries> entries, Open(upper, merged, options));
  return MakeTarSource(std::move(entries));
}

Result<void> WriteUpperTar(FdRef upper, std::optional<FdRef> merged, TarWriter& out,
                           const UpperTarOptions& options) {
  SNAP_TRY(const std::unique_ptr<TreeEntries> entries, Open(upper, merged, options));
  const auto buffer = std::make_unique<std::byte[]>(kBufferBytes);
  for (;;) {
    SNAP_TRY(const TarEntry* entry, entries->Next());
    if (entry == nullptr) return {};
    SNAP_TRY_VOID(out.Begin(*entry));
    if (entry->kind != TarEntry::Kind::kRegular) continue;
    for (;;) {
      SNAP_TRY(const size_t got, entries->Read(std::span(buffer.get(), kBufferBytes)));
      if (got == 0) break;
      SNAP_TRY_VOID(out.Data(std::span(buffer.get(), got)));
    }
  }
}

}  // namespace snap
