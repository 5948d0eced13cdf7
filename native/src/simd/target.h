// The instructions of a level, for the functions between BEGIN and END: g++ and clang take them in pragmas of their own.
#ifndef REPFUSE_SIMD_TARGET_H_
#define REPFUSE_SIMD_TARGET_H_

#define REPFUSE_PRAGMA(...) _Pragma(#__VA_ARGS__)

#if defined(__clang__)
#define REPFUSE_TARGET_BEGIN(features) REPFUSE_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define REPFUSE_TARGET_END REPFUSE_PRAGMA(clang attribute pop)
#else
// Without a warning that g++ 12 gives of its own headers.
#define REPFUSE_TARGET_BEGIN(features) \
  REPFUSE_PRAGMA(GCC push_options)     \
  REPFUSE_PRAGMA(GCC target(features)) \
  REPFUSE_PRAGMA(GCC diagnostic ignored "-Wuninitialized")
#define REPFUSE_TARGET_END REPFUSE_PRAGMA(GCC pop_options)
#endif

#define REPFUSE_AVX2 "avx2,fma,f16c"
#if defined(__clang__) && __clang_major__ >= 18 && __clang_major__ < 22
#define REPFUSE_WIDE "evex512,"  // whose registers of 64 bytes were a feature of their own
#else
#define REPFUSE_WIDE
#endif
#define REPFUSE_AVX512 REPFUSE_WIDE "avx512f,avx512dq,avx512bw,avx512vl," REPFUSE_AVX2

#endif
