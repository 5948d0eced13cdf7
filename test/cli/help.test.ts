import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readManifest } from '../support/fixtures';
import { ROOT, workplace } from './command';

const { path, repfuse } = workplace();

const COMMANDS = ['', 'inspect', 'convert', 'verify', 'run', 'doctor', 'build-native'];

/** The `$ repfuse` lines of a text, as argument lists. */
function commandsIn(text: string): string[][] {
  return [...text.matchAll(/^ *\$ repfuse (.*)$/gm)].map(([, args]) => args!.trim().split(/ +/));
}

describe('--help', () => {
  test.each(COMMANDS)('repfuse %s --help ends with an example that works', (command) => {
    const { status, stdout } = repfuse(...command.split(' ').filter(Boolean), '--help');
    expect(status).toBe(0);
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^ {2}\$ repfuse /);
    const examples = commandsIn(stdout.slice(stdout.indexOf('\nExample')));
    expect(examples.at(-1)).toContain(command || 'inspect');
    // Compiling takes minutes: test/cli/build-native.test.ts has that command to itself.
    for (const example of examples)
      if (command !== 'build-native') expect(repfuse(...example)).toMatchObject({ status: 0 });
  });

  test('tells the version of the package, and has no colours', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    expect(repfuse('--version').stdout).toBe(`${version}\n`);
    expect(repfuse('--help').stdout).not.toContain('\x1b');
  });
});

test('examples/digits-acnet.graph.json is the training graph of the fixtures', () => {
  const { train_graph } = readManifest('trained', 'digits-acnet');
  expect(JSON.parse(readFileSync(path('examples/digits-acnet.graph.json'), 'utf8'))).toEqual({
    ...train_graph,
    inputShape: [1, 8, 8],
    normalization: { scale: 1 / 16 },
  });
});

describe('docs/cli.md', () => {
  const guide = readFileSync(join(ROOT, 'docs', 'cli.md'), 'utf8');

  test('its commands work in their order, and print what it shows', () => {
    const blocks = [...guide.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, text]) => text!);
    expect(blocks.length).toBeGreaterThanOrEqual(5);
    for (const step of blocks.flatMap((block) => block.split(/^(?=\$ repfuse )/m))) {
      const [command, ...shown] = step.trimEnd().split('\n');
      const expected = /# exit code (\d+)$/.exec(command!)?.[1] ?? '0';
      const { status, stdout, stderr } = repfuse(
        ...command!
          .replace(/ +#.*$/, '')
          .split(/ +/)
          .slice(2),
      );
      expect([command, status]).toEqual([command, Number(expected)]);
      const lines = new Set((stdout + stderr).split('\n').map((line) => line.trimEnd()));
      // `...` stands for lines left out.
      for (const line of shown) if (line !== '...') expect(lines).toContain(line);
    }
  });

  test('it has every command and every option', () => {
    for (const command of COMMANDS.filter(Boolean)) {
      expect(guide).toContain(`## ${command}`);
      const help = repfuse(command, '--help').stdout;
      for (const [option] of help.matchAll(/--[a-z-]+(?= |$)/gm))
        if (option !== '--help') expect([command, guide.includes(`\`${option}`)]).toEqual([command, true]);
    }
  });

  test('the links lead somewhere', () => {
    for (const [, target] of guide.matchAll(/\]\(([^)#:]+)\)/g))
      expect(existsSync(join(ROOT, 'docs', target!))).toBe(true);
  });
});
