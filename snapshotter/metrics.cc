#include "snapshotter/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "fs/base/check.h"

namespace snap {
namespace {

std::string Escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
  return out;
}

std::string RenderLabels(const Metrics::LabelPairs& labels) {
  std::string out;
  for (const auto& [name, value] : labels) {
    fmt::format_to(std::back_inserter(out), "{}{}=\"{}\"", out.empty() ? "" : ",", name,
                   Escaped(value, true));
  }
  return out;
}

}  // namespace

void Metrics::Histogram::Observe(double seconds) {
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  buckets_[static_cast<size_t>(bound - kBounds.begin())].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(seconds, std::memory_order_relaxed);
}

Metrics::Series& Metrics::Find(Type type, std::string_view name, std::string_view help,
                               const LabelPairs& labels) {
  auto family = families_.find(name);
  if (family == families_.end()) {
    family = families_.emplace(std::string(name), Family{type, std::string(help), {}}).first;
  }
  SNAP_CHECK(family->second.type == type);
  return family->second.series[RenderLabels(labels)];
}

Metrics::Counter& Metrics::GetCounter(std::string_view name, std::string_view help,
                                      const LabelPairs& labels) {
  const std::lock_guard lock(mutex_);
  Series& series = Find(Type::kCounter, name, help, labels);
  if (!series.counter) series.counter = std::make_unique<Counter>();
  return *series.counter;
}

Metrics::Histogram& Metrics::GetHistogram(std::string_view name, std::string_view help,
                                          const LabelPairs& labels) {
  const std::lock_guard lock(mutex_);
  Series& series = Find(Type::kHistogram, name, help, labels);
  if (!series.histogram) series.histogram = std::make_unique<Histogram>();
  return *series.histogram;
}

void Metrics::SetGauge(std::string_view name, std::string_view help, std::function<double()> value,
                       const LabelPairs& labels) {
  const std::lock_guard lock(mutex_);
  Find(Type::kGauge, name, help, labels).gauge = std::move(value);
}

std::string Metrics::Render() const {
  static constexpr std::string_view kTypes[] = {"counter", "gauge", "histogram"};
  // Gauges may take locks of others: they are asked with none of ours held.
  std::map<std::pair<std::string, std::string>, std::function<double()>> gauges;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, family] : families_) {
      for (const auto& [labels, series] : family.series) {
        if (series.gauge) gauges.emplace(std::pair(name, labels), series.gauge);
      }
    }
  }
  std::map<std::pair<std::string, std::string>, double> values;
  for (const auto& [series, gauge] : gauges) values.emplace(series, gauge());

  std::string out;
  const auto line = [&](std::string_view name, std::string_view labels, const auto& value) {
    if (labels.empty()) {
      fmt::format_to(std::back_inserter(out), "{} {}\n", name, value);
    } else {
      fmt::format_to(std::back_inserter(out), "{}{{{}}} {}\n", name, labels, value);
    }
  };
  const std::lock_guard lock(mutex_);
  for (const auto& [name, family] : families_) {
    fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, Escaped(family.help, false),
                   name, kTypes[static_cast<size_t>(family.type)]);
    for (const auto& [labels, series] : family.series) {
      if (series.counter) line(name, labels, series.counter->value());
      if (const auto value = values.find({name, labels}); value != values.end()) {
        line(name, labels, value->second);
      }
      if (!series.histogram) continue;
      uint64_t count = 0;
      const auto bucket = [&](size_t i, std::string_view bound) {
        count += series.histogram->buckets_[i].load(std::memory_order_relaxed);
        line(name + "_bucket", fmt::format("{}{}le=\"{}\"", labels, labels.empty() ? "" : ",", bound), count);
      };
      for (size_t i = 0; i < Histogram::kBounds.size(); ++i)
        bucket(i, fmt::format("{}", Histogram::kBounds[i]));
      bucket(Histogram::kBounds.size(), "+Inf");
      line(name + "_sum", labels, series.histogram->sum_.load(std::memory_order_relaxed));
      line(name + "_count", labels, count);
    }
  }
  return out;
}

}  // namespace snap
