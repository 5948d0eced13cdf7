// Adds up what .ci/run collected, holds the fixture counts against the committed floor, prints the last line.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
let passed = 0;
let failed = 0;
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
  passed += native.tests - native.failures - native.errors;
  failed += native.failures + native.errors;
}

let lacking = [];
try {
  const { isasAvailable } = JSON.parse(
    execFileSync('node', ['-p', "JSON.stringify(require('./dist').info())"], { encoding: 'utf8' }),
  );
  lacking = ['scalar', 'avx2', 'avx512', 'avx512bf16', 'amx'].filter((isa) => !isasAvailable.includes(isa));
} catch {
  problem('the built package cannot say which CPU levels it has');
}
for (const isa of lacking) console.log(`skipped: ${isa} (this CPU lacks it)`);
console.log(`${passed} passed, ${failed} failed, ${lacking.length} skipped`);
process.exitCode = failed === 0 ? 0 : 1;
