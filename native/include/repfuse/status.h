// What every core function returns: no exceptions cross the core, TypeScript makes the error.
#pragma once

namespace repfuse {

enum class Code {
  kOk = 0,
  kInvalidArgument,
  kOutOfMemory,
  kNotFinite,
  kUnsupportedIsa,
  kCancelled,
  kTooLarge,  // more memory than a limit allows
};

struct [[nodiscard]] Status {
  Code code = Code::kOk;
  const char* message = "";  // static storage
  long long where = -1;      // index of the operand, channel or element at fault, or -1

  bool ok() const { return code == Code::kOk; }
};

inline Status Ok() { return {}; }

}  // namespace repfuse
