// The list of armed points is written before threads start and only its counters change after.
#include "fs/base/fault.h"

#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "fs/base/quote.h"
#include "fs/base/synchronized.h"

namespace snap::fault {

bool g_armed = false;

namespace {

struct Point {
  std::string name;
  enum class Action { kKill, kError, kSleep } action = Action::kKill;
  int argument = 0;     // errno or milliseconds
  unsigned on_nth = 1;  // 0 = every time
  unsigned reached = 0;
};

Synchronized<std::vector<Point>>& Points() {
  static Synchronized<std::vector<Point>> points;
  return points;
}

template <typename Number>
bool ParseNumber(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

Result<Point> ParsePoint(std::string_view text) {
  const auto malformed = [&] {
    return MakeError(ErrorCode::kInvalidArgument,
                     "fault point {} is not NAME:kill, NAME:error=N or NAME:sleep=MS, with an optional @N",
                     Quote(text));
  };
  Point point;
  std::string_view rest = text;
  const size_t colon = rest.find(':');
  if (colon == std::string_view::npos || colon == 0) return malformed();
  point.name = rest.substr(0, colon);
  rest.remove_prefix(colon + 1);
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    if (!ParseNumber(rest.substr(at + 1), point.on_nth)) return malformed();
    rest = rest.substr(0, at);
  }
  if (rest == "kill") {
    point.action = Point::Action::kKill;
  } else if (rest.starts_with("error=") && ParseNumber(rest.substr(6), point.argument) && point.argument > 0) {
    point.action = Point::Action::kError;
  } else if (rest.starts_with("sleep=") && ParseNumber(rest.substr(6), point.argument) && point.argument >= 0) {
    point.action = Point::Action::kSleep;
  } else {
    return malformed();
  }
  return point;
}

}  // namespace

Result<void> Arm(const char* spec) {
  std::vector<Point> points;
  for (std::string_view rest = spec; !rest.empty();) {
    const size_t comma = rest.find(',');
    SNAP_TRY(Point point, ParsePoint(rest.substr(0, comma)));
    points.push_back(std::move(point));
    rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
  }
  g_armed = !points.empty();
  *Points().Lock() = std::move(points);
  return {};
}

Result<void> ArmFromEnvironment() {
  const char* spec = std::getenv("SNAP_FAULT");
  return spec == nullptr ? Result<void>() : Arm(spec);
}

std::optional<Order> Take(const char* name) {
  std::optional<Order> order;
  auto points = Points().Lock();
  for (Point& point : *points) {
    if (point.name != name) continue;
    ++point.reached;
    if (point.on_nth != 0 && point.reached != point.on_nth) continue;
    if (!order) order.emplace();
    if (point.action == Point::Action::kKill) order->kill = true;
    if (point.action == Point::Action::kError && order->error == 0) order->error = point.argument;
    if (point.action == Point::Action::kSleep) order->sleep_ms = point.argument;
  }
  return order;
}

std::optional<Errno> Reach(const char* name) {
  const std::optional<Order> order = Take(name);
  if (!order) return std::nullopt;
  if (order->sleep_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(order->sleep_ms));
  if (order->kill) (void)::kill(::getpid(), SIGKILL);
  if (order->error != 0) return Errno(order->error);
  return std::nullopt;
}

}  // namespace snap::fault
