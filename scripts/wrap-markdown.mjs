// Markdown with its prose in lines of under 120 characters: `node scripts/wrap-markdown.mjs FILE...` wraps files in place. Only paragraphs and list
// items that have a longer line are wrapped anew; tables, headings, code and HTML stay as they are.
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const WIDTH = 119;

/** The words of a paragraph in lines, each with the indentation of its own. */
function wrapped(block) {
  if (block.every((line) => line.length <= WIDTH)) return block;
  const [, lead] = /^(\s*(?:[*-] |\d+\. |> )?)/.exec(block[0]);
  const indent = lead.includes('>') ? lead : ' '.repeat(lead.length);
  const text = block.map((line, i) => (i === 0 ? line.slice(lead.length) : line.replace(/^[\s>]*/, ''))).join(' ');
  const lines = [];
  let line = lead;
  for (const word of text.split(' ').filter((each) => each !== '')) {
    const start = line === lead || line === indent;
    if (!start && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = indent + word;
    } else line += (start ? '' : ' ') + word;
  }
  return [...lines, line];
}

export function wrapMarkdown(text) {
  const out = [];
  let block = [];
  let isCode = false;
  const end = () => {
    if (block.length > 0) out.push(...wrapped(block));
    block = [];
  };
  for (const line of text.split('\n')) {
    const fence = /^\s*```/.test(line);
    const isIndented = block.length === 0 && line.startsWith('    ');
    if (fence || isCode || isIndented || line.trim() === '' || /^(#|\||<|\[)/.test(line)) {
      end();
      out.push(line);
      if (fence) isCode = !isCode;
    } else {
      if (/^\s*(?:[*-] |\d+\. )/.test(line)) end();
      block.push(line);
    }
  }
  end();
  return out.join('\n');
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  for (const file of process.argv.slice(2)) writeFileSync(file, wrapMarkdown(readFileSync(file, 'utf8')));
}
