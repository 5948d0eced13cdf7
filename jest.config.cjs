/** ts-jest compiles one file at a time; `npm run lint` type-checks the whole. */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  transform: { '^.+\\.ts$': ['ts-jest', { tsconfig: 'tsconfig.json', diagnostics: false }] },
  // Most tests take one core: the addon's pool of each worker is idle meanwhile.
  maxWorkers: 2,
  reporters: ['default', '<rootDir>/test/reporter.cjs'],
  // Each look-up of a global in the test's own context takes longer than the arithmetic around it.
  sandboxInjectedGlobals: ['Math', 'Number'],
  setupFilesAfterEnv: ['<rootDir>/test/equality.ts'],
  testTimeout: 60_000,
};
