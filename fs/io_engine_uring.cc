// UringEngine: data of large files is copied into registered buffers and written by the kernel's workers;
// creation, attributes and small files are plain system calls, since io_uring hands creations to a worker
// thread, has no chown or utimens, and costs a small file more than it saves. Invariant: a buffer and its
// file live until their completion was seen, also on the way out after an error.
#include <liburing.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <vector>

#include "fs/io_engine_impl.h"
#include "fs/io_engine_uring_op.h"
#include "fs/new_file.h"

namespace snap::io_engine_impl {
namespace {

constexpr unsigned kRingEntries = 64;
constexpr unsigned kMaxInFlight = 64;  // the completion queue has twice as many places: it cannot overflow
constexpr unsigned kMaxWorkers = 8;    // per ring; many workers only meet at the file system's locks
constexpr size_t kBuffers = 16;
constexpr size_t kBufferBytes = 512U << 10U;
constexpr size_t kPageBytes = 4096;
constexpr unsigned kSubmitBatch = 2;
/// Files below this size are written at once: their copy is cheaper than the way to a worker and back.
constexpr uint64_t kBackgroundBytes = 256U << 10U;

class Ring {
 public:
  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() {
    if (open_) io_uring_queue_exit(&ring_);
  }
  /// A negative errno on failure.
  int Open() {
    // COOP_TASKRUN (5.19) saves an interrupt per completion. SINGLE_ISSUER is not used: an engine may be made
    // on one thread and used on another.
    int result = io_uring_queue_init(kRingEntries, &ring_, IORING_SETUP_COOP_TASKRUN);
    if (result == -EINVAL) result = io_uring_queue_init(kRingEntries, &ring_, 0);
    open_ = result == 0;
    return result;
  }
  io_uring* get() { return &ring_; }

 private:
  io_uring ring_{};
  bool open_ = false;
};

struct FreeDeleter {
  void operator()(std::byte* memory) const { std::free(memory); }
};

class UringEngine final : public IoEngine {
 public:
  UringEngine() = default;
  UringEngine(const UringEngine&) = delete;
  UringEngine& operator=(const UringEngine&) = delete;
  ~UringEngine() override {
    while (in_flight_ > 0 && WaitForCompletion().ok()) {
    }
  }

  Result<void> Open();
  std::string_view name() const override { return "uring"; }
  Result<FileId> Create(FdRef dir, std::string_view name, const Attributes& attributes,
                        uint64_t size) override;
  Result<void> Write(FileId id, uint64_t offset, std::span<const std::byte> data) override;
  Result<void> Close(FileId id) override;
  Result<void> Drain() override;
  Result<void> SyncFiles(std::span<const FdRef> files) override;

 private:
  static constexpr size_t kNone = kBuffers;

  struct File {
    enum class Phase : uint8_t { kFree, kOpen, kClosing } phase = Phase::kFree;
    UniqueFd fd;
    Attributes attributes;
    uint64_t size = 0;
    uint64_t written_end = 0;    // promised to the caller; may be in flight
    uint64_t writeback_due = 0;  // bytes completed since write-back was last started
    size_t filling = kNone;      // the operation that takes the next bytes
    unsigned pending = 0;        // operations the kernel has
  };
  struct SyncOperation {
    enum class Phase : uint8_t { kWaiting, kFlushing, kDone } phase = Phase::kWaiting;
    FdRef file;
    int error = 0;
    // Never retried: a second fsync can report success for data that the first one lost.
    void Complete(int res) {
      phase = Phase::kDone;
      error = res < 0 ? -res : 0;
    }
  };

  // What a completion belongs to: the kind in the upper half of user_data, an index in the lower.
  enum class Kind : uint32_t { kWrite, kSync };
  static uint64_t Tag(Kind kind, size_t index) { return (static_cast<uint64_t>(kind) << 32U) | index; }

  File& OpenFile(FileId id) {
    SNAP_CHECK(id < files_.size() && files_[id].phase == File::Phase::kOpen);
    return files_[id];
  }
  void Fail(Error error) {
    if (!error_.has_value()) error_ = std::move(error);
  }
  /// Takes what has completed; the first background error is every later call's answer.
  Result<void> Poll() {
    Reap();
    return Healthy();
  }
  Result<void> Healthy() const {
    if (error_.has_value()) return *error_;
    return {};
  }

  Result<size_t> FreeOperation();
  Result<void> StartWrite(File& file);
  Result<io_uring_sqe*> NextSqe();
  Result<void> Submit();
  Result<void> WaitForCompletion();
  Result<void> QueueWrite(size_t index);
  void Reap();
  void CompleteWrite(size_t index, int res);
  void CompleteFile(File& file);

  // Order matters: buffers outlive the ring.
  std::unique_ptr<std::byte, FreeDeleter> memory_;
  bool registered_ = false;
  std::vector<WriteOperation> operations_;
  std::vector<SyncOperation> syncs_;
  NewFileMaker maker_;
  std::vector<File> files_;
  std::vector<FileId> free_files_;
  std::optional<Error> error_;
  unsigned queued_ = 0;     // in the submission queue, unknown to the kernel
  unsigned in_flight_ = 0;  // queued or with the kernel
  Ring ring_;
};

Result<void> UringEngine::Open() {
  if (const int result = ring_.Open(); result < 0) {
    return MakeError(ErrorCode::kUnsupported, "set up io_uring: {}", Errno(-result).Message());
  }
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kBuffers * kBufferBytes)));
  if (memory_ == nullptr) return Error(Errno(ENOMEM), "allocate write buffers");
  std::array<iovec, kBuffers> vectors{};
  operations_.reserve(kBuffers);
  for (size_t i = 0; i < kBuffers; ++i) {
    std::byte* const begin = memory_.get() + i * kBufferBytes;
    vectors[i] = {begin, kBufferBytes};
    operations_.emplace_back(std::span(begin, kBufferBytes));
  }
  // Refused when RLIMIT_MEMLOCK is small: then the kernel maps the buffers at each write.
  registered_ = io_uring_register_buffers(ring_.get(), vectors.data(), kBuffers) == 0;
  std::array<unsigned, 2> workers = {kMaxWorkers, 0};  // bounded (files), unbounded (0: unchanged)
  (void)io_uring_register_iowq_max_workers(ring_.get(),
                                           workers.data());  // before 5.15: no limit, only slower
  return {};
}

Result<IoEngine::FileId> UringEngine::Create(FdRef dir, std::string_view name, const Attributes& attributes,
                                             uint64_t size) {
  SNAP_TRY_VOID(Poll());
  SNAP_TRY(UniqueFd fd, maker_.Create(dir, name, attributes));
  FileId id = 0;
  if (free_files_.empty()) {
    id = static_cast<FileId>(files_.size());
    files_.emplace_back();
  } else {
    id = free_files_.back();
    free_files_.pop_back();
  }
  File& file = files_[id];
  file = File{};
  file.phase = File::Phase::kOpen;
  file.fd = std::move(fd);
  file.attributes = attributes;
  file.size = size;
  return id;
}

Result<void> UringEngine::Write(FileId id, uint64_t offset, std::span<const std::byte> data) {
  SNAP_TRY_VOID(Poll());
  File& file = OpenFile(id);
  SNAP_TRY_VOID(CheckWrite(file.fd, offset, data.size(), file.written_end, file.size));
  if (file.size < kBackgroundBytes) {
    SNAP_TRY_SYS_VOID(sys::PWriteAll(file.fd, data, offset), "write {}", Quote(sys::DescribeFd(file.fd)));
    file.written_end = offset + data.size();
    return {};
  }
  if (file.filling != kNone && operations_[file.filling].end_offset() != offset) {
    SNAP_TRY_VOID(StartWrite(file));  // a hole
  }
  while (!data.empty()) {
    if (file.filling == kNone) {
      SNAP_TRY(file.filling, FreeOperation());
      operations_[file.filling].Begin(id, offset);
    }
    const size_t taken = operations_[file.filling].Append(data);
    data = data.subspan(taken);
    offset += taken;
    file.written_end = offset;
    if (operations_[file.filling].full()) SNAP_TRY_VOID(StartWrite(file));
  }
  return {};
}

Result<void> UringEngine::Close(FileId id) {
  SNAP_TRY_VOID(Poll());
  File& file = OpenFile(id);
  if (file.filling != kNone) SNAP_TRY_VOID(StartWrite(file));
  file.phase = File::Phase::kClosing;
  if (file.pending == 0) CompleteFile(file);
  return Healthy();
}

Result<void> UringEngine::Drain() {
  while (in_flight_ > 0) SNAP_TRY_VOID(WaitForCompletion());
  SNAP_TRY_VOID(Healthy());
  SNAP_CHECK(free_files_.size() == files_.size());
  return {};
}

Result<void> UringEngine::SyncFiles(std::span<const FdRef> files) {
  SNAP_TRY_VOID(Poll());
  syncs_.clear();
  syncs_.reserve(files.size());
  for (const FdRef file : files) syncs_.push_back({SyncOperation::Phase::kWaiting, file, 0});
  for (size_t i = 0; i < syncs_.size(); ++i) {
    while (in_flight_ >= kMaxInFlight) SNAP_TRY_VOID(WaitForCompletion());
    SNAP_TRY(io_uring_sqe * sqe, NextSqe());
    io_uring_prep_fsync(sqe, syncs_[i].file.get(), 0);
    io_uring_sqe_set_data64(sqe, Tag(Kind::kSync, i));
    syncs_[i].phase = SyncOperation::Phase::kFlushing;
  }
  const auto flushing = [](const SyncOperation& sync) { return sync.phase != SyncOperation::Phase::kDone; };
  while (std::any_of(syncs_.begin(), syncs_.end(), flushing)) SNAP_TRY_VOID(WaitForCompletion());
  for (const SyncOperation& sync : syncs_) {
    if (sync.error == 0) continue;
    return Error(Errno(sync.error), fmt::format("flush {}", Quote(sys::DescribeFd(sync.file))));
  }
  return Healthy();
}

Result<size_t> UringEngine::FreeOperation() {
  for (;;) {
    for (size_t i = 0; i < kBuffers; ++i) {
      if (operations_[i].phase() == WriteOperation::Phase::kFree) return i;
    }
    // With many files open at once all buffers can be filling: start them rather than wait for what never
    // comes.
    for (File& file : files_) {
      if (in_flight_ > 0) break;
      if (file.filling != kNone) SNAP_TRY_VOID(StartWrite(file));
    }
    SNAP_TRY_VOID(WaitForCompletion());
    SNAP_TRY_VOID(Healthy());
  }
}

Result<void> UringEngine::StartWrite(File& file) {
  const size_t index = std::exchange(file.filling, kNone);
  operations_[index].Start();
  ++file.pending;
  SNAP_TRY_VOID(QueueWrite(index));
  if (queued_ >= kSubmitBatch) return Submit();
  return {};
}

Result<void> UringEngine::QueueWrite(size_t index) {
  const WriteOperation& operation = operations_[index];
  SNAP_TRY(io_uring_sqe * sqe, NextSqe());
  const int fd = files_[operation.file()].fd.get();
  const std::span<const std::byte> rest = operation.rest();
  const auto size = static_cast<unsigned>(rest.size());  // at most kBufferBytes
  if (registered_) {
    io_uring_prep_write_fixed(sqe, fd, rest.data(), size, operation.rest_offset(), static_cast<int>(index));
  } else {
    io_uring_prep_write(sqe, fd, rest.data(), size, operation.rest_offset());
  }
  io_uring_sqe_set_data64(sqe, Tag(Kind::kWrite, index));
  return {};
}

Result<io_uring_sqe*> UringEngine::NextSqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(ring_.get());
  if (sqe == nullptr) {
    SNAP_TRY_VOID(Submit());
    sqe = io_uring_get_sqe(ring_.get());
    SNAP_CHECK(sqe != nullptr);  // Submit emptied the queue
  }
  ++queued_;
  ++in_flight_;
  return sqe;
}

Result<void> UringEngine::Submit() {
  while (queued_ > 0) {
    const int result = io_uring_submit(ring_.get());
    if (result >= 0) {
      queued_ -= std::min(queued_, static_cast<unsigned>(result));
    } else if (result == -EAGAIN || result == -EBUSY) {
      Reap();  // the kernel is short of memory or of completion places; both come back as operations end
    } else if (result != -EINTR) {
      return Error(Errno(-result), "submit to io_uring");
    }
  }
  return {};
}

Result<void> UringEngine::WaitForCompletion() {
  SNAP_TRY_VOID(Submit());
  io_uring_cqe* cqe = nullptr;
  int result = 0;
  do {
    result = io_uring_wait_cqe(ring_.get(), &cqe);
  } while (result == -EINTR);
  if (result < 0) return Error(Errno(-result), "wait for io_uring");
  Reap();
  return {};
}

void UringEngine::Reap() {
  std::array<io_uring_cqe*, kMaxInFlight> completed{};
  struct Completion {
    uint64_t tag;
    int res;
  };
  std::array<Completion, kMaxInFlight> taken;
  const unsigned count = io_uring_peek_batch_cqe(ring_.get(), completed.data(), kMaxInFlight);
  for (unsigned i = 0; i < count; ++i) taken[i] = {completed[i]->user_data, completed[i]->res};
  // Given back before acting on them: acting can submit, and so come here again.
  io_uring_cq_advance(ring_.get(), count);
  in_flight_ -= count;
  for (unsigned i = 0; i < count; ++i) {
    const size_t index = taken[i].tag & UINT32_MAX;
    switch (static_cast<Kind>(taken[i].tag >> 32U)) {
      case Kind::kWrite:
        CompleteWrite(index, taken[i].res);
        break;
      case Kind::kSync:
        syncs_[index].Complete(taken[i].res);
        break;
    }
  }
}

void UringEngine::CompleteWrite(size_t index, int res) {
  WriteOperation& operation = operations_[index];
  File& file = files_[operation.file()];
  if (operation.Complete(res) == WriteOperation::Next::kSubmitRest) {
    // Queued only: whoever waits submits it, and nobody stops before nothing is in flight.
    if (Result<void> queued = QueueWrite(index); queued.ok()) return;
    (void)operation.Complete(-EIO);
  }
  if (operation.phase() == WriteOperation::Phase::kFailed) {
    Fail(Error(Errno(operation.error()), fmt::format("write {}", Quote(sys::DescribeFd(file.fd)))));
  }
  operation.Release();
  --file.pending;
  file.writeback_due += kBufferBytes;
  if (file.writeback_due >= kWritebackStep) {
    file.writeback_due = 0;
    (void)sys::StartWriteback(file.fd, 0,
                              0);  // of all there is; only a hint, the commit's flush reports failures
  }
  if (file.phase == File::Phase::kClosing && file.pending == 0) CompleteFile(file);
}

void UringEngine::CompleteFile(File& file) {
  if (!error_.has_value()) {
    Result<void> completed = maker_.Complete(file.fd, file.attributes, file.size, file.written_end);
    if (!completed.ok()) Fail(std::move(completed).error());
  }
  file.fd.Reset();
  file.phase = File::Phase::kFree;
  free_files_.push_back(static_cast<FileId>(&file - files_.data()));
}

}  // namespace

Result<std::unique_ptr<IoEngine>> MakeUring() {
  auto engine = std::make_unique<UringEngine>();
  SNAP_TRY_VOID(engine->Open());
  return std::unique_ptr<IoEngine>(std::move(engine));
}

}  // namespace snap::io_engine_impl
