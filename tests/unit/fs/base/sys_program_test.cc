#include "fs/base/sys_program.h"

#include <gtest/gtest.h>

#include <thread>

#include "fs/base/sys_file.h"

namespace snap::sys {
namespace {

constexpr std::chrono::seconds kLong{60};
constexpr size_t kMax = 1U << 20U;

TEST(RunProgram, KeepsBothOutputsAndTheStatus) {
  const auto result = RunProgram({"sh", "-c", "echo out; echo err >&2; exit 7"}, kLong, kMax);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out, "out\n");
  EXPECT_EQ(result->err, "err\n");
  EXPECT_EQ(result->status.ShellCode(), 7);
  EXPECT_FALSE(result->timed_out);
}

TEST(RunProgram, ReadsBothOutputsHoweverMuchTheyAre) {
  const auto result =
      RunProgram({"sh", "-c", "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero"}, kLong, 1000);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out.size(), 1000U);
  EXPECT_EQ(result->err.size(), 1000U);
  EXPECT_EQ(result->status.ShellCode(), 0);
}

TEST(RunProgram, FindsTheFilesItIsGivenInTheirOrder) {
  std::vector<Pipe> pipes;
  std::vector<FdRef> given;
  for (const char* text : {"one", "two", "three"}) {
    pipes.push_back(*MakePipe());
    ASSERT_TRUE(WriteAll(pipes.back().write_end, text).ok());
    pipes.back().write_end.Reset();
  }
  // Descriptors whose numbers are others' places.
  for (size_t i = pipes.size(); i-- > 0;) given.push_back(pipes[i].read_end);
  const auto result = RunProgramWith({.words = {"sh", "-c", "cat <&3; echo; cat <&4; echo; cat <&5"}, .inherited = given}, kLong, kMax);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out, "three\ntwo\none");
}

TEST(RunProgram, HasNoStandardInput) {
  const auto result = RunProgram({"cat"}, kLong, kMax);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out, "");
}

TEST(RunProgram, WhatDoesNotEndIsKilledWithItsChildren) {
  const auto result =
      RunProgram({"sh", "-c", "sleep 1000 & echo $!; wait"}, std::chrono::milliseconds(300), kMax);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->timed_out);
  EXPECT_EQ(result->status.signal, SIGKILL);
  // Killed, and at most not reaped yet by whoever inherits it.
  const std::string stat = "/proc/" + result->out.substr(0, result->out.find('\n')) + "/stat";
  for (auto state = ReadFileAt(FdRef::Cwd(), stat.c_str(), 4096);
       state.ok() && state->find(") Z ") == std::string::npos;
       state = ReadFileAt(FdRef::Cwd(), stat.c_str(), 4096)) {
    std::this_thread::yield();  // the signal is on its way
  }
}

TEST(RunProgram, DoesNotWaitForWhatTheProgramLeavesBehind) {
  const auto result = RunProgram({"sh", "-c", "sleep 1000 & echo started"}, kLong, kMax);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out, "started\n");
  EXPECT_FALSE(result->timed_out);
}

TEST(RunProgram, SaysThatThereIsNoSuchProgram) {
  const auto result = RunProgram({"/nonexistent/program"}, kLong, kMax);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error(), ENOENT);
}

}  // namespace
}  // namespace snap::sys
