// Result: a value or the reason why there is none; the only way failures travel in this code base.
// Invariant: exactly one of value and error is held; reading the wrong one aborts (our bug, never input's).
#pragma once

#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "fs/base/check.h"
#include "fs/base/errno.h"
#include "fs/base/error.h"

namespace snap {

// The implicit conversions below are the point: `return fd;` and `return Errno(ENOENT);` both read well.
// NOLINTBEGIN(google-explicit-constructor)
template <typename T, typename E = Error>
class [[nodiscard]] Result {
 public:
  using Value = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(E error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { SNAP_CHECK(ok()); return *std::get_if<0>(&state_); }
  const T& value() const& { SNAP_CHECK(ok()); return *std::get_if<0>(&state_); }
  /// By value: what is taken from a temporary must not dangle (`for (auto& x : *List())`).
  T value() && { SNAP_CHECK(ok()); return std::move(*std::get_if<0>(&state_)); }
  const E& error() const& { SNAP_CHECK(!ok()); return *std::get_if<1>(&state_); }
  E&& error() && { SNAP_CHECK(!ok()); return std::move(*std::get_if<1>(&state_)); }

  T& operator*() & { return value(); }
  T operator*() && { return std::move(*this).value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, E> state_;
};

template <typename E>
class [[nodiscard]] Result<void, E> {
 public:
  using Value = void;
  Result() = default;
  Result(E error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  void value() const { SNAP_CHECK(ok()); }
  const E& error() const& { SNAP_CHECK(!ok()); return *error_; }
  E&& error() && { SNAP_CHECK(!ok()); return std::move(*error_); }

 private:
  std::optional<E> error_;
};
// NOLINTEND(google-explicit-constructor)

/// What a system call wrapper returns: no allocation on failure, context added by the caller who knows it.
template <typename T>
using SysResult = Result<T, Errno>;

}  // namespace snap

#define SNAP_CONCAT_INNER(a, b) a##b
#define SNAP_CONCAT(a, b) SNAP_CONCAT_INNER(a, b)

/// SNAP_TRY(auto x, Call()): binds the value or returns the error from this function.
#define SNAP_TRY(declaration, expression) \
  SNAP_TRY_IMPL(SNAP_CONCAT(snap_try_, __COUNTER__), declaration, expression)
#define SNAP_TRY_IMPL(result, declaration, expression)   \
  auto result = (expression);                            \
  if (!result.ok()) [[unlikely]] {                       \
    return std::move(result).error();                    \
  }                                                      \
  declaration = std::move(result).value()

/// SNAP_TRY_VOID(Call()): returns the error from this function, if any.
#define SNAP_TRY_VOID(expression)                        \
  do {                                                   \
    auto snap_try_result = (expression);                 \
    if (!snap_try_result.ok()) [[unlikely]] {            \
      return std::move(snap_try_result).error();         \
    }                                                    \
  } while (false)

/// SNAP_TRY_SYS(auto fd, sys::OpenAt(...), "open {}", Quote(name)): turns a wrapper's Errno into an Error whose
/// text is only formatted on failure.
#define SNAP_TRY_SYS(declaration, expression, ...) \
  SNAP_TRY_SYS_IMPL(SNAP_CONCAT(snap_try_, __COUNTER__), declaration, expression, __VA_ARGS__)
#define SNAP_TRY_SYS_IMPL(result, declaration, expression, ...)          \
  auto result = (expression);                                            \
  if (!result.ok()) [[unlikely]] {                                       \
    return ::snap::Error(result.error(), fmt::format(__VA_ARGS__));      \
  }                                                                      \
  declaration = std::move(result).value()

/// The same for wrappers without a value.
#define SNAP_TRY_SYS_VOID(expression, ...)                                        \
  do {                                                                            \
    auto snap_try_result = (expression);                                          \
    if (!snap_try_result.ok()) [[unlikely]] {                                     \
      return ::snap::Error(snap_try_result.error(), fmt::format(__VA_ARGS__));    \
    }                                                                             \
  } while (false)
