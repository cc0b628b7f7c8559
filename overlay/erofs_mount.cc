// A context collects source and devices, all named by their descriptors' paths in /proc (the options take no
// descriptors yet). The kernel explains refusals in the machine's log only, so what can be said about an
// image is found out before it is asked. Buffered reads, no "directio": docs/decisions/erofs-page-cache.md.
#include "overlay/erofs_mount.h"

#include <linux/mount.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_loop.h"
#include "fs/base/sys_mount.h"
#include "fs/erofs_format.h"

namespace snap::overlay {
namespace {

using erofs::DeviceSlot;
using erofs::SuperBlock;

constexpr unsigned kPageBits = 12;  ///< blocks of a page are what every kernel takes
constexpr uint32_t kIncompat48BitBlocks = 0x80;

std::string Name(FdRef file) { return Quote(sys::DescribeFd(file)); }

Error Short(FdRef file, uint64_t size, uint64_t wanted) {
  return MakeError(ErrorCode::kCorrupt, "mount image {}: it has {} bytes of at least {}", Name(file), size,
                   wanted);
}

Result<uint64_t> SizeOfFile(FdRef file) {
  SNAP_TRY_SYS(const struct stat status, sys::FStat(file), "mount image {}", Name(file));
  if (!S_ISREG(status.st_mode)) {
    return MakeError(ErrorCode::kInvalidArgument, "mount image {}: it is not a regular file", Name(file));
  }
  return static_cast<uint64_t>(status.st_size);
}

Result<void> ReadExactly(FdRef file, uint64_t offset, std::span<std::byte> buffer) {
  for (size_t done = 0; done < buffer.size();) {
    SNAP_TRY_SYS(const size_t size, sys::PRead(file, buffer.subspan(done), offset + done), "read image {}",
                 Name(file));
    if (size == 0) return Short(file, offset + done, offset + buffer.size());
    done += size;
  }
  return {};
}

/// What the superblock says that the kernel would not check, or not say. Gives the size of blocks as a power
/// of two.
Result<unsigned> CheckImage(FdRef image, std::span<const FdRef> devices) {
  SNAP_TRY(const uint64_t size, SizeOfFile(image));
  std::array<std::byte, sizeof(SuperBlock)> bytes{};
  SNAP_TRY_VOID(ReadExactly(image, erofs::kSuperOffset, bytes));
  const auto super = erofs::Read<SuperBlock>(bytes);
  if (super.magic != erofs::kMagic) {
    return MakeError(ErrorCode::kCorrupt, "mount image {}: it is no EROFS image", Name(image));
  }
  const unsigned block_bits = super.block_bits;
  if (block_bits < erofs::kMinBlockBits || block_bits > 16) {
    return MakeError(ErrorCode::kCorrupt, "mount image {}: blocks of 2^{} bytes", Name(image), block_bits);
  }
  if (super.extra_devices != devices.size()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "mount image {}: it refers to {} further images, {} are given", Name(image),
                     uint16_t{super.extra_devices}, devices.size());
  }
  // Then the upper halves are elsewhere; ours have 32 bits.
  if ((super.feature_incompat & kIncompat48BitBlocks) != 0) return block_bits;
  const uint64_t wanted = uint64_t{super.blocks} << block_bits;
  if (size < wanted) return Short(image, size, wanted);
  std::vector<std::byte> table(devices.size() * sizeof(DeviceSlot));
  SNAP_TRY_VOID(ReadExactly(image, uint64_t{super.device_table_slot} * sizeof(DeviceSlot), table));
  for (size_t i = 0; i < devices.size(); ++i) {
    const auto slot = erofs::Read<DeviceSlot>(std::span(table).subspan(i * sizeof(DeviceSlot)));
    SNAP_TRY(const uint64_t device_size, SizeOfFile(devices[i]));
    const uint64_t device_wanted = uint64_t{slot.blocks} << block_bits;
    if (device_size < device_wanted) return Short(devices[i], device_size, device_wanted);
  }
  return block_bits;
}

/// What it means that the kernel does not take an image.
Error Refusal(Errno error, FdRef context, FdRef image, unsigned block_bits) {
  std::string what = fmt::format("mount image {}", Name(image));
  if (const std::string messages = sys::FsContextMessages(context); !messages.empty()) {
    what += fmt::format(" (kernel: {})", Quote(messages));
  }
  switch (error.code()) {
    case EINVAL:
      what += ", the kernel's log says why";
      if (block_bits < kPageBits)
        what += fmt::format("; blocks of {} bytes need Linux 6.4", 1U << block_bits);
      [[fallthrough]];
    case EBADMSG:
    case EUCLEAN:
      return MakeError(ErrorCode::kCorrupt, "{}: {}", what, error.Message());
    default:
      return {error, what};
  }
}

struct Names {
  std::string image;
  std::vector<std::string> devices;
};

/// ENOTBLK as cause when the kernel wants a block device instead.
Result<UniqueFd> MountNamed(FdRef image, unsigned block_bits, const Names& names) {
  const auto context = sys::FsOpen("erofs");
  if (!context.ok()) {
    if (context.error() == ENODEV) {
      return MakeError(ErrorCode::kUnsupported, "mount image {}: this kernel has no EROFS", Name(image));
    }
    return Error(context.error(), fmt::format("mount image {}: open a context", Name(image)));
  }
  SNAP_TRY_SYS_VOID(sys::FsConfigString(*context, "source", names.image.c_str()),
                    "mount image {}: set the source", Name(image));
  for (const std::string& device : names.devices) {
    SNAP_TRY_SYS_VOID(sys::FsConfigString(*context, "device", device.c_str()),
                      "mount image {}: add a further image", Name(image));
  }
  // A loop device that is bound read-only can only be mounted by who says so.
  SNAP_TRY_SYS_VOID(sys::FsConfigFlag(*context, "ro"), "mount image {}: make it read-only", Name(image));
  if (const auto created = sys::FsConfigCreate(*context); !created.ok()) {
    if (created.error() == ENOTBLK) return Error(created.error(), "mount image");
    return Refusal(created.error(), *context, image, block_bits);
  }
  SNAP_TRY_SYS(UniqueFd mount,
               sys::FsMount(*context, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV),
               "mount image {}", Name(image));
  return mount;
}

Result<UniqueFd> MountByFile(FdRef image, std::span<const FdRef> devices, unsigned block_bits) {
  Names names{sys::ProcFdPath(image), {}};
  for (const FdRef device : devices) names.devices.push_back(sys::ProcFdPath(device));
  return MountNamed(image, block_bits, names);
}

Result<UniqueFd> MountByLoop(FdRef image, std::span<const FdRef> devices, unsigned block_bits) {
  std::vector<sys::LoopDevice> loops;  // open until the mount holds them
  Names names;
  const auto attach = [&](FdRef file) -> Result<std::string> {
    auto loop = sys::AttachLoop(file, uint32_t{1} << block_bits);
    if (!loop.ok()) {
      return MakeError(ErrorCode::kUnsupported, "mount image {}: bind a loop device: {}", Name(file),
                       loop.error().Message());
    }
    loops.push_back(std::move(*loop));
    return loops.back().path;
  };
  SNAP_TRY(names.image, attach(image));
  for (const FdRef device : devices) {
    SNAP_TRY(std::string name, attach(device));
    names.devices.push_back(std::move(name));
  }
  return MountNamed(image, block_bits, names);
}

}  // namespace

Result<UniqueFd> MountErofs(FdRef image, std::span<const FdRef> devices, ErofsBacking backing) {
  SNAP_TRY(const unsigned block_bits, CheckImage(image, devices));
  if (backing != ErofsBacking::kLoop) {
    Result<UniqueFd> mount = MountByFile(image, devices, block_bits);
    if (mount.ok() || mount.error().cause() != ENOTBLK) return mount;
    if (backing == ErofsBacking::kFile) {
      return MakeError(
          ErrorCode::kUnsupported,
          "mount image {}: this kernel cannot mount EROFS images that are files on this file system",
          Name(image));
    }
  }
  Result<UniqueFd> mount = MountByLoop(image, devices, block_bits);
  if (mount.ok() || backing == ErofsBacking::kLoop || mount.error().code() != ErrorCode::kUnsupported)
    return mount;
  return MakeError(ErrorCode::kUnsupported, "{}; and this kernel cannot mount the file without one",
                   mount.error().message());
}

}  // namespace snap::overlay
