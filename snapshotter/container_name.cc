// 48 x 48 words: half of the names are taken only when a thousand containers are.
#include "snapshotter/container_name.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "fs/base/sys_process.h"

namespace snap {
namespace {

constexpr std::array<std::string_view, 48> kAdjectives = {
    "able",  "amber", "bold",   "brave",  "brisk",  "bright", "calm",    "clear",  "clever", "cosy",
    "crisp", "deft",  "eager",  "early",  "fair",   "fleet",  "fond",    "gentle", "glad",   "golden",
    "grand", "happy", "hardy",  "honest", "jolly",  "keen",   "kind",    "light",  "lively", "lucky",
    "merry", "mild",  "modest", "neat",   "nimble", "noble",  "patient", "placid", "proud",  "quick",
    "quiet", "ready", "serene", "silver", "steady", "sunny",  "swift",   "wise"};
constexpr std::array<std::string_view, 48> kBirds = {
    "avocet", "bittern", "bunting", "buzzard", "chough", "condor",  "coot",   "crane",   "curlew", "dipper",
    "dove",   "dunlin",  "eagle",   "egret",   "eider",  "falcon",  "finch",  "fulmar",  "gannet", "goose",
    "grebe",  "gull",    "harrier", "heron",   "hobby",  "hoopoe",  "ibis",   "jackdaw", "jay",    "kestrel",
    "kite",   "lapwing", "lark",    "linnet",  "magpie", "martin",  "merlin", "oriole",  "osprey", "ouzel",
    "owl",    "petrel",  "pipit",   "plover",  "puffin", "redwing", "siskin", "wren"};

}  // namespace

std::string RandomContainerName(unsigned attempt) {
  std::array<uint16_t, 3> random{};
  sys::FillRandom(std::as_writable_bytes(std::span(random)));
  std::string name(kAdjectives[random[0] % kAdjectives.size()]);
  name += '-';
  name += kBirds[random[1] % kBirds.size()];
  if (attempt > 0) name += "-" + std::to_string(random[2] % 10000);
  return name;
}

}  // namespace snap
