/**
 * Jest reporter: ends a run with `N passed, N failed`, and with REPFUSE_TEST_REPORT writes the counts and which golden
 * cases passed as JSON. A test belongs to a golden case when its full name holds `<group>/<case>`; the case counts
 * when all of its tests pass.
 */
const { writeFileSync } = require('node:fs');

const CASE = /\b(transforms|conv2d|blocks|checkpoints\/bad|checkpoints|trained)\/([A-Za-z0-9][A-Za-z0-9-]*)/g;

/** How a test ends its name that is skipped for want of a CPU level (`testAt`). */
const LACKS_LEVEL = / \(needs \w+\)$/;

module.exports = class FixtureReporter {
  onRunComplete(_contexts, results) {
    const fixtures = {};
    const lacking = [];
    for (const file of results.testResults) {
      for (const test of file.testResults) {
        if (test.status === 'pending' && LACKS_LEVEL.test(test.fullName)) lacking.push(test.fullName);
        for (const [name] of test.fullName.matchAll(CASE)) {
          fixtures[name] = (fixtures[name] ?? true) && test.status === 'passed';
        }
      }
    }
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const report = {
      passed: results.numPassedTests,
      failed,
      /** Skipped for want of a CPU level, by name. */
      lacking,
      pending: results.numPendingTests + results.numTodoTests - lacking.length,
      fixtures,
    };
    if (process.env.REPFUSE_TEST_REPORT) writeFileSync(process.env.REPFUSE_TEST_REPORT, JSON.stringify(report));
    process.stdout.write(`\n${report.passed} passed, ${failed} failed\n`);
  }
};
