// Metrics: numbers about a running program, as Prometheus reads them.
// Invariant: a family has one type and one help text; a series, once there, stays and never moves.
// Format: Prometheus text exposition format 0.0.4.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace snap {

/// Threads: safe.
class Metrics {
 public:
  using LabelPairs = std::vector<std::pair<std::string_view, std::string_view>>;

  class Counter {
   public:
    void Add(uint64_t amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
    uint64_t value() const { return value_.load(std::memory_order_relaxed); }

   private:
    std::atomic<uint64_t> value_{0};
  };

  /// Of seconds, in fixed buckets from 0.1 ms to 100 s: from a lookup to the extraction of a large layer.
  class Histogram {
   public:
    static constexpr std::array<double, 13> kBounds = {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1,
                                                       0.3,    1,      3,     10,    30,   100};
    void Observe(double seconds);

   private:
    friend class Metrics;
    std::array<std::atomic<uint64_t>, kBounds.size() + 1> buckets_{};  // the last: above all bounds
    std::atomic<double> sum_{0};
  };

  /// The series with these labels, made when there is none; lives as long as this. `name` and the labels'
  /// names are ours and valid, a name has one type (SNAP_CHECK); values may be anything. Cost: a lock and a
  /// lookup.
  Counter& GetCounter(std::string_view name, std::string_view help, const LabelPairs& labels = {});
  Histogram& GetHistogram(std::string_view name, std::string_view help, const LabelPairs& labels = {});
  /// `value` is asked whenever somebody reads, from any thread, without a lock held; it must outlive this or
  /// be replaced.
  void SetGauge(std::string_view name, std::string_view help, std::function<double()> value,
                const LabelPairs& labels = {});

  std::string Render() const;

 private:
  enum class Type : uint8_t { kCounter, kGauge, kHistogram };
  struct Series {
    std::unique_ptr<Counter> counter;
    std::unique_ptr<Histogram> histogram;
    std::function<double()> gauge;
  };
  struct Family {
    Type type = Type::kCounter;
    std::string help;
    std::map<std::string, Series, std::less<>> series;  // by rendered labels: `a="x",b="y"`
  };
  Series& Find(Type type, std::string_view name, std::string_view help, const LabelPairs& labels);

  mutable std::mutex mutex_;
  std::map<std::string, Family, std::less<>> families_;
};

}  // namespace snap
