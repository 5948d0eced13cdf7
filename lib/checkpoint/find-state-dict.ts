import { RepfuseError } from '../errors';
import { NumpyArray, NumpyScalar } from './numpy/numpy-pickle';
import { type PyDict, type PyObject, PyTuple, type PyValue } from './pickle/python-values';
import { shorten } from './shorten';
import { showValue } from './show-value';
import type { SkippedEntry } from './state-dict';
import { isModule, type ModuleAttributes, ModuleWalk } from './torch/module-weights';
import { TorchTensor, UnsupportedTensor } from './torch/torch-pickle';

/** A tensor as a pickle describes it. */
export type DescribedTensor = TorchTensor | NumpyArray | UnsupportedTensor;

/** One set of weights in a checkpoint. */
export interface FoundStateDict {
  readonly keyPath: readonly string[];
  readonly tensors: ReadonlyMap<string, DescribedTensor>;
  readonly alternatives: readonly (readonly string[])[];
  readonly skipped: readonly SkippedEntry[];
  /** Texts at the root and in `meta`, by their paths. */
  readonly texts: ReadonlyMap<string, string>;
  /** Attributes of the modules of a pickled network, by path; empty for a state dict. */
  readonly modules: ReadonlyMap<string, ModuleAttributes>;
}

interface Candidate {
  readonly keyPath: readonly string[];
  /** Names to tensors, and whatever else lies among them. */
  readonly dict: PyDict;
  /** The dicts that it was put together from, where the file has the network in parts. */
  readonly parts?: readonly Candidate[];
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
/** Words in what training scripts call the parts of one network, saved side by side: `backbone`, `bbox_head`, `image_encoder`. */
const PARTS =
  /(?:^|_)(?:backbone|neck|heads?|stem|trunk|body|encoder|decoder|bottleneck|classifier|fc|linear|embed(?:ding|dings|der)?|extractor|feat|features?|fpn|pan|rpn|roi|proj|projector|projection|predictor|pool|pooling|adapter|fusion|aggregator)(?:\d|_|$)/i;

/**
 * Finds the weights by content: dicts from names to tensors, and pickled modules, at the root or nested. One at a customary place
 * wins, averaged weights before plain ones; otherwise the only one there is. Parts of one network side by side (`backbone`, `head`) are
 * one set, their names in front.
 *
 * @param keyPath where to look instead
 * @throws ERR_REPFUSE_AMBIGUOUS naming the choices; ERR_REPFUSE_KEY if `keyPath` leads nowhere;
 * ERR_REPFUSE_FORMAT if there are no weights
 */
export function findStateDict(root: PyValue, keyPath?: readonly string[]): FoundStateDict {
  const walk = new ModuleWalk();
  const candidates = collectCandidates(root, walk);
  const chosen = keyPath === undefined ? choose(root, candidates) : follow(root, keyPath, candidates, walk);
  const alternatives = candidates
    .filter((other) => other.dict !== chosen.dict && isComparable(other, chosen))
    .map((other) => other.keyPath);
  const tensors = new Map<string, DescribedTensor>();
  const listed = pathsTo([...alternatives, ...(chosen.parts ?? []).map((part) => part.keyPath)]);
  const skipped = skippedBeside(root, chosen.parts?.[0]?.keyPath ?? chosen.keyPath, listed);
  for (const [key, value] of chosen.dict) {
    const tensor = value instanceof NumpyScalar ? value : asTensor(value);
    if (typeof key === 'string' && tensor !== undefined) tensors.set(key, tensor);
    else {
      const path = [...chosen.keyPath, keyText(key)];
      if (!listed.has(JSON.stringify(path))) skipped.push({ path: path.join('.'), what: showValue(value) });
    }
  }
  return { keyPath: chosen.keyPath, tensors, alternatives, skipped, texts: textsOf(root), modules: chosen.modules };
}

function textsOf(root: PyValue, within = ''): Map<string, string> {
  const texts = new Map<string, string>();
  if (!(root instanceof Map)) return texts;
  for (const [key, value] of root) {
    if (typeof value === 'string') texts.set(within + keyText(key), value);
    else if (within === '' && key === 'meta') for (const item of textsOf(value, 'meta.')) texts.set(...item);
  }
  return texts;
}

/** Whether a key path leads to averaged weights by its name. */
export function isAveraged([name]: readonly string[]): boolean {
  return name !== undefined && AVERAGED_NAMES.includes(name);
}

/** A value as the tensor that it is; Paddle's are tuples of a name and an array. A number of numpy alone makes no weights. */
function asTensor(value: PyValue): DescribedTensor | undefined {
  if (value instanceof TorchTensor || value instanceof UnsupportedTensor) return value;
  if (value instanceof NumpyArray) return value instanceof NumpyScalar ? undefined : value;
  const [name, array] = value instanceof PyTuple && value.items.length === 2 ? value.items : [];
  return typeof name === 'string' && array instanceof NumpyArray ? array : undefined;
}

/** Every dict with a named tensor and every module, outermost first. Lists are not entered, nor anything twice. */
function collectCandidates(root: PyValue, walk: ModuleWalk): Candidate[] {
  const found: Candidate[] = [];
  const seen = new Set<PyValue>();
  let level: { keyPath: readonly string[]; value: PyValue }[] = [{ keyPath: [], value: root }];
  for (let depth = 0; depth <= MAX_DEPTH; depth++) {
    const next: typeof level = [];
    for (const { keyPath, value } of level) {
      if (seen.has(value)) continue;
      seen.add(value);
      if (isModule(value)) found.push(moduleCandidate(keyPath, value, walk));
      if (!(value instanceof Map)) continue;
      let tensorCount = 0;
      for (const [key, item] of value) {
        if (typeof key !== 'string') continue;
        if (asTensor(item) !== undefined) tensorCount++;
        else if (!NOT_WEIGHTS.test(key)) next.push({ keyPath: [...keyPath, key], value: item });
      }
      if (tensorCount > 0) found.push({ keyPath, dict: value, tensorCount, modules: new Map() });
    }
    level = next;
  }
  return withParts(found.filter(({ tensorCount }) => tensorCount > 0));
}

/** Sets of weights that lie side by side and are called as parts of one network make one. */
function withParts(found: readonly Candidate[]): Candidate[] {
  const folders = new Map<string, Candidate[]>();
  for (const candidate of found) {
    if (candidate.keyPath.length === 0 || candidate.keyPath.length > MAX_DEPTH) continue;
    const folder = JSON.stringify(candidate.keyPath.slice(0, -1));
    const siblings = folders.get(folder);
    if (siblings === undefined) folders.set(folder, [candidate]);
    else siblings.push(candidate);
  }
  const joined = new Map<Candidate, Candidate>(); // by the first part
  const gone = new Set<Candidate>();
  for (const parts of folders.values()) {
    if (parts.length < 2 || !parts.every(({ keyPath }) => PARTS.test(keyPath.at(-1)!)) || isOneTwice(parts)) continue;
    joined.set(parts[0]!, join(parts));
    for (const part of parts) gone.add(part);
  }
  return found.flatMap((candidate) => joined.get(candidate) ?? (gone.has(candidate) ? [] : candidate));
}

function join(parts: readonly Candidate[]): Candidate {
  const dict: PyDict = new Map();
  const modules = new Map<string, ModuleAttributes>();
  for (const part of parts) {
    const name = part.keyPath.at(-1)!;
    for (const [key, value] of part.dict) dict.set(`${name}.${keyText(key)}`, value);
    for (const [path, attributes] of part.modules) modules.set(path === '' ? name : `${name}.${path}`, attributes);
  }
  const tensorCount = parts.reduce((sum, part) => sum + part.tensorCount, 0);
  return { keyPath: parts[0]!.keyPath.slice(0, -1), dict, parts, tensorCount, modules };
}

/** Whether two of them are the same network, as two states of it are: equal names. */
function isOneTwice(parts: readonly Candidate[]): boolean {
  const names = parts.map(({ dict }) => JSON.stringify([...dict.keys()].map(keyText).sort()));
  return new Set(names).size < names.length;
}

function moduleCandidate(keyPath: readonly string[], module: PyObject, walk: ModuleWalk): Candidate {
  const { tensors, modules } = walk.weightsOf(module);
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

function follow(
  root: PyValue,
  keyPath: readonly string[],
  candidates: readonly Candidate[],
  walk: ModuleWalk,
): Candidate {
  let value = root;
  for (const [depth, key] of keyPath.entries()) {
    const inner = value instanceof Map ? value.get(key) : undefined;
    if (inner === undefined) {
      const here = value instanceof Map ? `has ${keyList(value)}` : `is ${showValue(value)}`;
      const where = depth === 0 ? 'the file' : `${JSON.stringify(keyPath.slice(0, depth).join('.'))}`;
      throw new RepfuseError(
        'ERR_REPFUSE_KEY',
        `Expected a key ${JSON.stringify(shorten(key))} for \`keyPath\` but ${where} ${here}`,
        { keyPath, choices: candidates.map((candidate) => candidate.keyPath) },
      );
    }
    value = inner;
  }
  if (isModule(value)) return moduleCandidate(keyPath, value, walk);
  const joined = candidates.find(({ parts, keyPath: at }) => parts !== undefined && isSamePath(at, keyPath));
  if (joined !== undefined) return joined;
  const tensorCount =
    value instanceof Map ? [...value.values()].filter((item) => asTensor(item) !== undefined).length : 0;
  if (!(value instanceof Map) || tensorCount === 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_KEY',
      `Expected a dict of tensors at \`keyPath\` ${JSON.stringify(keyPath.join('.'))} but received ${showValue(value)}`,
      { keyPath, choices: candidates.map((candidate) => candidate.keyPath) },
    );
  }
  return { keyPath, dict: value, tensorCount, modules: new Map() };
}

function isSamePath(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((key, i) => key === b[i]);
}

function noWeights(root: PyValue): RepfuseError {
  const what = root instanceof Map && root.size > 0 ? `${showValue(root)} (${keyList(root)})` : showValue(root);
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
        skipped.push({ path: path.join('.'), what: showValue(item) });
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
      : showValue(key);
}

function keyList(dict: PyDict): string {
  const keys = [...dict.keys()].slice(0, 8).map((key) => shorten(keyText(key)));
  return `the keys ${keys.join(', ') || '(none)'}${dict.size > 8 ? ', ...' : ''}`;
}
