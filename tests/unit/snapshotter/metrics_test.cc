#include "snapshotter/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

namespace snap {
namespace {

void Fill(Metrics& metrics) {
  metrics.GetCounter("x_calls_total", "Calls.", {{"method", "Stat"}}).Add(2);
  metrics.GetCounter("x_calls_total", "Calls.", {{"method", "a\\b\"c\nd"}}).Add();
  metrics.SetGauge("x_open_files", "Files\\ that\nare open.", [] { return 1.5; });
  Metrics::Histogram& histogram =
      metrics.GetHistogram("x_call_duration_seconds", "Time.", {{"method", "Stat"}});
  for (const double seconds : {0.0, 0.0001, 0.002, 5.0, 1e9}) histogram.Observe(seconds);
}

TEST(Metrics, AreRenderedAsPrometheusReadsThem) {
  Metrics metrics;
  Fill(metrics);
  EXPECT_EQ(metrics.Render(),
            "# HELP x_call_duration_seconds Time.\n"
            "# TYPE x_call_duration_seconds histogram\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"0.0001\"} 2\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"0.0003\"} 2\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"0.001\"} 2\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"0.003\"} 3\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"0.01\"} 3\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"0.03\"} 3\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"0.1\"} 3\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"0.3\"} 3\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"1\"} 3\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"3\"} 3\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"10\"} 4\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"30\"} 4\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"100\"} 4\n"
            "x_call_duration_seconds_bucket{method=\"Stat\",le=\"+Inf\"} 5\n"
            "x_call_duration_seconds_sum{method=\"Stat\"} 1000000005.0021\n"
            "x_call_duration_seconds_count{method=\"Stat\"} 5\n"
            "# HELP x_calls_total Calls.\n"
            "# TYPE x_calls_total counter\n"
            "x_calls_total{method=\"Stat\"} 2\n"
            "x_calls_total{method=\"a\\\\b\\\"c\\nd\"} 1\n"
            "# HELP x_open_files Files\\\\ that\\nare open.\n"
            "# TYPE x_open_files gauge\n"
            "x_open_files 1.5\n");
}

TEST(Metrics, SeriesStayWhereTheyAre) {
  Metrics metrics;
  Metrics::Counter& first = metrics.GetCounter("x_total", "X.");
  for (int i = 0; i < 100; ++i) metrics.GetCounter("x_total", "X.", {{"i", std::to_string(i)}});
  EXPECT_EQ(&metrics.GetCounter("x_total", "X."), &first);
}

TEST(Metrics, GaugesMayAskForMetrics) {
  Metrics metrics;
  metrics.GetCounter("x_total", "X.").Add(3);
  metrics.SetGauge("x_copy", "X.",
                   [&] { return static_cast<double>(metrics.GetCounter("x_total", "X.").value()); });
  EXPECT_THAT(metrics.Render(), testing::HasSubstr("x_copy 3\n"));
}

TEST(Metrics, PassPromtool) {
  if (std::system("command -v promtool >/dev/null 2>&1") != 0) GTEST_SKIP() << "promtool is not installed";
  Metrics metrics;
  Fill(metrics);
  FILE* const promtool = popen("promtool check metrics 2>&1", "w");
  ASSERT_NE(promtool, nullptr);
  const std::string text = metrics.Render();
  EXPECT_EQ(fwrite(text.data(), 1, text.size(), promtool), text.size());
  EXPECT_EQ(pclose(promtool), 0);
}

}  // namespace
}  // namespace snap
