// The platforms that a binary is built for: a row each. What npm asks of a machine before it installs the package, and zig's name of the target.
// Another platform also needs a line in lib/native/platform-packages.ts.
export const TARGETS = {
  // Every Linux since 2014: symbols of glibc up to 2.17, the C++ library inside.
  'linux-x64': { zig: 'x86_64-linux-gnu.2.17', os: 'linux', cpu: 'x64', libc: 'glibc' },
};
