import { spellOptions } from '../../lib/cli/spelling';
import { fixturePath } from '../support/fixtures';
import { workplace } from './command';

const { repfuse } = workplace();

describe('options in texts of the library, as the command line spells them', () => {
  const flags = new Set(['key-path', 'family', 'keep', 'eps', 'no-hash']);

  test('marked names', () => {
    expect(spellOptions('Name one with `keyPath`', flags)).toBe('Name one with --key-path');
    expect(spellOptions('(`families` conv-bn folds them; `keepBlocks` leaves them, `hash`)', flags)).toBe(
      '(--family conv-bn folds them; --keep leaves them, --no-hash)',
    );
    // No flag of this command, no option, a command.
    expect(spellOptions('`prefix`, `constructor`, `git lfs pull`', flags)).toBe('prefix, constructor, `git lfs pull`');
  });

  test('the name that an error tells of, where it is a word of its own', () => {
    const spelt = (text: string) => spellOptions(text, flags, 'eps');
    expect(spelt('Expected a number for eps but received "eps"')).toBe(
      'Expected a number for --eps but received "eps"',
    );
    expect(spelt('Expected no eps for /data/eps/eps.pth, eps-1 and --eps.')).toBe(
      'Expected no --eps for /data/eps/eps.pth, eps-1 and --eps.',
    );
    expect(spellOptions('Expected a boolean for prefix', flags, 'prefix')).toBe('Expected a boolean for prefix');
  });
});

const YUNET = 'test/fixtures/public/yunet_s_train.pth';

test('notes and errors name flags, and advise none that was given', () => {
  const note = /note: 15 BatchNorms outside these blocks are left as they are \(--family conv-bn folds/;
  expect(repfuse('inspect', YUNET).stdout).toMatch(note);
  expect(JSON.parse(repfuse('inspect', YUNET, '--json').stdout).notes.join()).toContain('(--family conv-bn folds');
  const ema = fixturePath('checkpoints', 'mobileone-ema.pth');
  expect(repfuse('inspect', ema).stdout).toContain('lies at state_dict (choose it with --key-path)');
  expect(repfuse('inspect', ema, '--key-path', 'state_dict').stdout).not.toContain('--key-path');
  const parts = repfuse('inspect', 'test/fixtures/reported/backbone-and-head.pth');
  if (parts.status !== 0) expect(parts.stderr).toContain('Name one with --key-path');
  expect(repfuse('inspect', ema, '--key-path', 'nowhere').stderr).toContain('for --key-path but');
});

test('inspect --json says what its text says', () => {
  const { blocks } = JSON.parse(repfuse('inspect', fixturePath('trained', 'digits-acnet.pth'), '--json').stdout);
  expect(blocks.map(({ status }: { status: string }) => status)).toEqual(Array(4).fill('convertible'));
});
