// What an import cannot be faster than: every layer of an image inflated and hashed, blob and content, with the libraries and
// threads that `snap import` has, and nothing written. Prints milliseconds.
//   usage: import_floor SOURCE        (as for snap import)
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <thread>
#include <vector>

#include "fs/base/sys_process.h"
#include "fs/oci_image.h"
#include "fs/read_ahead.h"

namespace snap {
namespace {

Result<void> HashLayer(oci::ImageSource& source, const oci::LayerBlob& layer) {
  SNAP_TRY(const std::unique_ptr<ByteSource> stored, source.OpenLayer(layer));
  DigestingSource blob(*stored);
  SNAP_TRY(const std::unique_ptr<ByteSource> tar, MakeDetectingInflater(blob, InflateLimits(), "layer"));
  Sha256 hasher;
  {
    ReadAhead ring(*tar);
    for (;;) {
      SNAP_TRY(const std::span<const std::byte> chunk, ring.NextChunk());
      if (chunk.empty()) break;
      hasher.Update(chunk);
    }
  }
  SNAP_TRY(const Digest digest, blob.Finish());
  if (layer.blob_id && digest != layer.blob_id->digest) return MakeError(ErrorCode::kCorrupt, "a blob has another digest");
  if (layer.diff_id && std::move(hasher).Finish() != layer.diff_id->digest) {
    return MakeError(ErrorCode::kCorrupt, "a layer has another digest");
  }
  return {};
}

Result<void> HashImage(const char* text) {
  SNAP_TRY(const oci::SourceName name, oci::SourceName::Parse(text));
  SNAP_TRY(const std::unique_ptr<oci::ImageSource> source, oci::ImageSource::Open(name));
  SNAP_TRY(oci::Image image, source->Resolve(oci::Platform::Host()));
  for (size_t i = 0; i < image.layers.size(); ++i) {
    image.layers[i].index = i;
    if (i < image.config.diff_ids.size()) image.layers[i].diff_id = image.config.diff_ids[i];
  }
  std::stable_sort(image.layers.begin(), image.layers.end(),
                   [](const auto& a, const auto& b) { return a.size_bytes > b.size_bytes; });
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (size_t i = next++; i < image.layers.size(); i = next++) {
      if (!HashLayer(*source, image.layers[i]).ok()) failed = true;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < sys::ProcessorCount(); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  if (failed) return MakeError(ErrorCode::kCorrupt, "a layer could not be read");
  return {};
}

}  // namespace
}  // namespace snap

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: import_floor SOURCE\n", stderr);
    return 2;
  }
  const auto start = std::chrono::steady_clock::now();
  const snap::Result<void> done = snap::HashImage(argv[1]);
  const auto end = std::chrono::steady_clock::now();
  if (!done.ok()) {
    std::fprintf(stderr, "import_floor: %s\n", done.error().message().c_str());
    return 1;
  }
  std::printf("%lld\n", static_cast<long long>(std::chrono::duration_cast<std::chrono::milliseconds>(end - start).count()));
  return 0;
}
