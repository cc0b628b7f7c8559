// PlainEngine: every call does its work before it returns. The oracle of the other engine's tests.
// Invariant: nothing is ever in flight, so Drain has nothing to wait for.
#include <vector>

#include "fs/io_engine_impl.h"
#include "fs/new_file.h"

namespace snap::io_engine_impl {
namespace {

class PlainEngine final : public IoEngine {
 public:
  std::string_view name() const override { return "plain"; }

  Result<FileId> Create(FdRef dir, std::string_view name, const Attributes& attributes,
                        uint64_t size) override {
    SNAP_TRY(UniqueFd fd, maker_.Create(dir, name, attributes));
    FileId id = 0;
    if (free_.empty()) {
      id = static_cast<FileId>(files_.size());
      files_.emplace_back();
    } else {
      id = free_.back();
      free_.pop_back();
    }
    files_[id] = File{std::move(fd), attributes, size, 0, 0};
    return id;
  }

  Result<void> Write(FileId id, uint64_t offset, std::span<const std::byte> data) override {
    File& file = OpenFile(id);
    SNAP_TRY_VOID(CheckWrite(file.fd, offset, data.size(), file.written_end, file.size));
    SNAP_TRY_SYS_VOID(sys::PWriteAll(file.fd, data, offset), "write {}", Quote(sys::DescribeFd(file.fd)));
    file.written_end = offset + data.size();
    if (file.written_end - file.writeback_end >= kWritebackStep) {
      // Only a hint: failures show at the flush that ends a commit.
      (void)sys::StartWriteback(file.fd, file.writeback_end, file.written_end - file.writeback_end);
      file.writeback_end = file.written_end;
    }
    return {};
  }

  Result<void> Close(FileId id) override {
    File& file = OpenFile(id);
    Result<void> completed = maker_.Complete(file.fd, file.attributes, file.size, file.written_end);
    file.fd.Reset();
    free_.push_back(id);
    return completed;
  }

  Result<void> Drain() override {
    SNAP_CHECK(free_.size() == files_.size());
    return {};
  }

  Result<void> SyncFiles(std::span<const FdRef> files) override {
    Result<void> first;
    for (const FdRef file : files) {
      const SysResult<void> synced = sys::Fsync(file);
      if (!synced.ok() && first.ok()) {
        first = Error(synced.error(), fmt::format("flush {}", Quote(sys::DescribeFd(file))));
      }
    }
    return first;
  }

 private:
  struct File {
    UniqueFd fd;  // invalid: the slot is free
    Attributes attributes;
    uint64_t size = 0;
    uint64_t written_end = 0;
    uint64_t writeback_end = 0;
  };

  File& OpenFile(FileId id) {
    SNAP_CHECK(id < files_.size() && files_[id].fd.valid());
    return files_[id];
  }

  NewFileMaker maker_;
  std::vector<File> files_;
  std::vector<FileId> free_;
};

}  // namespace

std::unique_ptr<IoEngine> MakePlain() { return std::make_unique<PlainEngine>(); }

}  // namespace snap::io_engine_impl
