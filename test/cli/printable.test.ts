import { writeFileSync } from 'node:fs';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { Tensor } from '../../lib/tensor/tensor';
import { roughBlock } from '../support/rough-block';
import { workplace } from './command';

const { path, repfuse } = workplace();

/** ESC, BEL, CR, backspace, a C1 control, DEL, bidirectional overrides and isolates, line separators, a line break. */
const EVIL = 'a\u001b[31m\u0007\r\b\u009b2J\u007f\u202e\u2066\u2028\u0000\nfake: converted';
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are looked for
const ACTING = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

const file = 'in.safetensors';
beforeEach(async () => {
  const lone = [[`${EVIL}.rbr_dense.conv.weight`, Tensor.f32([2, 2, 3, 3])] as const];
  await writeSafetensors(path(file), new Map([...roughBlock(`${EVIL}.good.`), [`${EVIL}.other`, Tensor.f32([1])]]));
  await writeSafetensors(path('bad.safetensors'), new Map(lone));
  writeFileSync(path(`${EVIL.replace('\u0000', '')}.pth`), 'no checkpoint at all');
});

test.each<[string, string[]]>([
  ['inspect', ['inspect', file]],
  ['inspect --json', ['inspect', file, '--json']],
  ['convert --verify', ['convert', file, '-o', 'out.safetensors', '--verify']],
  ['convert --json', ['convert', file, '-o', 'out.safetensors', '--json']],
  ['a block that is partial', ['convert', 'bad.safetensors', '-o', 'out.safetensors']],
  ['a batch', ['convert', '*.pth', '*.safetensors', '--out-dir', 'out']],
  ['verify', ['verify', file, 'bad.safetensors']],
  ['a file that is no checkpoint', ['inspect', `${EVIL.replace('\u0000', '')}.pth`]],
  ['a file that is missing', ['inspect', `no${EVIL.replace('\u0000', '')}`]],
  ['a key path', ['inspect', file, '--key-path', EVIL.replace('\u0000', '')]],
  ['an option', ['inspect', file, `--${EVIL.replace('\u0000', '')}`]],
  ['a value of an option', ['convert', file, '-o', 'x', '--dtype', EVIL.replace('\u0000', '')]],
])('%s: names never act on a terminal', (_, args) => {
  const { stdout, stderr } = repfuse(...args);
  for (const text of [stdout, stderr]) expect(text.match(ACTING)).toBeNull();
  expect(stdout + stderr).not.toMatch(/^fake: converted/m);
  expect(stdout + stderr).toMatch(/\\u00(1b|9b)|in\.safetensors/);
  if (args.includes('--json')) JSON.parse(stdout);
});
