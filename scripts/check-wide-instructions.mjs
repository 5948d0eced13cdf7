// Fails if an object file of the addon that must run on any CPU holds an AVX instruction, or if a kernel object defines a weak
// symbol: an inline function that the linker may take from there would carry that object's instructions into baseline code.
// usage: check-wide-instructions.mjs [folder ...]   (default: the object folders of both builds)
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..');
const BUILDS = ['build/Release/obj.target', 'build-cmake/CMakeFiles'].map((folder) => join(ROOT, folder));
const KERNEL = /__(avx2|avx512|avx512bf16|amx)\.(cc\.)?o$/;
/** VEX- and EVEX-encoded instructions all begin with v in this disassembler; ymm, zmm and mask registers occur in no others. */
const WIDE =
  /^\s*[0-9a-f]+:\s+(v[a-z0-9]+\s.*%[xyz]mm|.*%[yz]mm\d|k(mov|or|and|not|shift|unpck|test|xor|add)[a-z0-9]*\s)/;

function objectFiles(folder) {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.o') && name.includes('native/src'))
    .map((name) => join(folder, name));
}

function wideInstructions(file) {
  return lines('objdump', ['-d', '--no-show-raw-insn', file]).filter((line) => WIDE.test(line));
}

function weakSymbols(file) {
  return lines('nm', ['--defined-only', '-C', file]).filter((line) => /^[0-9a-f]+ [WVu] /.test(line));
}

function lines(command, args) {
  return execFileSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 30 }).split('\n');
}

const folders = process.argv.length > 2 ? process.argv.slice(2) : BUILDS.filter((folder) => existsSync(folder));
const problems = [];
let baseline = 0;
let kernels = 0;
for (const file of folders.flatMap(objectFiles)) {
  const isKernel = KERNEL.test(file);
  if (isKernel) kernels++;
  else baseline++;
  const found = isKernel ? weakSymbols(file) : wideInstructions(file);
  if (found.length > 0)
    problems.push(
      `${basename(file)}: ${isKernel ? 'weak symbol' : 'wide instruction'}, first of ${found.length}: ${found[0].trim()}`,
    );
}
if (baseline === 0 || kernels === 0)
  problems.push(
    `expected object files of baseline and kernels in ${folders.join(', ')} but found ${baseline} and ${kernels}`,
  );
for (const problem of problems) console.error(problem);
console.log(`${baseline} baseline and ${kernels} kernel objects checked, ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;
