import { RepfuseError } from '../../errors';
import { PyFloat, PyObject, PyTuple, type PyValue } from '../pickle/python-values';
import { shorten } from '../shorten';
import { className } from '../show-value';
import { TorchTensor, UnsupportedTensor } from './torch-pickle';

/** What a pickled torch.nn.Module says of itself beside its weights. */
export interface ModuleAttributes {
  /** Class, such as `torch.nn.modules.conv.Conv2d`; nothing of it was imported. */
  readonly type: string;
  readonly eps?: number;
  /** `[vertical, horizontal]`, as padding and dilation. */
  readonly stride?: readonly number[];
  readonly padding?: readonly number[];
  readonly dilation?: readonly number[];
  readonly groups?: number;
  /** What lies outside the map, where it is not `'zeros'`: `'reflect'`, `'replicate'`, `'circular'`. */
  readonly paddingMode?: string;
}

export interface ModuleWeights {
  /** Parameters and buffers under the names that `state_dict()` gives them. */
  readonly tensors: ReadonlyMap<string, TorchTensor | UnsupportedTensor>;
  /** Attributes by dotted path, '' for the module itself. */
  readonly modules: ReadonlyMap<string, ModuleAttributes>;
}

/** Deeper than any network. */
const MAX_DEPTH = 64;
/** More than any network: a module that is reached by two paths counts twice, as it does in `state_dict()`. */
const MAX_MODULES = 1 << 16;

/** An object with the attributes of torch.nn.Module. */
export function isModule(value: PyValue): value is PyObject {
  return value instanceof PyObject && value.state instanceof Map && value.state.get('_modules') instanceof Map;
}

/** Reads the weights of the pickled modules of a file, which share one budget. */
export class ModuleWalk {
  private left = MAX_MODULES;

  /**
   * The weights of a module, read off `_parameters`, `_buffers` and `_modules`; no class is imported, nothing is called. What several
   * names lead to has all of them, as in `state_dict()`.
   *
   * @throws ERR_REPFUSE_FORMAT for more modules, or deeper ones, than any network has
   */
  weightsOf(root: PyObject): ModuleWeights {
    const tensors = new Map<string, TorchTensor | UnsupportedTensor>();
    const modules = new Map<string, ModuleAttributes>();
    this.walk(root, '', 0, tensors, modules);
    return { tensors, modules };
  }

  private walk(
    module: PyObject,
    prefix: string,
    depth: number,
    tensors: Map<string, TorchTensor | UnsupportedTensor>,
    modules: Map<string, ModuleAttributes>,
  ): void {
    if (depth > MAX_DEPTH) throw tooMany(`modules within each other (limit ${MAX_DEPTH})`, prefix);
    if (--this.left < 0)
      throw tooMany(`modules, each counted by every name that leads to it (limit ${MAX_MODULES})`, prefix);
    const state = module.state as Map<PyValue, PyValue>;
    modules.set(prefix.slice(0, -1), attributesOf(module, state));
    const hidden = state.get('_non_persistent_buffers_set');
    for (const part of ['_parameters', '_buffers']) {
      const held = state.get(part);
      if (!(held instanceof Map)) continue;
      for (const [name, value] of held) {
        if (typeof name !== 'string' || (hidden instanceof Set && hidden.has(name))) continue;
        if (value instanceof TorchTensor || value instanceof UnsupportedTensor) tensors.set(prefix + name, value);
      }
    }
    for (const [name, child] of state.get('_modules') as Map<PyValue, PyValue>) {
      if (typeof name === 'string' && isModule(child))
        this.walk(child, `${prefix}${name}.`, depth + 1, tensors, modules);
    }
  }
}

function tooMany(what: string, prefix: string): RepfuseError {
  const path = prefix.slice(0, -1);
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad pickled network: too many ${what}, at ${shorten(path)}`, {
    module: path,
  });
}

function attributesOf(module: PyObject, state: ReadonlyMap<PyValue, PyValue>): ModuleAttributes {
  const eps = numberOf(state.get('eps'));
  const groups = numberOf(state.get('groups'));
  const paddingMode = state.get('padding_mode');
  const [stride, padding, dilation] = ['stride', 'padding', 'dilation'].map((name) => sizesOf(state.get(name)));
  return {
    type: className(module),
    ...(eps === undefined ? {} : { eps }),
    ...(stride === undefined ? {} : { stride }),
    ...(padding === undefined ? {} : { padding }),
    ...(dilation === undefined ? {} : { dilation }),
    ...(groups === undefined ? {} : { groups }),
    ...(typeof paddingMode !== 'string' || paddingMode === 'zeros' ? {} : { paddingMode }),
  };
}

function numberOf(value: PyValue | undefined): number | undefined {
  if (value instanceof PyFloat) return value.value;
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function sizesOf(value: PyValue | undefined): readonly number[] | undefined {
  const items = value instanceof PyTuple ? value.items : typeof value === 'number' ? [value, value] : undefined;
  return items?.every((item) => typeof item === 'number') ? (items as number[]) : undefined;
}
