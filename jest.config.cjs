/** ts-jest compiles one file at a time; `npm run lint` type-checks the whole. */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  transform: { '^.+\\.ts$': ['ts-jest', { tsconfig: 'tsconfig.json', diagnostics: false }] },
  // The addon owns a process-wide thread pool; two workers on two cores would only fight over it.
  maxWorkers: 1,
  reporters: ['default', '<rootDir>/test/reporter.cjs'],
  // Each look-up of a global in the test's own context takes longer than the arithmetic around it.
  sandboxInjectedGlobals: ['Math', 'Number'],
  setupFilesAfterEnv: ['<rootDir>/test/equality.ts'],
  testTimeout: 60_000,
};
