import { RepfuseError } from '../errors';
import { NumpyArray, PartedArray } from './numpy/numpy-pickle';
import { type PyDict, PyTuple, type PyValue } from './pickle/python-values';
import { showValue } from './show-value';

/** Where `paddle.save` notes the arrays that it wrote in parts, because protocols 2 and 3 take no more than 4 GiB. */
const PARTS_KEY = 'UnpackBigParamInfor@@';

/**
 * A dict as `paddle.save` was given it: arrays that it cut up are whole again, under their own names, where their first part stood.
 *
 * @throws ERR_REPFUSE_FORMAT for a part that is missing
 */
export function joinParts(root: PyValue): PyValue {
  const notes = root instanceof Map ? root.get(PARTS_KEY) : undefined;
  if (!(root instanceof Map && notes instanceof Map)) return root;
  const whole = new Map<PyValue, [PyValue, NumpyArray]>(); // by the first part
  const parts = new Set<PyValue>([PARTS_KEY]);
  for (const [name, note] of notes) {
    const names = note instanceof Map ? itemsOf(note.get('slices')) : undefined;
    if (!(note instanceof Map) || names === undefined || names.length === 0) throw bad(name, 'its parts are not named');
    const arrays = names.map((part) => partOf(name, part, root));
    const array = new PartedArray(arrays);
    Object.assign(array, { shape: note.get('OriginShape') ?? null, type: arrays[0]!.type });
    whole.set(names[0]!, [name, array]);
    for (const part of names) parts.add(part);
  }
  const joined: PyDict = new Map();
  for (const [key, value] of root) {
    const [name, array] = whole.get(key) ?? [];
    if (array !== undefined) joined.set(name!, array);
    else if (!parts.has(key)) joined.set(key, value);
  }
  return joined;
}

function itemsOf(value: PyValue | undefined): readonly PyValue[] | undefined {
  return value instanceof PyTuple ? value.items : Array.isArray(value) ? (value as PyValue[]) : undefined;
}

function partOf(name: PyValue, part: PyValue, root: PyDict): NumpyArray {
  const array = root.get(part);
  if (array instanceof NumpyArray) return array;
  throw bad(name, `its part ${showValue(part)} is missing`);
}

function bad(name: PyValue, problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad array (${showValue(name)}): ${problem}`, {
    tensor: typeof name === 'string' ? name : showValue(name),
  });
}
