import type { StateDict } from '../../checkpoint/state-dict';
import type { DetectedBlock } from '../../families';
import type { Branch, Stage } from '../../ops';
import { DTYPES } from '../../tensor/dtype';
import { asFloat32 } from '../../tensor/half';
import { formatShape } from '../../tensor/tensor';

/** One form of a block, ready to run: branches of one input, whose outputs are summed or joined (`split`: each reads a part), and what follows. */
export interface BlockForm {
  readonly branches: readonly Branch[];
  readonly combine: DetectedBlock['combine'];
  readonly after: readonly Stage[];
}

/** The branches as they stand, other types widened (float64 rounded): operators take float32. */
export function trainingForm({ branches, combine, after }: DetectedBlock): BlockForm {
  return { branches: branches.map(float32Branch), combine, after };
}

/** Names of a block's fused tensors among `tensors`: the family's own, or plain ones. */
export function fusedKeys({ deployKeys, plainKeys }: DetectedBlock, tensors: StateDict): DetectedBlock['deployKeys'] {
  return !tensors.has(deployKeys.weight) && tensors.has(plainKeys.weight) ? plainKeys : deployKeys;
}

/** Why the tensors under these names cannot be those of the fused block, or undefined. */
export function mismatchOf(
  { outChannels, weightShape }: DetectedBlock,
  keys: DetectedBlock['deployKeys'],
  tensors: StateDict,
): string | undefined {
  const expected = { weight: weightShape, bias: [outChannels] };
  for (const part of ['weight', 'bias'] as const) {
    const tensor = tensors.get(keys[part]);
    if (tensor === undefined) return `the second file has no ${keys[part]}`;
    if (!DTYPES[tensor.dtype].floating) return `${keys[part]} is of type ${tensor.dtype}`;
    if (formatShape(tensor.shape) !== formatShape(expected[part]))
      return `${keys[part]} is ${formatShape(tensor.shape)} instead of ${formatShape(expected[part])}`;
  }
  return undefined;
}

/** The fused convolution under these names. */
export function fusedForm(
  { kernel, groups }: DetectedBlock,
  { weight, bias }: DetectedBlock['deployKeys'],
  tensors: StateDict,
): BlockForm {
  const [top, left] = [kernel[0] >> 1, kernel[1] >> 1];
  const conv: Stage = {
    kind: 'conv2d',
    weight: tensors.get(weight)!,
    bias: tensors.get(bias)!,
    stride: [1, 1],
    padding: [top, left, top, left],
    dilation: [1, 1],
    groups: groups ?? 1,
  };
  return { branches: [float32Branch({ name: weight, stages: [conv] })], combine: 'sum', after: [] };
}

/** The form with a stride of 2, taken by the last convolution or pooling of each branch; undefined where a branch has neither. */
export function strided(form: BlockForm): BlockForm | undefined {
  const branches: Branch[] = [];
  for (const { name, stages } of form.branches) {
    const last = stages.findLastIndex(({ kind }) => kind === 'conv2d' || kind === 'avg_pool2d');
    if (last < 0) return undefined;
    branches.push({
      name,
      stages: stages.map((stage, i) => (i === last ? ({ ...stage, stride: [2, 2] } as Stage) : stage)),
    });
  }
  return { ...form, branches };
}

function float32Branch({ name, stages }: Branch): Branch {
  return {
    name,
    stages: stages.map((stage) =>
      stage.kind === 'conv2d'
        ? { ...stage, weight: asFloat32(stage.weight), bias: stage.bias == null ? null : asFloat32(stage.bias) }
        : stage,
    ),
  };
}
