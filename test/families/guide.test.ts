import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { FAMILY_RULES } from '../../lib/families';
import { NETWORKS } from '../../lib/families/network-rule';

const ROOT = resolve(__dirname, '..', '..');
const guide = readFileSync(resolve(ROOT, 'docs', 'families.md'), 'utf8');

describe('docs/families.md', () => {
  test('lists every family, with its source, key and eps', () => {
    for (const { family, source, anchor, eps } of FAMILY_RULES) {
      const row = guide.split('\n').find((line) => line.startsWith(`| \`${family}\` |`)) ?? '';
      expect([family, row.includes(`\`${anchor}\``)]).toEqual([family, true]);
      expect([family, row.includes(`| ${eps.toExponential()} |`)]).toEqual([family, true]);
      if (family !== 'conv-bn') expect([family, row.includes(source)]).toEqual([family, true]);
    }
  });

  test.each(NETWORKS)(
    'lists what shows $network, with its eps and what sets it',
    ({ network, signs, eps, because, apart }) => {
      const rows = guide.split('\n').filter((line) => line.startsWith(`| ${network} `));
      const row = rows.find((line) => line.includes(`\`${signs[0]}\``)) ?? '';
      expect(signs.filter((sign) => !row.includes(`\`${sign}\``))).toEqual([]);
      expect(row).toContain(`| ${eps.toExponential()} | ${because}`);
      for (const sign of apart?.signs ?? []) expect(row).toContain(`\`${sign}\``);
    },
  );

  test('shows the example as it is, and names every field of a rule', () => {
    const [, shown] = /```json\n([\s\S]*?)```/.exec(guide)!;
    expect(JSON.parse(shown!)).toEqual(JSON.parse(readFileSync(resolve(ROOT, 'examples/rules/xlsr.json'), 'utf8')));
    const fields = new Set(FAMILY_RULES.flatMap((rule) => Object.keys(rule)));
    for (const field of fields) expect([field, guide.includes(`\`${field}\``)]).toEqual([field, true]);
  });
});
