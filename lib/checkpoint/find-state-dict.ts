import { RepfuseError } from '../errors';
import { describe, shorten } from './describe';
import type { PyDict, PyObject, PyValue } from './pickle/python-values';
import type { SkippedEntry } from './state-dict';
import { isModule, type ModuleAttributes, moduleWeights } from './torch/module-weights';
import { TorchTensor, UnsupportedTensor } from './torch/torch-pickle';

/** One set of weights in a checkpoint. */
export interface FoundStateDict {
  readonly keyPath: readonly string[];
  readonly tensors: ReadonlyMap<string, TorchTensor | UnsupportedTensor>;
  readonly alternatives: readonly (readonly string[])[];
  readonly skipped: readonly SkippedEntry[];
  /** Attributes of the modules of a pickled network, by path; empty for a state dict. */
  readonly modules: ReadonlyMap<string, ModuleAttributes>;
}

interface Candidate {
  readonly keyPath: readonly string[];
  /** Names to tensors, and whatever else lies among them. */
  readonly dict: PyDict;
  readonly tensorCount: number;
  readonly modules: ReadonlyMap<string, ModuleAttributes>;
}

/** How training scripts call the weights, the best first: averaged ones (EMA) are what their authors evaluate and publish. */
const AVERAGED_NAMES = ['state_dict_ema', 'model_ema', 'params_ema', 'ema_state_dict', 'ema_model', 'ema'];
const PLAIN_NAMES = ['state_dict', 'model_state_dict', 'model_state', 'model', 'net', 'network', 'params', 'weights'];
const NAMES = [...AVERAGED_NAMES, ...PLAIN_NAMES];
/** May stand between a name and its weights: `ema.module`. */
const WRAPPERS = ['module', 'state_dict', 'model', 'shadow'];
/** Hold tensors, but never a network. */
const NOT_WEIGHTS = /optim|sched|scaler|^amp$|rng|loss|criterion|callback/i;
const MAX_DEPTH = 4;

/**
 * Finds the weights by content: dicts from names to tensors, and pickled modules, at the root or nested. One at a customary place
 * wins, averaged weights before plain ones; otherwise the only one there is.
 *
 * @param keyPath where to look instead
 * @throws ERR_REPFUSE_AMBIGUOUS naming the choices; ERR_REPFUSE_KEY if `keyPath` leads nowhere;
 * ERR_REPFUSE_FORMAT if there are no weights
 */
export function findStateDict(root: PyValue, keyPath?: readonly string[]): FoundStateDict {
  const candidates = collectCandidates(root);
  const chosen = keyPath === undefined ? choose(root, candidates) : follow(root, keyPath, candidates);
  const alternatives = candidates
    .filter((other) => other.dict !== chosen.dict && isComparable(other, chosen))
    .map((other) => other.keyPath);
  const tensors = new Map<string, TorchTensor | UnsupportedTensor>();
  const listed = pathsTo(alternatives);
  const skipped = skippedBeside(root, chosen.keyPath, listed);
  for (const [key, value] of chosen.dict) {
    if (typeof key === 'string' && isTensor(value)) tensors.set(key, value);
    else {
      const path = [...chosen.keyPath, keyText(key)];
      if (!listed.has(JSON.stringify(path))) skipped.push({ path: path.join('.'), what: describe(value) });
    }
  }
  return { keyPath: chosen.keyPath, tensors, alternatives, skipped, modules: chosen.modules };
}

/** Whether a key path leads to averaged weights by its name. */
export function isAveraged([name]: readonly string[]): boolean {
  return name !== undefined && AVERAGED_NAMES.includes(name);
}

function isTensor(value: PyValue): value is TorchTensor | UnsupportedTensor {
  return value instanceof TorchTensor || value instanceof UnsupportedTensor;
}

/** Every dict with a named tensor and every module, outermost first. Lists are not entered, nor anything twice. */
function collectCandidates(root: PyValue): Candidate[] {
  const found: Candidate[] = [];
  const seen = new Set<PyValue>();
  let level: { keyPath: readonly string[]; value: PyValue }[] = [{ keyPath: [], value: root }];
  for (let depth = 0; depth <= MAX_DEPTH; depth++) {
    const next: typeof level = [];
    for (const { keyPath, value } of level) {
      if (seen.has(value)) continue;
      seen.add(value);
      if (isModule(value)) found.push(moduleCandidate(keyPath, value));
      if (!(value instanceof Map)) continue;
      let tensorCount = 0;
      for (const [key, item] of value) {
        if (typeof key !== 'string') continue;
        if (isTensor(item)) tensorCount++;
        else if (!NOT_WEIGHTS.test(key)) next.push({ keyPath: [...keyPath, key], value: item });
      }
      if (tensorCount > 0) found.push({ keyPath, dict: value, tensorCount, modules: new Map() });
    }
    level = next;
  }
  return found.filter(({ tensorCount }) => tensorCount > 0);
}

function moduleCandidate(keyPath: readonly string[], module: PyObject): Candidate {
  const { tensors, modules } = moduleWeights(module);
  return { keyPath, dict: new Map(tensors), tensorCount: tensors.size, modules };
}

/** Whether `other` is large enough to be a second set of weights, rather than a few tensors kept beside them. */
function isComparable(other: Candidate, chosen: Candidate): boolean {
  return 2 * other.tensorCount >= chosen.tensorCount;
}

/** Place in the order of preference; undefined for a place that no convention knows. */
function rank({ keyPath: [name, ...inner] }: Candidate): number | undefined {
  if (name === undefined) return 0;
  if (!inner.every((wrapper) => WRAPPERS.includes(wrapper))) return undefined;
  const at = NAMES.indexOf(name);
  return at < 0 ? undefined : at + 1;
}

function choose(root: PyValue, candidates: readonly Candidate[]): Candidate {
  if (candidates.length === 0) throw noWeights(root);
  const largest = candidates.reduce((a, b) => (b.tensorCount > a.tensorCount ? b : a));
  const customary = candidates
    .filter((candidate) => rank(candidate) !== undefined && isComparable(candidate, largest))
    .sort((a, b) => rank(a)! - rank(b)!);
  const chosen = customary[0] ?? (candidates.length === 1 ? candidates[0] : undefined);
  if (chosen !== undefined) return chosen;
  const choices = candidates.map(({ keyPath }) => keyPath);
  const named = choices.map((path) => path.map(shorten).join('.') || '(the root)');
  throw new RepfuseError(
    'ERR_REPFUSE_AMBIGUOUS',
    `Expected one set of weights but received ${choices.length}: ${named.slice(0, 12).join(', ')}. Name one with \`keyPath\``,
    { choices, option: 'keyPath' },
  );
}

function follow(root: PyValue, keyPath: readonly string[], candidates: readonly Candidate[]): Candidate {
  let value = root;
  for (const [depth, key] of keyPath.entries()) {
    const inner = value instanceof Map ? value.get(key) : undefined;
    if (inner === undefined) {
      const here = value instanceof Map ? `has ${keyList(value)}` : `is ${describe(value)}`;
      const where = depth === 0 ? 'the file' : `${JSON.stringify(keyPath.slice(0, depth).join('.'))}`;
      throw new RepfuseError(
        'ERR_REPFUSE_KEY',
        `Expected a key ${JSON.stringify(shorten(key))} for \`keyPath\` but ${where} ${here}`,
        { keyPath, choices: candidates.map((candidate) => candidate.keyPath) },
      );
    }
    value = inner;
  }
  if (isModule(value)) return moduleCandidate(keyPath, value);
  const tensorCount = value instanceof Map ? [...value.values()].filter(isTensor).length : 0;
  if (!(value instanceof Map) || tensorCount === 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_KEY',
      `Expected a dict of tensors at \`keyPath\` ${JSON.stringify(keyPath.join('.'))} but received ${describe(value)}`,
      { keyPath, choices: candidates.map((candidate) => candidate.keyPath) },
    );
  }
  return { keyPath, dict: value, tensorCount, modules: new Map() };
}

function noWeights(root: PyValue): RepfuseError {
  const what = root instanceof Map && root.size > 0 ? `${describe(root)} (${keyList(root)})` : describe(root);
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Expected a state dict (names to tensors) but received ${what}`, {
    received: what,
  });
}

/** What lies beside the way to the chosen dict. */
function skippedBeside(root: PyValue, keyPath: readonly string[], listed: ReadonlySet<string>): SkippedEntry[] {
  const skipped: SkippedEntry[] = [];
  let value = root;
  for (const [depth, taken] of keyPath.entries()) {
    if (!(value instanceof Map)) break;
    for (const [key, item] of value) {
      const path = [...keyPath.slice(0, depth), keyText(key)];
      if (key !== taken && !listed.has(JSON.stringify(path))) {
        skipped.push({ path: path.join('.'), what: describe(item) });
      }
    }
    value = value.get(taken) ?? null;
  }
  return skipped;
}

/** Every path that is, or leads to, one of these; as JSON. */
function pathsTo(keyPaths: readonly (readonly string[])[]): Set<string> {
  return new Set(keyPaths.flatMap((path) => path.map((_, depth) => JSON.stringify(path.slice(0, depth + 1)))));
}

function keyText(key: PyValue): string {
  return typeof key === 'string'
    ? key
    : typeof key === 'number' || typeof key === 'bigint'
      ? String(key)
      : describe(key);
}

function keyList(dict: PyDict): string {
  const keys = [...dict.keys()].slice(0, 8).map((key) => shorten(keyText(key)));
  return `the keys ${keys.join(', ') || '(none)'}${dict.size > 8 ? ', ...' : ''}`;
}
