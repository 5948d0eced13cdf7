// Adds up what .ci/run collected, holds the fixture counts against the committed floor, prints the last line.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
let passed = 0;
let failed = 0;
/** Tests and levels that this CPU lacks, by name. */
const skipped = [];
const problem = (text) => {
  failed++;
  console.log(`FAIL ${text}`);
};

for (const line of readFileSync(join(folder, 'steps'), 'utf8').trim().split('\n')) {
  if (line.startsWith('pass ')) passed++;
  else problem(line.slice(5));
}

const index = readJson('test/fixtures/index.json').groups;
const floor = readJson('.ci/floor.json');
for (const build of ['node-gyp', 'cmake-js']) {
  const path = join(folder, `${build}.json`);
  if (!existsSync(path)) {
    problem(`no test report of the ${build} build`);
    continue;
  }
  const report = readJson(path);
  passed += report.passed;
  failed += report.failed;
  skipped.push(...report.lacking.map((name) => `${name} on the ${build} build`));
  if (report.pending > 0) problem(`${report.pending} tests of the ${build} build were skipped or left to do`);
  const counts = Object.keys(floor).map((group) => {
    const done = index[group].cases.filter((name) => report.fixtures[`${group}/${name}`] === true).length;
    if (done < floor[group])
      problem(`${group}: ${done} cases pass on the ${build} build, the floor is ${floor[group]}`);
    return `${group} ${done}/${index[group].count}`;
  });
  console.log(`fixtures on the ${build} build: ${counts.join(', ')}`);
}

// The floor may only rise.
try {
  const before = JSON.parse(
    execFileSync('git', ['show', 'HEAD~1:.ci/floor.json'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  );
  for (const [group, count] of Object.entries(before)) {
    if (!((floor[group] ?? -1) >= count)) problem(`the floor of ${group} fell from ${count} to ${floor[group]}`);
  }
} catch {
  // no history to compare with
}

const nativePath = join(folder, 'native.json');
if (existsSync(nativePath)) {
  const native = readJson(nativePath);
  const tests = native.testsuites.flatMap(({ testsuite }) => testsuite);
  const lacking = tests.filter(({ result }) => result === 'SKIPPED');
  // Older GoogleTests leave the reason out of the report: it stands in the log above.
  const reasonOf = ({ skipped: reasons }) => reasons?.[0]?.message.trim() ?? 'needs what this CPU lacks';
  skipped.push(...lacking.map((test) => `${test.classname}.${test.name}: ${reasonOf(test)}`));
  passed += native.tests - native.failures - native.errors - lacking.length;
  failed += native.failures + native.errors;
}

try {
  const { isasAvailable } = JSON.parse(
    execFileSync('node', ['-p', "JSON.stringify(require('./dist').info())"], { encoding: 'utf8' }),
  );
  const levels = ['scalar', 'avx2', 'avx512', 'avx512bf16', 'amx'];
  skipped.push(...levels.filter((isa) => !isasAvailable.includes(isa)).map((isa) => `${isa} (this CPU lacks it)`));
} catch {
  problem('the built package cannot say which CPU levels it has');
}
for (const name of skipped) console.log(`skipped: ${name}`);
console.log(`${passed} passed, ${failed} failed, ${skipped.length} skipped`);
process.exitCode = failed === 0 ? 0 : 1;
