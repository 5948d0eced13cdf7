{
  # What both gyp files share: binding.gyp of the repository, native/binding.gyp of the published package.
  "target_defaults": {
    "defines": [
      "NAPI_VERSION=9",
      "NODE_ADDON_API_DISABLE_DEPRECATED",
      "NODE_ADDON_API_CPP_EXCEPTIONS",
      "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
      # Memory of our own as an ArrayBuffer would not work in Electron: nothing here may make one.
      "NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED"
    ],
    "cflags!": ["-fno-exceptions"],
    "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
    # No FMA contraction: fused tensors are bit-equal on every CPU. -Wno-maybe-uninitialized: g++ 12 reports its own AVX-512 headers.
    # (-std=c++20, since the line above also takes out a gnu++20 of ours.)
    "cflags_cc": ["-std=c++20", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-maybe-uninitialized"],
    # nodelete: Node unloads an addon with the last environment that uses it (a worker thread), but the pool's threads live on.
    "ldflags": ["-Wl,-Bsymbolic", "-Wl,--exclude-libs,ALL", "-Wl,-z,nodelete"]
  }
}
