// usage: npm run api        Writes what each door of the package exports to etc/, for reviews. With --check it only tells whether
// that has changed, and whether a type is spoken of that no door exports.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CompilerState, Extractor, ExtractorConfig } from '@microsoft/api-extractor';
import ts from 'typescript';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const isCheck = process.argv.includes('--check');
const { name, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
/** A list whose members make a type that has a name. */
const LIST = /^[A-Z][A-Z_]+$/;
/** In here, so that imports of other packages are found; not in node_modules, whose files would be other packages'. */
const work = join(root, 'build', 'api');
const reports = join(work, 'reports');
const kept = join(root, 'etc');

rmSync(work, { recursive: true, force: true });
const doors = Object.entries(exports)
  .filter(([, target]) => target.require !== undefined)
  .map(([path, target]) => ({
    report: `${(name + path.slice(1)).replaceAll('/', '-')}.api.md`,
    declaration: join(work, relative('dist', target.require.types)),
  }));
writeDeclarations();
const compilerState = CompilerState.create(configOf(doors[0]), {
  additionalEntryPoints: doors.map(({ declaration }) => declaration),
});
const exported = new Set(doors.flatMap(exportedNames));
const unnamed = new Set();
for (const door of doors) {
  for (const symbol of writeReport(door)) {
    if (!exported.has(symbol) && !LIST.test(symbol)) unnamed.add(symbol);
  }
}
for (const symbol of unnamed) fail(`${symbol} is spoken of by the public API, and no door exports it`);
for (const { report } of doors) {
  const [now, before] = [reports, kept].map((folder) => textOf(join(folder, report)));
  if (isCheck && now !== before) fail(`etc/${report} is not what the package exports: npm run api`);
}
if (!isCheck) cpSync(reports, kept, { recursive: true });

function fail(problem) {
  console.error(problem);
  process.exitCode = 1;
}

function textOf(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/** The declarations of lib/, as a build writes them. */
function writeDeclarations() {
  const config = ts.getParsedCommandLineOfConfigFile(join(root, 'tsconfig.build.json'), { outDir: work }, ts.sys);
  ts.createProgram(config.fileNames, config.options).emit();
}

/** Of a door, and of the namespaces that it exports. */
function exportedNames({ declaration }) {
  const { program } = compilerState;
  const checker = program.getTypeChecker();
  const namesOf = (module) =>
    checker.getExportsOfModule(module).flatMap((symbol) => {
      const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
      return target.flags & ts.SymbolFlags.ValueModule ? namesOf(target) : [symbol.name];
    });
  return namesOf(checker.getSymbolAtLocation(program.getSourceFile(declaration)));
}

/** @returns the names of what the door's exports speak of, and it does not export */
function writeReport(door) {
  const forgotten = [];
  mkdirSync(reports, { recursive: true });
  Extractor.invoke(configOf(door), {
    compilerState,
    localBuild: true,
    messageCallback(message) {
      if (message.messageId === 'ae-forgotten-export') forgotten.push(/"(\w+)"/.exec(message.text)[1]);
      message.handled = message.logLevel !== 'error';
    },
  });
  return forgotten;
}

function configOf({ report, declaration }) {
  return ExtractorConfig.prepare({
    configObject: {
      projectFolder: work,
      newlineKind: 'lf',
      mainEntryPointFilePath: declaration,
      compiler: {
        overrideTsconfig: { extends: join(root, 'tsconfig.build.json'), include: [], files: [declaration] },
      },
      apiReport: {
        enabled: true,
        reportFileName: report,
        reportFolder: reports,
        reportTempFolder: join(work, 'temporary'),
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      messages: {
        compilerMessageReporting: { default: { logLevel: 'error' } },
        extractorMessageReporting: {
          default: { logLevel: 'none' },
          'ae-forgotten-export': { logLevel: 'warning', addToApiReportFile: false },
        },
        tsdocMessageReporting: { default: { logLevel: 'none' } },
      },
    },
    configObjectFullPath: join(work, 'api-extractor.json'),
    packageJsonFullPath: join(root, 'package.json'),
  });
}
