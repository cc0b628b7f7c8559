// tmpfs, because it has trusted xattrs and whiteouts on every kernel, needs no disk and dies with its
// descriptor.
#include "overlay/scratch.h"

#include "fs/base/sys_mount.h"

namespace snap::overlay {

Result<UniqueFd> NewScratch() {
  SNAP_TRY_SYS(const UniqueFd context, sys::FsOpen("tmpfs"), "open a tmpfs context");
  SNAP_TRY_SYS_VOID(sys::FsConfigString(context, "source", "snap-scratch"), "name the scratch tmpfs");
  SNAP_TRY_SYS_VOID(sys::FsConfigString(context, "size", "4m"), "limit the scratch tmpfs");
  SNAP_TRY_SYS_VOID(sys::FsConfigString(context, "mode", "0755"), "set the mode of the scratch tmpfs");
  SNAP_TRY_SYS_VOID(sys::FsConfigCreate(context), "create the scratch tmpfs");
  SNAP_TRY_SYS(UniqueFd mount, sys::FsMount(context, 0), "mount the scratch tmpfs");
  return mount;
}

}  // namespace snap::overlay
