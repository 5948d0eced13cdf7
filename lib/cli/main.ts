#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { version } from '../../package.json';
import { printableLines } from '../printable';
import { benchCommand } from './bench';
import { buildNativeCommand } from './build-native';
import { convertCommand } from './convert';
import { doctorCommand } from './doctor';
import { inspectCommand } from './inspect';
import { runCommand } from './run';
import { EXIT, Session } from './session';
import { verifyCommand } from './verify';

async function main(): Promise<number> {
  const session = new Session();
  const program = new Command('repfuse')
    .description('Fuse RepVGG, ACNet, DBB and MobileOne checkpoints into plain convolutions, exactly, and run them.')
    .version(version)
    .addHelpText(
      'after',
      '\nExit codes: 0 ok, 1 failed, 2 usage, 3 not equal (verify) or not deployed (inspect --check), 130 interrupted.\n\nExample:\n  $ repfuse inspect test/fixtures/trained/digits-repvgg.pth',
    );
  const commands = [
    inspectCommand,
    convertCommand,
    verifyCommand,
    runCommand,
    benchCommand,
    doctorCommand,
    buildNativeCommand,
  ];
  for (const command of commands) program.addCommand(command(session));
  program.hook('preAction', (_, { options }) => {
    session.flags = new Set(options.map(({ long }) => (long ?? '').slice(2)));
  });
  const output = {
    writeOut: (text: string) => process.stdout.write(printableLines(text)),
    writeErr: (text: string) => process.stderr.write(printableLines(text)),
    // Of line breaks those of commander's own stay: at the end, and before a suggestion.
    outputError: (text: string, write: (text: string) => void) =>
      write(text.replace(/\n(?!\(Did you mean |$)/g, '\\u000a')),
  };
  for (const command of [program, ...program.commands])
    command
      .configureOutput(output)
      .exitOverride()
      .showHelpAfterError('(repfuse --help shows the commands and options)');
  try {
    await program.parseAsync();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return EXIT.ok;
    const message = error.message.replace(/^error: /, '');
    if (process.argv.includes('--json'))
      session.jsonResult({ error: { code: 'ERR_REPFUSE_INVALID_ARGUMENT', message } });
    return EXIT.usage;
  }
  return session.exitCode;
}

// With all written and nothing left to wait for: taking JavaScript's memory down bit by bit would take a tenth of converting a small checkpoint.
process.once('beforeExit', () => process.exit());
main().then(
  (code) => {
    process.exitCode = code;
  },
  (error) => {
    process.stderr.write(`${printableLines(String((error as Error).stack))}\n`);
    process.exitCode = EXIT.failed;
  },
);
